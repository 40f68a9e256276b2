"""Segment a picture by the features of a network that learned to tell copies (cicconet-2019, section "Segmentation").

A forest on the network's maps says for each place how probable an object is; what is probable enough is cut into
connected objects, and objects that touch are cut apart where they are narrow.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope.detect import maps
from twinscope.detect.forest import Forest, vote
from twinscope.errors import UsageError
from twinscope.pixels import grey
from twinscope.settings import Segment

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]
Labels = NDArray[np.uint16]
MOST_OBJECTS = 65_535
"""What a 16-bit label image can hold."""
OUTLINE = (255, 214, 10)


class Places(NamedTuple):
    """Labelled places of pictures: features (n, k) float32, and whether each is of an object (n,)."""

    values: Floats
    objects: NDArray[np.bool_]


def labelled(mask: NDArray[Any], scribbles: bool) -> NDArray[np.int8]:
    """Return what a mask (HxW whole numbers) says of each 2x2 px: 1 object, 0 background, -1 nothing or both alike.

    A full mask has 0 for the background and anything else for objects. Scribbles have 0 for what is not labelled, 1 for
    the background and 2 and more for objects.
    """
    back, front = ((mask == 1), (mask >= 2)) if scribbles else ((mask == 0), (mask > 0))
    shares = [maps.halved(one.astype(np.float32)) for one in (back, front)]
    out = np.where(shares[1] > shares[0], 1, np.where(shares[0] > shares[1], 0, -1))
    return np.asarray(out, np.int8)


def sample(
    image: Image, mask: NDArray[Any], network: str, settings: Segment, most: int, rng: np.random.Generator,
    scribbles: bool = False, threads: int = 2,
) -> Places:  # fmt: skip
    """Return labelled places of one picture: the share of them that the settings say, and `most` of them at most.

    Both kinds are drawn in the shares that they have. Raises UsageError where mask and picture differ in size.
    """
    if mask.shape != image.shape[:2]:
        raise UsageError(f"the picture has {image.shape[1]} x {image.shape[0]} px and its mask "
                         f"{mask.shape[1]} x {mask.shape[0]}; give masks of the pictures' size")  # fmt: skip
    return drawn(maps.features(image, network, settings, threads), labelled(mask, scribbles), settings, most, rng)


def drawn(features: Floats, told: NDArray[np.int8], settings: Segment, most: int, rng: np.random.Generator) -> Places:
    """Return places of features (k, h, w) that are labelled (h, w), as `sample`: each kind in its share."""
    labels = told.ravel()
    count = int((labels >= 0).sum())
    wanted = min(most, count if count <= FEW else max(FEW, round(settings.share * count)))
    picked = []
    for kind in (0, 1):
        at = np.flatnonzero(labels == kind)
        share = round(wanted * len(at) / max(1, count))
        picked.append(rng.permutation(at)[: max(share, min(1, len(at)))])
    at = np.sort(np.concatenate(picked))
    return Places(features.reshape(len(features), -1)[:, at].T.copy(), labels[at] == 1)


FEW = 2_000
"""Of a picture with no more labelled places than this all are kept."""


def leaf(settings: Segment, places: int) -> int:
    """Return the least number of places in a leaf: that of the settings, fewer where there are few places (500 : 1)."""
    return max(1, min(settings.leaf, places // 500))


def probability(image: Image, forest: Forest, network: str, settings: Segment, threads: int = 2) -> Floats:
    """Return how probable an object is at each pixel of a picture: HxW or HxWx3 RGB uint8 -> (H, W) in [0, 1]."""
    small = vote(forest, maps.features(image, network, settings, threads))
    return guided(enlarged(small, image.shape[:2]), image, settings)


def enlarged(small: Floats, size: tuple[int, ...]) -> Floats:
    """Return a map on the grid as one of the picture's size (height, width), by linear interpolation."""
    whole = (maps.GRID * small.shape[1], maps.GRID * small.shape[0])
    large = cv2.resize(small, whole, interpolation=cv2.INTER_LINEAR)
    return np.asarray(large[: size[0], : size[1]], np.float32)


def guided(probable: Floats, image: Image, settings: Segment) -> Floats:
    """Return probabilities (H, W) in [0, 1] whose borders lie on the edges of the picture: a guided filter.

    Around each place q = a I + b is fitted to p, the probabilities, by ridge regression, I the grey of the picture over
    its spread: a = cov(I, p) / (var(I) + edge), b = mean(p) - a mean(I), in windows of 2 edge_px + 1 px; what comes
    back is the mean of all q there (He, Sun and Tang 2013, eqs. 5, 6, 8). The maps stand for 2x2 px; this finds the
    pixel.
    """
    if not settings.edge_px:
        return probable
    side = 2 * settings.edge_px + 1

    def mean(values: Floats) -> Floats:
        return np.asarray(cv2.blur(values, (side, side)), np.float32)

    level = maps.spread(grey(image))
    middle, around = mean(level), mean(probable)
    shared, own = mean(level * probable) - middle * around, mean(level * level) - middle * middle
    slope = np.asarray(shared / (own + np.float32(settings.edge)), np.float32)
    return np.asarray(np.clip(mean(slope) * level + mean(around - slope * middle), 0, 1), np.float32)


