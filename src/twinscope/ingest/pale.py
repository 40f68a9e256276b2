"""Pictures on a ground that is nearly the paper's white: their edges are where the last trace of the ground ends.

A blot on white film, or nuclei shown dark on light, fades into the paper: what differs clearly from it is only a part
of the picture. But a ground that was taken by an instrument is not pure: a level less here and there tells it apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope.ingest.drawings import area, common
from twinscope.pixels import extremes

Image = NDArray[np.uint8]
Rect = tuple[int, int, int, int]

_PURE = 255
_PALE = 225
_ENDS = 3
"""So many px of pure paper end a ground."""
_SEGMENTS = 6
_INSIDE = 30
_NOISE = 10
"""JPEG noise reaches so many px beyond a picture."""
_MOST = 40
_SMALL = 0.3


def trace(rgb: Image) -> Image | None:
    """Return where a figure (HxWx3 uint8) is not pure white, 0/1; None where it has too little pure white for paper."""
    low, _ = extremes(rgb)
    marks = np.asarray(cv2.threshold(low, _PURE - 1, 1, cv2.THRESH_BINARY_INV)[1], np.uint8)
    return marks if marks.size - cv2.countNonZero(marks) > 0.02 * marks.size else None


def fields(marks: Image, least: int) -> list[Rect]:
    """Return the rectangles of at least `least` px a side that are marked nearly all over, with pure paper around."""
    closed = cv2.morphologyEx(marks, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))
    stats = cv2.connectedComponentsWithStats(opened, connectivity=4)[2]
    found: list[Rect] = []
    for x, y, w, h, size in stats[1:].tolist():
        if min(w, h) >= least and size > 0.9 * w * h and _is_framed(marks, (x, y, x + w, y + h)):
            found.append((x, y, x + w, y + h))
    return found


def _is_framed(marks: Image, rect: Rect) -> bool:
    """Tell whether pure paper lies around a rectangle: at most an eighth of what is 3 px beyond a side is marked."""
    height, width = marks.shape
    x0, y0, x1, y1 = rect
    lines = []
    if x0 >= 3:
        lines.append(marks[y0:y1, x0 - 3])
    if x1 + 2 < width:
        lines.append(marks[y0:y1, x1 + 2])
    if y0 >= 3:
        lines.append(marks[y0 - 3, x0:x1])
    if y1 + 2 < height:
        lines.append(marks[y1 + 2, x0:x1])
    return all(float(line.mean()) < 0.125 for line in lines)


def grown(rgb: Image, marks: Image, rects: Sequence[Rect], whole: Sequence[Rect] = ()) -> list[Rect]:
    """Return for each rectangle of a figure that rectangle, or a larger one to which its ground reaches.

    marks: `trace` of the figure; whole: those of the rectangles that are known not to grow.
    A side that fades grows to where pure paper begins, or a neighbour that is not small.
    """
    out: list[Rect] = []
    for rect in rects:
        fades = [rect not in whole and _fades(rgb, rect, side) for side in range(4)]
        walls = [r for r in rects if r != rect and area(r) > _SMALL * area(rect)]
        wide = _grown(marks, rect, fades, walls) if any(fades) else rect
        others = [r for r in rects if r != rect and common(r, wide) > 0.02 * area(r)]
        torn = any(common(r, wide) < 0.9 * area(r) for r in others)
        out.append(rect if torn or area(wide) > _MOST * area(rect) else wide)
    return [_met(wide, rect, out, rects) for wide, rect in zip(out, rects, strict=True)]


def _met(wide: Rect, rect: Rect, grown: Sequence[Rect], rects: Sequence[Rect]) -> Rect:
    """Return a grown rectangle joined with those that grew to meet it in one row or column."""
    for other, was in zip(grown, rects, strict=True):
        hull = (min(wide[0], other[0]), min(wide[1], other[1]), max(wide[2], other[2]), max(wide[3], other[3]))
        both = common(wide, other)
        moved = wide != rect and other != was != rect
        if moved and both and area(hull) < 1.05 * (area(wide) + area(other) - both):
            wide = hull
    return wide


def _grown(marks: Image, rect: Rect, fades: Sequence[bool], walls: Sequence[Rect]) -> Rect:
    """Return a rectangle grown side by side until none moves."""
    sides = list(rect)
    for _ in range(4):
        before = list(sides)
        for side in (0, 2, 1, 3):
            if fades[side]:
                sides[side] = _reach(marks, (sides[0], sides[1], sides[2], sides[3]), side, walls)
        if sides == before:
            break
    return sides[0], sides[1], sides[2], sides[3]


def _fades(rgb: Image, rect: Rect, side: int) -> bool:
    """Tell whether a picture is nearly white along most of a side (0 left, 1 top, 2 right, 3 bottom) and beyond it."""
    x0, y0, x1, y1 = rect
    across = rgb.transpose(1, 0, 2) if side % 2 else rgb
    low, high, start, stop = (y0, y1, x0, x1) if side % 2 else (x0, x1, y0, y1)
    inside, outside = (low + 1, low - 2) if side < 2 else (high - 2, high + 1)
    if not 0 <= outside < across.shape[1] or not 0 <= inside < across.shape[1]:
        return False
    return all(bool((across[start:stop, at].min(axis=1) >= _PALE).mean() > 0.6) for at in (inside, outside))


def _reach(marks: Image, rect: Rect, side: int, walls: Sequence[Rect]) -> int:
    """Return where a side lies when it has moved outwards over ground, to pure paper, a neighbour or the border."""
    if side % 2:
        marks, rect, side = marks.T, _turned(rect), side - 1
        walls = [_turned(wall) for wall in walls]
    x0, y0, x1, y1 = rect
    beside = [wall for wall in walls if min(y1, wall[3]) - max(y0, wall[1]) > 2]
    if side == 0:
        end = max((wall[2] for wall in beside if wall[2] <= x0 + 2), default=-1)
        strip = marks[y0:y1, max(0, end) : min(x1, x0 + _INSIDE)][:, ::-1]
    else:
        end = min((wall[0] for wall in beside if wall[0] >= x1 - 2), default=-1)
        strip = marks[y0:y1, max(x0, x1 - _INSIDE) : end if end >= 0 else marks.shape[1]]
    inside = min(_INSIDE, x1 - x0)
    moved = _ground(strip[:, :inside], strip[:, inside:], end >= 0)
    return x0 - moved if side == 0 else x1 + moved


def _turned(rect: Rect) -> Rect:
    return rect[1], rect[0], rect[3], rect[2]


def _ground(inside: Image, outer: Image, walled: bool) -> int:
    """Return how many columns of the outer strip, from its first, are ground: marked all along, as the inside is.

    walled: another picture, whose JPEG noise reaches out, lies beyond the strip.
    """
    if outer.shape[1] == 0 or outer.shape[0] < _SEGMENTS:
        return 0
    density = np.asarray(cv2.reduce(np.ascontiguousarray(outer), 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F))[0]
    usual = float(inside.mean())
    ends = np.flatnonzero(np.convolve(density < max(0.02, 0.05 * usual), np.ones(_ENDS), "valid") >= _ENDS)
    stop = int(ends[0]) if len(ends) else len(density)
    if walled or len(ends):
        least = max(0, stop - _NOISE)
        level = 0.6 * (usual if least < _NOISE else float(np.median(density[max(0, least - 30) : least])))
        while stop > least and density[stop - 1] < level:
            stop -= 1
    while stop >= 1:
        rim = outer[:, max(0, stop - 4) : stop]
        if min(float(part.mean()) for part in np.array_split(rim, _SEGMENTS)) > 0.05:
            return stop if stop > _NOISE else 0
        stop -= 1
    return 0
