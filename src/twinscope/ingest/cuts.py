"""Straight cuts: where a solid rectangle of a figure falls into several pictures.

A gutter is a full-length band of one colour, a hair-line a full-length ridge or valley of one or two pixels, a seam a
full-length step between two pictures that touch. A thin line that the picture continues behind is not a cut.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope.pixels import extremes

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Rect = tuple[int, int, int, int]

_DEPTH = 12
_LINES = 360
"""At most so many lines are read across a cut: a cut runs the full length, so a sample shows it."""
_THIN = 6


class Cut(NamedTuple):
    """A cut across the columns of a strip: columns [start, stop) belong to neither side; start == stop for a seam."""

    start: int
    stop: int


def rectangles(mask: Image, least: int) -> list[Rect]:
    """Cover a connected 0/1 mask by few rectangles of at least `least` px a side.

    Where the parts are no clean rectangles and the whole nearly is one, the whole is taken: a picture with white at
    its edge, not several pictures.
    """
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(ys):
        return []
    whole = (int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1)
    parts = _parts(mask[whole[1] : whole[3], whole[0] : whole[2]], whole[0], whole[1], least)
    if len(parts) == 1 and parts[0] == whole:
        return parts
    total = float(np.count_nonzero(mask))
    held = float(sum(np.count_nonzero(mask[y0:y1, x0:x1]) for x0, y0, x1, y1 in parts))
    size = float(sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in parts))
    smallest = min(((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in parts), default=0)
    least_held = 0.95 if smallest >= 0.08 * size else 0.985
    clean = held > least_held * max(total, size)
    box = (whole[2] - whole[0]) * (whole[3] - whole[1])
    return [whole] if not clean and total > 0.75 * box else parts


def _parts(mask: Image, left: int, top: int, least: int) -> list[Rect]:
    """Cut a mask where that saves most area, as long as a part is not a full rectangle."""
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(ys):
        return []
    x0, y0, x1, y1 = int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1
    part = mask[y0:y1, x0:x1]
    filled = float(part.mean())
    box = (left + x0, top + y0, left + x1, top + y1)
    if min(part.shape) < least:
        return []
    if filled >= 0.93:
        return [box]
    (gain_x, cut_x), (gain_y, cut_y) = _saving(part), _saving(np.ascontiguousarray(part.T))
    if max(gain_x, gain_y) < 0.03 * part.size:
        return [box] if filled > 0.8 else []
    if gain_x >= gain_y:
        first = _parts(part[:, :cut_x], box[0], box[1], least)
        return first + _parts(part[:, cut_x:], box[0] + cut_x, box[1], least)
    first = _parts(part[:cut_y], box[0], box[1], least)
    return first + _parts(part[cut_y:], box[0], box[1] + cut_y, least)


def _saving(part: Image) -> tuple[float, int]:
    """Return the area that the best cut across the columns saves, and that column."""
    height, width = part.shape
    if width < 2:
        return 0.0, 0
    filled = part.any(axis=0)
    top = np.where(filled, part.argmax(axis=0), height)
    bottom = np.where(filled, height - part[::-1].argmax(axis=0), 0)
    left = np.maximum(0, np.maximum.accumulate(bottom) - np.minimum.accumulate(top))[:-1]
    right = np.maximum(0, np.maximum.accumulate(bottom[::-1]) - np.minimum.accumulate(top[::-1]))[::-1][1:]
    columns = np.arange(1, width)
    saved = height * width - left * columns - right * (width - columns)
    at = int(np.argmax(saved))
    return float(saved[at]), int(columns[at])


def subdivide(rgb: Image, rect: Rect, paper: Floats, least: int, depth: int = _DEPTH) -> list[Rect]:
    """Return the pictures in a solid rectangle of `rgb` (HxWx3 uint8), each at least `least` px a side.

    paper: the three levels of the figure's background, whose colour a gutter most often has.
    """
    x0, y0, x1, y1 = rect
    if min(x1 - x0, y1 - y0) < least:
        return []
    if depth == 0:
        return [rect]
    part = rgb[y0:y1, x0:x1]
    upright = find(part[:: max(1, part.shape[0] // _LINES)], paper, least)
    level = find(part[:, :: max(1, part.shape[1] // _LINES)].transpose(1, 0, 2), paper, least)
    if not upright and not level:
        return [rect]
    found: list[Rect] = []
    if _weight(upright) >= _weight(level):
        for a, b in _between(upright, part.shape[1]):
            found += subdivide(rgb, (x0 + a, y0, x0 + b, y1), paper, least, depth - 1)
    else:
        for a, b in _between(level, part.shape[0]):
            found += subdivide(rgb, (x0, y0 + a, x1, y0 + b), paper, least, depth - 1)
    return found


def _weight(cuts: list[Cut]) -> tuple[int, int]:
    """Return how good cuts are to begin with: those with gutters before mere seams, then the more the better."""
    return sum(cut.stop > cut.start for cut in cuts), len(cuts)


def _between(cuts: list[Cut], length: int) -> list[tuple[int, int]]:
    starts = [0] + [cut.stop for cut in cuts]
    stops = [cut.start for cut in cuts] + [length]
    return [(a, b) for a, b in zip(starts, stops, strict=True) if b - a > 1]


def find(strip: Image, paper: Floats, least: int) -> list[Cut]:
    """Return the cuts across the columns of a strip (lines x columns x 3 uint8), from left to right."""
    if strip.shape[0] < 8 or strip.shape[1] < least:
        return []
    strip = np.ascontiguousarray(strip)
    grey = np.asarray(cv2.cvtColor(strip, cv2.COLOR_RGB2GRAY), np.float32)
    cuts = _gutters(strip, paper)
    cuts += [c for c in _hairlines(grey) if all(c.stop + 2 < g.start or c.start - 2 > g.stop for g in cuts)]
    cuts += [c for c in _seams(strip) if all(c.stop + 4 < g.start or c.start - 4 > g.stop for g in cuts)]
    cuts = sorted(c for c in cuts if c.stop - c.start > _THIN or not _continues(grey, c))
    return _wide_enough(cuts, strip.shape[1], least)


def _wide_enough(cuts: list[Cut], length: int, least: int) -> list[Cut]:
    """Drop cuts that would leave a sliver; a cut at the border stays, and trims it."""
    kept: list[Cut] = []
    last = 0
    for cut in cuts:
        if cut.start - last < least and not (last == 0 and cut.start <= 3):
            continue
        if length - cut.stop < least and cut.stop < length - 3:
            continue
        kept.append(cut)
        last = cut.stop
    return kept


def _gutters(strip: Image, paper: Floats) -> list[Cut]:
    """Return the bands of one colour that differ, at a sharp edge, from what lies on both sides."""
    width = strip.shape[1]
    mean = np.asarray(cv2.reduce(strip, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F), np.float32)[0]
    square = np.asarray(cv2.reduce(strip, 0, cv2.REDUCE_SUM2, dtype=cv2.CV_64F))[0] / strip.shape[0]
    spread = np.sqrt(np.maximum(0, square - mean.astype(np.float64) ** 2)).max(axis=1).astype(np.float32)
    quiet = spread <= 12
    cuts: list[Cut] = []
    half: list[tuple[int, int, bool]] = []
    for at, stop in _runs(quiet, mean):
        colour = mean[at:stop].mean(axis=0)
        if paper.max() < 40 and np.abs(colour - paper).max() <= 4 and 0 < at and stop < width:
            level = max(6.0, 3 * float(spread[at:stop].min()))
            sides = [_edge(strip, *side, colour, level, 0.5) for side in ((at - 1, -1), (stop, 1))]
            if (sides[0] is None) != (sides[1] is None):
                half.append((at, stop, sides[1] is None))
        if np.abs(colour - paper).max() <= (14 if paper.min() >= 250 else 9) or colour.min() >= 240:
            cut = _paper_gutter(strip, spread, at, stop, colour, paper)
        else:
            cut = _colour_gutter(strip, spread, at, stop, colour)
        if cut is not None and cut.stop - cut.start < width:
            cuts.append(cut)
    return cuts + _half_gutters(cuts, half, width)


def _half_gutters(cuts: list[Cut], half: list[tuple[int, int, bool]], width: int) -> list[Cut]:
    """Return black gutters beside a picture as black as they are at its edge: as wide as the gutters seen whole."""
    whole = [cut.stop - cut.start for cut in cuts if 0 < cut.start and cut.stop < width]
    if not whole:
        return []
    usual = int(np.median(whole))
    found = []
    for start, stop, at_left in half:
        if usual <= stop - start:
            found.append(Cut(start, start + usual) if at_left else Cut(stop - usual, stop))
    return found


def _runs(quiet: NDArray[np.bool_], mean: Floats) -> list[tuple[int, int]]:
    """Return the stretches of quiet columns of nearly one colour."""
    runs: list[tuple[int, int]] = []
    start, total, held = -1, np.zeros(3, np.float32), 1
    for at, (calm, colour) in enumerate(zip(quiet.tolist(), mean, strict=True)):
        if start >= 0 and calm and float(np.abs(colour - total / held).max()) <= 10:
            if held < 8:
                total, held = total + colour, held + 1
            continue
        if start >= 0:
            runs.append((start, at))
        start, total, held = (at, colour, 1) if calm else (-1, total, 1)
    if start >= 0:
        runs.append((start, len(quiet)))
    return runs


def _paper_gutter(strip: Image, spread: Floats, start: int, stop: int, colour: Floats, paper: Floats) -> Cut | None:
    """Check a band in the colour of the paper: it may lie at the border, and a flat picture may lie beside it."""
    width = strip.shape[1]
    inside = float(spread[start:stop].min())
    if inside > 4 and stop - start > 12:
        return None
    level, share = (4.0, 0.35) if colour.max() >= 40 else (6.0, 0.5)
    if paper.min() >= 250:
        level = max(level, 3 * float(255 - colour.min()) - 9)
    left = _edge(strip, start - 1, -1, colour, max(level, 3 * inside), share)
    right = _edge(strip, stop, 1, colour, max(level, 3 * inside), share)
    return None if left is None or right is None else Cut(max(0, left + 1), min(width, right))


def _colour_gutter(strip: Image, spread: Floats, start: int, stop: int, colour: Floats) -> Cut | None:
    """Check a band in another colour: purer, with pictures, not flat, on both sides."""
    width = strip.shape[1]
    inside = float(spread[start:stop].min())
    limit = 5.0 if stop - start <= 10 else 2.0
    if inside > limit or start <= 2 or stop >= width - 2:
        return None
    beside = min(float(spread[max(0, start - 5) : start].max()), float(spread[stop : stop + 5].max()))
    if beside < max(1.5, 2.5 * inside):
        return None
    least = 2.0 if colour.max() < 4 and inside < 0.7 else 6.0
    left = _edge(strip, start - 1, -1, colour, max(least, 3 * inside), 0.6)
    right = _edge(strip, stop, 1, colour, max(least, 3 * inside), 0.6)
    return None if left is None or right is None else Cut(max(0, left + 1), min(width, right))


def _edge(strip: Image, edge: int, sign: int, colour: Floats, level: float, least: float) -> int | None:
    """Return the first column beyond a band's edge that is picture, or None where the edge is no sharp one."""
    width = strip.shape[1]
    if not 0 <= edge < width:
        return edge
    columns = [c for c in (edge, edge + sign, edge + 2 * sign) if 0 <= c < width]
    far = [c for c in range(edge + 5 * sign, edge + 10 * sign, sign) if 0 <= c < width]
    near = _away(strip, columns, colour)
    if float((near > level).mean(axis=0).max()) < least:
        return None
    means = near.mean(axis=0)
    highest = float(means.max())
    if far and highest < 0.6 * float(_away(strip, far, colour).mean()):
        return None
    return next(c for c, v in zip(columns, means, strict=True) if v >= 0.5 * highest)


