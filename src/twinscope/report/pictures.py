"""Pictures of a case as data URIs, small enough that two hundred findings fit one file."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np

from twinscope import pixels
from twinscope.pixels import Image

LONG_SIDE = 900
"""Longest side in px of a picture inside the report; coordinates stay those of the panel."""

_LADDER = (
    (1.0, 92, 1.0),
    (1.0, 85, 0.65),
    (1.0, 76, 0.48),
    (0.8, 74, 0.31),
    (0.62, 72, 0.19),
    (0.48, 68, 0.11),
    (0.36, 60, 0.05),
)
"""Scale, JPEG quality and rough size of each rung against the first, so that hopeless rungs are not tried."""


def inside(case: Path, relative: str | None) -> Path | None:
    """Return the file `relative` of the case, or None when it is missing or would lie outside the case."""
    if not relative:
        return None
    root = case.resolve()
    try:
        path = (root / relative).resolve()
        return path if path.is_relative_to(root) and path.is_file() else None
    except (OSError, ValueError):
        return None


def load(case: Path, relative: str | None) -> Image | None:
    """Return a picture of the case (uint8, HxW or HxWx3 RGB), or None when there is none that can be read."""
    path = inside(case, relative)
    if path is None:
        return None
    try:
        return pixels.read_png(path)
    except (ValueError, OSError, cv2.error):
        return None


def stored(case: Path, relative: str, share: int) -> str | None:
    """Return a PNG of the case as it is as a data URI, or None when it is no PNG or takes more than `share`."""
    path = inside(case, relative)
    if path is None or path.stat().st_size * 4 > share * 3:
        return None
    data = path.read_bytes()
    return _as_uri(data, "image/png") if data.startswith(b"\x89PNG\r\n\x1a\n") else None


def shrink(image: Image, long_side: int) -> Image:
    """Return the picture with its longest side at most `long_side` px (area averaging; never enlarged)."""
    scale = long_side / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def uri(image: Image, share: int, long_side: int = LONG_SIDE) -> str:
    """Return a data URI of at most about `share` characters: PNG where it fits, else the best JPEG that does.

    The last rung of the ladder (about a third of `long_side`) is taken even where it does not fit.
    """
    limit = share * 3 // 4
    first = shrink(image, long_side)
    if first.size < 8 * limit:
        lossless = _encode(first, ".png", [cv2.IMWRITE_PNG_COMPRESSION, 6])
        if len(lossless) <= limit:
            return _as_uri(lossless, "image/png")
    data, whole = b"", 0
    for scale, quality, rough in _LADDER:
        if whole and rough * whole > 1.6 * limit and quality != _LADDER[-1][1]:
            continue
        data = _encode(shrink(first, max(1, round(max(first.shape[:2]) * scale))), ".jpg", _jpeg(quality))
        whole = whole or len(data)
        if len(data) <= limit:
            break
    return _as_uri(data, "image/jpeg")


def stretch(image: Image) -> tuple[float, float]:
    """Return the slope and the intercept (of values in [0, 1]) that spread a picture's tones from black to white.

    The darkest and the brightest half per cent are cut off; a flat picture is left as it is.
    """
    low, high = np.percentile(shrink(image, 400), (0.5, 99.5)) / 255
    if high - low < 1 / 255:
        return 1.0, 0.0
    return float(1 / (high - low)), float(-low / (high - low))


def grey(image: Image) -> Image:
    """Return a picture (uint8, HxW or HxWx3 RGB) in grey, HxW."""
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def cividis(heat: Image) -> Image:
    """Return the heat-map HxW uint8 in the cividis colours (HxWx3 RGB): dark blue is 0, yellow is 255."""
    coloured = cv2.applyColorMap(grey(heat), cv2.COLORMAP_CIVIDIS)
    return np.asarray(cv2.cvtColor(coloured, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def legend(stops: int = 9) -> list[tuple[int, str]]:
    """Return (percent, "#rrggbb") stops of the cividis colours, from 0 to 100 %."""
    values = np.linspace(0, 255, stops).round().astype(np.uint8)
    colours = cividis(values[None, :])[0]
    return [(round(100 * i / (stops - 1)), "#{:02x}{:02x}{:02x}".format(*map(int, c))) for i, c in enumerate(colours)]


def tables(stops: int = 33) -> list[tuple[str, str]]:
    """Return for "R", "G" and "B" the cividis colours as the table of an SVG filter: values from 0 to 1."""
    colours = cividis(np.linspace(0, 255, stops).round().astype(np.uint8)[None, :])[0] / 255
    return [(name, " ".join(f"{value:.3f}" for value in colours[:, i])) for i, name in enumerate("RGB")]


def _jpeg(quality: int) -> list[int]:
    return [cv2.IMWRITE_JPEG_QUALITY, quality]


def _encode(image: Image, suffix: str, flags: list[int]) -> bytes:
    out = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(suffix, out, flags)
    if not ok:
        raise ValueError(f"cannot encode a picture of {image.shape} as {suffix}")
    return bytes(data.tobytes())


def _as_uri(data: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"
