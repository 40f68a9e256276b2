"""Letters, scale bars, arrows and boxes drawn on a picture, so that they are never the evidence of a match.

What is drawn over a picture has one colour (white, black or a saturated one), an edge of a pixel or two, and the shape
of a stroke, a bar or an arrow. Bright nuclei and dark bands fade over several pixels, and stay.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_LONG_SIDE = 900
_MOST_COMPONENTS = 160
_MOST_COVERED = 0.3
_REACH = 0.035


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
    for ink, levels in _layers(small):
        _mark(drawn, ink, levels)
        thin = _without_blobs(ink)
        if thin is not None:
            _mark(drawn, thin, levels)
    if scale < 1:
        drawn = np.asarray(cv2.resize(drawn, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
    side = 2 * max(2, round(2 / scale)) + 1
    return np.asarray(cv2.dilate(drawn, np.ones((side, side), np.uint8))) > 0


def _layers(image: Image) -> list[tuple[Image, Image]]:
    """Return for white, black and saturated colours: the 0/1 ink, and how near each pixel is to that colour (255)."""
    if image.ndim == 2:
        return [(_at_least(image, 236), image), (_at_least(255 - image, 236), 255 - image)]
    channels = cv2.split(np.ascontiguousarray(image[..., :3]))
    low = cv2.min(cv2.min(channels[0], channels[1]), channels[2])
    high = cv2.max(cv2.max(channels[0], channels[1]), channels[2])
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
