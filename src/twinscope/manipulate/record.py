"""What a manipulation gives back, and the small helpers that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Transform = NDArray[np.float64]
Rng = np.random.Generator


class Manipulated(NamedTuple):
    """A manipulated picture: float32 [0, 1] image, 3x3 float64 source px -> result px, bool HxW of local edits."""

    image: Image
    transform: Transform
    mask: Mask


Step = Callable[[Image, Rng], Manipulated]


def done(image: NDArray[Any], transform: Transform | None = None, mask: Mask | None = None) -> Manipulated:
    """Return the record of a result, clipped to [0, 1]; by default nothing moved and nothing was edited."""
    clipped = np.ascontiguousarray(np.clip(image, 0, 1), dtype=np.float32)
    whole = np.eye(3) if transform is None else transform
    return Manipulated(clipped, whole, np.zeros(clipped.shape[:2], np.bool_) if mask is None else np.asarray(mask))


def blend(image: Image, other: Any, alpha: Image) -> Image:
    """Return the image where alpha is 0, bit for bit, and `other` where it is 1."""
    share = alpha if image.ndim == 2 else alpha[..., None]
    return np.asarray(image + share * (other - image), np.float32)


def luma(image: Image) -> Image:
    """Return the luma of a picture, HxW."""
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)
