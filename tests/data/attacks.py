"""Draw hostile files. Each function writes one file and returns its path; none needs more than a few MB to do it."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pikepdf
import PIL.Image


def pdf_bytes(objects: Sequence[bytes], root: int = 1) -> bytes:
    """Return a PDF of numbered objects (from 1) with a right cross-reference table."""
    out = io.BytesIO(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    out.seek(0, 2)
    places = []
    for number, body in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n" % number + body + b"\nendobj\n")
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    for place in places:
        out.write(b"%010d 00000 n \n" % place)
    out.write(b"trailer\n<</Size %d/Root %d 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, root, start))
    return out.getvalue()


def stream(data: bytes, head: bytes = b"") -> bytes:
    """Return a PDF stream object."""
    return b"<<" + head + b"/Length %d>>\nstream\n" % len(data) + data + b"\nendstream"


def _page(contents: int, resources: bytes = b"", box: bytes = b"[0 0 600 800]") -> list[bytes]:
    return [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox" + box + b"/Resources<<" + resources + b">>/Contents %d 0 R>>" % contents,
    ]


def _zeros(size: int) -> bytes:
    """Return `size` spaces, deflated, without holding them."""
    packer = zlib.compressobj(9)
    chunk = b" " * (1 << 20)
    parts = [packer.compress(chunk) for _ in range(size >> 20)]
    return b"".join(parts) + packer.flush()


def self_recursive_form(folder: Path) -> Path:
    """A form that draws itself."""
    head = b"/Type/XObject/Subtype/Form/BBox[0 0 600 800]/Resources<</XObject<</F 5 0 R>>>>"
    form = stream(b"/F Do 0 0 10 10 re f", head)
    objects = [*_page(4, b"/XObject<</F 5 0 R>>"), stream(b"/F Do"), form]
    return _write(folder / "self.pdf", pdf_bytes(objects))


def nested_forms(folder: Path, depth: int = 25, width: int = 10) -> Path:
    """Forms in forms, each drawing the next `width` times: width ** depth drawings."""
    objects = [*_page(4, b"/XObject<</F 5 0 R>>"), stream(b"/F Do")]
    for level in range(depth):
        inner = b"/XObject<</F %d 0 R>>" % (6 + level) if level < depth - 1 else b""
        body = b"/F Do " * width if level < depth - 1 else b"0 0 10 10 re f"
        objects.append(stream(body, b"/Type/XObject/Subtype/Form/BBox[0 0 600 800]/Resources<<" + inner + b">>"))
    return _write(folder / "nested.pdf", pdf_bytes(objects))


def huge_content(folder: Path, size: int = 1 << 30) -> Path:
    """A page whose content stream unpacks to 1 GiB."""
    objects = [*_page(4), stream(_zeros(size), b"/Filter/FlateDecode")]
    return _write(folder / "content.pdf", pdf_bytes(objects))


def double_flate(folder: Path, size: int = 1 << 30) -> Path:
    """A content stream deflated twice: a few KB hold 1 GiB."""
    objects = [*_page(4), stream(zlib.compress(_zeros(size), 9), b"/Filter[/FlateDecode/FlateDecode]")]
    return _write(folder / "double.pdf", pdf_bytes(objects))


def object_stream_bomb(folder: Path, size: int = 1 << 30) -> Path:
    """The catalogue lies in an object stream that unpacks to 1 GiB."""
    head = b"1 0 2 40 3 80 "
    body = b"<</Type/Catalog/Pages 2 0 R>>".ljust(40) + b"<</Type/Pages/Kids[3 0 R]/Count 1>>".ljust(40)
    body += b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]>>"
    packer = zlib.compressobj(9)
    packed = packer.compress(head + body)
    packed += b"".join(packer.compress(b" " * (1 << 20)) for _ in range(size >> 20)) + packer.flush()
    out = b"%PDF-1.7\n"
    place = len(out)
    out += b"4 0 obj\n" + stream(packed, b"/Type/ObjStm/N 3/First %d/Filter/FlateDecode" % len(head)) + b"\nendobj\n"
    start = len(out)
    rows = [(0, 0, 255), (2, 4, 0), (2, 4, 1), (2, 4, 2), (1, place, 0), (1, start, 0)]
    table = b"".join(struct.pack(">BIB", *row) for row in rows)
    out += b"5 0 obj\n" + stream(table, b"/Type/XRef/Size 6/W[1 4 1]/Root 1 0 R") + b"\nendobj\n"
    return _write(folder / "objstm.pdf", out + b"startxref\n%d\n%%%%EOF\n" % start)


def huge_page(folder: Path, side: int = 200_000) -> Path:
    """A page of 200,000 points with a square on it."""
    box = b"[0 0 %d %d]" % (side, side)
    objects = [*_page(4, box=box), stream(b"1 0 0 rg 100 100 150000 150000 re f 0 0 m 9 9 99 9 200 200 c S")]
    return _write(folder / "page.pdf", pdf_bytes(objects))


def encrypted(folder: Path, source: Path, user: str) -> Path:
    """An encrypted copy of a PDF; with an empty user password everyone may open it."""
    out = folder / f"encrypted-{'user' if user else 'open'}.pdf"
    with pikepdf.open(source) as pdf:
        pdf.save(out, encryption=pikepdf.Encryption(owner="owner", user=user))
    return out


def truncated(folder: Path, source: Path) -> Path:
    """The first half of a PDF."""
    data = source.read_bytes()
    return _write(folder / "truncated.pdf", data[: len(data) // 2])


def broken_xref(folder: Path, source: Path) -> Path:
    """A PDF whose cross-reference table points nowhere."""
    data = source.read_bytes()
    at = data.rindex(b"startxref")
    return _write(folder / "xref.pdf", data[:at] + b"startxref\n99999999\n%%EOF\n")


def garbage(folder: Path) -> Path:
    """A PDF header and noise."""
    noise = np.random.default_rng(0).integers(0, 256, 50_000, np.uint8).tobytes()
    return _write(folder / "garbage.pdf", b"%PDF-1.4\n" + noise)


def pdf_with_image(folder: Path, head: bytes, data: bytes, name: str) -> Path:
    """A page with one image object of any header and data."""
    image = stream(data, b"/Type/XObject/Subtype/Image" + head)
    objects = [*_page(4, b"/XObject<</I 5 0 R>>"), stream(b"q 400 0 0 400 100 200 cm /I Do Q"), image]
    return _write(folder / name, pdf_bytes(objects))


def image_header_bomb(folder: Path) -> Path:
    """An image object of 60,000 x 60,000 px from a few bytes."""
    head = b"/Width 60000/Height 60000/BitsPerComponent 8/ColorSpace/DeviceRGB/Filter/FlateDecode"
    return pdf_with_image(folder, head, zlib.compress(b"\0" * 1000), "image-bomb.pdf")


def jpx_header_bomb(folder: Path) -> Path:
    """A JPEG 2000 image whose own header says 60,000 x 60,000 px."""
    size = struct.pack(">HIIIIIIIIH", 0, 60000, 60000, 0, 0, 60000, 60000, 0, 0, 3) + b"\x07\x01\x01" * 3
    siz = b"\xff\x51" + struct.pack(">H", len(size) + 2) + size
    cod = b"\xff\x52" + struct.pack(">H", 12) + b"\x00\x00\x00\x01\x00\x05\x04\x04\x00\x00"
    qcd = b"\xff\x5c" + struct.pack(">H", 19) + b"\x40" + b"\x40" * 16
    sot = b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 0, 0, 1)
    data = b"\xff\x4f" + siz + cod + qcd + sot + b"\xff\x93" + b"\0" * 64 + b"\xff\xd9"
    return pdf_with_image(folder, b"/Width 100/Height 100/Filter/JPXDecode", data, "jpx-bomb.pdf")


def png_header_bomb(folder: Path, width: int = 60_000, height: int = 60_000) -> Path:
    """A PNG whose header says 3.6 gigapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return _write(folder / "bomb.png", b"\x89PNG\r\n\x1a\n" + head + body)


