"""Pictures drawn for the tests of detection."""

from __future__ import annotations

import cv2
import numpy as np

from twinscope.detect import dense, features
from twinscope.settings import Settings

SETTINGS = Settings(threads=1)


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


def strip(seed: int, bands: int = 4) -> np.ndarray:
    """A smooth blot strip: dark soft bands of several widths on light ground, float32."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:60, 0:240].astype(np.float32)
    dark = np.zeros_like(x)
    for k in range(bands):
        cx, cy = (k + 0.5) * 240 / bands + rng.normal(0, 6), 30 + rng.normal(0, 5)
        dark += rng.uniform(0.2, 0.8) * np.exp(
            -(np.abs(x - cx) ** 3 / rng.uniform(12, 24) ** 3) - ((y - cy) / rng.uniform(4, 9)) ** 2
        )
    return np.clip(0.9 - 0.8 * cv2.GaussianBlur(dark, (0, 0), 2), 0, 1)


def placed(a: np.ndarray, b: np.ndarray) -> tuple[features.View, features.View, tuple[dense.Place, ...]]:
    """The views of two pictures, and where the correlation search lays one on the other."""
    va, vb = features.view(byte(a), SETTINGS.features), features.view(byte(b), SETTINGS.features)
    turned = dense.turn(dense.prepare(va, SETTINGS.dense), SETTINGS.dense)
    return va, vb, dense.search(turned, dense.prepare(vb, SETTINGS.dense), SETTINGS.dense)


def cells(seed: int, height: int = 256, width: int = 256) -> np.ndarray:
    """A dark picture with forty soft cells, uint8."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width), 30, np.uint8)
    for _ in range(40):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        axes = (int(rng.integers(5, 22)), int(rng.integers(5, 22)))
        cv2.ellipse(image, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, (int(rng.integers(90, 250)),), -1)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 1.5), np.uint8)