def _away(strip: Image, columns: list[int], colour: Floats) -> Floats:
    """Return how far the pixels of some columns are from a colour, in the channel where it is most."""
    away = np.abs(strip[:, columns].astype(np.float32) - colour)
    return np.asarray(np.maximum(np.maximum(away[..., 0], away[..., 1]), away[..., 2]), np.float32)


def _hairlines(grey: Floats) -> list[Cut]:
    """Return bright or dark lines one or two pixels wide that run the full length."""
    width = grey.shape[1]
    if width < 16:
        return []
    mean = grey.mean(axis=0)
    sides = np.stack([mean[:-6], mean[6:]])
    lift = np.maximum(mean[3:-3] - sides.max(axis=0), sides.min(axis=0) - mean[3:-3])
    cuts: list[Cut] = []
    hits: list[int] = []
    for at in np.flatnonzero(lift > 6) + 3:
        left, centre, right = grey[:, at - 3], grey[:, at], grey[:, at + 3]
        if mean[at] > mean[at - 3]:
            high = np.maximum(left, right)
            rise, shown = centre - high, high < 235
        else:
            low = np.minimum(left, right)
            rise, shown = low - centre, low > 20
        share = float((rise[shown] > 7).mean()) if shown.any() else 0.0
        if share > 0.85 and float(shown.mean()) > 0.25 and float(rise[shown].mean()) > 12:
            hits.append(int(at))
    for run in np.split(np.array(hits, np.int64), np.flatnonzero(np.diff(hits) > 1) + 1):
        if 0 < len(run) <= 5:
            cuts.append(Cut(int(run[0]), int(run[-1]) + 1))
    return cuts


