"""Write PDF pages with text, pictures and line drawings, with nothing but pikepdf and pdfium.

Positions are in points with the origin at the top left; a text's position is the left end of its base line. The 14
standard fonts are named, not embedded, so the files are small and the same input gives the same bytes.
"""

from __future__ import annotations

import ctypes
import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pikepdf
import pypdfium2.raw as pdfium
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[float, float, float]
BoxPt = tuple[float, float, float, float]
BLACK: Colour = (0.0, 0.0, 0.0)
WHITE: Colour = (1.0, 1.0, 1.0)


class Shape(NamedTuple):
    """A line or an area: points (x, y) pt; `width` 0 and a fill make an area without an outline."""

    points: tuple[tuple[float, float], ...]
    stroke: Colour | None = BLACK
    fill: Colour | None = None
    width: float = 0.8


class Label(NamedTuple):
    """A text: `anchor` is the share of its width left of x (0, .5, 1); `upright` turns it by 90 degrees."""

    x: float
    y: float
    text: str
    size: float = 7.0
    anchor: float = 0.0
    bold: bool = False
    upright: bool = False
    colour: Colour = BLACK


Drawing = Sequence[Shape | Label]


@dataclass
class Sheet:
    """A page in the making."""

    width: float
    height: float
    operators: list[bytes] = field(default_factory=list)
    pictures: dict[str, pikepdf.Object] = field(default_factory=dict)


@dataclass
class Paper:
    """A PDF in the making."""

    pdf: pikepdf.Pdf = field(default_factory=pikepdf.Pdf.new)
    sheets: list[Sheet] = field(default_factory=list)

    def sheet(self, size: tuple[float, float]) -> Sheet:
        """Start a page of (width, height) points."""
        self.sheets.append(Sheet(*size))
        return self.sheets[-1]


@functools.cache
def _font(name: str) -> tuple[Any, Any]:
    document = pdfium.FPDF_CreateNewDocument()
    return document, pdfium.FPDFText_LoadStandardFont(document, name.encode())


@functools.cache
def _glyph(name: str, char: str) -> float:
    width = ctypes.c_float()
    pdfium.FPDFFont_GetGlyphWidth(_font(name)[1], ord(char), 1000.0, width)
    return width.value / 1000


def text_width(text: str, font: str, size: float) -> float:
    """Return the width of a text in points."""
    return sum(_glyph(font, char) for char in text) * size


def write_text(
    sheet: Sheet,
    x: float,
    y: float,
    text: str,
    font: str,
    size: float,
    colour: Colour = BLACK,
    stretch: float = 0.0,
    upright: bool = False,
) -> None:
    """Write one line; `stretch` points are added to each space; `upright` reads from bottom to top."""
    coded = text.encode("cp1252", "replace").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
    place = f"0 1 -1 0 {x:.2f} {sheet.height - y:.2f}" if upright else f"1 0 0 1 {x:.2f} {sheet.height - y:.2f}"
    head = f"BT {_rgb(colour)} rg /{font} {size:.2f} Tf {stretch:.3f} Tw {place} Tm ("
    sheet.operators.append(head.encode() + coded + b") Tj ET")


def draw(sheet: Sheet, drawing: Drawing, x: float = 0.0, y: float = 0.0) -> None:
    """Draw vector shapes with their origin at (x, y)."""
    for item in drawing:
        if isinstance(item, Label):
            font = "Helvetica-Bold" if item.bold else "Helvetica"
            back = text_width(item.text, font, item.size) * item.anchor
            dx, dy = (0.0, back) if item.upright else (-back, 0.0)
            write_text(
                sheet, x + item.x + dx, y + item.y + dy, item.text, font, item.size, item.colour, upright=item.upright
            )
            continue
        ops = [f"{item.width:.2f} w"]
        if item.stroke is not None:
            ops.append(f"{_rgb(item.stroke)} RG")
        if item.fill is not None:
            ops.append(f"{_rgb(item.fill)} rg")
        for index, (px, py) in enumerate(item.points):
            ops.append(f"{x + px:.2f} {sheet.height - y - py:.2f} {'l' if index else 'm'}")
        closed = item.fill is not None
        ops.append(("b" if item.stroke is not None and item.width > 0 else "f") if closed else "S")
        sheet.operators.append(" ".join(ops).encode())


