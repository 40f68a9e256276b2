"""Embed pictures: a point in 128 dimensions each, where two views of one picture lie within distance 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import models

MODEL = "embedder-3"
"""The network that embeds."""
SIDE_PX = 96
"""Every picture, whatever its size and aspect, is resized to this square before it is embedded."""


def embed(
    images: Sequence[NDArray[np.uint8]], model_id: str = MODEL, threads: int = 2, batch: int = 32
) -> NDArray[np.float32]:
    """Return the points of pictures: HxW or HxWx3 RGB uint8 of any size and aspect -> (n, 128) float32.

    A picture is turned to luma and resized to 96x96 (area filter when shrinking, bicubic when growing); the rest of
    the preprocessing lies in the graph. Raises ModelError where the model is not the one of its card, and ValueError
    for an array that is no such picture.
    """
    model = models.load(model_id, threads)
    points = [
        model.run(np.stack([prepare(image) for image in images[k : k + batch]])) for k in range(0, len(images), batch)
    ]
    return np.concatenate(points).astype(np.float32) if points else np.zeros((0, 128), np.float32)


def prepare(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the 96x96 grey uint8 picture that the network sees."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size == 0 or image.shape[2:] not in ((), (3,)):
        raise ValueError(f"a picture is HxW or HxWx3 uint8, got {image.dtype} {image.shape}")
    grey = image if image.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    if grey.shape == (SIDE_PX, SIDE_PX):
        return np.asarray(grey, np.uint8)
    how = cv2.INTER_AREA if grey.size >= SIDE_PX**2 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=how), np.uint8)


def distances(x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float32]:
    """Return Euclidean distances between points: (n, d) and (m, d) -> (n, m) float32; <= 1 means the same picture."""
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.asarray(np.sqrt(np.clip(squared, 0, None)), np.float32)
