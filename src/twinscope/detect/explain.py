"""Say why the metric finds two pictures alike or different: where in each of them its distance comes from.

The map explains the distance between two whole, unaligned pictures. It is no evidence of an edit, nor that there is
none: what differs between two aligned pictures is shown by the heat-map of `detect.compare`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import models
from twinscope.detect.embed import MODEL, SIDE_PX, prepare

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

NEAR = 1e-4
"""Two pictures nearer than this are the same to the network, up to its rounding: nothing is left to explain."""
_LEAST = 1e-4
"""The network's GeM pooling takes smaller values of a map for this one."""


class Seen(NamedTuple):
    """What the network made of a picture: its point (128,), and its maps at 1/8 and 1/16, (c, h, w) float32."""

    point: Floats
    maps_8: Floats
    maps_16: Floats


class Head(NamedTuple):
    """How a network makes a point of its maps: GeM power, linear layer (128, c) and (128,), radius of the sphere."""

    power: float
    weight: Doubles
    bias: Doubles
    radius: float


class Explanation(NamedTuple):
    """Why two pictures lie as far apart as they do.

    distance: Euclidean distance of their points; <= 1 means the same picture. a, b: maps (H, W) float32 in [-1, 1] in
    the pictures' own pixels; what makes the two differ is positive, what makes them alike negative. Both maps have one
    scale; the strongest place of the two has magnitude 1. All zero where the two are the same to the network.
    """

    distance: float
    a: Floats
    b: Floats


def explain(a: NDArray[np.uint8], b: NDArray[np.uint8], model_id: str = MODEL, threads: int = 2) -> Explanation:
    """Explain the distance of two pictures, HxW or HxWx3 RGB uint8 of any size and aspect.

    Each map comes from its own branch: the gradient of the distance d = |f(a) - f(b)| with respect to the maps M that
    a branch pools, times the maps, summed over the channels c, at each place p:
    L(p) = sum_c M_c(p) dd/dM_c(p) (Grad-CAM, with the gradient kept at its place instead of its mean), in units of d
    and per area, so that the two sizes of maps can be added. Raises ModelError for a model that is not the one of its
    card or gives no maps, and ValueError for an array that is no such picture.
    """
    seen_a, seen_b = look([a, b], model_id, threads)
    return why(seen_a, seen_b, head(model_id, threads), a.shape[:2], b.shape[:2])


def look(images: Sequence[NDArray[np.uint8]], model_id: str = MODEL, threads: int = 2, batch: int = 32) -> list[Seen]:
    """Return what the network makes of pictures (as `embed` takes them), each looked at once. Raises as `explain`."""
    model = models.load(model_id, threads)
    out: list[Seen] = []
    for k in range(0, len(images), batch):
        pictures = np.stack([prepare(image) for image in images[k : k + batch]])
        points, maps_8, maps_16 = model.outputs(pictures, ("points", "maps_8", "maps_16"))
        out += [
            Seen(*(np.array(part, np.float32) for part in row)) for row in zip(points, maps_8, maps_16, strict=True)
        ]
    return out


def head(model_id: str = MODEL, threads: int = 2) -> Head:
    """Return the numbers of a model's head. Raises ModelError for a model that does not give them."""
    names = ("head_power", "head_weight", "head_bias", "head_radius")
    blank = np.zeros((1, SIDE_PX, SIDE_PX), np.uint8)
    power, weight, bias, radius = models.load(model_id, threads).outputs(blank, names)
    return Head(float(power), weight.astype(np.float64), bias.astype(np.float64), float(radius))


def why(a: Seen, b: Seen, head: Head, size_a: tuple[int, ...], size_b: tuple[int, ...]) -> Explanation:
    """Explain the distance of two pictures that were looked at; sizes are their (height, width) in px."""
    fields = [contributions(gradients(one, other, head), one) for one, other in ((a, b), (b, a))]
    maps = [placed(field, size) for field, size in zip(fields, (size_a, size_b), strict=True)]
    scale = max(float(np.abs(field).max()) for field in maps) or 1.0
    far = float(np.linalg.norm(a.point.astype(np.float64) - b.point))
    return Explanation(far, *(np.asarray(np.clip(field / np.float32(scale), -1, 1), np.float32) for field in maps))


