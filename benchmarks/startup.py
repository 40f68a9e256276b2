"""Measure how long `twinscope --help` takes, from the start of the process to its end; print it and keep it as JSON.

python benchmarks/startup.py [-o benchmarks/results/startup.json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import common

RESULTS = Path(__file__).resolve().parent / "results" / "startup.json"
TWINSCOPE = Path(sys.executable).with_name("twinscope")
RUNS = 21
MOST_S = 0.4


def seconds() -> float:
    """Return the wall time of one `twinscope --help`, s."""
    begin = time.perf_counter()
    subprocess.run([TWINSCOPE, "--help"], check=True, capture_output=True)
    return time.perf_counter() - begin


def main() -> int:
    """Measure, print and keep; return 1 when the median is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    seconds()
    runs = sorted(seconds() for _ in range(RUNS))
    result = {
        "command": "twinscope --help",
        "runs": RUNS,
        "median_s": round(statistics.median(runs), 3),
        "least_s": round(runs[0], 3),
        "most_s": round(runs[-1], 3),
        "limit_s": MOST_S,
        "load": round(os.getloadavg()[0], 1),
        **common.circumstances(),
    }
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"twinscope --help: median {result['median_s']} s of {RUNS} runs (limit {MOST_S} s)")
    return int(statistics.median(runs) > MOST_S)


if __name__ == "__main__":
    sys.exit(main())
