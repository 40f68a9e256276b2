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

from twinscope.ingest import cuts, drawings, grid, kinds, pale
from twinscope.ingest.annotations import annotation_mask
from twinscope.types import Box, PanelKind

_WORK_SIDE = 2400
_SURE = 0.6
_LONELY, _LIKELY = 0.7, 0.25
"""How sure a cell of a grid must be a picture, and one between two pictures."""
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
        return np.asarray(np.median(chosen, axis=0), np.int16)
    return np.array([255, 255, 255], np.int16)


def _foreground(rgb: Image, paper: NDArray[np.int16], tolerance: int) -> Image:
    low = np.clip(paper - tolerance, 0, 255).astype(np.float64)
    high = np.clip(paper + tolerance, 0, 255).astype(np.float64)
    return np.asarray(cv2.bitwise_not(cv2.inRange(rgb, low, high)), np.uint8)


def _em(ink: drawings.Ink, shape: tuple[int, ...]) -> float:
    """Return the height of the figure's letters in px, from its small ink; a guess from its width where it has none."""
    guess = float(np.clip(max(shape[:2]) / 90, 8, 40))
    w, h = ink.boxes[:, 2] - ink.boxes[:, 0], ink.boxes[:, 3] - ink.boxes[:, 1]
    letters = (h >= 6) & (h <= 3 * guess) & (w >= 2) & (w <= 2.5 * h) & (ink.areas >= 0.15 * w * h)
    if letters.sum() < 8:
        return guess
    return float(np.clip(np.percentile(h[letters], 70), 7, 3 * guess))


class _Solid(NamedTuple):
    """A solid rectangle: how sure each kind is (`kinds.KINDS`), and whether it has but one colour."""

    rect: Rect
    shares: NDArray[np.float32]
    flat: bool


def _pieces(rgb: Image, hints: list[Rect]) -> list[tuple[Rect, PanelKind]]:
    paper = _background(rgb)
    mask = _foreground(rgb, paper, 10)
    em = _em(drawings.components(mask), rgb.shape)
    blocks = _blocks(mask, hints, em, dark_paper=bool(paper.max() < 250))
    pictures = _pictures(rgb, paper, blocks, em)
    if paper.min() >= 250:
        pictures = _with_ground(rgb, pictures, em)
    pictures = drawings.without_bars(mask, _joined(rgb, pictures, em) if paper.min() >= 250 else pictures)
    pictures = _on_grid(rgb, paper, pictures)
    whole = (0, 0, rgb.shape[1], rgb.shape[0])
    if whole not in [rect for rect, _ in pictures]:
        shares = kinds.shares(rgb)
        if float(shares[: kinds.TAKEN].sum()) > 0.5 and not _is_compound(rgb, [rect for rect, _ in pictures]):
            return [(whole, kinds.KINDS[int(np.argmax(shares[: kinds.TAKEN]))])]
    drawn = drawings.find(rgb, mask, [rect for rect, _ in pictures], em)
    return [(rect, _kind_again(rgb, rect, kind)) for rect, kind in drawings.absorbed(pictures, drawn)]


def _kind_again(rgb: Image, rect: Rect, kind: PanelKind) -> PanelKind:
    """Return the kind of a panel found as ink: a picture whose pale ground was no block may have been among it."""
    if kind in _PICTURES:
        return kind
    x0, y0, x1, y1 = rect
    part = np.ascontiguousarray(rgb[y0:y1, x0:x1])
    taken = kinds.shares(part)[: kinds.TAKEN]
    if float(taken.sum()) < _SURE or kinds.classify(part) not in _PICTURES:
        return kind
    return kinds.KINDS[int(np.argmax(taken))]