def objects(probable: Floats, settings: Segment) -> Labels:
    """Return the label image of a map of probabilities: (H, W) uint16, 0 background, 1..n by place from the top.

    Objects are connected (8 neighbours) and have the least area at least. Those that touch are cut apart where the
    bridge between them is narrow, see `parts`. Raises UsageError beyond 65,535 objects.
    """
    front = np.asarray(probable > settings.threshold, np.uint8)
    count, whole, boxes, _ = cv2.connectedComponentsWithStats(front, connectivity=8)
    labels, last = np.zeros(front.shape, np.int32), 0
    for k in range(1, count):
        x, y, width, height, area = (int(v) for v in boxes[k])
        if area < settings.least_px:
            continue
        inside = (slice(y, y + height), slice(x, x + width))
        own = np.asarray(whole[inside] == k, np.uint8)
        for part in parts(own, settings.neck):
            if int(part.sum()) >= settings.least_px:
                last += 1
                labels[inside][part] = last
    if last > MOST_OBJECTS:
        raise UsageError(f"{last} objects are more than a label image can hold; raise segment.least_px")
    return labels.astype(np.uint16)


def parts(front: Image, neck: float) -> list[NDArray[np.bool_]]:
    """Cut a connected object (HxW, 0 or 1) into parts (HxW bool), by a watershed of the distance D to the background.

    A peak of D is a part of its own where every way to a deeper one leads through a place with D below `neck` times
    its own: peaks are the regional maxima of the reconstruction of neck D under D. One part where `neck` is 0.
    """
    if not neck:
        return [front > 0]
    rimmed = cv2.copyMakeBorder(front, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    deep = np.rint(16 * cv2.distanceTransform(rimmed, cv2.DIST_L2, 5)).astype(np.uint16)
    flat = _rebuilt((deep * neck).astype(np.uint16), deep)
    tops = np.asarray((flat > _rebuilt(np.maximum(flat, 1) - 1, flat)) & (rimmed > 0), np.uint8)
    count, seeds = cv2.connectedComponents(tops, connectivity=8)
    if count <= 2:
        return [front > 0]
    marks = seeds.astype(np.float32)
    for level in range(int(deep.max()) // 16, -1, -1):
        allowed = (deep >= 16 * level) & (rimmed > 0)
        while True:
            fresh = allowed & (marks == 0)
            grown = np.where(fresh, cv2.dilate(marks, _NEAR), marks)
            if np.array_equal(grown, marks):
                break
            marks = grown
    inner = marks[1:-1, 1:-1]
    return [inner == k for k in range(1, count)]


_NEAR = np.ones((3, 3), np.uint8)


def _rebuilt(below: NDArray[np.uint16], limit: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return the morphological reconstruction by dilation of an image under another one."""
    while True:
        grown = np.minimum(cv2.dilate(below, _NEAR), limit)
        if np.array_equal(grown, below):
            return below
        below = np.asarray(grown, np.uint16)


def areas(labels: Labels, probable: Floats) -> list[dict[str, Any]]:
    """Return a row for each object: label, area in px, centre (x, y) in px, mean probability."""
    flat = labels.ravel()
    count = int(labels.max(initial=0)) + 1
    area = np.bincount(flat, minlength=count)
    y, x = np.divmod(np.arange(flat.size), labels.shape[1])
    sums = [np.bincount(flat, weights=one, minlength=count) for one in (x, y, probable.ravel().astype(np.float64))]
    return [
        {"label": k, "area_px": int(area[k]), "x_px": round(float(sums[0][k] / area[k]), 2),
         "y_px": round(float(sums[1][k] / area[k]), 2), "probability": round(float(sums[2][k] / area[k]), 4)}
        for k in range(1, count) if area[k]
    ]  # fmt: skip


def overlay(image: Image, labels: Labels) -> Image:
    """Return a picture with the outline of each object drawn inside it: HxWx3 RGB uint8."""
    rgb = image.copy() if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    rim = (cv2.erode(labels, cross) != labels) | (cv2.dilate(labels, cross) != labels)
    out = np.asarray(rgb, np.uint8)
    out[rim & (labels > 0)] = OUTLINE
    return out
