"""Drawn pairs for the tests of the comparator: textures, known affine warps, planted edits."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope.train.changes import Changes


def texture(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """Return a picture of smooth blobs with fine grain, (side, side, 3) uint8."""
    coarse = cv2.GaussianBlur(rng.normal(0, 1, (side, side, 3)), (0, 0), 4)
    fine = cv2.GaussianBlur(rng.normal(0, 1, (side, side, 3)), (0, 0), 1)
    mixed = coarse / coarse.std() + 0.3 * fine / fine.std()
    return np.rint(np.clip(128 + 40 * mixed, 0, 255)).astype(np.uint8)


def affine(side: int, angle: float, factor: float, shift: tuple[float, float]) -> NDArray[np.float64]:
    """Return the 2x3 transform that takes the original's px to the query's: about the middle, then a shift."""
    middle = (side - 1) / 2
    out = cv2.getRotationMatrix2D((middle, middle), angle, factor)
    out[:, 2] += shift
    return np.asarray(out)


def flow_of(transform: NDArray[np.float64], side: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the displacement (side, side, 2) of a transform and where it stays on the picture."""
    y, x = np.mgrid[:side, :side].astype(float)
    u, v = (transform[k, 0] * x + transform[k, 1] * y + transform[k, 2] for k in range(2))
    seen = (u >= 0) & (u <= side - 1) & (v >= 0) & (v <= side - 1)
    return np.stack([u - x, v - y], -1).astype(np.float32), seen


def batch(seed: int, count: int = 6, side: int = 128, reach: float = 4.0) -> Changes:
    """Return pairs of the three classes in turn, from the seed alone."""
    rng = np.random.default_rng(seed)
    parts = []
    for k in range(count):
        original, label = texture(rng, side), k % 3
        edited, changed = original.copy(), np.zeros((side, side), np.bool_)
        if label == 1:
            x, y = rng.integers(0, side // 2, 2)
            edited[y : y + side // 3, x : x + side // 3] = rng.integers(0, 256, 3)
            changed[y : y + side // 3, x : x + side // 3] = True
        if label == 2:
            edited, changed[:] = texture(rng, side), True
        move = affine(
            side, rng.uniform(-3, 3), float(np.exp(rng.uniform(-0.05, 0.05))), tuple(rng.uniform(-reach, reach, 2))
        )
        query = cv2.warpAffine(edited, move, (side, side))
        flow, seen = flow_of(move, side)
        parts.append((original, query, flow, seen & (label != 2), changed, np.int64(label)))
    return Changes(*(np.stack(column) for column in zip(*parts, strict=True)), how=((),) * count)
