"""Put the papers' scripts and the benchmark's modules on the path."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    *(str(ROOT / "papers" / name) for name in ("cicconet-2019", "black-2021", "black-2021/retrieval", "bharathi-2023")),
    str(ROOT / "benchmarks"),
    str(ROOT / "examples"),
]