def jpeg_header_bomb(folder: Path) -> Path:
    """A JPEG whose header says 60,000 x 60,000 px."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (64, 64)).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    return _write(folder / "bomb.jpg", bytes(data))


def _tiff(folder: Path, name: str, tags: dict[int, tuple[int, int]]) -> Path:
    """A little-endian TIFF with one directory of LONG tags."""
    rows = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(tags.items()))
    directory = struct.pack("<H", len(tags)) + rows + b"\0\0\0\0"
    return _write(folder / name, b"II*\0" + struct.pack("<I", 8) + directory + b"\0" * 4096)


def tiff_header_bomb(folder: Path) -> Path:
    """A TIFF whose header says 60,000 x 60,000 px of 16 bit."""
    tags = {256: (4, 60_000), 257: (4, 60_000), 258: (3, 16), 259: (3, 1), 262: (3, 1), 273: (4, 300), 277: (3, 1),
            278: (4, 60_000), 279: (4, 4096)}  # fmt: skip
    return _tiff(folder, "bomb.tif", tags)


def tiff_huge_tiles(folder: Path) -> Path:
    """A TIFF of 100 x 100 px whose tiles are 50,000 x 50,000 px."""
    tags = {256: (4, 100), 257: (4, 100), 258: (3, 8), 259: (3, 8), 262: (3, 1), 277: (3, 1), 322: (4, 49_984),
            323: (4, 49_984), 324: (4, 300), 325: (4, 64)}  # fmt: skip
    return _tiff(folder, "tiles.tif", tags)


def zip_bomb(folder: Path, size: int = 1 << 30) -> Path:
    """A zip of one BMP that unpacks to more than 1 GiB of zeros."""
    out = folder / "bomb.zip"
    archive = zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9)
    with archive, archive.open("a.bmp", "w") as entry:
        entry.write(b"BM")
        for _ in range((size >> 20) + 1):
            entry.write(b"\0" * (1 << 20))
    return out


def nested_zips(folder: Path, depth: int = 4) -> Path:
    """A zip in a zip in a zip with a picture at the bottom."""
    data, name = picture_bytes(), "a.png"
    for level in range(depth):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(name, data)
        data, name = buffer.getvalue(), f"level{level}.zip"
    return _write(folder / "nested.zip", data)


def overlapping_zip(folder: Path) -> Path:
    """A zip whose directory names the same bytes many times."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", picture_bytes())
    data = buffer.getvalue()
    end = data.rindex(b"PK\x05\x06")
    start = data.index(b"PK\x01\x02")
    entry = data[start:end]
    entries = b"".join(entry.replace(b"a.png", b"%c.png" % (97 + i)) for i in range(20))
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 20, 20, len(entries), start, 0)
    return _write(folder / "overlap.zip", data[:start] + entries + tail)


