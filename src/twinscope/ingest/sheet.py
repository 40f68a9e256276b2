"""What lies on a page of a PDF: its drawn objects, placed rasters and text lines, in points as shown.

Runs in the worker only: it loads pypdfium2.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from twinscope.ingest.layout import Graphic, Line
from twinscope.types import Box

MAX_OBJECTS = 200_000
MAX_CHARS = 100_000
MAX_DEPTH = 15

Affine = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): x' = a x + c y + e, y' = b x + d y + f, as in the PDF standard."""


class Placed(NamedTuple):
    """A raster placed on the page: `to_page` maps its unit square (y up) to points as shown."""

    box: Box
    visible: Box
    to_page: Affine
    size: tuple[int, int]
    bits: int
    handle: Any


class Sheet(NamedTuple):
    """A page: its `size` (height, width) in points, graphics in drawing order, rasters and text lines."""

    size: tuple[float, float]
    graphics: list[Graphic]
    rasters: list[Placed]
    lines: list[Line]


def chain(first: Affine, then: Affine) -> Affine:
    """Return the transform that applies `first` and then `then`."""
    a, b, c, d, e, f = first
    p, q, r, s, t, u = then
    return (a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u)


def apply(matrix: Affine, x: float, y: float) -> tuple[float, float]:
    """Return the image of a point."""
    a, b, c, d, e, f = matrix
    return a * x + c * y + e, b * x + d * y + f


def map_box(matrix: Affine, x0: float, y0: float, x1: float, y1: float) -> Box:
    """Return the upright box around the image of a box."""
    points = [apply(matrix, x, y) for x in (x0, x1) for y in (y0, y1)]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return Box(min(xs), min(ys), max(xs), max(ys))


def meet(a: Box, b: Box) -> Box:
    """Return the common part of two boxes; one without area where they do not meet."""
    x0, y0 = max(a.x0, b.x0), max(a.y0, b.y0)
    return Box(x0, y0, max(x0, min(a.x1, b.x1)), max(y0, min(a.y1, b.y1)))


def as_shown(page: pdfium.PdfPage) -> tuple[tuple[float, float], Affine]:
    """Return (height, width) of the page as shown and the transform from its user space to points as shown."""
    left, bottom, right, top = page.get_bbox()
    width, height = right - left, top - bottom
    matrices: dict[int, Affine] = {
        0: (1, 0, 0, -1, -left, top),
        90: (0, 1, 1, 0, -bottom, -left),
        180: (-1, 0, 0, 1, right, -bottom),
        270: (0, -1, -1, 0, top, right),
    }
    rotation = page.get_rotation() % 360
    return ((width, height) if rotation in (90, 270) else (height, width)), matrices[rotation]


def read(page: pdfium.PdfPage, text: bool = True) -> Sheet:
    """Return what lies on a page, without its lines where `text` is False.

    Raises ValueError for a page with more objects than `MAX_OBJECTS`.
    """
    size, shown = as_shown(page)
    frame = Box(0, 0, size[1], size[0])
    graphics: list[Graphic] = []
    rasters: list[Placed] = []
    for handle, matrix, clip in _walk(page, None, shown, frame, 0):
        if len(graphics) >= MAX_OBJECTS:
            raise ValueError(f"the page has more than {MAX_OBJECTS} objects")
        kind = raw.FPDFPageObj_GetType(handle)
        whole = _bounds(handle, matrix)
        if whole is None:
            continue
        if kind == raw.FPDF_PAGEOBJ_IMAGE:
            placed = _placed(page, handle, matrix, clip)
            if placed is not None and placed.visible.area > 0:
                graphics.append(Graphic(placed.visible, "raster", len(rasters)))
                rasters.append(placed)
        else:
            graphic = _drawn(handle, kind, meet(whole, clip))
            if graphic is not None:
                graphics.append(graphic)
    return Sheet(size, graphics, rasters, _lines(page, shown) if text else [])


def _walk(page: Any, form: Any, matrix: Affine, clip: Box, depth: int) -> Iterator[tuple[Any, Affine, Box]]:
    count = raw.FPDFFormObj_CountObjects(form) if form else raw.FPDFPage_CountObjects(page)
    for index in range(max(0, count)):
        handle = raw.FPDFFormObj_GetObject(form, index) if form else raw.FPDFPage_GetObject(page, index)
        if not handle:
            continue
        inside = meet(clip, _clip(handle, matrix, clip))
        if raw.FPDFPageObj_GetType(handle) == raw.FPDF_PAGEOBJ_FORM:
            if depth < MAX_DEPTH:
                whole = _bounds(handle, matrix)
                own = _matrix(handle)
                if own is not None and whole is not None:
                    yield from _walk(page, handle, chain(own, matrix), meet(inside, whole), depth + 1)
        else:
            yield handle, matrix, inside


def _bounds(handle: Any, matrix: Affine) -> Box | None:
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    if not raw.FPDFPageObj_GetBounds(handle, left, bottom, right, top):
        return None
    box = map_box(matrix, left.value, bottom.value, right.value, top.value)
    return box if all(abs(v) < 1e7 for v in box) else None


def _matrix(handle: Any) -> Affine | None:
    m = raw.FS_MATRIX()
    if not raw.FPDFPageObj_GetMatrix(handle, m):
        return None
    values = (m.a, m.b, m.c, m.d, m.e, m.f)
    return values if all(abs(v) < 1e7 for v in values) else None


