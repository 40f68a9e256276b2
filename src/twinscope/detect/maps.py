"""The convolution maps of a picture of any size, as so many features for every second pixel (cicconet-2019, figure 4).

A network that learned to tell copies is looked through at half the size of the picture: row i, column j of what comes
back stands for the 2x2 px whose corner is (2 i, 2 j). Large pictures are seen in tiles that overlap by more than what a
place of a map has seen, and tones are standardised over the whole picture before, so that tiles change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import models
from twinscope.errors import UsageError
from twinscope.pixels import grey
from twinscope.settings import Segment

Floats = NDArray[np.float32]

SHIPPED = "maps-1"
"""The maps of the network that twinscope uses. Others come as a graph with its card, see `train.export_maps`."""
STRIDE = 16
"""Sides that a graph takes are multiples of this."""
GRID = 2
"""A place of the grid stands for so many pixels a side."""


def features(image: NDArray[np.uint8], network: str, settings: Segment, threads: int = 2) -> Floats:
    """Return the features of a picture (HxW or HxWx3 RGB uint8): (k, ceil(H / 2), ceil(W / 2)) float32.

    network: a model's id or the path of a graph of maps with its card beside it. The maps come first, then, where the
    settings ask for them, the plain channels of `plain`. Raises ModelError as `models.load`, UsageError for a network
    that gives no maps.
    """
    model = models.load(network, threads)
    given, shape = model.session.get_inputs()[0], model.session.get_inputs()[0].shape
    if len(shape) != 4 or shape[1] not in (1, 4) or given.type != "tensor(float)":
        raise UsageError(f"model {model.card.id} gives no maps for segmentation; name one that `export_maps` wrote")
    height, width = image.shape[:2]
    seen = planes(grey(image), int(shape[1]))
    out = np.empty((0, 0, 0), np.float32)
    for (y, x), inner, window in tiles(seen.shape[1], seen.shape[2], settings):
        part = model.run(np.ascontiguousarray(seen[None, :, window[0] : window[1], window[2] : window[3]]))[0]
        if not out.size:
            out = np.empty((part.shape[0], seen.shape[1] // GRID, seen.shape[2] // GRID), np.float32)
        kept = part[:, inner[0] : inner[1], inner[2] : inner[3]]
        out[:, y : y + kept.shape[1], x : x + kept.shape[2]] = kept
    out = out[:, : -(-height // GRID), : -(-width // GRID)]
    return np.concatenate([out, plain(image)]) if settings.plain else np.ascontiguousarray(out)


def tiles(
    height: int, width: int, settings: Segment
) -> Iterator[tuple[tuple[int, int], tuple[int, int, int, int], tuple[int, int, int, int]]]:
    """Yield the tiles of a picture, its sides multiples of `STRIDE`.

    Of each: where its kept part goes in the grid (row, column); the kept part of what the graph gives for it (top,
    bottom, left, right, in places of the grid); the window that the graph sees (the same, in px).
    """
    for top in range(0, height, settings.tile_px):
        for left in range(0, width, settings.tile_px):
            sides = []
            for start, whole in ((top, height), (left, width)):
                end = min(whole, start + settings.tile_px)
                low, high = max(0, start - settings.overlap_px), min(whole, end + settings.overlap_px)
                sides.append(((start - low) // GRID, (end - low) // GRID, low, high))
            (a, b, c, d), (e, f, g, h) = sides
            yield (top // GRID, left // GRID), (a, b, e, f), (c, d, g, h)


def planes(values: Floats, channels: int) -> Floats:
    """Return what a graph sees of a grey picture (H, W) in [0, 1]: (channels, h, w), h and w multiples of `STRIDE`.

    One channel is the picture itself, four are its `tones`; each has mean 0 and deviation 1 over the picture. What is
    missing below and to the right is the picture mirrored.
    """
    height, width = values.shape
    down, right = -height % STRIDE, -width % STRIDE
    stack = values[None] if channels == 1 else tones(values)
    stack = stack - stack.mean((1, 2), keepdims=True, dtype=np.float64)
    least = 1e-6 if channels == 1 else 1e-4
    stack = stack / np.sqrt(np.square(stack).mean((1, 2), keepdims=True, dtype=np.float64) + least)
    return np.asarray(np.pad(stack, ((0, 0), (0, down), (0, right)), "symmetric"), np.float32)


def tones(values: Floats) -> Floats:
    """Return four tones of a grey picture (H, W) in [0, 1]: (4, H, W), not yet standardised.

    As it is, shadows spread, lights spread, and relative to what is within some 20 px: what `train.networks.tones` has.
    """
    centred = values - _around(values)
    relative = centred / np.sqrt(_around(centred * centred) + np.float32((3 / 255) ** 2))
    return np.stack([values, np.log(values + np.float32(0.02)), np.log(np.float32(1.02) - values), relative])


def _around(values: Floats) -> Floats:
    """Return the mean of some 20 px around each pixel, by a quarter of the size."""
    height, width = values.shape
    even = cv2.copyMakeBorder(values, 0, -height % 4, 0, -width % 4, cv2.BORDER_REFLECT)
    small = cv2.resize(even, (even.shape[1] // 4, even.shape[0] // 4), interpolation=cv2.INTER_AREA)
    sums = cv2.boxFilter(small, -1, (5, 5), normalize=False, borderType=cv2.BORDER_CONSTANT)
    counts = cv2.boxFilter(np.ones_like(small), -1, (5, 5), normalize=False, borderType=cv2.BORDER_CONSTANT)
    large = cv2.resize(sums / counts, (even.shape[1], even.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large[:height, :width], np.float32)


def plain(image: NDArray[np.uint8]) -> Floats:
    """Return simple channels of a picture: (14, ceil(H / 2), ceil(W / 2)) float32; its grey has mean 0, deviation 1.

    The grey, and at each of four widths (1, 2, 4 and 8 px) it smoothed, its slope there, and its deviation there; the
    last is what grey it has of the spread between the 1st and the 99th percentile, so that what is dim keeps its place.
    """
    values = grey(image)
    level = np.asarray((values - np.float32(values.mean())) / np.float32(float(values.std()) + 1e-3), np.float32)
    channels = [level]
    for width in (1.0, 2.0, 4.0, 8.0):
        smooth = cv2.GaussianBlur(level, (0, 0), width)
        across, along = cv2.Sobel(smooth, -1, 1, 0), cv2.Sobel(smooth, -1, 0, 1)
        square = cv2.GaussianBlur(level * level, (0, 0), width)
        channels += [smooth, np.hypot(across, along), np.sqrt(np.maximum(square - smooth * smooth, 0))]
    channels.append(spread(values))
    return np.stack([halved(np.asarray(one, np.float32)) for one in channels])


def spread(values: Floats) -> Floats:
    """Return a grey picture (H, W) with 0 at its 1st percentile and 1 at its 99th."""
    low, high = np.percentile(values[::2, ::2], (1, 99))
    return np.asarray((values - np.float32(low)) / np.float32(max(high - low, 0.01)), np.float32)


def halved(values: Floats) -> Floats:
    """Return a channel (H, W) as (ceil(H / 2), ceil(W / 2)): the mean of each 2x2 px."""
    even = cv2.copyMakeBorder(values, 0, values.shape[0] % 2, 0, values.shape[1] % 2, cv2.BORDER_REPLICATE)
    small = cv2.resize(even, (even.shape[1] // 2, even.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)