def many_entries_zip(folder: Path, count: int = 3000) -> Path:
    """A zip of more entries than allowed."""
    out = folder / "many.zip"
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}.png", b"")
    return out


def traversal_zip(folder: Path) -> Path:
    """A zip whose names point outside, with one honest picture."""
    out = folder / "traversal.zip"
    with zipfile.ZipFile(out, "w") as archive:
        for name in ("../../evil.png", "/evil.png", "a/../../evil.png", "C:evil.png", "a\\..\\evil.png", "good.png"):
            archive.writestr(name, picture_bytes())
    return out


def symlink_zip(folder: Path) -> Path:
    """A zip with a link to /etc/passwd named as a picture, and one honest picture."""
    out = folder / "symlink.zip"
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("link.png")
        info.create_system = 3
        info.external_attr = (0o120777) << 16
        archive.writestr(info, "/etc/passwd")
        archive.writestr("good.png", picture_bytes())
    return out


def polyglot(folder: Path) -> Path:
    """A PNG that is also a zip, named .png: read as a picture, never as an archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inside.png", picture_bytes())
    return _write(folder / "polyglot.png", picture_bytes() + buffer.getvalue())


def wrong_extension(folder: Path) -> Path:
    """A PNG named .pdf."""
    return _write(folder / "picture.pdf", picture_bytes())


def entity_bomb(folder: Path) -> Path:
    """A DOCX whose text declares a billion laughs."""
    lines = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10 if i else "ha"}">' for i in range(10))
    out = folder / "laughs.docx"
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("word/document.xml", f"<?xml version='1.0'?><!DOCTYPE a [{lines}]><a>&a9;</a>")
    return out


def empty(folder: Path) -> Path:
    """A file of zero bytes."""
    return _write(folder / "empty.pdf", b"")


def one_pixel(folder: Path) -> Path:
    """A picture of 1 x 1 px."""
    PIL.Image.new("L", (1, 1), 77).save(folder / "one.png")
    return folder / "one.png"


def wide(folder: Path) -> Path:
    """A picture of 20,000 x 60 px."""
    noise = np.random.default_rng(1).integers(0, 256, (60, 20_000), np.uint8)
    PIL.Image.fromarray(noise).save(folder / "wide.png")
    return folder / "wide.png"


def picture_bytes(side: int = 96) -> bytes:
    """Return an honest PNG."""
    rows, columns = np.mgrid[:side, :side]
    values = (127 + 100 * np.sin(rows / 7) * np.cos(columns / 5)).astype(np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
