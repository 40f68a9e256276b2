"""What the placement of rasters on a page tells about panels: a picture that was placed by itself is one panel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twinscope.ingest import kinds
from twinscope.ingest.layout import common, distance
from twinscope.ingest.panels import Piece
from twinscope.types import Box

_DRAWN = ("graph", "diagram")
_ALIKE = 0.03
_GAP = 1.0
"""Tiles of one picture lie nearer than so many px."""
_APART = 3.0
"""Rasters farther apart than so many px are no tiles, whatever lies between."""
_INK = 24
"""What differs so much from the paper is no paper."""


def respect(pieces: Sequence[Piece], rasters: Sequence[Box], view: NDArray[np.uint8]) -> list[Piece]:
    """Return the panels of a figure with rasters placed one by one kept whole (all boxes in px of the figure).

    view: HxWx3 uint8, the figure.

    A raster of the same size as two others is a cell of a grid of pictures: its parts are one panel, and it is one
    even where nothing was found on it. A raster that holds a single smaller panel is that panel. A picture that was
    found across rasters with a gap between them is several panels. Other rasters that panels reach across are tiles
    of something else: nothing is told by them.
    """
    rasters = _without_backdrops(rasters)
    pieces = [part for piece in _not_across(pieces, rasters, view) for part in _parted(piece, rasters)]
    alone = _not_tiles(pieces, rasters)
    alone = [box for box in alone if not any(common(box, o) > 0.05 * box.area for o in rasters if o is not box)]
    cells = [box for box in alone if sum(_alike(box, other) for other in alone) >= 3]
    out = list(pieces)
    for box in alone:
        inside = [piece for piece in out if common(piece.box, box) > 0.9 * piece.box.area]
        whole = box in cells
        single = len(inside) == 1 and 0.3 * box.area < inside[0].box.area < box.area
        if inside and (whole or single or _is_torn(inside, box) or _is_covered(inside, box)):
            at = out.index(inside[0])
            kind = max(inside, key=lambda piece: piece.box.area).kind
            label = next((piece.label for piece in inside if piece.label), "")
            rest = [piece for piece in out[at + 1 :] if piece not in inside]
            out = [*out[:at], Piece(box, kind, label), *rest]
    empty = [box for box in cells if not any(common(piece.box, box) > 0.05 * box.area for piece in out)]
    kinds = Counter(piece.kind for piece in out if piece.box in cells)
    for box in empty:
        at = sum(
            (piece.box.y1 <= box.y0 + 1) or (piece.box.y0 < box.y1 and piece.box.x1 <= box.x0 + 1) for piece in out
        )
        out.insert(at, Piece(box, kinds.most_common(1)[0][0] if kinds else "other", ""))
    return out


def _is_torn(inside: Sequence[Piece], box: Box) -> bool:
    """Tell whether the pictures on a raster are fragments of one: of unlike sizes, touching or in no row."""
    if len(inside) < 2 or any(piece.kind in _DRAWN for piece in inside):
        return False
    boxes = [piece.box for piece in inside]
    alike = any(_alike(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    touching = all(any(distance(a, b) < 3 for b in boxes if b is not a) for a in boxes)
    lined = any(_lined(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    return not alike and (touching or not lined) and sum(b.area for b in boxes) < 0.8 * box.area


def _is_covered(inside: Sequence[Piece], box: Box) -> bool:
    """Tell whether two pictures are one with something over its corner: they touch along the whole of the shorter."""
    if len(inside) != 2 or any(piece.kind in _DRAWN for piece in inside):
        return False
    a, b = inside[0].box, inside[1].box
    filled = (a.area + b.area) / box.area
    across = min(abs(a.x1 - b.x0), abs(b.x1 - a.x0)) < 2 and abs(a.height - b.height) > _ALIKE * box.height
    along = min(abs(a.y1 - b.y0), abs(b.y1 - a.y0)) < 2 and abs(a.width - b.width) > _ALIKE * box.width
    return (across or along) and _lined(a, b) and 0.85 < filled < 0.999


def _lined(a: Box, b: Box) -> bool:
    """Tell whether two boxes stand in one row with a top or bottom in common, or so in one column."""
    beside = min(a.x1, b.x1) <= max(a.x0, b.x0) and min(abs(a.y0 - b.y0), abs(a.y1 - b.y1)) <= 3
    below = min(a.y1, b.y1) <= max(a.y0, b.y0) and min(abs(a.x0 - b.x0), abs(a.x1 - b.x1)) <= 3
    return beside or below


def _not_across(pieces: Sequence[Piece], rasters: Sequence[Box], view: NDArray[np.uint8]) -> list[Piece]:
    """Return the pieces, with pictures that reach over rasters placed apart, and the plain paper between, resolved."""
    apart = [box for box in rasters if all(distance(box, o) >= _APART for o in rasters if o is not box)]
    if len(apart) < 2:
        return list(pieces)
    beside = np.ones(view.shape[:2], np.bool_)
    for box in rasters:
        beside[max(0, int(box.y0) - 1) : int(box.y1) + 2, max(0, int(box.x0) - 1) : int(box.x1) + 2] = False
    if not beside.any():
        return list(pieces)
    paper = np.median(view[beside].reshape(-1, view.shape[2]), axis=0)
    ink = beside & (np.abs(view.astype(np.int16) - paper).max(axis=2) > _INK)
    torn = []
    for piece in pieces:
        x0, y0, x1, y1 = (round(side) for side in piece.box)
        reached = [box for box in apart if _across(piece.box, box)]
        plain = float(ink[y0:y1, x0:x1].sum()) < 0.02 * max(1.0, float(beside[y0:y1, x0:x1].sum()))
        if reached and plain and piece.kind not in _DRAWN:
            torn.append((piece, reached))
    if not torn:
        return list(pieces)
    kept = [piece for piece in pieces if not any(piece is one for one, _ in torn)]
    for box in dict.fromkeys(box for _, reached in torn for box in reached):
        if not any(common(piece.box, box) > 0.05 * box.area for piece in kept):
            part = np.ascontiguousarray(view[round(box.y0) : round(box.y1), round(box.x0) : round(box.x1)])
            kept.append(Piece(box, kinds.classify(part), ""))
    return kept


def _without_backdrops(rasters: Sequence[Box]) -> list[Box]:
    """Return the rasters without those on which two or more others, apart from each other, wholly lie."""
    kept = []
    for box in rasters:
        on_it = [o for o in rasters if o is not box and o.area < box.area and common(o, box) > 0.98 * o.area]
        apart = [o for o in on_it if not any(common(o, p) > 0.05 * o.area for p in on_it if p is not o)]
        if len(apart) < 2 or sum(o.area for o in apart) < 0.5 * box.area:
            kept.append(box)
    return kept


def _parted(piece: Piece, rasters: Sequence[Box]) -> list[Piece]:
    """Return the rasters that a picture covers where a gap of a pixel or more lies between them, else the picture."""
    below = [box for box in rasters if common(box, piece.box) > 0.5 * box.area]
    if piece.kind in _DRAWN or len(below) < 2:
        return [piece]
    held = sum(common(box, piece.box) for box in below)
    touch = any(distance(a, b) < _GAP for i, a in enumerate(below) for b in below[i + 1 :])
    if touch or held < 0.85 * piece.box.area or any(common(b, piece.box) < 0.8 * b.area for b in below):
        return [piece]
    below.sort(key=lambda box: (round(box.y0 / 4), box.x0))
    return [Piece(box, piece.kind, piece.label if i == 0 else "") for i, box in enumerate(below)]


def _not_tiles(pieces: Sequence[Piece], rasters: Sequence[Box]) -> list[Box]:
    """Return the rasters that no panel reaches across, and that touch none that it does."""
    tiles = [box for box in rasters if any(_across(piece.box, box) for piece in pieces)]
    left = [box for box in rasters if box not in tiles]
    while touching := [box for box in left if any(distance(box, tile) < 1 for tile in tiles)]:
        tiles += touching
        left = [box for box in left if box not in touching]
    return left


def _across(piece: Box, raster: Box) -> bool:
    """Return whether a panel lies partly on a raster and partly elsewhere on other ground."""
    part = common(piece, raster)
    return part > 0.03 * raster.area and part < 0.9 * piece.area


def _alike(a: Box, b: Box) -> bool:
    return abs(a.width - b.width) <= _ALIKE * a.width and abs(a.height - b.height) <= _ALIKE * a.height
