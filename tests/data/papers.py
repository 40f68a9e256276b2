"""Draw honest documents of every kind from pictures that the test knows."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import attacks
import cv2
import docx as python_docx
import numpy as np
import PIL.Image
import pptx as python_pptx
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Item = tuple[bytes, str]
"""A PNG and its caption."""


def micrograph(seed: int = 0, height: int = 120, width: int = 160) -> Image:
    """Return a grey picture of blurred noise: one panel, no gutters."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return np.clip(120 + smooth * 300, 20, 235).astype(np.uint8)


def png(image: Image) -> bytes:
    """Return a picture as PNG bytes."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def pdf(folder: Path, pages: Sequence[Image | str | None]) -> Path:
    """A paper: a page with a picture for an image, an empty one for None, one that unpacks to 1 GiB for "bomb"."""
    count = len(pages)
    kids = b" ".join(b"%d 0 R" % (3 + 3 * i) for i in range(count))
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[" + kids + b"]/Count %d>>" % count]
    for index, page in enumerate(pages):
        at = 3 + 3 * index
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Resources<</XObject<</I %d 0 R>>>>/Contents %d 0 R>>"
            % (at + 2, at + 1)
        )
        image = page if isinstance(page, np.ndarray) else np.zeros((8, 8), np.uint8)
        height, width = image.shape
        if isinstance(page, str):
            packer = zlib.compressobj(9)
            parts = [packer.compress(b" " * (1 << 20)) for _ in range(1 << 10)]
            objects.append(attacks.stream(b"".join(parts) + packer.flush(), b"/Filter/FlateDecode"))
        else:
            objects.append(attacks.stream(b"" if page is None else b"q 320 0 0 240 100 400 cm /I Do Q"))
        head = b"/Type/XObject/Subtype/Image/Width %d/Height %d" % (width, height)
        head += b"/BitsPerComponent 8/ColorSpace/DeviceGray"
        objects.append(attacks.stream(image.tobytes(), head))
    out = folder / "paper.pdf"
    out.write_bytes(attacks.pdf_bytes(objects))
    return out


def docx(folder: Path, items: Sequence[Item]) -> Path:
    """A Word manuscript: text, then each picture with its caption below."""
    document = python_docx.Document()
    document.add_paragraph("We looked at cells and found them to be alive.")
    for data, caption in items:
        document.add_picture(io.BytesIO(data))
        document.add_paragraph(caption)
    document.save(folder / "paper.docx")
    return folder / "paper.docx"


def pptx(folder: Path, items: Sequence[Item]) -> Path:
    """A presentation: one picture with its caption a slide."""
    deck = python_pptx.Presentation()
    for data, caption in items:
        slide = deck.slides.add_slide(deck.slide_layouts[6])
        slide.shapes.add_picture(io.BytesIO(data), 0, 0)
        slide.shapes.add_textbox(0, 4_000_000, 5_000_000, 500_000).text_frame.text = caption
    deck.save(folder / "talk.pptx")
    return folder / "talk.pptx"


def odt(folder: Path, items: Sequence[Item]) -> Path:
    """An OpenDocument text; the members are not in the order of the text."""
    names = "".join(
        f'<text:p><draw:frame><draw:image xlink:href="Pictures/{9 - i}.png"/></draw:frame></text:p>'
        f"<text:p>{escape(caption)}</text:p>"
        for i, (_, caption) in enumerate(items)
    )
    spaces = (
        'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
        'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
        'xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" xmlns:xlink="http://www.w3.org/1999/xlink"'
    )
    out = folder / "paper.odt"
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr("content.xml", f"<office:document-content {spaces}>{names}</office:document-content>")
        for i, (data, _) in enumerate(items):
            archive.writestr(f"Pictures/{9 - i}.png", data)
    return out


def epub(folder: Path, items: Sequence[Item]) -> Path:
    """An EPUB: one chapter a picture; the members are not in the order of the spine."""
    out = folder / "book.epub"
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        place = '<container><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
        archive.writestr("META-INF/container.xml", place)
        chapters = range(len(items))
        manifest = "".join(f'<item id="c{i}" href="text/{9 - i}.xhtml"/>' for i in chapters)
        spine = "".join(f'<itemref idref="c{i}"/>' for i in chapters)
        package = f"<package><manifest>{manifest}</manifest><spine>{spine}</spine></package>"
        archive.writestr("OEBPS/book.opf", package)
        for i, (data, caption) in enumerate(items):
            body = f'<html><body><figure><img src="../images/{9 - i}.png"/><figcaption>{escape(caption)}</figcaption>'
            archive.writestr(f"OEBPS/text/{9 - i}.xhtml", body + "</figure></body></html>")
            archive.writestr(f"OEBPS/images/{9 - i}.png", data)
    return out
