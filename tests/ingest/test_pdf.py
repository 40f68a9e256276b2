"""Reading PDFs: where figures are found, and whose pixels their panels have. Splitting is switched off here."""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from twinscope import pixels
from twinscope.ingest import pdf, pictures
from twinscope.ingest.job import Job, Note
from twinscope.ingest.panels import Piece
from twinscope.settings import Ingest
from twinscope.types import Box, Figure, Panel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))
import attacks

Image = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def _one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(image: Image, hints: Sequence[Box] = ()) -> list[Piece]:
        return [Piece(Box(0, 0, image.shape[1], image.shape[0]), "micrograph", "")]

    monkeypatch.setattr(pdf, "split", whole)
    monkeypatch.setattr(pictures, "split", whole)


def texture(height: int = 90, width: int = 120, channels: int = 3, seed: int = 0) -> Image:
    """Return a picture without symmetry."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (height // 10 + 1, width // 10 + 1, channels), np.uint8)
    image = np.kron(coarse, np.ones((10, 10, 1), np.uint8))[:height, :width]
    image[:20, :30] = 10
    return np.ascontiguousarray(image if channels == 3 else image[..., 0])


def raster(image: Image, extra: bytes = b"") -> bytes:
    """Return an image object of 8-bit grey or RGB."""
    space = b"/DeviceRGB" if image.ndim == 3 else b"/DeviceGray"
    head = b"/Type/XObject/Subtype/Image/Width %d/Height %d" % (image.shape[1], image.shape[0])
    head += b"/BitsPerComponent 8/ColorSpace" + space + b"/Filter/FlateDecode" + extra
    return attacks.stream(zlib.compress(image.tobytes()), head)


def page(content: bytes, objects: Sequence[bytes], names: str = "I", extra: bytes = b"") -> bytes:
    """Return a one-page PDF (600 x 800 pt); `objects` from number 6 on are its XObjects I, J, K, ..."""
    letters = [chr(ord(names) + i) for i in range(len(objects))]
    table = b"".join(b"/%s %d 0 R" % (name.encode(), 6 + i) for i, name in enumerate(letters))
    return attacks.pdf_bytes(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]" + extra
            + b"/Resources<</XObject<<" + table + b">>/Font<</F 5 0 R>>>>/Contents 4 0 R>>",
            attacks.stream(content),
            b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
            *objects,
        ]
    )  # fmt: skip


class Got:
    """What a PDF gave."""

    def __init__(self, notes: list[Note], out: Path) -> None:
        self.figures: list[Figure] = [n.figure for n in notes if n.figure is not None]
        self.panels: list[Panel] = [n.panel for n in notes if n.panel is not None]
        self.problems = [n.problem.reason for n in notes if n.problem is not None]
        self.images = [pixels.read_png(out / "panels" / f"{p.id}.png") for p in self.panels]


def read(folder: Path, data: bytes, **settings: Any) -> Got:
    file = folder / "paper.pdf"
    file.write_bytes(data)
    notes: list[Note] = []
    job = Job(file=str(file), path="paper.pdf", sha256="0", kind="pdf", out=str(folder), ingest=Ingest(**settings))
    pdf.read(job, notes.append)
    return Got(notes, folder)


def place(x0: float, y0: float, x1: float, y1: float, name: str = "I") -> bytes:
    return b"q %g 0 0 %g %g %g cm /%s Do Q\n" % (x1 - x0, y1 - y0, x0, y0, name.encode())


def close(box: Any, wanted: tuple[float, ...], by: float = 0.6) -> bool:
    return box is not None and bool(np.allclose(box, wanted, atol=by))


def test_embedded_raster_has_its_own_pixels(tmp_path: Path) -> None:
    image = texture()
    got = read(tmp_path, page(place(100, 400, 340, 580), [raster(image)]))
    assert len(got.panels) == 1
    assert np.array_equal(got.images[0], image)
    assert got.panels[0].source.how == "embedded"
    assert close(got.panels[0].source.box_pt, (100, 220, 340, 400))
    assert got.panels[0].source.box_px == (0, 0, 120, 90)
    assert got.panels[0].id == "p1-f1-1"


def test_grey_stays_grey(tmp_path: Path) -> None:
    image = texture(channels=1)
    got = read(tmp_path, page(place(100, 400, 340, 580), [raster(image)]))
    seen = got.images[0] if got.images[0].ndim == 2 else got.images[0][..., 0]
    assert np.array_equal(seen, image)


def test_tiles_are_put_together(tmp_path: Path) -> None:
    image = texture(120, 120)
    parts = [image[:60, :60], image[:60, 60:], image[60:, :60], image[60:, 60:]]
    content = place(100, 500, 220, 620) + place(220, 500, 340, 620, "J")
    content += place(100, 380, 220, 500, "K") + place(220, 380, 340, 500, "L")
    got = read(tmp_path, page(content, [raster(np.ascontiguousarray(p)) for p in parts]))
    assert len(got.panels) == 1
    assert np.array_equal(got.images[0], image)


def test_soft_mask_lets_the_paper_through(tmp_path: Path) -> None:
    image = texture()
    mask = np.full(image.shape[:2], 255, np.uint8)
    mask[:, 60:] = 0
    objects = [raster(image, b"/SMask 7 0 R"), raster(mask)]
    got = read(tmp_path, page(place(100, 400, 340, 580), objects))
    assert np.array_equal(got.images[0][:, :60], image[:, :60])
    assert (got.images[0][:, 60:] == 255).all()


def test_palette(tmp_path: Path) -> None:
    index = (np.arange(90 * 120).reshape(90, 120) // 700 % 16).astype(np.uint8)
    table = np.random.default_rng(3).integers(0, 200, (16, 3), np.uint8)
    head = b"/Type/XObject/Subtype/Image/Width 120/Height 90/BitsPerComponent 8/Filter/FlateDecode/ColorSpace"
    head += b"[/Indexed/DeviceRGB 15<" + table.tobytes().hex().encode() + b">]"
    got = read(tmp_path, page(place(100, 400, 340, 580), [attacks.stream(zlib.compress(index.tobytes()), head)]))
    assert np.array_equal(got.images[0], table[index])


def test_cmyk_is_shown_as_rgb(tmp_path: Path) -> None:
    ink = np.zeros((90, 120, 4), np.uint8)
    ink[:, :60] = (0, 255, 255, 0)
    ink[:, 60:] = (255, 0, 0, 0)
    head = (
        b"/Type/XObject/Subtype/Image/Width 120/Height 90/BitsPerComponent 8/ColorSpace/DeviceCMYK/Filter/FlateDecode"
    )
    got = read(tmp_path, page(place(100, 400, 340, 580), [attacks.stream(zlib.compress(ink.tobytes()), head)]))
    red, blue = got.images[0][40, 20].astype(int), got.images[0][40, 100].astype(int)
    assert red[0] > 180 and red[1] < 90 and red[2] < 90  # noqa: PT018
    assert blue[0] < 90 and blue[2] > 150  # noqa: PT018


def test_jpeg_2000(tmp_path: Path) -> None:
    image = texture()
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "JPEG2000", irreversible=False)
    head = b"/Type/XObject/Subtype/Image/Width 120/Height 90/Filter/JPXDecode"
    got = read(tmp_path, page(place(100, 400, 340, 580), [attacks.stream(buffer.getvalue(), head)]))
    assert np.array_equal(got.images[0], image)


def test_one_bit_and_inverted_decode(tmp_path: Path) -> None:
    bits = np.zeros((96, 128), np.uint8)
    bits[20:70, 30:110] = 1
    head = b"/Type/XObject/Subtype/Image/Width 128/Height 96/BitsPerComponent 1/ColorSpace/DeviceGray/Decode[1 0]"
    got = read(tmp_path, page(place(100, 400, 356, 592), [attacks.stream(np.packbits(bits, axis=1).tobytes(), head)]))
    seen = got.images[0] if got.images[0].ndim == 2 else got.images[0][..., 0]
    assert np.array_equal(seen, np.where(bits == 1, 0, 255))


def test_sixteen_bit(tmp_path: Path) -> None:
    values = (np.arange(90)[:, None] * 500 + np.arange(120)[None] * 100).astype(">u2")
    head = b"/Type/XObject/Subtype/Image/Width 120/Height 90/BitsPerComponent 16/ColorSpace/DeviceGray"
    got = read(tmp_path, page(place(100, 400, 340, 580), [attacks.stream(values.tobytes(), head)]))
    seen = got.images[0] if got.images[0].ndim == 2 else got.images[0][..., 0]
    assert np.abs(seen.astype(int) - (values >> 8).astype(int)).max() <= 1


def test_inline_image(tmp_path: Path) -> None:
    image = texture(40, 60)
    body = (
        b"q 240 0 0 160 100 400 cm BI /W 60 /H 40 /BPC 8 /CS /RGB /F /AHx ID "
        + image.tobytes().hex().encode()
        + b"> EI Q"
    )
    got = read(tmp_path, page(body, []))
    assert np.array_equal(got.images[0], image)


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        (b"240 0 0 180 100 400", lambda i: i),
        (b"-240 0 0 180 340 400", lambda i: i[:, ::-1]),
        (b"240 0 0 -180 100 580", lambda i: i[::-1]),
        (b"-240 0 0 -180 340 580", lambda i: i[::-1, ::-1]),
        (b"0 240 -180 0 340 300", lambda i: np.rot90(i, 1)),
        (b"0 -240 180 0 160 540", lambda i: np.rot90(i, -1)),
        (b"0 240 180 0 160 300", lambda i: np.rot90(i, 1)[:, ::-1]),
    ],
)
def test_placement_turns_the_pixels(tmp_path: Path, matrix: bytes, turned: Any) -> None:
    image = texture()
    got = read(tmp_path, page(b"q " + matrix + b" cm /I Do Q", [raster(image)]))
    assert np.array_equal(got.images[0], turned(image))


@pytest.mark.parametrize(("angle", "times", "box"), [
    (90, -1, (400, 100, 580, 340)), (180, 2, (260, 400, 500, 580)), (270, 1, (220, 260, 400, 500)),
])  # fmt: skip
def test_turned_page(tmp_path: Path, angle: int, times: int, box: tuple[int, ...]) -> None:
    image = texture()
    got = read(tmp_path, page(place(100, 400, 340, 580), [raster(image)], extra=b"/Rotate %d" % angle))
    assert close(got.panels[0].source.box_pt, box)
    assert np.array_equal(got.images[0], np.rot90(image, times))


def test_boxes_are_of_the_crop_box(tmp_path: Path) -> None:
    got = read(tmp_path, page(place(100, 400, 340, 580), [raster(texture())], extra=b"/CropBox[50 20 580 700]"))
    assert close(got.panels[0].source.box_pt, (50, 120, 290, 300))


def test_image_in_a_form_with_a_matrix(tmp_path: Path) -> None:
    image = texture()
    head = b"/Type/XObject/Subtype/Form/BBox[0 0 600 800]/Matrix[2 0 0 2 10 20]/Resources<</XObject<</J 7 0 R>>>>"
    form = attacks.stream(place(20, 100, 140, 190, "J"), head)
    got = read(tmp_path, page(b"q 1 0 0 1 40 50 cm /I Do Q", [form, raster(image)]))
    assert close(got.panels[0].source.box_pt, (90, 350, 330, 530))
    assert np.array_equal(got.images[0], image)


def test_clipped_image_is_what_is_seen(tmp_path: Path) -> None:
    image = texture()
    content = b"q 160 400 120 180 re W n 240 0 0 180 100 400 cm /I Do Q"
    got = read(tmp_path, page(content, [raster(image)]))
    assert close(got.panels[0].source.box_pt, (160, 220, 280, 400))
    assert np.array_equal(got.images[0], image[:, 30:90])


def test_vector_figure_is_rendered(tmp_path: Path) -> None:
    content = b"0 0 1 RG 2 w 100 400 m 160 520 220 380 340 580 c S " * 3
    content += b"".join(b"%d %d 9 9 re f " % (100 + 20 * i, 400 + 13 * i) for i in range(12))
    content += b"BT /F 9 Tf 100 370 Td (Figure 3. A curve drawn by hand.) Tj ET"
    got = read(tmp_path, page(content, []))
    assert len(got.panels) == 1
    assert got.panels[0].source.how == "rendered"
    assert got.panels[0].source.box_px is None
    box = Box(*got.panels[0].source.box_pt)
    assert got.panels[0].size[1] / box.width * 72 >= 199
    assert got.panels[0].kind in ("graph", "diagram")  # said to be a micrograph, but no raster lies there
    assert got.figures[0].label == "Figure 3"
    assert got.figures[0].caption == "Figure 3. A curve drawn by hand."


def test_framed_picture_comes_once(tmp_path: Path) -> None:
    image = texture()
    content = place(100, 400, 340, 580) + b"1 w 0 0 0 RG 100 400 240 180 re S 1 1 1 rg 300 410 30 3 re f"
    content += b"BT /F 12 Tf 88 584 Td (A) Tj ET"
    got = read(tmp_path, page(content, [raster(image)]))
    assert len(got.figures) == 1
    assert len(got.panels) == 1


def test_flat_patches_of_a_raster_are_no_drawing(tmp_path: Path) -> None:
    flat = np.kron(np.array([[30, 200], [120, 60]], np.uint8), np.ones((60, 80), np.uint8))
    content = place(100, 400, 300, 550) + place(300, 400, 500, 550, "J")
    got = read(tmp_path, page(content, [raster(flat), raster(255 - flat)]))
    assert len(got.panels) == 1
    assert got.panels[0].kind == "micrograph"


def test_scanned_page_is_told_and_is_no_figure(tmp_path: Path) -> None:
    bits = (np.random.default_rng(5).random((800, 600)) < 0.05).astype(np.uint8)
    head = b"/Type/XObject/Subtype/Image/Width 600/Height 800/BitsPerComponent 1/ColorSpace/DeviceGray/Decode[1 0]"
    head += b"/Filter/FlateDecode"
    data = zlib.compress(np.packbits(bits, axis=1).tobytes())
    got = read(tmp_path, page(place(0, 0, 600, 800), [attacks.stream(data, head)]))
    assert got.figures == []
    assert any("scan" in reason for reason in got.problems)


def test_icon_is_no_figure(tmp_path: Path) -> None:
    got = read(tmp_path, page(place(560, 770, 590, 790) + place(20, 740, 44, 764, "J"), [raster(texture())] * 2))
    assert got.figures == []


def test_two_figures_two_captions(tmp_path: Path) -> None:
    content = place(60, 560, 300, 740) + place(60, 300, 300, 480, "J")
    content += b"BT /F 9 Tf 60 545 Td (Figure 1. Cells in the first week.) Tj ET "
    content += b"BT /F 9 Tf 60 285 Td (Figure 2. Cells in the second week.) Tj ET"
    got = read(tmp_path, page(content, [raster(texture(seed=1)), raster(texture(seed=2))]))
    assert [f.label for f in got.figures] == ["Figure 1", "Figure 2"]
    assert [p.caption for p in got.panels] == [
        "Figure 1. Cells in the first week.",
        "Figure 2. Cells in the second week.",
    ]
    assert np.array_equal(got.images[1], texture(seed=2))


def test_raster_over_the_limit_is_a_problem(tmp_path: Path) -> None:
    got = read(tmp_path, page(place(100, 400, 340, 580), [raster(texture())]), limits={"image_px": 10_000})
    assert got.problems == ["a picture of 120 x 90 px is over the limit of 10000 px"]


def test_without_splitting_a_figure_is_one_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "split", lambda image, hints=(): [])
    monkeypatch.setattr(pictures, "split", lambda image: [])
    got = read(tmp_path, page(place(100, 400, 340, 580), [raster(texture())]), split=False)
    assert [p.kind for p in got.panels] == ["other"]
    assert np.array_equal(got.images[0], texture())
