"""Pictures drawn for the tests of detection."""

from __future__ import annotations

import cv2
import numpy as np


def scene(seed: int = 0, size: tuple[int, int] = (240, 300)) -> np.ndarray:
    """A textured grey picture, uint8: blobs of several sizes."""
    rng = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(rng.standard_normal(size).astype(np.float32), (0, 0), s) * s for s in (2, 5, 11)]
    total = sum(layers)
    return np.clip(128 + 45 * total / total.std(), 0, 255).astype(np.uint8)


def real(image: np.ndarray) -> np.ndarray:
    """uint8 to float32 in [0, 1]."""
    return image.astype(np.float32) / 255


def byte(image: np.ndarray) -> np.ndarray:
    """float32 in [0, 1] to uint8."""
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