def _with_ground(rgb: Image, pictures: list[tuple[Rect, PanelKind]], em: float) -> list[tuple[Rect, PanelKind]]:
    """Return the pictures with the pale ground that belongs to them, as one where several stand on one ground."""
    marks = pale.trace(rgb) if pictures else None
    if marks is None:
        return pictures
    kept = dict(pictures)
    least = round(3 * em)
    fields = [part for rect in pale.fields(marks, least) for part in _beside(rgb, rect, list(kept), least)]
    fields = [rect for rect in fields if rect not in kept]
    _replace(rgb, kept, [rect for rect in fields if _is_taken(_solid(rgb, rect))], 0.6)
    rects = list(kept)
    wide = pale.grown(rgb, marks, rects, [rect for rect in rects if _is_usual(rect, rects)])
    _replace(rgb, kept, [w for w, r in zip(wide, rects, strict=True) if w != r], 0.97)
    return list(kept.items())


def _beside(rgb: Image, field: Rect, pictures: list[Rect], least: int) -> list[Rect]:
    """Return what a field leaves beside the pictures in it that go from side to side and are panels by themselves.

    JPEG noise fills a narrow gutter: a picture with sharp edges towards the ground, or with the size of two others in
    its row or column, is the neighbour of the ground, not a part of it.
    """
    for rect in pictures:
        if rect == field or drawings.common(rect, field) <= 0.9 * _area(rect):
            continue
        for low, high in ((0, 2), (1, 3)):
            other = 1 - low
            slack = max(10, 0.1 * (field[other + 2] - field[other]))
            if max(abs(rect[other] - field[other]), abs(rect[other + 2] - field[other + 2])) > slack:
                continue
            free = [side for side in (low, high) if abs(rect[side] - field[side]) >= least]
            if not free or not (_is_usual(rect, pictures) or all(_has_side(rgb, rect, side, 16, 0.8) for side in free)):
                continue
            rests = []
            for side in free:
                rest = list(field)
                rest[(side + 2) % 4] = rect[side]
                rests += _beside(rgb, (rest[0], rest[1], rest[2], rest[3]), pictures, least)
            return rests
    return [field]


def _replace(rgb: Image, kept: dict[Rect, PanelKind], larger: list[Rect], most: float) -> None:
    """Put each larger rectangle in the place of the pictures in it, if there are any and they fill at most so much."""
    for rect in sorted(larger, key=_area, reverse=True):
        inside = [r for r in kept if drawings.common(r, rect) > 0.9 * _area(r)]
        torn = any(r not in inside and drawings.common(r, rect) > 0.02 * _area(r) for r in kept)
        if inside and not torn and sum(map(_area, inside)) < most * _area(rect):
            for r in inside:
                del kept[r]
            kept[rect] = _kind_among(_solid(rgb, rect), [])


def _on_grid(
    rgb: Image, paper: NDArray[np.int16], pictures: list[tuple[Rect, PanelKind]]
) -> list[tuple[Rect, PanelKind]]:
    """Return the pictures, with those completed whose place is known from the grid of the others."""
    taken = [rect for rect, kind in pictures if kind in _PICTURES]
    if len(taken) < 2:
        return pictures

    def looks_taken(rect: Rect, flanked: bool) -> bool:
        solid = _solid(rgb, rect)
        least = _LIKELY if flanked else _LONELY
        taken = not solid.flat and float(solid.shares[: kinds.TAKEN].sum()) > least
        return taken and not _is_text_on_paper(rgb, rect, paper)

    away = _away(rgb, paper)
    dark = bool(paper.max() < 40)
    if not dark:
        whole = grid.levelled(away, taken)
        pictures = list({whole.get(rect, rect): kind for rect, kind in pictures}.items())
        over = set(whole.values())
        pictures = [
            (r, k) for r, k in pictures if r in over or all(drawings.common(o, r) <= 0.85 * _area(r) for o in over)
        ]
        taken = [rect for rect, kind in pictures if kind in _PICTURES]
    added, replaced = grid.completed(away, taken, dark, looks_taken)
    kept = [(rect, kind) for rect, kind in pictures if rect not in replaced]
    solids = [_solid(rgb, rect) for rect in taken if rect not in replaced]
    return kept + [(rect, _kind_among(_solid(rgb, rect), solids)) for rect in added]


def _away(rgb: Image, paper: NDArray[np.int16]) -> Image:
    """Return how far each pixel is from the colour of the paper, in the channel where it is most."""
    return kinds.most(np.asarray(cv2.absdiff(rgb, np.broadcast_to(paper.astype(np.uint8), rgb.shape)), np.uint8))