def place_picture(paper: Paper, sheet: Sheet, box: BoxPt, picture: NDArray[np.uint8], quality: int | None) -> None:
    """Place a picture (uint8, HxW or HxWx3 RGB) in `box`; JPEG of `quality`, or Flate for None."""
    data, code = encoded(picture, quality)
    height, width = picture.shape[:2]
    stream = pikepdf.Stream(paper.pdf, data)
    stream.Type, stream.Subtype = pikepdf.Name.XObject, pikepdf.Name.Image
    stream.Width, stream.Height, stream.BitsPerComponent = width, height, 8
    stream.ColorSpace = pikepdf.Name.DeviceGray if picture.ndim == 2 else pikepdf.Name.DeviceRGB
    stream.Filter = pikepdf.Name(code)
    name = f"Im{len(sheet.pictures)}"
    sheet.pictures[name] = paper.pdf.make_indirect(stream)
    x0, y0, x1, y1 = box
    sheet.operators.append(
        f"q {x1 - x0:.3f} 0 0 {y1 - y0:.3f} {x0:.3f} {sheet.height - y1:.3f} cm /{name} Do Q".encode()
    )


def encoded(picture: NDArray[np.uint8], quality: int | None) -> tuple[bytes, str]:
    """Return the bytes of a picture as they lie in the file, and the name of their filter."""
    if quality is None:
        return zlib.compress(np.ascontiguousarray(picture).tobytes(), 6), "/FlateDecode"
    flat = picture if picture.ndim == 2 else picture[..., ::-1]
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(flat), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes(), "/DCTDecode"


def as_stored(picture: NDArray[np.uint8], quality: int | None) -> NDArray[np.uint8]:
    """Return the pixels that a reader of the file gets."""
    if quality is None:
        return picture
    back = cv2.imdecode(np.frombuffer(encoded(picture, quality)[0], np.uint8), cv2.IMREAD_UNCHANGED)
    return back if back.ndim == 2 else np.ascontiguousarray(back[..., ::-1])


def rasterise(drawing: Drawing, size_pt: tuple[float, float], dpi: float) -> NDArray[np.uint8]:
    """Draw shapes on white: size (width, height) pt -> uint8 HxWx3, smoothed."""
    over, scale = 2, 2 * dpi / 72
    width, height = (max(1, round(side * dpi / 72)) for side in size_pt)
    canvas = Image.new("RGB", (width * over, height * over), "white")
    pen = ImageDraw.Draw(canvas)
    for item in drawing:
        if isinstance(item, Label):
            _raster_label(canvas, pen, item, scale)
            continue
        points = [(x * scale, y * scale) for x, y in item.points]
        thick = max(1, round(item.width * scale)) if item.width > 0 else 0
        if item.fill is not None:
            pen.polygon(points, fill=_bytes(item.fill))
            points = [*points, points[0]]
        if item.stroke is not None and thick:
            pen.line(points, fill=_bytes(item.stroke), width=thick, joint="curve")
    return np.asarray(canvas.resize((width, height), Image.Resampling.BOX))


def stamp(picture: NDArray[np.uint8], text: str, place: tuple[float, float], height_px: float, value: int) -> None:
    """Write a text into a picture, in place, its left top at `place` px."""
    canvas = Image.new("L", picture.shape[1::-1], 0)
    ImageDraw.Draw(canvas).text(place, text, fill=255, font=ImageFont.load_default(size=max(6.0, height_px)))
    alpha = np.asarray(canvas).astype(np.float32) / 255
    alpha = alpha if picture.ndim == 2 else alpha[..., None]
    picture[:] = (picture + alpha * (value - picture.astype(np.float32)) + 0.5).astype(np.uint8)