def _seams(strip: Image) -> list[Cut]:
    """Return full-length steps between two pictures that touch."""
    if strip.shape[1] < 40:
        return []
    step = extremes(np.asarray(cv2.absdiff(strip[:, 2:], strip[:, :-2]), np.uint8))[1]
    energy = np.asarray(cv2.reduce(step, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F), np.float32)[0]
    smooth = np.asarray(cv2.blur(energy[None], (25, 1), borderType=cv2.BORDER_REFLECT))[0]
    cuts: list[Cut] = []
    for at in np.flatnonzero((energy > 6) & (energy > 1.5 * smooth)):
        if at < 12 or at >= len(energy) - 12 or energy[at] < energy[at - 2 : at + 3].max():
            continue
        usual = np.r_[energy[at - 12 : at - 3], energy[at + 4 : at + 13]]
        if energy[at] < 1.8 * np.median(usual) + 3 or energy[at] < 1.35 * usual.max():
            continue
        if _steps_all_along(step, int(at), float(energy[at]) > 2.2 * float(usual.max())):
            seam = int(at) + (2 if energy[at + 1] >= energy[at - 1] else 1)
            cuts.append(Cut(seam, seam))
    return cuts


def _steps_all_along(step: Image, at: int, steep: bool) -> bool:
    """Tell whether the step at a column stands out from both sides, in most of ten stretches of its length."""
    around = np.maximum(step[:, at - 8 : at - 3].mean(axis=1), step[:, at + 4 : at + 9].mean(axis=1))
    clear = step[:, at] > 1.8 * around + 5
    parts = [float(part.mean()) for part in np.array_split(clear, 10)]
    return float(clear.mean()) > (0.35 if steep else 0.4) and sum(p > 0.25 for p in parts) >= (7 if steep else 8)