def _clip(handle: Any, matrix: Affine, default: Box) -> Box:
    path = raw.FPDFPageObj_GetClipPath(handle)
    if not path:
        return default
    box = default
    for index in range(min(16, max(0, raw.FPDFClipPath_CountPaths(path)))):
        xs, ys = [], []
        for part in range(min(64, max(0, raw.FPDFClipPath_CountPathSegments(path, index)))):
            segment = raw.FPDFClipPath_GetPathSegment(path, index, part)
            x, y = ctypes.c_float(), ctypes.c_float()
            if segment and raw.FPDFPathSegment_GetPoint(segment, x, y):
                xs.append(x.value)
                ys.append(y.value)
        if len(xs) >= 2 and len(xs) < 64:
            box = meet(box, map_box(matrix, min(xs), min(ys), max(xs), max(ys)))
    return box


def _placed(page: Any, handle: Any, matrix: Affine, clip: Box) -> Placed | None:
    own = _matrix(handle)
    width, height = ctypes.c_uint(), ctypes.c_uint()
    if own is None or not raw.FPDFImageObj_GetImagePixelSize(handle, width, height):
        return None
    to_page = chain(own, matrix)
    box = map_box(to_page, 0, 0, 1, 1)
    data = raw.FPDF_IMAGEOBJ_METADATA()
    bits = data.bits_per_pixel if raw.FPDFImageObj_GetImageMetadata(handle, page, data) else 0
    return Placed(box, meet(box, clip), to_page, (height.value, width.value), bits, handle)


def _color(get: Any, handle: Any) -> tuple[int, int, int, int]:
    r, g, b, a = (ctypes.c_uint() for _ in range(4))
    return (r.value, g.value, b.value, a.value) if get(handle, r, g, b, a) else (0, 0, 0, 255)


def _drawn(handle: Any, kind: int, box: Box) -> Graphic | None:
    """Return a path or shading as a graphic; None where nothing of it is seen."""
    if kind == raw.FPDF_PAGEOBJ_SHADING:
        return Graphic(box, "drawing")
    if kind != raw.FPDF_PAGEOBJ_PATH:
        return None
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    if not raw.FPDFPath_GetDrawMode(handle, fill, stroke) or not (fill.value or stroke.value):
        return None
    inks = []
    if fill.value:
        inks.append(_color(raw.FPDFPageObj_GetFillColor, handle))
    if stroke.value:
        inks.append(_color(raw.FPDFPageObj_GetStrokeColor, handle))
    seen = [ink for ink in inks if ink[3] > 8 and min(ink[:3]) < 250]
    if not seen:
        return None
    shape: Literal["rule", "tint", "drawing"] = "drawing"
    if min(box.width, box.height) <= 3 and max(box.width, box.height) >= 8:
        shape = "rule"
    elif raw.FPDFPath_CountSegments(handle) <= 6 and _upright(handle):
        shape = "tint"
    return Graphic(box, shape)


def _upright(handle: Any) -> bool:
    """Return whether all segments of a path are horizontal or vertical lines."""
    last: tuple[float, float] | None = None
    for index in range(raw.FPDFPath_CountSegments(handle)):
        segment = raw.FPDFPath_GetPathSegment(handle, index)
        if raw.FPDFPathSegment_GetType(segment) == raw.FPDF_SEGMENT_BEZIERTO:
            return False
        x, y = ctypes.c_float(), ctypes.c_float()
        if not raw.FPDFPathSegment_GetPoint(segment, x, y):
            return False
        if last is not None and min(abs(x.value - last[0]), abs(y.value - last[1])) > 0.5:
            return False
        last = (x.value, y.value)
    return True


def _lines(page: pdfium.PdfPage, shown: Affine) -> list[Line]:
    """Return the text of a page as lines, in the order of the content."""
    text = page.get_textpage()
    lines: list[Line] = []
    chars: list[str] = []
    box: Box | None = None
    height = 0.0
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    loose = raw.FS_RECTF()
    for index in range(min(MAX_CHARS, max(0, text.count_chars()))):
        code = raw.FPDFText_GetUnicode(text, index)
        if code in (0, 9, 10, 13, 32, 160):
            chars.append(" ")
            continue
        if not raw.FPDFText_GetCharBox(text, index, left, right, bottom, top):
            continue
        if not raw.FPDFText_GetLooseCharBox(text, index, loose):
            continue
        tight = _turned(shown, left.value, bottom.value, right.value, top.value)
        here = _turned(shown, loose.left, loose.bottom, loose.right, loose.top)
        if here.area <= 0 or max(map(abs, here)) > 1e6:
            continue
        if box is not None and _continues(box, here, height):
            box = Box(min(box.x0, tight.x0), min(box.y0, here.y0), max(box.x1, tight.x1), max(box.y1, here.y1))
            height = max(height, here.height)
        else:
            if box is not None:
                lines.append(Line(box, " ".join("".join(chars).split()), height))
            box, chars, height = Box(tight.x0, here.y0, tight.x1, here.y1), [], here.height
        chars.append(chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd")
    if box is not None:
        lines.append(Line(box, " ".join("".join(chars).split()), height))
    text.close()
    return lines


def _turned(matrix: Affine, x0: float, y0: float, x1: float, y1: float) -> Box:
    """Return the image of a box under a transform by quarter turns: `map_box`, quicker."""
    a, b, c, d, e, f = matrix
    px, qx = a * x0 + c * y0 + e, a * x1 + c * y1 + e
    py, qy = b * x0 + d * y0 + f, b * x1 + d * y1 + f
    return Box(px if px < qx else qx, py if py < qy else qy, qx if px < qx else px, qy if py < qy else py)


def _continues(line: Box, char: Box, height: float) -> bool:
    overlap = min(line.y1, char.y1) - max(line.y0, char.y0)
    if overlap < 0.5 * min(char.height, line.height):
        return False
    return -2.0 * height <= char.x0 - line.x1 <= 1.6 * height
