"""Decode and encode pictures; grey and tone. The only file that knows image formats.

At the edges pictures are uint8, HxW (grey) or HxWx3 (RGB); inside they are float32 in [0, 1].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Grey = NDArray[np.float32]


def grey(image: NDArray[Any]) -> Grey:
    """Return the luma of a picture: HxW or HxWx3 RGB, uint8 or float32 in [0, 1] -> HxW float32 in [0, 1]."""
    scaled = image.astype(np.float32) / np.float32(255) if image.dtype == np.uint8 else image.astype(np.float32)
    if scaled.ndim == 2:
        return scaled
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(scaled), cv2.COLOR_RGB2GRAY), np.float32)


def read_png(path: Path) -> Image:
    """Return a picture that twinscope wrote itself: HxW or HxWx3 RGB uint8. Raises FileNotFoundError."""
    data = np.frombuffer(path.read_bytes(), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f"{path} is not a picture that twinscope wrote; delete the case folder and screen again")
    return np.asarray(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def write_png(path: Path, image: Image) -> None:
    """Write HxW or HxWx3 RGB uint8 as PNG, the same bytes for the same pixels."""
    out = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".png", out, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not ok:
        raise ValueError(f"cannot encode {path} as PNG")
    path.write_bytes(data.tobytes())


def write_jpeg(path: Path, image: Image, quality: int = 80) -> None:
    """Write HxW or HxWx3 RGB uint8 as JPEG (thumbnails only; panels are PNG)."""
    out = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError(f"cannot encode {path} as JPEG")
    path.write_bytes(data.tobytes())