def _is_compound(rgb: Image, rects: list[Rect]) -> bool:
    """Tell whether much of the area of the pictures found has edges of its own: sharp, or the image's border."""
    clear = sum(_area(rect) for rect in rects if _has_edges(rgb, rect))
    return grid.is_regular(rects) or bool(clear > max(0, 0.4 * sum(map(_area, rects))))


def _has_edges(rgb: Image, rect: Rect) -> bool:
    """Tell whether the sides of a rectangle inside the image are sharp; one of three or four may fail."""
    height, width = rgb.shape[:2]
    away = [rect[0] > 3, rect[1] > 3, rect[2] < width - 3, rect[3] < height - 3]
    failed = sum(inside and not _has_side(rgb, rect, side) for side, inside in enumerate(away))
    return bool(failed <= (1 if sum(away) >= 3 else 0))


def _has_side(rgb: Image, rect: Rect, side: int, step: int = 8, share: float = 0.4) -> bool:
    """Tell whether such a share of a side of a rectangle (0 left, 1 top, 2 right, 3 bottom) is a sharp edge."""
    x0, y0, x1, y1 = rect
    across = rgb.transpose(1, 0, 2) if side % 2 else rgb
    low, high, start, stop = (y0, y1, x0, x1) if side % 2 else (x0, x1, y0, y1)
    inside, outside = (low + 1, low - 3) if side < 2 else (high - 2, high + 2)
    first = across[start:stop, inside].astype(np.int16)
    return bool((np.abs(first - across[start:stop, outside]).max(axis=1) > step).mean() >= share)


def _joined(rgb: Image, pictures: list[tuple[Rect, PanelKind]], em: float) -> list[tuple[Rect, PanelKind]]:
    """Join neighbours whose gap is no gutter but nearly white picture: soft on both sides, and not pure white."""
    left = sorted(pictures)
    done: list[tuple[Rect, PanelKind]] = []
    while left:
        rect, kind = left.pop(0)
        for other in left:
            if _is_one_picture(rgb, rect, other[0], em):
                left.remove(other)
                x0, y0, x1, y1 = rect
                a0, b0, a1, b1 = other[0]
                left.insert(0, ((min(x0, a0), min(y0, b0), max(x1, a1), max(y1, b1)), kind))
                break
        else:
            done.append((rect, kind))
    return done


def _is_one_picture(rgb: Image, a: Rect, b: Rect, em: float) -> bool:
    slack = max(2, round(0.25 * em))
    for turned in (False, True):
        if turned:
            rgb, a, b = rgb.transpose(1, 0, 2), (a[1], a[0], a[3], a[2]), (b[1], b[0], b[3], b[2])
        first, second = (a, b) if a[0] < b[0] else (b, a)
        gap = second[0] - first[2]
        if abs(a[1] - b[1]) > slack or abs(a[3] - b[3]) > slack or not 3 <= gap < 0.5 * (second[2] - first[0]):
            continue
        rows = slice(max(a[1], b[1]) + 2, min(a[3], b[3]) - 2)
        between = rgb[rows, first[2] : second[0]].min(axis=2)
        if _has_gutter(between):
            continue
        deep = min(2, gap - 1)
        edges = [
            np.abs(rgb[rows, inside].astype(np.int16) - rgb[rows, outside]).max(axis=1) > 16
            for inside, outside in ((first[2] - 2, first[2] + deep), (second[0] + 1, second[0] - 1 - deep))
        ]
        white = float(between.mean()) > 235 and float((between <= 252).mean()) > 0.3
        if white and max(float(edge.mean()) for edge in edges) < 0.35:
            return True
    return False


def _has_gutter(between: Image) -> bool:
    """Tell whether three columns in a row of a gap (lines x columns) are pure white, or as good as."""
    pure = (between >= 254).mean(axis=0) > 0.98
    return bool((np.convolve(pure, np.ones(3), "valid") >= 3).any()) if len(pure) >= 3 else False


