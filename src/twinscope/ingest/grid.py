"""Regular arrangements of rectangles: panels of one size in rows and columns, and the cells of heat maps.

A picture whose edge has the colour of the paper cannot be seen whole by itself. Where its neighbours have one size and
one pitch, its place is known from them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope.ingest import drawings
from twinscope.ingest.drawings import area, common

Image = NDArray[np.uint8]
Rect = tuple[int, int, int, int]

_LEAST_CELLS = 5
_WIDEST_PITCH = 1.35
_CONTENT = 12
"""A pixel farther from the paper's colour than this is content; JPEG leaves less in a gutter."""
_SPECK = 0.1
"""A find that fills less of a cell is no panel of its own in it."""


class _Lattice(NamedTuple):
    """Places of panels of one size, px: where they start in x and y, and how far gutters are wide (0: not known)."""

    size: tuple[int, int]
    columns: list[int]
    rows: list[int]
    gutter: int


def heat_maps(rgb: Image, rects: Sequence[Rect]) -> list[Rect]:
    """Return the boxes of heat maps among solid rectangles of a figure (HxWx3 uint8).

    Their cells touch, each has one colour, and together they have several.
    """
    if len(rects) < _LEAST_CELLS:
        return []
    cells = [(rect, colour) for rect in rects if (colour := _cell_colour(rgb, rect)) is not None]
    found: list[Rect] = []
    for hull in drawings.merged([rect for rect, _ in cells], 5):
        inside = [(rect, colour) for rect, colour in cells if common(rect, hull) == area(rect)]
        if len(inside) < _LEAST_CELLS:
            continue
        colours = np.array([colour for _, colour in inside])
        sizes = np.array([[r[2] - r[0], r[3] - r[1]] for r, _ in inside])
        usual = np.abs(sizes - np.median(sizes, axis=0)).max(axis=1) <= 3 + 0.1 * sizes.max(axis=1)
        others = sum(area(r) for r in rects if common(r, hull) > 0.5 * area(r))
        calm = sum(area(r) for r, _ in inside)
        if colours.std(axis=0).max() > 12 and usual.mean() > 0.5 and calm > 0.4 * others:
            found.append(hull)
    return found