def _continues(grey: Floats, cut: Cut) -> bool:
    """Tell whether the picture goes on behind a thin line: the columns on both sides agree as neighbours do."""
    width = grey.shape[1]
    a, b = cut.start - 2, cut.stop + 1
    reach = b - a
    if a - reach < 0 or b + reach >= width:
        return False
    line = grey[:, cut.start : max(cut.stop, cut.start + 1)].mean(axis=1)
    lines = grey[:, [a - reach, a, b, b + reach]]
    shown = np.abs(lines - line[:, None]).min(axis=1) > 6
    if cut.stop > cut.start and shown.sum() < max(16, 0.3 * len(shown)):
        return False
    lines = lines[shown] if cut.stop > cut.start else lines
    inner = lines[len(lines) // 20 : len(lines) - len(lines) // 20]
    across = _agreement(inner[:, 1], inner[:, 2])
    usual = min(_agreement(inner[:, 0], inner[:, 1]), _agreement(inner[:, 2], inner[:, 3]))
    return across > 0.6 and across > 0.6 * usual


def _agreement(a: Floats, b: Floats) -> float:
    """Return the correlation of two lines after their slow part is taken off, in [-1, 1]; 0 where one is blank."""
    lines = np.stack([a, b])
    fine = lines - cv2.blur(lines, (41, 1), borderType=cv2.BORDER_REFLECT)
    limit = 4 * np.median(np.abs(fine), axis=1, keepdims=True) + 4
    fine = np.clip(fine, -limit, limit)
    fine -= fine.mean(axis=1)[:, None]
    deviation = fine.std(axis=1)
    if float(deviation.min()) < 4:
        return 0.0
    return float((fine[0] * fine[1]).mean() / (deviation[0] * deviation[1]))
