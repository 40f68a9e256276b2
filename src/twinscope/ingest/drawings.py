"""Graphs and diagrams: the larger ink of a figure outside its pictures, joined with the text that belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope.ingest import kinds
from twinscope.types import PanelKind

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]
Rect = tuple[int, int, int, int]


class Ink(NamedTuple):
    """Connected pieces of what is not background: n x 4 boxes (x0, y0, x1, y1), n areas in px."""

    boxes: NDArray[np.int32]
    areas: NDArray[np.int32]


def components(mask: Image) -> Ink:
    """Return the connected pieces of a mask (HxW uint8)."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count <= 1:
        return Ink(np.zeros((0, 4), np.int32), np.zeros(0, np.int32))
    s = np.asarray(stats[1:], np.int32)
    return Ink(np.stack([s[:, 0], s[:, 1], s[:, 0] + s[:, 2], s[:, 1] + s[:, 3]], axis=1), s[:, 4])


def find(rgb: Image, mask: Image, pictures: list[Rect], em: float) -> list[tuple[Rect, PanelKind]]:
    """Return graphs and diagrams: the larger ink outside the pictures, joined with its text.

    rgb: HxWx3 uint8; mask: HxW uint8, what is not paper; em: the height of a letter in px.
    """
    rest = mask.copy()
    pad = max(2, round(0.2 * em))
    for x0, y0, x1, y1 in pictures:
        rest[max(0, y0 - pad) : y1 + pad, max(0, x0 - pad) : x1 + pad] = 0
    ink = components(rest)
    boxes = ink.boxes.astype(np.float64)
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    core = (np.minimum(w, h) >= 2.2 * em) & (np.maximum(w, h) >= 4 * em)
    cores = [_rect(box) for box in boxes[core] if _covered(_rect(box), pictures) < 0.6]
    axes = [box for box in cores if _has_axes(rest[box[1] : box[3], box[0] : box[2]])]
    others = [box for box in cores if box not in axes]
    groups = merged(merged(axes, 0) + merged(others, 2.0 * em), 0.5 * em)
    specks = boxes[~core & (ink.areas >= 3)]
    groups = merged(_grown(groups, specks, pictures, 1.1 * em), 0)
    found: list[tuple[Rect, PanelKind]] = []
    for rect in groups:
        x0, y0, x1, y1 = rect
        if area(rect) < 40 * em * em or _covered(rect, pictures) > 0.5:
            continue
        found.append((rect, _drawn_kind(rgb[y0:y1, x0:x1], any(common(rect, box) > 0.9 * area(box) for box in axes))))
    return found


def _drawn_kind(image: Image, has_axes: bool) -> PanelKind:
    sure = kinds.shares(image)
    graph, diagram = float(sure[kinds.KINDS.index("graph")]), float(sure[kinds.KINDS.index("diagram")])
    return "graph" if graph * (2.0 if has_axes else 0.7) > diagram else "diagram"


def absorbed(
    pictures: list[tuple[Rect, PanelKind]], drawn: list[tuple[Rect, PanelKind]]
) -> list[tuple[Rect, PanelKind]]:
    """Return pictures and drawings, less the small pictures that are a part of a drawing."""
    kept = [
        (rect, kind)
        for rect, kind in pictures
        if not any(common(rect, other) > 0.9 * area(rect) and area(rect) < 0.12 * area(other) for other, _ in drawn)
    ]
    return kept + drawn


def without_bars(mask: Image, pictures: list[tuple[Rect, PanelKind]]) -> list[tuple[Rect, PanelKind]]:
    """Return the pictures, less those that hang on the axes of a chart: its bars."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count <= 1:
        return pictures
    kept: list[tuple[Rect, PanelKind]] = []
    for rect, kind in pictures:
        inside = labels[rect[1] : rect[3] : 3, rect[0] : rect[2] : 3].ravel()
        owner = int(np.bincount(inside[inside > 0], minlength=1).argmax()) if (inside > 0).any() else 0
        x, y, w, h, size = (int(v) for v in stats[owner])
        if owner and w * h > 6 * area(rect) and size < 0.45 * w * h:
            own = np.asarray(labels[y : y + h, x : x + w] == owner, np.uint8)
            if _has_axes(own):
                continue
        kept.append((rect, kind))
    return kept


def _has_axes(mask: Image) -> bool:
    """Tell whether a piece of ink has a long level line and a long upright one that meet at a corner of it."""
    filled = mask > 0
    rows, columns = filled.mean(axis=1), filled.mean(axis=0)
    level, upright = np.flatnonzero(rows > 0.75), np.flatnonzero(columns > 0.6)
    if not len(level) or not len(upright):
        return False
    left = int(upright[0]) < 0.35 * len(columns) or int(upright[-1]) > 0.75 * len(columns)
    return left and int(level[-1]) > 0.6 * len(rows)


def area(rect: Rect) -> int:
    """Return the area of a rectangle."""
    return (rect[2] - rect[0]) * (rect[3] - rect[1])


def common(a: Rect, b: Rect) -> int:
    """Return the area that two rectangles share."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _covered(rect: Rect, others: list[Rect]) -> float:
    return sum(common(rect, other) for other in others) / max(1, area(rect))


def _rect(box: Floats) -> Rect:
    return int(box[0]), int(box[1]), int(box[2]), int(box[3])


def _gap(a: Sequence[float], b: Sequence[float]) -> float:
    return max(b[0] - a[2], a[0] - b[2], b[1] - a[3], a[1] - b[3])


def _union(a: Rect, b: Rect) -> Rect:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def merged(rects: Sequence[Rect], reach: float) -> list[Rect]:
    """Join rectangles nearer than `reach` until none is."""
    left = list(rects)
    done: list[Rect] = []
    while left:
        now = left.pop()
        near = [r for r in left if _gap(now, r) < reach]
        again = [r for r in done if _gap(now, r) < reach]
        if not near and not again:
            done.append(now)
            continue
        left = [r for r in left if r not in near]
        done = [r for r in done if r not in again]
        for other in near + again:
            now = _union(now, other)
        left.append(now)
    return done


def _grown(groups: list[Rect], specks: Floats, pictures: list[Rect], reach: float) -> list[Rect]:
    """Give each small piece of ink to the nearest group within `reach`, nearest first, letting the groups grow."""
    if not groups or not len(specks):
        return groups
    grown = np.array(groups, np.float64)
    taken = np.zeros(len(specks), bool)
    if pictures:
        near_picture = np.min(_gaps(specks, np.array(pictures, np.float64)), axis=1)
    else:
        near_picture = np.full(len(specks), np.inf)
    for _ in range(40):
        gaps = _gaps(specks, grown)
        best = np.argmin(gaps, axis=1)
        gap = gaps[np.arange(len(specks)), best]
        new = ~taken & (gap <= reach) & (gap <= near_picture)
        if not new.any():
            break
        limit = max(0.0, float(gap[new].min())) + 0.25 * reach
        for index in np.flatnonzero(new & (gap <= limit)):
            group = grown[best[index]]
            group[:2] = np.minimum(group[:2], specks[index, :2])
            group[2:] = np.maximum(group[2:], specks[index, 2:])
            taken[index] = True
    return [_rect(box) for box in grown]


def _gaps(a: Floats, b: Floats) -> Floats:
    x = np.maximum(b[None, :, 0] - a[:, None, 2], a[:, None, 0] - b[None, :, 2])
    y = np.maximum(b[None, :, 1] - a[:, None, 3], a[:, None, 1] - b[None, :, 3])
    return np.asarray(np.hypot(np.maximum(x, 0), np.maximum(y, 0)), np.float64)
