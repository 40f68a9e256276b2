"""Split a compound figure into its panels.

Pictures first: solid blocks on the figure's background, cut at gutters, hair-lines and seams. What is left is ink:
its larger pieces are graphs and diagrams, and the text beside them is theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope.ingest import cuts, kinds
from twinscope.types import Box, PanelKind

_WORK_SIDE = 2400
_PICTURES = frozenset({"micrograph", "blot", "photo"})

Image = NDArray[np.uint8]
Rect = tuple[int, int, int, int]


class Piece(NamedTuple):
    """A panel of a figure: its box in px of the figure, its kind, its letter ('' where it is not known)."""

    box: Box
    kind: PanelKind
    label: str


def split(image: Image, hints: Sequence[Box] = ()) -> list[Piece]:
    """Return the panels of a figure in reading order.

    image: HxW or HxWx3 uint8, the whole figure. hints: boxes in px of rasters placed on it.
    Boxes of pictures are the edges of the picture; boxes of graphs and diagrams hold their text.
    """
    height, width = image.shape[:2]
    if min(height, width) < 8:
        return []
    rgb = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    rgb = np.ascontiguousarray(rgb[..., :3])
    scale = min(1.0, _WORK_SIDE / max(height, width))
    if scale < 1:
        size = (max(8, round(width * scale)), max(8, round(height * scale)))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    boxes = [_scaled(hint, scale, rgb.shape) for hint in hints]
    pieces = _pieces(rgb, [box for box in boxes if min(box[2] - box[0], box[3] - box[1]) >= 8])
    found = [Piece(_unscaled(box, scale, width, height), kind, "") for box, kind in pieces]
    return _reading_order(found)


def _scaled(box: Box, scale: float, shape: tuple[int, ...]) -> Rect:
    x0, x1 = (int(np.clip(round(v * scale), 0, shape[1])) for v in (box[0], box[2]))
    y0, y1 = (int(np.clip(round(v * scale), 0, shape[0])) for v in (box[1], box[3]))
    return x0, y0, x1, y1


def _unscaled(rect: Rect, scale: float, width: int, height: int) -> Box:
    if scale == 1:
        return Box(*map(float, rect))
    x0, y0, x1, y1 = (round(v / scale) for v in rect)
    return Box(float(x0), float(y0), float(min(x1, width)), float(min(y1, height)))


def _reading_order(pieces: list[Piece]) -> list[Piece]:
    rows: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda p: (p.box.y0, p.box.x0)):
        centre = (piece.box.y0 + piece.box.y1) / 2
        row = next((r for r in rows if r[0].box.y0 <= centre < r[0].box.y1), None)
        if row is None:
            rows.append([piece])
        else:
            row.append(piece)
    return [piece for row in rows for piece in sorted(row, key=lambda p: (p.box.x0, p.box.y0))]


class Ink(NamedTuple):
    """Connected pieces of what is not background: n x 4 boxes (x0, y0, x1, y1), n areas in px."""

    boxes: NDArray[np.int32]
    areas: NDArray[np.int32]


def _components(mask: Image) -> Ink:
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count <= 1:
        return Ink(np.zeros((0, 4), np.int32), np.zeros(0, np.int32))
    s = stats[1:]
    return Ink(np.stack([s[:, 0], s[:, 1], s[:, 0] + s[:, 2], s[:, 1] + s[:, 3]], axis=1), s[:, 4])


def _background(rgb: Image) -> NDArray[np.int16]:
    """Return the colour of the paper: the commonest along the border, or white where none is common."""
    edge = max(1, min(rgb.shape[:2]) // 200)
    border = np.concatenate(
        [part.reshape(-1, 3) for part in (rgb[:edge], rgb[-edge:], rgb[:, :edge], rgb[:, -edge:])]
    ).astype(np.int32)
    codes = (border[:, 0] >> 3) * 1024 + (border[:, 1] >> 3) * 32 + (border[:, 2] >> 3)
    values, counts = np.unique(codes, return_counts=True)
    white = (rgb[::4, ::4].min(axis=2) >= 248).mean()
    best = values[np.argmax(counts)]
    if counts.max() >= 0.3 * len(codes) and white < 0.3:
        chosen = border[codes == best]
        return np.median(chosen, axis=0).astype(np.int16)
    return np.array([255, 255, 255], np.int16)


def _foreground(rgb: Image, paper: NDArray[np.int16], tolerance: int) -> Image:
    low = np.clip(paper - tolerance, 0, 255).astype(np.float64)
    high = np.clip(paper + tolerance, 0, 255).astype(np.float64)
    return cv2.bitwise_not(cv2.inRange(rgb, low, high))


def _em(ink: Ink, shape: tuple[int, ...]) -> float:
    """Return the height of the figure's letters in px, from its small ink; a guess from its width where it has none."""
    guess = float(np.clip(max(shape[:2]) / 90, 8, 40))
    w, h = ink.boxes[:, 2] - ink.boxes[:, 0], ink.boxes[:, 3] - ink.boxes[:, 1]
    letters = (h >= 6) & (h <= 3 * guess) & (w >= 2) & (w <= 2.5 * h) & (ink.areas >= 0.15 * w * h)
    if letters.sum() < 8:
        return guess
    return float(np.clip(np.percentile(h[letters], 70), 7, 3 * guess))


