"""Letters, scale bars, arrows and boxes drawn on a picture, so that they are never the evidence of a match.

What is drawn over a picture has one colour (white, black or a saturated one), an edge of a pixel or two, and the shape
of a stroke, a bar or an arrow. Bright nuclei and dark bands fade over several pixels, and stay.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope.pixels import extremes

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_LONG_SIDE = 900
_MOST_COMPONENTS = 160
_MOST_PAIRS = 40_000
_MOST_COVERED = 0.3
_REACH = 0.035
_CONTRAST = 32
_LEAST_LEVEL = 170
_MOST_COMMON = 0.15
_MOST_ON_BLANK = 0.12
_PURE = 250
_FAINT = 165
_PALE = 205
_COLOURED = 60
_EVEN = 14
_THREE = np.ones((3, 3), np.uint8)


def annotation_mask(image: Image) -> Mask:
    """Return where something is drawn over a picture: HxW or HxWx3 uint8 -> HxW bool, a little dilated."""
    height, width = image.shape[:2]
    if min(height, width) < 12:
        return np.zeros((height, width), bool)
    scale = min(1.0, _LONG_SIDE / max(height, width))
    small = image
    if scale < 1:
        size = (max(12, round(width * scale)), max(12, round(height * scale)))
        small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    drawn = np.zeros(small.shape[:2], np.uint8)
    layers = _layers(small)
    for number, (ink, levels) in enumerate(layers):
        _mark(drawn, ink, levels)
        thin = _without_blobs(ink) if number > 1 else None
        if thin is not None:
            _mark(drawn, thin, levels)
    for _, levels in layers[:2]:
        _mark_strokes(drawn, levels)
        _mark_on_blank(drawn, levels)
    for _, levels in layers[:2]:
        _mark_small_words(drawn, levels)
    for ink, levels in layers:
        _mark_words(drawn, ink, levels, 140)
        _mark_words(drawn, _at_least(levels, _FAINT), levels, 70)
    _mark_lines(drawn, layers[0][1])
    _mark_boxes(drawn, layers[0][1])
    if small.ndim == 3:
        _mark_coloured_boxes(drawn, small)
    if scale < 1:
        drawn = np.asarray(cv2.resize(drawn, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
    side = 2 * max(2, round(2 / scale)) + 1
    return np.asarray(cv2.dilate(drawn, np.ones((side, side), np.uint8))) > 0


def _layers(image: Image) -> list[tuple[Image, Image]]:
    """Return for white, black and saturated colours: the 0/1 ink, and how near each pixel is to that colour (255)."""
    if image.ndim == 2:
        return [(_at_least(image, 236), image), (_at_least(255 - image, 236), 255 - image)]
    low, high = extremes(np.ascontiguousarray(image[..., :3]))
    layers = [(_at_least(low, 236), low), (_at_least(255 - high, 236), 255 - high)]
    vivid = cv2.subtract(high, low)
    if int(np.count_nonzero(vivid > 150)) > 12:
        layers += _vivid_layers(image, vivid)
    return [(np.asarray(ink, np.uint8), np.asarray(levels, np.uint8)) for ink, levels in layers]


def _vivid_layers(image: Image, vivid: Image) -> list[tuple[Image, Image]]:
    """Return one layer for each saturated colour (yellow, red, green, cyan, blue, magenta) that is common."""
    strong = vivid > 150
    codes = ((image[..., 0] > 127).astype(np.uint8) * 4 + (image[..., 1] > 127) * 2 + (image[..., 2] > 127)) * strong
    layers = []
    for code in range(1, 7):
        own = codes == code
        if np.count_nonzero(own) < 12:
            continue
        colour = np.median(image[own][:, :3], axis=0).astype(np.int16)
        away = np.abs(image[..., :3].astype(np.int16) - colour).max(axis=2)
        layers.append(((away <= 24).astype(np.uint8), np.clip(255 - away, 0, 255).astype(np.uint8)))
    return layers


def _at_least(levels: Image, least: int) -> Image:
    return np.asarray(cv2.threshold(levels, least - 1, 1, cv2.THRESH_BINARY)[1], np.uint8)


def _without_blobs(ink: Image) -> Image | None:
    """Return the ink without its thick parts, so that strokes that cross a nucleus stand alone; None without any."""
    side = round(max(8.0, _REACH * min(ink.shape))) | 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    blobs = cv2.morphologyEx(ink, cv2.MORPH_OPEN, disc)
    if not cv2.countNonZero(blobs):
        return None
    return np.asarray(cv2.subtract(ink, cv2.dilate(blobs, np.ones((3, 3), np.uint8))), np.uint8)


def _mark(drawn: Image, ink: Image, levels: Image) -> None:
    """Set in `drawn` the components of `ink` that look drawn."""
    height, width = ink.shape
    count, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8, ltype=cv2.CV_32S)
    if count <= 1 or stats[1:, 4].sum() > 0.7 * ink.size:
        return
    order = [int(i) for i in np.argsort(-stats[1:, 4])[:_MOST_COMPONENTS] + 1 if stats[i, 4] >= 10]
    reach = max(8.0, _REACH * min(height, width))
    marked: list[int] = []
    covered = 0
    for index in order:
        x, y, w, h, area = (int(v) for v in stats[index])
        if max(w, h) < 5 or (area > 0.1 * ink.size):
            continue
        top, left = max(0, y - 4), max(0, x - 4)
        window = (slice(top, min(height, y + h + 4)), slice(left, min(width, x + w + 4)))
        own = (labels[window] == index).astype(np.uint8)
        if _looks_drawn(own, ink[window], levels[window], (w, h, area), reach):
            marked.append(index)
            covered += area
    if marked and covered <= _MOST_COVERED * ink.size:
        drawn |= np.isin(labels, marked).astype(np.uint8)


def _looks_drawn(own: Image, ink: Image, levels: Image, size: tuple[int, int, int], reach: float) -> bool:
    """Tell whether a component has a sharp edge all round and the shape of a stroke, a bar or an arrow."""
    w, h, area = size
    three = np.ones((3, 3), np.uint8)
    near = cv2.dilate(own, three, iterations=2)
    far = cv2.dilate(near, three)
    others = cv2.dilate(cv2.subtract(ink, own), three)
    ring = (far > near) & (ink == 0) & (others == 0)
    if np.count_nonzero(ring) < 8:
        return False
    sharp = float((levels[ring] < 190).mean())
    thick = 2 * float(cv2.distanceTransform(own, cv2.DIST_L2, 3).max())
    filled = area / (w * h)
    bar = filled > 0.88 and max(w, h) >= 3.0 * min(w, h) and min(w, h) <= 2 * reach
    if bar:
        return sharp > 0.8
    if thick > reach:
        return False
    inner = cv2.erode(own, three)
    flat = np.count_nonzero(inner) < 6 or float(levels[inner > 0].min()) >= 225
    stroke = area > 0 and _outline(own) / area > 0.25
    return sharp > 0.9 and flat and stroke and (filled < 0.8 or min(w, h) >= 6)


def _outline(own: Image) -> int:
    return int(np.count_nonzero(own)) - int(np.count_nonzero(cv2.erode(own, np.ones((3, 3), np.uint8), borderValue=0)))


def _mark_strokes(drawn: Image, levels: Image) -> None:
    """Set in `drawn` flat strokes of any level that stand out from what is on both sides of them."""
    height, width = levels.shape
    side = round(max(12.0, 0.055 * min(height, width))) | 1
    over = cv2.morphologyEx(levels, cv2.MORPH_TOPHAT, np.ones((side, side), np.uint8), borderType=cv2.BORDER_REPLICATE)
    peak = cv2.dilate(over, np.ones((7, 7), np.uint8))
    ink = np.asarray(cv2.compare(over, cv2.max(peak // 2, _CONTRAST), cv2.CMP_GT), np.uint8) // 255
    top = cv2.dilate(levels, _THREE)
    ink &= _at_least(top, _LEAST_LEVEL - 10)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8, ltype=cv2.CV_32S)
    long_side = stats[:, 2:4].max(axis=1)
    fits = (stats[:, 4] >= 12) & (long_side >= 6) & (stats[:, 4] <= 0.1 * ink.size)
    fits[0] = False
    common = np.convolve(np.bincount(levels.ravel(), minlength=256), np.ones(17), "same") / levels.size
    order = np.flatnonzero(fits)
    order = order[np.argsort(-stats[order, 4])][:_MOST_COMPONENTS]
    for index in order:
        x, y, w, h, area = (int(v) for v in stats[index])
        upper, left = max(0, y - 4), max(0, x - 4)
        window = (slice(upper, min(height, y + h + 4)), slice(left, min(width, x + w + 4)))
        own = labels[window] == index
        if common[int(np.median(top[window][own]))] > _MOST_COMMON + area / levels.size:
            continue  # the ground itself, seen between what stands on it
        if _is_stroke(own, levels[window], top[window], (w, h, area)):
            drawn[window][own] = 1


def _is_stroke(own: Mask, levels: Image, top: Image, size: tuple[int, int, int]) -> bool:
    """Tell whether a component has one level, an edge of a pixel or two, and the shape of a letter, bar or arrow."""
    w, h, area = size
    plateau = top[own]
    level = float(np.median(plateau))
    if level < _LEAST_LEVEL:
        return False
    near = cv2.dilate(own.astype(np.uint8), _THREE, iterations=2)
    ring = cv2.dilate(near, _THREE) > near
    if np.count_nonzero(ring) < 8:
        return False
    ground = levels[ring]
    contrast = level - float(np.median(ground))
    if contrast < _CONTRAST:
        return False
    flat = float((np.abs(plateau - level) <= max(8.0, 0.12 * contrast)).mean())
    sharp = float((ground < level - 0.55 * contrast).mean())
    bar = area / (w * h) > 0.85 and max(w, h) >= 3 * min(w, h)
    if bar:
        return flat > 0.9 and sharp > 0.85
    edge = (cv2.dilate(own.astype(np.uint8), _THREE) > 0) & ~own
    rise = cv2.subtract(top, cv2.erode(levels, _THREE))[edge]
    steep = float(np.median(rise)) >= 0.6 * contrast
    thick = 2 * float(cv2.distanceTransform(own.astype(np.uint8), cv2.DIST_L2, 3).max())
    filled = area / (w * h)
    letter = filled < 0.72 and thick <= 0.36 * max(w, h)
    small = filled < 0.5 and thick < 4  # an arrow of a dozen pixels: its strokes are as thick as they are long
    return steep and flat > 0.9 and sharp > 0.9 and (letter or small)


def _mark_on_blank(drawn: Image, levels: Image) -> None:
    """Set in `drawn` what is purely white on nearly white ground that is blank but for noise and shade.

    Nothing else reaches pure white there: what is seen through a microscope fades, and so does its noise.
    """
    height, width = levels.shape
    quarter = (max(8, -(-width // 4)), max(8, -(-height // 4)))
    ground = cv2.medianBlur(cv2.resize(levels, quarter, interpolation=cv2.INTER_AREA), 11)
    if float(np.median(ground)) < _PALE:
        return
    ground = cv2.resize(ground, (width, height), interpolation=cv2.INTER_LINEAR)
    above = cv2.GaussianBlur(levels.astype(np.float32) - ground, (0, 0), 0.8)
    noise = 1.48 * float(np.median(np.abs(above[::2, ::2])))
    least = max(2.5, 4 * noise)
    if noise > 3 or float((np.abs(above) > least).mean()) > _MOST_ON_BLANK:
        return
    ink = (above > least).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8, ltype=cv2.CV_32S)
    white = np.bincount(labels[levels >= _PURE], minlength=count)
    found = (white > 0.5 * stats[:, 4]) & (stats[:, 4] >= 12) & (stats[:, 4] <= 0.1 * ink.size)
    found &= stats[:, 2:4].max(axis=1) >= 6
    found[0] = False
    drawn |= found[labels].astype(np.uint8)


def _mark_small_words(drawn: Image, levels: Image) -> None:
    """Set in `drawn` three and more thin strokes in a row on even ground: letters too small to be known one by one."""
    height, width = levels.shape
    ink = _at_least(levels, _FAINT)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8, ltype=cv2.CV_32S)
    tall, wide = stats[:, 3], stats[:, 2]
    fits = (tall >= 4) & (tall <= min(24, 0.2 * height)) & (wide <= 4 * tall) & (wide <= 0.3 * width)
    fits[0] = False
    order = np.flatnonzero(fits)
    if not 3 <= len(order) <= _MOST_COMPONENTS:
        return
    letters = np.array([k for k in order if _is_small_letter(labels, int(k), levels, stats[k])], np.int64)
    if len(letters) < 3:
        return
    x, y, w, h = (stats[letters, k].astype(np.float64) for k in range(4))
    gap = np.maximum(x[:, None] - (x + w), x - (x + w)[:, None])
    low, high = np.minimum(h[:, None], h), np.maximum(h[:, None], h)
    level = np.abs((y + h / 2)[:, None] - (y + h / 2)) <= 0.5 * low
    row = _rows(level & (gap <= low) & (high <= 2 * low))
    words = letters[np.bincount(row)[row] >= 3]
    drawn |= np.isin(labels, words).astype(np.uint8)


def _rows(beside: Mask) -> NDArray[np.int64]:
    """Return for each letter the first of those that it is in a row with: (n, n) symmetric, itself too -> (n,)."""
    first = np.arange(len(beside))
    while True:
        least = np.where(beside, first, len(beside)).min(axis=1)
        least = least[least]
        if np.array_equal(least, first):
            return first
        first = least


def _is_small_letter(labels: NDArray[np.int32], index: int, levels: Image, box: NDArray[np.int32]) -> bool:
    """Tell whether a component is thin strokes of (nearly) white on even ground."""
    x, y, w, h, _ = (int(v) for v in box)
    window = np.s_[max(0, y - 5) : y + h + 5, max(0, x - 5) : x + w + 5]
    shape, near = (labels[window] == index).astype(np.uint8), levels[window]
    thick = 2 * float(cv2.distanceTransform(shape, cv2.DIST_L2, 3).max())
    if int(near[shape > 0].max()) < 215 or thick > max(3.0, 0.45 * h):
        return False
    around = cv2.dilate(shape, _THREE, iterations=2)
    ring = (cv2.dilate(around, _THREE, iterations=2) > around) & (near < _FAINT)
    if np.count_nonzero(ring) < 8:
        return False
    ground = near[ring].astype(np.float32)
    middle = float(np.median(ground))
    return middle < 110 and float((np.abs(ground - middle) <= 20).mean()) > 0.7


def _mark_words(drawn: Image, ink: Image, levels: Image, ground: int) -> None:
    """Set in `drawn` what stands in one line with two marked letters, in their colour: merged letters, dots, ends.

    It is set off from a ground below that level.
    """
    height, width = ink.shape
    count, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8, ltype=cv2.CV_32S)
    held = np.bincount(labels[drawn > 0], minlength=count)
    x0, y0, w, h, area = (stats[:, k].astype(np.int64) for k in range(5))
    small = (h <= 0.2 * height) & (w <= 0.4 * width) & (area >= 2)
    small[0] = False
    marked = small & (held > 0.5 * area)
    letters = np.flatnonzero(marked & (h >= 6) & (w <= 3 * h))
    others = np.flatnonzero(small & ~marked)
    if not len(letters) or not len(others) or len(letters) * len(others) > _MOST_PAIRS:
        return
    tall = h[letters]
    across = np.maximum(x0[others, None] - (x0 + w)[letters], x0[letters] - (x0 + w)[others, None])
    down = np.maximum(y0[others, None] - (y0 + h)[letters], y0[letters] - (y0 + h)[others, None])
    beside = (down <= 0.35 * tall) & (h[others, None] <= 1.5 * tall) & (across <= 2 * tall)
    joined = (beside.sum(1) >= 2) & (beside & (across <= 0.8 * tall)).any(1)
    found = [int(k) for k in others[joined] if _is_sharp(labels, int(k), stats[k], ink, levels < ground)]
    drawn |= np.isin(labels, found).astype(np.uint8)


def _is_sharp(labels: NDArray[np.int32], index: int, box: NDArray[np.int32], ink: Image, ground: Mask) -> bool:
    """Tell whether a component of ink has ground within three pixels, nearly all round."""
    x, y, w, h = (int(v) for v in box[:4])
    window = np.s_[max(0, y - 4) : y + h + 4, max(0, x - 4) : x + w + 4]
    near = cv2.dilate((labels[window] == index).astype(np.uint8), _THREE, iterations=2)
    ring = (cv2.dilate(near, _THREE) > near) & (cv2.dilate(ink[window], _THREE) == 0)
    return bool(np.count_nonzero(ring) < 4 or float(ground[window][ring].mean()) > 0.8)


def _mark_lines(drawn: Image, levels: Image) -> None:
    """Set in `drawn` thin upright and level lines of one grey that meet, as the outline of a box does."""
    length = max(20, round(0.12 * min(levels.shape)))
    across = _level_lines(levels, length)
    if not cv2.countNonZero(across):
        return
    down = cv2.transpose(_level_lines(np.ascontiguousarray(levels.T), length))
    if not cv2.countNonZero(down):
        return
    lines = cv2.bitwise_or(across, down)
    _, labels = cv2.connectedComponents(cv2.dilate(lines, np.ones((5, 5), np.uint8)), connectivity=8)
    both = np.intersect1d(labels[across > 0], labels[down > 0])
    drawn |= cv2.dilate(lines, _THREE) & np.isin(labels, both).astype(np.uint8)


def _level_lines(levels: Image, length: int) -> Image:
    """Return 0/1 where a horizontal line of 1-3 px and one grey runs for `length` px or more."""
    height = levels.shape[0]
    tall = cv2.copyMakeBorder(levels, 3, 3, 0, 0, cv2.BORDER_REPLICATE)
    above, below = tall[:height], tall[6:]
    lighter = cv2.subtract(levels, cv2.max(above, below))
    away = cv2.max(lighter, cv2.subtract(cv2.min(above, below), levels))
    run = np.ones((1, 9), np.uint8)
    uneven = cv2.morphologyEx(levels, cv2.MORPH_GRADIENT, run)
    line = ((away > 14) & (uneven <= 14)).astype(np.uint8)
    line = cv2.morphologyEx(line, cv2.MORPH_CLOSE, np.ones((1, 7), np.uint8))
    return np.asarray(cv2.morphologyEx(line, cv2.MORPH_OPEN, np.ones((1, length), np.uint8)), np.uint8)


def _mark_boxes(drawn: Image, levels: Image) -> None:
    """Set in `drawn` the flat filled boxes that letters stand on."""
    height, width = drawn.shape
    side = round(max(5.0, 0.02 * min(height, width))) | 1
    groups = cv2.morphologyEx(drawn, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(groups, connectivity=8, ltype=cv2.CV_32S)
    for index in range(1, min(count, 60)):
        x, y, w, h, area = (int(v) for v in stats[index])
        if area < 12 or not 6 <= h <= 0.35 * height or w > 0.5 * width:
            continue
        reach = max(6, 2 * h)
        top, left = max(0, y - reach), max(0, x - 2 * reach)
        bottom, right = min(height, y + h + reach), min(width, x + w + 2 * reach)
        window = (slice(top, bottom), slice(left, right))
        box = _box(levels[window], (labels[window] == index).astype(np.uint8), drawn[window])
        if box is None:
            continue
        x0, y0, x1, y1 = box
        inside = (x0 > 0 or left == 0) and (y0 > 0 or top == 0)
        inside = inside and (x1 < right - left or right == width) and (y1 < bottom - top or bottom == height)
        seen = (x0 > 0 or x1 < right - left) and (y0 > 0 or y1 < bottom - top)
        if inside and seen and y1 - y0 < 0.5 * height:
            drawn[top + y0 : top + y1, left + x0 : left + x1] = 1


def _mark_coloured_boxes(drawn: Image, image: Image) -> None:
    """Set in `drawn` the filled rectangles of one saturated colour (logos, tags); what stands on them is filled in.

    What is photographed has no rectangle of one colour with its sides along those of the picture.
    """
    height, width = drawn.shape
    colours = cv2.medianBlur(np.ascontiguousarray(image[..., :3]), 3)
    low, high = extremes(colours)
    vivid = _at_least(cv2.subtract(high, low), _COLOURED + 1)
    if not cv2.countNonZero(vivid):
        return
    steep = extremes(cv2.morphologyEx(colours, cv2.MORPH_GRADIENT, _THREE))[1]
    even = np.asarray(cv2.bitwise_and(vivid, cv2.compare(steep, _EVEN, cv2.CMP_LE)), np.uint8)
    side = round(max(9.0, 0.03 * min(height, width))) | 1
    whole = cv2.morphologyEx(even, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(whole, connectivity=4, ltype=cv2.CV_32S)
    for index in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[index])
        if min(w, h) < 8 or area < 0.5 * w * h or w * h > 0.15 * height * width:
            continue
        inside = colours[y : y + h, x : x + w]
        colour = np.median(inside[even[y : y + h, x : x + w] > 0], axis=0)
        sides = (inside[0], inside[-1], inside[:, 0], inside[:, -1])
        around = np.ones((h + 8, w + 8), np.bool_)
        around[1:-1, 1:-1] = False  # a ring four pixels outside, where it is in the picture
        around = around[max(0, 4 - y) : height - y + 4, max(0, 4 - x) : width - x + 4]
        outside = colours[max(0, y - 4) : y + h + 4, max(0, x - 4) : x + w + 4][around]
        if not len(outside) or float((np.abs(outside - colour).max(axis=1) > 2 * _EVEN).mean()) < 0.9:
            continue
        own = np.abs(inside - colour).max(axis=2) <= 2 * _EVEN
        if float((own | (drawn[y : y + h, x : x + w] > 0)).mean()) < 0.85:
            continue
        straight = [float((np.abs(side - colour).max(axis=1) <= 2 * _EVEN).mean()) for side in sides]
        if sum(share > 0.9 for share in straight) >= 3:  # the fourth may be drawn over
            drawn[max(0, y - 2) : y + h + 2, max(0, x - 2) : x + w + 2] = 1


def _box(levels: Image, own: Image, drawn: Image) -> tuple[int, int, int, int] | None:
    """Return x0, y0, x1, y1 of the flat rectangle round what is drawn, or None."""
    near = cv2.dilate(own, _THREE)
    ring = cv2.dilate(near, _THREE) > near
    if np.count_nonzero(ring) < 8:
        return None
    away = cv2.absdiff(levels, np.full_like(levels, int(np.median(levels[ring]))))
    same = (away <= 12).astype(np.uint8)
    if same[ring].mean() < 0.7:
        return None
    whole = cv2.bitwise_or(same, cv2.dilate(drawn, _THREE))
    whole = cv2.morphologyEx(whole, cv2.MORPH_OPEN, _THREE)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(whole, connectivity=4, ltype=cv2.CV_32S)
    held = np.bincount(labels[own > 0], minlength=count)
    held[0] = 0
    index = int(held.argmax())
    x, y, w, h, area = (int(v) for v in stats[index])
    if held[index] == 0 or area < 0.9 * w * h:
        return None
    return x, y, x + w, y + h
