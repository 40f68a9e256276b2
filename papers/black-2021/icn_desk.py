"""The network that ships, as the tables of black-2021 ask it: the row "comparator-1"."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WEIGHTS = Path(__file__).resolve().parents[2] / "src" / "twinscope" / "models" / "weights" / "comparator-1.onnx"


def desk(original: NDArray[np.uint8], query: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what the desk says of two pictures, alignment included: heat (S, S) in [0, 1] and probabilities (3,).

    original, query: (S, S, 3) uint8 RGB. The heat, float32, lies in the original's frame and is 0 where nothing can be
    said; the classes are benign, manipulated and distinct. Nothing is behind it yet: `twinscope.detect.heat` fills it.
    """
    raise NotImplementedError


def missing() -> str | None:
    """Return why the row cannot be filled, None where it can."""
    if not WEIGHTS.exists():
        return f"not there yet (models/weights/{WEIGHTS.name})"
    black = np.zeros((128, 128, 3), np.uint8)
    try:
        desk(black, black)
    except NotImplementedError:
        return "not asked yet (papers/black-2021/icn_desk.py)"
    return None