def _pieces(rgb: Image, hints: list[Rect]) -> list[tuple[Rect, PanelKind]]:
    paper = _background(rgb)
    mask = _foreground(rgb, paper, 10)
    ink = _components(mask)
    em = _em(ink, rgb.shape)
    blocks = _blocks(rgb, mask, hints, em, dark_paper=bool(paper.max() < 250))
    rects: list[tuple[Rect, PanelKind]] = []
    for block in blocks:
        for rect in cuts.subdivide(rgb, block, paper.astype(np.float32), max(12, round(em))):
            x0, y0, x1, y1 = rect
            if min(x1 - x0, y1 - y0) >= max(12, 1.0 * em):
                rects.append((rect, kinds.classify(rgb[y0:y1, x0:x1])))
    pictures = [(rect, kind) for rect, kind in rects if kind in _PICTURES]
    pictures = _without_tiny(pictures, em)
    drawn = _drawings(rgb, mask, [rect for rect, _ in pictures], em)
    return pictures + drawn


def _without_tiny(pieces: list[tuple[Rect, PanelKind]], em: float) -> list[tuple[Rect, PanelKind]]:
    return [p for p in pieces if (p[0][2] - p[0][0]) * (p[0][3] - p[0][1]) >= 6 * em * em]


def _blocks(rgb: Image, mask: Image, hints: list[Rect], em: float, dark_paper: bool) -> list[Rect]:
    """Return the solid rectangles of a figure: pictures, or several that touch, or filled drawings."""
    if dark_paper:
        return [(0, 0, rgb.shape[1], rgb.shape[0])]
    solid = mask.copy()
    for x0, y0, x1, y1 in hints:
        part = mask[y0:y1, x0:x1]
        if (x1 - x0) * (y1 - y0) < 0.9 * mask.size and cv2.countNonZero(part) > 0.5 * part.size:
            solid[y0:y1, x0:x1] = 255
    side = max(9, round(0.7 * em))
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (side, side))
    opened = cv2.morphologyEx(
        cv2.copyMakeBorder(solid, side, side, side, side, cv2.BORDER_REPLICATE), cv2.MORPH_OPEN, kernel
    )[side:-side, side:-side]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(opened), connectivity=4)
    found: list[Rect] = []
    for index in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[index])
        if w < 1.2 * em or h < 1.2 * em or area < 4 * em * em:
            continue
        own = (labels[y : y + h, x : x + w] == index).astype(np.uint8)
        found += [(x + a, y + b, x + c, y + d) for a, b, c, d in cuts.rectangles(own, round(1.2 * em))]
    return _apart(found)


def _apart(rects: list[Rect]) -> list[Rect]:
    """Drop rectangles that lie (nearly) inside a larger one."""
    kept: list[Rect] = []
    for rect in sorted(rects, key=lambda r: -(r[2] - r[0]) * (r[3] - r[1])):
        area = (rect[2] - rect[0]) * (rect[3] - rect[1])
        if all(_common(rect, other) < 0.7 * area for other in kept):
            kept.append(rect)
    return kept


def _common(a: Rect, b: Rect) -> int:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _drawings(rgb: Image, mask: Image, pictures: list[Rect], em: float) -> list[tuple[Rect, PanelKind]]:
    """Return graphs and diagrams: the larger ink outside the pictures, joined with its text."""
    rest = mask.copy()
    pad = max(2, round(0.15 * em))
    for x0, y0, x1, y1 in pictures:
        rest[max(0, y0 - pad) : y1 + pad, max(0, x0 - pad) : x1 + pad] = 0
    ink = _components(rest)
    boxes = ink.boxes.astype(np.float64)
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    core = (np.minimum(w, h) >= 2.2 * em) & (np.maximum(w, h) >= 4 * em)
    cores = [tuple(int(v) for v in box) for box in ink.boxes[core]]
    groups = _merged(cores, 1.0 * em)
    specks = boxes[~core & (ink.areas >= 3)]
    groups = _grown(groups, specks, pictures, 1.1 * em)
    groups = _merged(groups, 0)
    found: list[tuple[Rect, PanelKind]] = []
    for rect in groups:
        x0, y0, x1, y1 = rect
        if (x1 - x0) * (y1 - y0) < 40 * em * em:
            continue
        kind = kinds.classify(rgb[y0:y1, x0:x1])
        found.append((rect, "graph" if kind not in ("graph", "diagram") else kind))
    return found


def _gap(a: Sequence[float], b: Sequence[float]) -> float:
    return max(b[0] - a[2], a[0] - b[2], b[1] - a[3], a[1] - b[3])


def _union(a: Rect, b: Rect) -> Rect:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _merged(rects: Sequence[tuple[int, ...]], reach: float) -> list[Rect]:
    """Join rectangles nearer than `reach` until none is."""
    left: list[Rect] = [(r[0], r[1], r[2], r[3]) for r in rects]
    done: list[Rect] = []
    while left:
        now = left.pop()
        near = [r for r in left if _gap(now, r) < reach]
        if not near:
            again = [r for r in done if _gap(now, r) < reach]
            if not again:
                done.append(now)
                continue
            done = [r for r in done if r not in again]
            near = again
        left = [r for r in left if r not in near]
        for other in near:
            now = _union(now, other)
        left.append(now)
    return done


def _grown(groups: list[Rect], specks: NDArray[np.float64], pictures: list[Rect], reach: float) -> list[Rect]:
    """Give each small piece of ink to the nearest group within `reach`, nearest first, letting the groups grow."""
    if not groups or not len(specks):
        return groups
    grown = np.array(groups, np.float64)
    taken = np.zeros(len(specks), bool)
    if pictures:
        fixed = np.array(pictures, np.float64)
        near_picture = np.min(_gaps(specks, fixed), axis=1)
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
    return [(int(a), int(b), int(c), int(d)) for a, b, c, d in grown]


def _gaps(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.maximum(b[None, :, 0] - a[:, None, 2], a[:, None, 0] - b[None, :, 2])
    y = np.maximum(b[None, :, 1] - a[:, None, 3], a[:, None, 1] - b[None, :, 3])
    return np.hypot(np.maximum(x, 0), np.maximum(y, 0))
