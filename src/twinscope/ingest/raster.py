"""The pixels of rasters placed on a PDF page, at their native resolution, turned as they are shown.

Runs in the worker only: it loads pypdfium2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as raw
from numpy.typing import NDArray

from twinscope.errors import BrokenError, RefusedError
from twinscope.ingest.layout import common, hull
from twinscope.ingest.sheet import Placed
from twinscope.types import Box

Image = NDArray[np.uint8]

_LARGE_PX = 24_000_000


class Native(NamedTuple):
    """Pixels as shown, the place of their whole extent on the page (points), and the part of it that is seen."""

    image: Image
    box: Box
    visible: Box

    @property
    def density(self) -> tuple[float, float]:
        """Pixels per point in x and y."""
        return self.image.shape[1] / self.box.width, self.image.shape[0] / self.box.height


def turns(placed: Placed) -> tuple[bool, bool, bool] | None:
    """Return (transpose, flip left-right, flip up-down) that make the raster look as shown; None where it is skewed."""
    a, b, c, d = placed.to_page[:4]
    if abs(b) + abs(c) <= 0.01 * (abs(a) + abs(d)):
        return False, a < 0, d > 0
    if abs(a) + abs(d) <= 0.01 * (abs(b) + abs(c)):
        return True, c > 0, b < 0
    return None


def native(page: pdfium.PdfPage, placed: Placed, most_px: int) -> Native | None:
    """Return the pixels of a placed raster as shown, on white; None where it is placed askew.

    Raises RefusedError beyond `most_px` pixels, BrokenError where the raster cannot be decoded.
    """
    how = turns(placed)
    if how is None or placed.box.width <= 0 or placed.box.height <= 0:
        return None
    image = decode(page, placed, most_px)
    transpose, left_right, up_down = how
    if transpose:
        image = image.swapaxes(0, 1)
    if left_right:
        image = image[:, ::-1]
    if up_down:
        image = image[::-1]
    return Native(image, placed.box, placed.visible)


def decode(page: pdfium.PdfPage, placed: Placed, most_px: int) -> Image:
    """Return the pixels of a raster as stored: HxWx3 RGB or HxW uint8, colours as shown, masks composed on white."""
    height, width = placed.size
    if height * width > most_px:
        raise RefusedError(f"a picture of {width} x {height} px is over the limit of {most_px} px")
    if height * width == 0:
        raise BrokenError("a picture without pixels")
    if height * width > _LARGE_PX and _opaque(page, placed):
        bitmap = raw.FPDFImageObj_GetBitmap(placed.handle)
    else:
        bitmap = _rendered(page, placed, width, height)
    if not bitmap:
        raise BrokenError(f"a picture of {width} x {height} px cannot be decoded")
    image = pdfium.PdfBitmap.from_raw(bitmap)  # freed with its buffer
    return on_white(image.to_numpy(), image.format)


def _rendered(page: pdfium.PdfPage, placed: Placed, width: int, height: int) -> object:
    own = raw.FS_MATRIX()
    raw.FPDFPageObj_GetMatrix(placed.handle, own)
    raw.FPDFPageObj_SetMatrix(placed.handle, raw.FS_MATRIX(width, 0, 0, height, 0, 0))
    try:
        return raw.FPDFImageObj_GetRenderedBitmap(page.pdf, page, placed.handle)
    finally:
        raw.FPDFPageObj_SetMatrix(placed.handle, own)


def _opaque(page: pdfium.PdfPage, placed: Placed) -> bool:
    bitmap = _rendered(page, placed, 64, 64)
    if not bitmap:
        return True
    data = pdfium.PdfBitmap.from_raw(bitmap).to_numpy()
    return not (data.ndim == 3 and data.shape[2] == 4 and data[..., 3].min() < 255)


def on_white(data: NDArray[np.uint8], form: int) -> Image:
    """Return a pdfium bitmap (grey, BGR, BGRx, BGRA) as RGB or grey, transparency composed on white, copied."""
    if data.ndim == 2 or data.shape[2] == 1:
        return data.reshape(data.shape[:2]).copy()
    if form == raw.FPDFBitmap_BGRA and data[..., 3].min() < 255:
        alpha = data[..., 3:].astype(np.float32) / 255
        color = data[..., :3].astype(np.float32) * alpha + 255 * (1 - alpha)
        return np.ascontiguousarray((color + 0.5).astype(np.uint8)[..., ::-1])
    code = cv2.COLOR_BGRA2RGB if data.shape[2] == 4 else cv2.COLOR_BGR2RGB
    rgb: Image = cv2.cvtColor(np.ascontiguousarray(data), code)
    return rgb


def cut(source: Native, box: Box, slack_pt: float) -> tuple[Image, Box]:
    """Return the pixels of a box (points) of a raster and the box in its pixels as shown; edges nearer than
    `slack_pt` to the raster's visible edge become that edge."""
    sides = zip(box, source.visible, strict=True)
    x0, y0, x1, y1 = (edge if abs(side - edge) <= slack_pt else side for side, edge in sides)
    dx, dy = source.density
    height, width = source.image.shape[:2]
    left = min(max(round((x0 - source.box.x0) * dx), 0), width - 1)
    top = min(max(round((y0 - source.box.y0) * dy), 0), height - 1)
    right = min(max(round((x1 - source.box.x0) * dx), left + 1), width)
    bottom = min(max(round((y1 - source.box.y0) * dy), top + 1), height)
    return source.image[top:bottom, left:right], Box(left, top, right, bottom)


def covering(boxes: Sequence[Box], box: Box) -> list[int]:
    """Return the indices of boxes that make up at least .95 of `box` together, or [] where they do not."""
    touching = [i for i, b in enumerate(boxes) if common(b, box) > 0.002 * box.area]
    if not touching:
        return []
    seen = np.zeros((128, 128), bool)
    for i in touching:
        b = boxes[i]
        x0, x1 = (round((v - box.x0) / box.width * 128) for v in (b.x0, b.x1))
        y0, y1 = (round((v - box.y0) / box.height * 128) for v in (b.y0, b.y1))
        seen[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = True
    return touching if seen.mean() >= 0.95 else []


def assemble(parts: Sequence[Native], most_px: int) -> Native | None:
    """Return tiles of one picture put together, in drawing order; None where their resolutions differ."""
    dx, dy = parts[0].density
    for part in parts:
        px, py = part.density
        height, width = part.image.shape[:2]
        if abs(px / dx - 1) > 0.01 + 0.6 / width or abs(py / dy - 1) > 0.01 + 0.6 / height:
            return None
    box, visible = parts[0].box, parts[0].visible
    for part in parts[1:]:
        box, visible = hull(box, part.box), hull(visible, part.visible)
    height, width = round(box.height * dy), round(box.width * dx)
    if height * width > most_px:
        return None
    canvas = np.full((height, width, 3), 255, np.uint8)
    for part in parts:
        tall, wide = part.image.shape[:2]
        top = min(max(round((part.box.y0 - box.y0) * dy), 0), max(0, height - tall))
        left = min(max(round((part.box.x0 - box.x0) * dx), 0), max(0, width - wide))
        image = part.image if part.image.ndim == 3 else np.repeat(part.image[..., None], 3, axis=2)
        room = canvas[top : top + tall, left : left + wide]
        room[:] = image[: room.shape[0], : room.shape[1]]
    return Native(canvas, box, visible)