def _cell_colour(rgb: Image, rect: Rect) -> NDArray[np.float64] | None:
    """Return the colour of a cell, None where there is more in the rectangle than one colour and what JPEG adds."""
    x0, y0, x1, y1 = rect
    rim = max(2, min(x1 - x0, y1 - y0) // 6)
    inner = rgb[y0 + rim : y1 - rim, x0 + rim : x1 - rim]
    if min(inner.shape[:2]) < 4:
        return None
    step = max(1, min(inner.shape[:2]) // 60)
    mean, deviation = cv2.meanStdDev(np.ascontiguousarray(inner[::step, ::step]))
    return np.asarray(mean[:, 0], np.float64) if float(deviation.max()) < 9 else None


def is_tiled(rgb: Image, parts: Sequence[Rect]) -> bool:
    """Tell whether a block falls into plain tiles of many colours: a heat map."""
    if len(parts) < 4:
        return False
    means, plain = [], 0
    for x0, y0, x1, y1 in parts:
        w, h = x1 - x0, y1 - y0
        middle = rgb[y0 + h // 5 : y1 - h // 5, x0 + w // 5 : x1 - w // 5]
        mean, deviation = cv2.meanStdDev(middle)
        means.append(mean[:, 0])
        plain += float(deviation.max()) < 3.5 and float(mean.max()) > 60
    return plain >= 0.6 * len(parts) and float(np.std(means, axis=0).max()) > 15


def with_bright(away: Image, parts: list[Rect], bright: list[Rect]) -> list[Rect]:
    """Return the parts of a figure on black paper, with those resolved that hold bright panels and black paper.

    away: HxW uint8, how far each pixel is from the paper's colour. parts: what straight cuts gave; bright: rectangles
    full of content.
    """
    whole = (0, 0, away.shape[1], away.shape[0])
    for one in bright:
        cells = _repeated(away, whole, one)
        if len(cells) > len(parts):
            return cells
    kept: list[Rect] = []
    for part in parts:
        inside = [r for r in bright if common(r, part) > 0.9 * area(r)]
        covered = sum(area(r) for r in inside)
        if not inside or covered > 0.9 * area(part) or not _is_paper_beside(away, part, inside):
            kept += next((cells for r in inside if (cells := _repeated(away, part, r))), [part])
    for one in bright:
        inside = [part for part in kept if common(one, part) > 0.9 * area(part)]
        across = [part for part in kept if part not in inside and common(one, part) > 0.1 * area(one)]
        if any(common(one, part) > 0.9 * area(one) for part in across):
            continue
        if any(not _is_paper_beside(away, part, [r for r in bright if common(r, part)]) for part in across):
            continue
        inside += across
        torn = len(inside) > 1 and len(_twins(inside[0], inside)) < len(inside)
        if torn or sum(map(area, inside)) < 0.9 * area(one):
            kept = [part for part in kept if part not in inside] + [one]
    return kept


def _repeated(away: Image, part: Rect, one: Rect) -> list[Rect]:
    """Return the panels that a part falls into when all have the size of one, if their gutters hold only paper."""
    width, height = one[2] - one[0], one[3] - one[1]
    guesses = [
        (start - low) / k - length
        for low, start, length in ((part[0], one[0], width), (part[1], one[1], height))
        for k in range(1, 9)
    ]
    for gutter in sorted(g for g in guesses if 2 <= g <= 0.15 * min(width, height)):
        columns = _extended([one[0] - part[0]], width + gutter, width, part[2] - part[0])
        rows = _extended([one[1] - part[1]], height + gutter, height, part[3] - part[1])
        beside = away[part[1] : part[3], part[0] : part[2]] > 2 * _CONTENT
        cells = []
        for x0, y0, x1, y1 in ((x, y, x + width, y + height) for y in rows for x in columns):
            if np.count_nonzero(beside[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3]) >= 12:
                cells.append((x0 + part[0], y0 + part[1], min(x1 + part[0], part[2]), min(y1 + part[1], part[3])))
            beside[max(0, y0 - 1) : y1 + 1, max(0, x0 - 1) : x1 + 1] = False
        if len(cells) >= 2 and float(beside.mean()) < 0.001:
            return cells
    return []


def _is_paper_beside(away: Image, part: Rect, inside: list[Rect]) -> bool:
    """Tell whether a part is several panels of one size, or nearly all paper beside its bright panels."""
    sizes = [(r[2] - r[0], r[3] - r[1]) for r in inside]
    if any(_alike(a, b) for i, a in enumerate(sizes) for b in sizes[i + 1 :]):
        return True
    shown = away[part[1] : part[3], part[0] : part[2]] > 3
    for x0, y0, x1, y1 in inside:
        shown[max(0, y0 - part[1] - 3) : y1 - part[1] + 3, max(0, x0 - part[0] - 3) : x1 - part[0] + 3] = False
    return float(shown.sum()) < 0.03 * (area(part) - sum(map(area, inside)))


def is_regular(rects: Sequence[Rect]) -> bool:
    """Tell whether most of three or more rectangles, by area, have one size."""
    twins = max((_twins(r, rects) for r in rects), key=len, default=[])
    return len(twins) >= 3 and sum(map(area, twins)) > 0.5 * sum(map(area, rects))


def is_torn(block: Rect, blocks: Sequence[Rect], parts: Sequence[Rect]) -> bool:
    """Tell whether cuts tore a block: others have its size, and few of its parts have that of another, or a block's."""
    if len(parts) < 2 or len(_twins(block, blocks)) < 2:
        return False
    usual = [r for r in parts if len(_twins(r, parts)) > 1 or _twins(r, blocks)]
    return sum(map(area, usual)) < 0.5 * sum(map(area, parts))


def _alike(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return max(abs(a[0] - b[0]), abs(a[1] - b[1])) <= 2 + 0.015 * max(a)


def completed(
    away: Image, found: list[Rect], dark: bool, taken: Callable[[Rect, bool], bool]
) -> tuple[list[Rect], list[Rect]]:
    """Return the panels that the grid of the others asks for, and those of `found` that these replace.

    away: HxW uint8, how far each pixel is from the paper's colour; dark: whether the paper is black; taken: tells
    whether what a rectangle shows looks like a picture, asked where nothing was found in a cell, and whether it stands
    between two pictures of its size.
    """
    least = 0.05 * max(away.shape)
    added: list[Rect] = []
    replaced: list[Rect] = []
    settled: list[Rect] = []
    left = [r for r in found if least <= min(r[2] - r[0], r[3] - r[1]) > 0.15 * max(r[2] - r[0], r[3] - r[1])]
    while left:
        twins = max((_twins(r, left) for r in left), key=lambda some: sum(map(area, some)))
        left = [r for r in left if r not in twins]
        lattice = _lattice(twins, away.shape, dark) if len(twins) >= 2 else None
        if lattice is None:
            continue
        settled += twins
        replaced += [r for r in found if r not in settled and any(common(r, t) > 0.9 * area(r) for t in twins)]
        cells = _cells(lattice, away.shape)
        for cell in cells if dark else cells + _told_by_fragments(lattice, found, settled, away.shape):
            if any(common(cell, r) > 0.04 * min(area(cell), area(r)) for r in settled):
                continue
            others = [r for r in found if r not in settled and common(cell, r) > 0.04 * min(area(cell), area(r))]
            if _is_panel(away, cell, others, settled, lattice.gutter, dark, taken):
                added.append(cell)
                settled.append(cell)
                replaced += [r for r in others if r not in replaced]
        left = [r for r in left if r not in replaced]
    return added, replaced


def _twins(rect: Rect, others: Sequence[Rect]) -> list[Rect]:
    size = (rect[2] - rect[0], rect[3] - rect[1])
    return [r for r in others if _alike(size, (r[2] - r[0], r[3] - r[1]))]


def _lattice(twins: list[Rect], shape: tuple[int, ...], dark: bool) -> _Lattice | None:
    """Return the lattice of panels of one size, None where they have no common pitch."""
    width = round(float(np.median([r[2] - r[0] for r in twins])))
    height = round(float(np.median([r[3] - r[1] for r in twins])))
    columns, rows = _distinct([r[0] for r in twins]), _distinct([r[1] for r in twins])
    across, down = _pitch(columns, width), _pitch(rows, height)
    if across is None and down is None:
        return None
    gutter = round(min(p - s for p, s in ((across, width), (down, height)) if p is not None))
    if dark:
        across = across or float(width + gutter)
        down = down or float(height + gutter)
    return _Lattice(
        (width, height),
        _extended(columns, across, width, shape[1]),
        _extended(rows, down, height, shape[0]) if dark else rows,
        gutter,
    )


def _distinct(values: list[int]) -> list[int]:
    """Return the values, those at most 4 apart as one (their median)."""
    groups: list[list[int]] = []
    for value in sorted(values):
        if groups and value - groups[-1][-1] <= 4:
            groups[-1].append(value)
        else:
            groups.append([value])
    return [round(float(np.median(group))) for group in groups]


def _pitch(starts: list[int], length: int) -> float | None:
    """Return the step by which panels of a length follow each other, None where no two of them tell."""
    steps = [b - a for i, a in enumerate(starts) for b in starts[i + 1 :]]
    guesses = [
        step / k
        for step in steps
        for k in (1, 2, 3, 4)
        if length <= step / k <= min(_WIDEST_PITCH * length, length + 80)
    ]
    if not guesses:
        return None

    def fits(pitch: float) -> int:
        return sum(abs(step / pitch - round(step / pitch)) * pitch <= 4 for step in steps)

    return max(guesses, key=lambda pitch: (fits(pitch), -pitch))


def _extended(starts: list[int], pitch: float | None, length: int, most: int) -> list[int]:
    """Return the starts, and those that the pitch adds inside [0, most)."""
    if pitch is None:
        return starts
    out = list(starts)
    for start in starts:
        for k in range(-int(start / pitch) - 1, int((most - start) / pitch) + 1):
            at = round(start + k * pitch)
            if -2 <= at and at + length <= most + 2 and all(abs(at - other) > 4 for other in out):
                out.append(max(0, at))
    return out


def _cells(lattice: _Lattice, shape: tuple[int, ...]) -> list[Rect]:
    width, height = lattice.size
    return [(x, y, min(shape[1], x + width), min(shape[0], y + height)) for y in lattice.rows for x in lattice.columns]


def _told_by_fragments(lattice: _Lattice, found: list[Rect], settled: list[Rect], shape: tuple[int, ...]) -> list[Rect]:
    """Return the cells of a lattice's size in a row (or column) that two fragments or more tell by a shared side."""
    loose = [r for r in found if r not in settled]
    out: list[Rect] = []
    for axis, known in ((0, lattice.columns), (1, lattice.rows)):
        starts = [r[axis] for r in loose] + [r[axis + 2] - lattice.size[axis] for r in loose]
        free = [at for at in _distinct(starts) if at >= -2 and at + lattice.size[axis] <= shape[1 - axis] + 2]
        told = [max(0, at) for at in free if all(abs(at - one) > 4 for one in known)]
        for cell in _cells(lattice._replace(rows=told) if axis else lattice._replace(columns=told), shape):
            inside = [r for r in loose if common(r, cell) > 0.85 * area(r)]
            if any(sum(abs(r[side] - cell[side]) <= 2 for r in inside) >= 2 for side in (axis, axis + 2)):
                out.append(cell)
    return out


def levelled(away: Image, found: Sequence[Rect]) -> dict[Rect, Rect]:
    """Return the pictures that fade into the paper before the end of their row (or column), and what they are whole.

    A picture as wide as its neighbour in the row, and lower only because it fades, is as high.
    """
    out: dict[Rect, Rect] = {}
    for rect, other, across in itertools.product(found, found, (0, 1)):
        whole = _level_with(rect, other, across)
        if whole is None or not _fades(away, rect, whole):
            continue
        rest = [r for r in found if r != rect and common(r, whole) > 0.02 * area(r)]
        if all(common(r, whole) > 0.85 * area(r) for r in rest):
            out[rect] = whole
    return {**out, **_gathered(away, [r for r in found if r not in out])}


def _level_with(rect: Rect, other: Rect, across: int) -> Rect | None:
    """Return a rectangle made as high as a larger one in its row and as wide (across 0; 1: in its column), or None."""
    down = 1 - across
    same = abs((rect[across + 2] - rect[across]) - (other[across + 2] - other[across])) <= 4
    within = rect[down] >= other[down] - 2 and rect[down + 2] <= other[down + 2] + 2
    apart = rect[across] >= other[across + 2] or rect[across + 2] <= other[across]
    part = (rect[down + 2] - rect[down]) / (other[down + 2] - other[down])
    if not (area(other) > area(rect) and same and within and apart and 0.3 <= part < 0.97):
        return None
    return (rect[0], other[1], rect[2], other[3]) if down else (other[0], rect[1], other[2], rect[3])


def _gathered(away: Image, found: Sequence[Rect]) -> dict[Rect, Rect]:
    """Return the fragments beside a picture, in its row, that together are as wide as it, and the panel they make."""
    out: dict[Rect, Rect] = {}
    for one in found:
        width = one[2] - one[0]
        row = [r for r in found if r != one and r[1] >= one[1] - 2 and r[3] <= one[3] + 2]
        for low, high in ((one[0] - 1.15 * width, one[0]), (one[2], one[2] + 1.15 * width)):
            near = [r for r in row if low <= r[0] and r[2] <= high]
            if len(near) < 2:
                continue
            whole = (min(r[0] for r in near), one[1], max(r[2] for r in near), one[3])
            if abs(whole[2] - whole[0] - width) > 2 + 0.015 * width:
                continue
            torn = all(area(r) < _SPECK * area(whole) or _fades(away, r, whole) for r in near)
            clear = all(common(r, whole) == 0 for r in found if r not in near)
            if torn and clear and not any(r in out for r in near):
                out.update(dict.fromkeys(near, whole))
    return out


def _is_panel(
    away: Image,
    cell: Rect,
    others: list[Rect],
    settled: list[Rect],
    gutter: int,
    dark: bool,
    taken: Callable[[Rect, bool], bool],
) -> bool:
    """Tell whether a cell of a lattice is a panel: something in it, nothing across its border."""
    x0, y0, x1, y1 = cell
    if dark and np.count_nonzero(away[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3] > _CONTENT) < 12:
        return False
    if not _has_clear_ring(away, cell, gutter, settled):
        return False
    inside = [r for r in others if common(r, cell) > 0.85 * area(r)]
    rest = [r for r in others if r not in inside]
    if any(common(r, cell) < 0.8 * area(cell) for r in rest) or (rest and not dark):
        return False
    if not inside:
        return dark or taken(cell, _is_flanked(cell, settled, gutter))
    if len(inside) == 1 and area(inside[0]) >= _SPECK * area(cell) and not _fades(away, inside[0], cell):
        return False
    beside = away[y0:y1, x0:x1] > 60
    for a, b, c, d in inside:
        beside[max(0, b - y0 - 2) : max(0, d - y0 + 2), max(0, a - x0 - 2) : max(0, c - x0 + 2)] = False
    shares = any(abs(r[k] - cell[k]) <= 3 for r in inside for k in range(4))
    if shares and (dark or len(inside) > 1 or float(beside.sum()) < 0.08 * area(cell)):
        return True
    torn = all(area(r) < _SPECK * area(cell) or _fades(away, r, cell) for r in inside)
    return not dark and torn and taken(cell, _is_flanked(cell, settled, gutter))


def _is_flanked(cell: Rect, settled: list[Rect], gutter: int) -> bool:
    """Tell whether panels of its size stand on either side of a cell in its row, or above and below it."""
    reach = 2 * gutter + 4
    for axis in (0, 1):
        line = [r for r in _twins(cell, settled) if abs(r[1 - axis] - cell[1 - axis]) <= 4]
        before = any(-4 <= cell[axis] - r[axis + 2] <= reach for r in line)
        if before and any(-4 <= r[axis] - cell[axis + 2] <= reach for r in line):
            return True
    return False


def _has_clear_ring(away: Image, cell: Rect, gutter: int, settled: list[Rect]) -> bool:
    """Tell whether the gutter around a cell has the colour of the paper, or is none because a panel touches it."""
    height, width = away.shape
    x0, y0, x1, y1 = cell
    off = max(1, gutter // 2)
    limit = 24 if gutter >= 4 else 120

    def is_clear(rect: Rect) -> bool:
        a, b, c, d = rect
        inside = a >= 0 and b >= 0 and c <= width and d <= height
        if not inside or sum(common(rect, panel) for panel in settled) >= 0.9 * area(rect):
            return True
        return float((away[b:d, a:c] > limit).mean()) < 0.12

    near = (off, off + 1) if gutter < 4 else (off,)
    return all(
        any(is_clear(side) for side in some)
        for some in (
            [(x0 - k, y0, x0 - k + 1, y1) for k in near],
            [(x1 + k - 1, y0, x1 + k, y1) for k in near],
            [(x0, y0 - k, x1, y0 - k + 1) for k in near],
            [(x0, y1 + k - 1, x1, y1 + k) for k in near],
        )
    )


def _fades(away: Image, rect: Rect, cell: Rect) -> bool:
    """Tell whether the sides of a rectangle that are not the cell's own fade into the paper."""
    x0, y0, x1, y1 = rect
    lines = (away[y0:y1, x0 + 1], away[y0 + 1, x0:x1], away[y0:y1, x1 - 2], away[y1 - 2, x0:x1])
    free = [line for k, line in enumerate(lines) if abs(rect[k] - cell[k]) > 3]
    return bool(free) and all(float((line > _CONTENT).mean()) < 0.75 for line in free)
