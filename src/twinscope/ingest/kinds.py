"""What kind of panel a picture is: micrograph, blot, photo, graph, diagram or other.

Clear rules over a dozen hand-made features. What is drawn (graph, diagram) has flat colours and hard edges; what was
taken (micrograph, blot, photo) has noise and soft edges. A blot is grey, smooth, and dark bands lie on it in rows.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope.types import PanelKind

_LONG_SIDE = 640


class Features(NamedTuple):
    """What the rules look at; shares are in [0, 1], levels in grey levels of 255."""

    aspect: float
    flat: float
    white: float
    black: float
    top: float
    top8: float
    soft: float
    hard: float
    colour: float
    vivid: float
    hues: float
    mean: float
    spread: float
    dark_tail: float
    bands: float


def _sampled(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return at most `_LONG_SIDE` px a side by dropping rows and columns: no new colours are mixed."""
    step = max(1, int(np.ceil(max(image.shape[:2]) / _LONG_SIDE)))
    small = image[::step, ::step]
    rgb = small if small.ndim == 3 else np.repeat(small[..., None], 3, axis=2)
    return np.ascontiguousarray(rgb[..., :3])


def features(image: NDArray[np.uint8]) -> Features:
    """Return the features of a picture: HxW or HxWx3 uint8, at least 1x1 px."""
    rgb = _sampled(image)
    height, width = image.shape[:2]
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    kernel = np.ones((3, 3), np.uint8)
    ranges = (cv2.dilate(rgb, kernel) - cv2.erode(rgb, kernel)).max(axis=2)
    flat = ranges <= 4
    uneven = max(1, int(np.count_nonzero(~flat)))
    codes = (rgb[..., 0] >> 4).astype(np.int32) * 256 + (rgb[..., 1] >> 4) * 16 + (rgb[..., 2] >> 4)
    counts = np.sort(np.bincount(codes.ravel(), minlength=4096))[::-1] / codes.size
    chroma = rgb.max(axis=2).astype(np.int16) - rgb.min(axis=2)
    vivid = chroma > 60
    hue = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)[..., 0]
    hist = np.bincount((hue[vivid] // 15).ravel(), minlength=12)
    low, mid, high = np.percentile(grey, [1, 50, 99])
    rows = cv2.GaussianBlur(grey, (0, 0), 1.5).astype(np.float32)
    across = float(np.abs(np.diff(rows, axis=0)).mean()) if grey.shape[0] > 1 else 0.0
    along = float(np.abs(np.diff(rows, axis=1)).mean()) if grey.shape[1] > 1 else 0.0
    return Features(
        aspect=width / height,
        flat=float(flat.mean()),
        white=float((rgb.min(axis=2) >= 246).mean()),
        black=float((rgb.max(axis=2) <= 12).mean()),
        top=float(counts[0]),
        top8=float(counts[:8].sum()),
        soft=float(np.count_nonzero((ranges > 4) & (ranges <= 40)) / uneven),
        hard=float(np.count_nonzero(ranges > 100) / uneven),
        colour=float((chroma > 24).mean()),
        vivid=float(vivid.mean()),
        hues=float((hist > 0.02 * codes.size).sum()),
        mean=float(grey.mean()),
        spread=float(high - low),
        dark_tail=float((mid - low) / max(1.0, high - low)),
        bands=float(across / max(0.05, along)),
    )


def classify(image: NDArray[np.uint8]) -> PanelKind:
    """Return the kind of a panel: HxW or HxWx3 uint8; 'other' for what has no content."""
    if min(image.shape[:2]) < 4:
        return "other"
    f = features(image)
    if f.spread < 2 and f.top > 0.98 and (f.white > 0.9 or f.flat > 0.999):
        return "other"
    if _drawn(f):
        return "diagram" if f.white < 0.3 or f.vivid > 0.4 else "graph"
    if f.colour < 0.02 and f.mean > 90 and f.dark_tail > 0.5 and (f.aspect > 1.6 or f.bands > 1.4) and f.black < 0.3:
        return "blot"
    return "micrograph"


def _drawn(f: Features) -> bool:
    if f.white > 0.4 and f.flat > 0.55:
        return True
    if f.flat > 0.6 and f.hues >= 3 and f.soft < 0.4:
        return True
    return f.flat > 0.7 and f.soft < 0.25 and f.black < 0.6