def gradients(one: Seen, other: Seen, head: Head) -> tuple[Doubles, Doubles]:
    """Return the gradient of the distance with respect to the maps of `one`: (c, h, w) float64 at 1/8 and 1/16.

    With pooled p = [GeM(M8), GeM(M16), mean(M16)], u = W p + c, v = u / |u| and f = r v:
    dd/du = r / |u| (t - v (v . t)) with t = (f - f') / d; dd/dp = W' dd/du; and for GeM over n places,
    g = mean(x^q)^(1/q) with x = max(M, 1e-4): dg/dM = x^(q - 1) g^(1 - q) / n where M > 1e-4, else 0. The distance
    itself has no gradient where it is 0; its square has, and that is 0: so zeros come back for pictures nearer than
    `NEAR`.
    """
    apart = one.point.astype(np.float64) - other.point
    far = float(np.linalg.norm(apart))
    maps_8, maps_16 = one.maps_8.astype(np.float64), one.maps_16.astype(np.float64)
    if far < NEAR:
        return np.zeros_like(maps_8), np.zeros_like(maps_16)
    pooled_8, slope_8 = _gem(maps_8, head.power)
    pooled_16, slope_16 = _gem(maps_16, head.power)
    u = head.weight @ np.concatenate([pooled_8, pooled_16, maps_16.mean((1, 2))]) + head.bias
    long = max(float(np.linalg.norm(u)), 1e-12)
    v, t = u / long, apart / far
    by_pooled = head.weight.T @ (head.radius / long * (t - v * (v @ t)))
    by_8, by_16, by_mean = np.split(by_pooled, np.cumsum([len(pooled_8), len(pooled_16)]))
    places = maps_16[0].size
    return by_8[:, None, None] * slope_8, by_16[:, None, None] * slope_16 + by_mean[:, None, None] / places


def contributions(slopes: tuple[Doubles, Doubles], seen: Seen) -> tuple[Floats, Floats]:
    """Return what each place adds to the distance, (h, w) float32 at 1/8 and 1/16: gradient times map."""
    by_8, by_16 = ((slope * maps).sum(0) for slope, maps in zip(slopes, (seen.maps_8, seen.maps_16), strict=True))
    return np.asarray(by_8, np.float32), np.asarray(by_16, np.float32)


def placed(fields: tuple[Floats, Floats], size: tuple[int, ...]) -> Floats:
    """Return the sum of contributions at 1/8 and 1/16, each per area, at the pixels of a picture of `size`: (H, W).

    The maps are stretched over the picture, as the picture was for the network, with linear interpolation.
    """
    parts = [
        cv2.resize(field, (size[1], size[0]), interpolation=cv2.INTER_LINEAR) / np.float32(step * step)
        for field, step in zip(fields, (8, 16), strict=True)
    ]
    return np.asarray(parts[0] + parts[1], np.float32)


def shares(field: Floats) -> dict[str, float]:
    """Return how much of a map makes the two differ, and how much alike: the mean of each sign, >= 0."""
    return {"differ": float(np.maximum(field, 0).mean()), "alike": float(np.maximum(-field, 0).mean())}


def _gem(maps: Doubles, power: float) -> tuple[Doubles, Doubles]:
    """Return the generalised mean of each map (c,), and its derivative by each place of the map (c, h, w)."""
    x = np.maximum(maps, _LEAST)
    raised = x ** (power - 1)
    pooled = (raised * x).mean((1, 2)) ** (1 / power)
    slope = raised * (pooled ** (1 - power))[:, None, None] / maps[0].size
    return pooled, np.where(maps > _LEAST, slope, 0.0)