def drawing_box(drawing: Drawing) -> BoxPt:
    """Return the box of the ink of a drawing in points."""
    boxes: list[tuple[float, float, float, float]] = []
    for item in drawing:
        if isinstance(item, Label):
            long = text_width(item.text, "Helvetica-Bold" if item.bold else "Helvetica", item.size)
            if item.upright:
                boxes.append(
                    (
                        item.x - 0.75 * item.size,
                        item.y - long * (1 - item.anchor),
                        item.x + 0.2 * item.size,
                        item.y + long * item.anchor,
                    )
                )
            else:
                x0 = item.x - long * item.anchor
                boxes.append((x0, item.y - 0.75 * item.size, x0 + long, item.y + 0.2 * item.size))
        else:
            xs, ys = [p[0] for p in item.points], [p[1] for p in item.points]
            boxes.append((min(xs), min(ys), max(xs), max(ys)))
    columns = list(zip(*boxes, strict=True))
    return min(columns[0]), min(columns[1]), max(columns[2]), max(columns[3])


def save(paper: Paper, path: Path, title: str) -> None:
    """Write the file; the same content gives the same bytes."""
    fonts = pikepdf.Dictionary()
    for name in ("Times-Roman", "Times-Bold", "Times-Italic", "Helvetica", "Helvetica-Bold"):
        fonts[f"/{name}"] = paper.pdf.make_indirect(
            pikepdf.Dictionary(
                Type=pikepdf.Name.Font,
                Subtype=pikepdf.Name.Type1,
                BaseFont=pikepdf.Name(f"/{name}"),
                Encoding=pikepdf.Name.WinAnsiEncoding,
            )
        )
    shared = paper.pdf.make_indirect(fonts)
    for sheet in paper.sheets:
        content = pikepdf.Stream(paper.pdf, b"\n".join(sheet.operators))
        page = pikepdf.Dictionary(
            Type=pikepdf.Name.Page,
            MediaBox=[0, 0, round(sheet.width, 2), round(sheet.height, 2)],
            Contents=paper.pdf.make_indirect(content),
            Resources=pikepdf.Dictionary(
                Font=shared,
                XObject=pikepdf.Dictionary({f"/{name}": picture for name, picture in sheet.pictures.items()}),
            ),
        )
        paper.pdf.pages.append(pikepdf.Page(page))
    paper.pdf.docinfo["/Title"] = title
    paper.pdf.save(path, deterministic_id=True, compress_streams=True)


def _raster_label(canvas: Image.Image, pen: ImageDraw.ImageDraw, item: Label, scale: float) -> None:
    text = item.text.replace("µ", "u").replace("²", "2")  # Pillow's own font has neither
    font = ImageFont.load_default(size=max(4.0, item.size * scale))
    long = pen.textlength(text, font=font)
    if not item.upright:
        x, y = item.x * scale - long * item.anchor, item.y * scale
        pen.text((x, y), text, fill=_bytes(item.colour), font=font, anchor="ls")
        return
    tall = int(item.size * scale * 1.4)
    strip = Image.new("L", (int(long) + 2, tall), 0)
    ImageDraw.Draw(strip).text((0, tall * 0.75), text, fill=255, font=font, anchor="ls")
    strip = strip.rotate(90, expand=True)
    corner = (round(item.x * scale - tall * 0.75), round(item.y * scale - long * (1 - item.anchor)))
    canvas.paste(Image.new("RGB", strip.size, _bytes(item.colour)), corner, strip)


def _rgb(colour: Colour) -> str:
    return " ".join(f"{part:.3f}" for part in colour)


def _bytes(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in colour)
    return red, green, blue