def _pictures(rgb: Image, paper: NDArray[np.int16], blocks: list[Rect], em: float) -> list[tuple[Rect, PanelKind]]:
    """Return the pictures in the solid blocks, and label images, whose edges are as clear.

    One that is flat or looks drawn is a picture only where a sure one of its size stands in its row or column.
    """
    sure: list[_Solid] = []
    unsure: list[_Solid] = []
    labels: list[tuple[Rect, PanelKind]] = []
    cells: list[Rect] = []
    for block in blocks:
        parts = cuts.subdivide(rgb, block, paper.astype(np.float32), max(12, round(em)))
        cells += parts
        if grid.is_torn(block, blocks, parts):
            parts = [block]
        if paper.max() < 40:
            parts = _with_bright(rgb, paper, parts, em)
        solids = [
            _solid(rgb, rect)
            for rect in parts
            if min(rect[2] - rect[0], rect[3] - rect[1]) >= max(12, em) and _area(rect) >= 6 * em * em
        ]
        solids = [solid for solid in solids if not _is_button(rgb, solid.rect, em)]
        if grid.is_tiled(rgb, parts):
            continue
        empty = [solid for solid in solids if _is_text_on_paper(rgb, solid.rect, paper)]
        solids = [solid for solid in solids if not any(solid is other for other in empty)]
        taken = [solid for solid in solids if _is_taken(solid)]
        if len(parts) > 1 and sum(_area(s.rect) for s in taken) <= 0.4 * sum(map(_area, parts)):
            taken = []
        if len(parts) > 1 and _is_spliced_strip(rgb, block, parts):
            solids = taken = [_solid(rgb, block)]
        sure += taken
        rest = [solid for solid in solids if not any(solid is other for other in taken)]
        labels += [(s.rect, "diagram") for s in rest if not s.flat and _is_dark_rimmed(rgb, s.rect)]
        unsure += empty + [s for s in rest if s.flat or float(s.shares[: kinds.TAKEN].sum()) > 0.25]
    twins = [s for s in unsure if any(_is_twin(s.rect, other.rect) for other in sure)]
    maps = grid.heat_maps(rgb, cells)
    sure, twins = (
        [s for s in some if all(drawings.common(s.rect, rect) < 0.7 * _area(s.rect) for rect in maps)]
        for some in (sure, twins)
    )
    pictures = [(s.rect, _kind_among(s, sure)) for s in sure + twins]
    return pictures + [(r, k) for r, k in labels if all(r != rect for rect, _ in pictures)]


def _with_bright(rgb: Image, paper: NDArray[np.int16], parts: list[Rect], em: float) -> list[Rect]:
    """Return the parts of a figure on black, with those resolved that hold bright panels and black paper."""
    away = _away(rgb, paper)
    mask = np.asarray(cv2.threshold(away, 10, 255, cv2.THRESH_BINARY)[1], np.uint8)
    least = max(4 * em, 0.04 * max(mask.shape))
    solid = _blocks(mask, [], em, dark_paper=False)
    large = [r for r in solid if min(r[2] - r[0], r[3] - r[1]) >= least]
    filled = [r for r in large if cv2.countNonZero(mask[r[1] : r[3], r[0] : r[2]]) > 0.9 * _area(r)]
    return grid.with_bright(away, parts, filled)


def _is_button(rgb: Image, rect: Rect, em: float) -> bool:
    """Tell whether a small rectangle is a box of a scheme: one calm light colour with letters, not bands, on it."""
    x0, y0, x1, y1 = rect
    if x1 - x0 > 14 * em or y1 - y0 > 8 * em or min(x1 - x0, y1 - y0) < 12:
        return False
    part = rgb[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3]
    middle = np.median(part.reshape(-1, 3), axis=0)
    away = part.astype(np.int16) - middle.astype(np.int16)
    near = np.abs(away).max(axis=2) <= 6
    if middle.max() < 150 or float(near.mean()) < 0.5:
        return False
    calm = kinds.most(cv2.morphologyEx(part, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))) <= 5
    ink = away[~near].mean(axis=1)
    if calm[near].mean() <= 0.4:
        return False
    if len(ink) < 12 or float((ink < 4).mean()) <= 0.8:
        return len(ink) < 12
    return bool(middle.max() - middle.min() >= 10 or annotation_mask(part)[~near].mean() > 0.6)


