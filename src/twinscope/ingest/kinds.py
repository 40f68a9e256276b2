"""What kind of panel a picture is: micrograph, blot, photo, graph, diagram or other.

A small forest over hand-made features. What is drawn (graph, diagram) has flat colours and hard edges beside flat
places; what was taken (micrograph, blot, photo) has noise and soft edges. `twinscope.train.kinds` grows the forest.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from twinscope.pixels import extremes
from twinscope.types import PanelKind

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

FOREST = "kinds-2"
KINDS: tuple[PanelKind, ...] = ("micrograph", "blot", "photo", "graph", "diagram")
TAKEN = 3
"""The first so many of `KINDS` are taken by an instrument, the others are drawn."""
_LONG_SIDE = 400


class Forest(NamedTuple):
    """Trees as arrays (trees x nodes): the feature asked (-1 at a leaf), its threshold, the children, the shares."""

    feature: NDArray[np.int16]
    threshold: Floats
    left: NDArray[np.int16]
    right: NDArray[np.int16]
    share: Floats


@cache
def forest() -> Forest:
    """Return the forest that is shipped."""
    arrays = load_file(Path(__file__).parent.parent / "models" / "weights" / f"{FOREST}.safetensors")
    return Forest(**{name: arrays[name] for name in Forest._fields})


def classify(image: Image) -> PanelKind:
    """Return the kind of a panel: HxW or HxWx3 uint8; 'other' for what is too small or has no content."""
    if min(image.shape[:2]) < 8 or int(image.max()) - int(image.min()) < 3:
        return "other"
    if is_ruled(image):
        return "graph"
    if is_labels(image):
        return "diagram"
    sure = shares(image)
    drawn = float(sure[TAKEN:].sum())
    return KINDS[TAKEN + int(np.argmax(sure[TAKEN:]))] if drawn > 0.5 else KINDS[int(np.argmax(sure[:TAKEN]))]


def of_drawn(image: Image, kind: PanelKind) -> PanelKind:
    """Return the kind of a panel below which no raster lies on the page, where it was said to be `kind`.

    Flat patches without any grain are drawn then, however round: an icon is no micrograph.
    """
    flat = 1 - _share(_above(_ranges(_sampled(image)), 4))
    if kind not in KINDS[:TAKEN] or flat < 0.35:
        return kind
    return KINDS[TAKEN + int(np.argmax(shares(image)[TAKEN:]))]


def is_flat(image: Image) -> bool:
    """Tell whether nearly all of a picture, its rim aside, has one colour and no grain: a bar, or nothing at all."""
    inner = _inner(image, 16)
    middle = np.array([_median(plane) for plane in cv2.split(inner[::2, ::2])])
    reach = 4 if middle.max() < 48 else 8
    near = np.asarray(cv2.inRange(inner, np.clip(middle - reach, 0, 255), np.clip(middle + reach, 0, 255)), np.uint8)
    calm = np.asarray(255 * (_ranges(inner) <= 5), np.uint8)
    return _share(np.asarray(cv2.bitwise_and(near, calm), np.uint8)) >= 0.98


def _inner(image: Image, part: int) -> Image:
    """Return a picture without its rim, an edge's width or one in `part` of its shorter side."""
    rim = max(3, min(image.shape[:2]) // part)
    return _sampled(image[rim:-rim, rim:-rim] if min(image.shape[:2]) > 2 * rim + 8 else image)


def is_ruled(image: Image) -> bool:
    """Tell whether all rows or all columns of a picture are alike: a colour bar, a heat strip, a shaded box."""
    inner = _inner(image, 12)
    across = float(np.mean(cv2.mean(cv2.absdiff(inner[2:], inner[:-2]))[:3]))
    along = float(np.mean(cv2.mean(cv2.absdiff(inner[:, 2:], inner[:, :-2]))[:3]))
    return max(across, along) > 1.0 and min(across, along) < 0.07 * max(across, along)


def is_labels(image: Image) -> bool:
    """Tell whether a picture is a label image: at least four vivid hues, in flat patches."""
    inner = _sampled(image)
    low, high = extremes(inner)
    chroma = cv2.subtract(high, low)
    vivid = np.asarray(cv2.threshold(chroma, 60, 255, cv2.THRESH_BINARY)[1], np.uint8)
    if _share(vivid) < 0.08:
        return False
    hue = np.asarray(cv2.cvtColor(inner, cv2.COLOR_RGB2HSV))[..., 0]
    hues = np.bincount((hue[vivid > 0] // 15).ravel(), minlength=12)
    flat = (_ranges(inner) <= 6) & (vivid > 0)
    return int((hues > 0.03 * hues.sum()).sum()) >= 4 and np.count_nonzero(flat) > 0.45 * hues.sum()


def shares(image: Image) -> Floats:
    """Return how sure each of `KINDS` is, adding up to 1, for a panel HxW or HxWx3 uint8 of at least 8x8 px."""
    return vote(forest(), features(image))


def vote(trees: Forest, values: Floats) -> Floats:
    """Return the mean share of each kind over the trees, for one vector of features."""
    index = np.arange(trees.feature.shape[0])
    node = np.zeros(len(index), np.int64)
    while True:
        asked = trees.feature[index, node]
        inner = asked >= 0
        if not inner.any():
            return np.asarray(trees.share[index, node].mean(axis=0), np.float32)
        low = values[np.maximum(asked, 0)] <= trees.threshold[index, node]
        node = np.where(inner, np.where(low, trees.left[index, node], trees.right[index, node]), node)


def features(image: Image) -> Floats:
    """Return the features of a picture (HxW or HxWx3 uint8, at least 8x8 px) as one float32 vector."""
    rgb = _sampled(image)
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    parts = [_shape(image), _levels(grey), _colours(rgb), _edges(rgb), _profiles(grey)]
    return np.concatenate([np.asarray(part, np.float32) for part in parts])


def _sampled(image: Image) -> Image:
    """Return at most `_LONG_SIDE` px a side by dropping rows and columns, so that no new colours are mixed."""
    step = max(1, int(np.ceil(max(image.shape[:2]) / _LONG_SIDE)))
    if min(image.shape[:2]) // step < 8:
        step = max(1, min(image.shape[:2]) // 8)
    small = image[::step, ::step]
    rgb = small if small.ndim == 3 else np.repeat(small[..., None], 3, axis=2)
    return np.ascontiguousarray(rgb[..., :3])


def _shape(image: Image) -> list[float]:
    height, width = image.shape[:2]
    return [float(np.log(width / height)), float(np.log(min(height, width)))]


def _median(levels: Image) -> float:
    """Return the median of uint8 levels, as `np.median` has it, by their histogram."""
    counts = np.bincount(levels.ravel(), minlength=256).cumsum()
    middle = np.searchsorted(counts, [(counts[-1] - 1) // 2, counts[-1] // 2], side="right")
    return float(middle.mean())


def _percentiles(levels: Image, shares: list[float]) -> list[float]:
    """Return percentiles of uint8 levels, by their histogram."""
    counts = np.bincount(levels.ravel(), minlength=256).cumsum()
    return [float(np.searchsorted(counts, share / 100 * counts[-1])) for share in shares]


def _levels(grey: Image) -> list[float]:
    p1, p10, p50, p90, p99 = _percentiles(grey, [1, 10, 50, 90, 99])
    spread = max(1.0, p99 - p1)
    return [p1, p10, p50, p90, p99, (p50 - p1) / spread, float(cv2.meanStdDev(grey)[1][0, 0])]


def _share(mask: Image) -> float:
    return float(cv2.countNonZero(mask)) / mask.size


def _above(levels: Image, limit: int) -> Image:
    return np.asarray(cv2.threshold(levels, limit, 1, cv2.THRESH_BINARY)[1], np.uint8)


def _colours(rgb: Image) -> list[float]:
    red, green, blue = cv2.split(rgb)
    low, high = extremes(rgb)
    codes = ((red >> 4).astype(np.uint16) << 8) | ((green >> 4).astype(np.uint16) << 4) | (blue >> 4)
    counts = np.sort(np.bincount(codes.ravel(), minlength=4096))[::-1] / codes.size
    used = counts[counts > 0]
    chroma = np.asarray(cv2.subtract(high, low), np.uint8)
    vivid = chroma > 60
    hue = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV))[..., 0]
    hues = np.bincount((hue[vivid] // 15).ravel(), minlength=12)
    return [
        _share(_above(low, 245)), 1 - _share(_above(high, 12)), float(counts[0]), float(counts[:4].sum()),
        float(counts[:12].sum()), float(counts[:40].sum()), float(-(used * np.log2(used)).sum()),
        float(cv2.mean(chroma)[0]), _share(_above(chroma, 24)), float(vivid.mean()),
        float((hues > 0.01 * codes.size).sum()), float(hues.max() / max(1, hues.sum())),
    ]  # fmt: skip


def _ranges(rgb: Image) -> Image:
    """Return how much a channel changes within 3x3 px, at most, around each pixel."""
    three = np.ones((3, 3), np.uint8)
    return most(np.asarray(cv2.subtract(cv2.dilate(rgb, three), cv2.erode(rgb, three)), np.uint8))


def most(rgb: Image) -> Image:
    """Return the largest of the three channels of each pixel: (h, w, 3) uint8 -> (h, w)."""
    return extremes(rgb)[1]


def _edges(rgb: Image) -> list[float]:
    ranges = _ranges(rgb)
    flat, hard = 1 - _above(ranges, 4), _above(ranges, 70)
    uneven = max(1, flat.size - cv2.countNonZero(flat))
    wide = np.asarray(cv2.erode(flat, np.ones((9, 9), np.uint8)), np.uint8)
    beside = np.asarray(cv2.dilate(flat, np.ones((7, 7), np.uint8)), np.uint8)
    edges = max(1, cv2.countNonZero(hard))
    level = cv2.morphologyEx(hard, cv2.MORPH_OPEN, np.ones((1, 25), np.uint8))
    upright = cv2.morphologyEx(hard, cv2.MORPH_OPEN, np.ones((25, 1), np.uint8))
    soft = flat.size - cv2.countNonZero(_above(ranges, 30)) - cv2.countNonZero(flat)
    return [
        *_percentiles(ranges, [25, 50, 75, 90, 97]), 1 - _share(_above(ranges, 1)), _share(flat),
        1 - _share(_above(ranges, 10)), _share(wide), soft / uneven, edges / uneven,
        cv2.countNonZero(cv2.bitwise_and(hard, beside)) / edges, cv2.countNonZero(level) / edges,
        cv2.countNonZero(upright) / edges, edges / flat.size,
        float(flat.all(axis=1).mean()), float(flat.all(axis=0).mean()),
    ]  # fmt: skip


def _profiles(grey: Image) -> list[float]:
    smooth = np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.5), np.uint8)
    across = float(cv2.mean(cv2.absdiff(smooth[1:], smooth[:-1]))[0])
    along = float(cv2.mean(cv2.absdiff(smooth[:, 1:], smooth[:, :-1]))[0])
    deviation = max(1.0, float(cv2.meanStdDev(smooth)[1][0, 0]))
    size = (max(2, grey.shape[1] // 8), max(2, grey.shape[0] // 8))
    coarse = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    rows = np.asarray(cv2.reduce(smooth, 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F)).ravel()
    columns = np.asarray(cv2.reduce(smooth, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F)).ravel()
    depth = (rows.mean() - rows.min()) / max(1.0, float(np.ptp(rows)))
    return [
        float(np.log((across + 0.05) / (along + 0.05))),
        float(rows.std() / deviation),
        float(columns.std() / deviation),
        float(cv2.meanStdDev(coarse)[1][0, 0]) / deviation,
        float(depth),
    ]
