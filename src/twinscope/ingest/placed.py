"""What the placement of rasters on a page tells about panels: a picture that was placed by itself is one panel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from twinscope.ingest.layout import common, distance
from twinscope.ingest.panels import Piece
from twinscope.types import Box

_ALIKE = 0.03


def respect(pieces: Sequence[Piece], rasters: Sequence[Box]) -> list[Piece]:
    """Return the panels of a figure with rasters placed one by one kept whole (all boxes in px of the figure).

    A raster of the same size as two others is a cell of a grid of pictures: its parts are one panel, and it is one
    even where nothing was found on it. A raster that holds a single smaller panel is that panel. Rasters that panels
    reach across are tiles of something else: nothing is told by them.
    """
    alone = _not_tiles(pieces, rasters)
    alone = [box for box in alone if not any(common(box, o) > 0.05 * box.area for o in rasters if o is not box)]
    cells = [box for box in alone if sum(_alike(box, other) for other in alone) >= 3]
    out = list(pieces)
    for box in alone:
        inside = [piece for piece in out if common(piece.box, box) > 0.9 * piece.box.area]
        whole = box in cells
        single = len(inside) == 1 and 0.3 * box.area < inside[0].box.area < box.area
        if inside and (whole or single):
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