def _is_text_on_paper(rgb: Image, rect: Rect, paper: NDArray[np.int16]) -> bool:
    """Tell whether a rectangle holds nothing but the paper's colour and what is written on it."""
    x0, y0, x1, y1 = rect
    part = rgb[y0:y1, x0:x1]
    away = _away(part, paper) > 8
    share = float(away.mean())
    if share > 0.25:
        return False
    return share < 0.01 or bool((away & ~annotation_mask(part)).mean() < 0.01)


def _is_spliced_strip(rgb: Image, block: Rect, parts: list[Rect]) -> bool:
    """Tell whether a block is one blot strip with seams across, and no gutter in them: one panel, if a pieced one."""
    width, height = block[2] - block[0], block[3] - block[1]
    widths = [part[2] - part[0] for part in parts]
    least = 2.2 if max(widths) <= 1.25 * min(widths) else 1.4
    if width < least * height or sum(map(_area, parts)) < 0.985 * _area(block):
        return False
    if any(part[3] - part[1] < 0.97 * height for part in parts):
        return False
    return kinds.classify(rgb[block[1] : block[3], block[0] : block[2]]) == "blot"


def _solid(rgb: Image, rect: Rect) -> _Solid:
    part = rgb[rect[1] : rect[3], rect[0] : rect[2]]
    flat = kinds.is_flat(part)
    drawn = "graph" if kinds.is_ruled(part) else "diagram" if kinds.is_labels(part) else ""
    shares = np.array([kind == drawn for kind in kinds.KINDS], np.float32) if drawn else kinds.shares(part)
    return _Solid(rect, shares, flat)


def _is_taken(solid: _Solid) -> bool:
    return not solid.flat and float(solid.shares[: kinds.TAKEN].sum()) >= 0.5


def _is_dark_rimmed(rgb: Image, rect: Rect) -> bool:
    """Tell whether the rim of a rectangle is mostly dark: a label image, not a button."""
    part = kinds.most(rgb[rect[1] : rect[3], rect[0] : rect[2]])
    rim = np.concatenate([part[2], part[-3], part[:, 2], part[:, -3]])
    return bool(np.median(rim) < 60)


def _kind_among(solid: _Solid, others: list[_Solid]) -> PanelKind:
    """Return the kind of a picture; the pictures of its size in its row or column have a say."""
    said = sum((other.shares for other in others if _is_twin(solid.rect, other.rect)), solid.shares.copy())
    return kinds.KINDS[int(np.argmax(said[: kinds.TAKEN]))]


def _is_twin(rect: Rect, other: Rect) -> bool:
    """Tell whether two rectangles have one size and stand in one row or column."""
    slack = 2 + 0.03 * max(rect[2] - rect[0], rect[3] - rect[1])
    apart = [abs(a - b) for a, b in zip(rect, other, strict=True)]
    size = abs((rect[2] - rect[0]) - (other[2] - other[0])) + abs((rect[3] - rect[1]) - (other[3] - other[1]))
    return size <= 2 * slack and (max(apart[0], apart[2]) <= slack or max(apart[1], apart[3]) <= slack)


def _is_usual(rect: Rect, rects: Sequence[Rect]) -> bool:
    """Tell whether two others of the rectangles have the size of one and stand in its row or column."""
    return sum(_is_twin(rect, other) for other in rects if other != rect) >= 2


def _area(rect: Rect) -> int:
    return (rect[2] - rect[0]) * (rect[3] - rect[1])


def _blocks(mask: Image, hints: list[Rect], em: float, dark_paper: bool) -> list[Rect]:
    """Return the solid rectangles of a figure: pictures, or several that touch, or filled drawings."""
    if dark_paper:
        return [(0, 0, mask.shape[1], mask.shape[0])]
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
        if all(drawings.common(rect, other) < 0.7 * area for other in kept):
            kept.append(rect)
    return kept
