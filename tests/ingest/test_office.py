"""Pictures in DOCX and PPTX come out as the reader sees them: cropped, mirrored, turned; what a crop hides is told."""

from __future__ import annotations

import io
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docx as python_docx
import numpy as np
import pptx as python_pptx
import pytest
import tifffile
from numpy.typing import NDArray
from pptx.util import Emu

from twinscope import ingest, pixels, settings
from twinscope.ingest import Reading, placing

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))
import papers
from papers import micrograph

Image = NDArray[np.uint8]
DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"


def read(folder: Path, file: Path) -> Reading:
    return ingest.read([file], folder / "case", settings.load())


def grey_of(folder: Path, panel: str = "d1-f1-1") -> Image:
    image = pixels.read_png(folder / "case" / "panels" / f"{panel}.png")
    return image if image.ndim == 2 else image[..., 0]


def docx(folder: Path, image: Image, crop: dict[str, str], frame: dict[str, str]) -> Path:
    document = python_docx.Document()
    document.add_picture(io.BytesIO(papers.png(image)))
    document.add_paragraph("Figure 1. Cells.")
    (fill,) = (e for e in document.element.body.iter() if str(e.tag).endswith("}blipFill"))
    rect = fill.makeelement(f"{DRAWING}srcRect", crop)
    fill.insert(1, rect)
    for name, value in frame.items():
        next(e for e in document.element.body.iter(f"{DRAWING}xfrm")).set(name, value)
    document.save(folder / "paper.docx")
    return folder / "paper.docx"


def pptx(folder: Path, image: Image, place: Callable[[Any, Any], None]) -> Path:
    deck = python_pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[6])
    picture = slide.shapes.add_picture(io.BytesIO(papers.png(image)), Emu(0), Emu(0))
    place(slide, picture)
    deck.save(folder / "talk.pptx")
    return folder / "talk.pptx"


def flip(shape: Any, *names: str) -> None:
    for element in shape._element.iter(f"{DRAWING}xfrm"):
        for name in names:
            element.set(name, "1")
        return


def test_word_picture_comes_out_as_cropped(tmp_path: Path) -> None:
    image = micrograph()
    got = read(tmp_path, docx(tmp_path, image, {"l": "25000", "t": "10000", "r": "12500", "b": "0"}, {}))
    assert np.array_equal(grey_of(tmp_path), image[12:, 40:140])
    (panel,) = got.panels
    assert panel.size == (108, 100)
    assert panel.caption == "Figure 1. Cells."
    assert panel.source.box_px == (40, 12, 140, 120)
    assert got.figures[0].source.box_px == (40, 12, 140, 120)


def test_what_a_crop_hides_is_told(tmp_path: Path) -> None:
    got = read(tmp_path, docx(tmp_path, micrograph(), {"l": "50%"}, {}))
    assert got.inputs[0].status == "partial"
    assert [p.reason for p in got.problems] == [
        "word/media/image1.png: 50% of the picture is cropped away in the document and was not compared"
    ]


@pytest.mark.parametrize("crop", [{}, {"l": "1000"}, {"l": "-20000", "t": "-5000"}, {"l": "60000", "r": "60000"},
                                  {"t": "lots"}, {"l": "nan", "b": "1e400"}])  # fmt: skip
def test_a_trivial_or_senseless_crop_leaves_the_whole_raster(tmp_path: Path, crop: dict[str, str]) -> None:
    got = read(tmp_path, docx(tmp_path, micrograph(), crop, {}))
    assert (got.inputs[0].status, got.problems) == ("ok", ())
    assert np.array_equal(grey_of(tmp_path), micrograph())
    assert got.panels[0].source.box_px == (0, 0, 160, 120)


@pytest.mark.parametrize(("frame", "seen"), [
    ({"rot": "5400000"}, lambda a: np.rot90(a, -1)),
    ({"rot": "-5400000"}, lambda a: np.rot90(a)),
    ({"rot": "10800000"}, lambda a: a[::-1, ::-1]),
    ({"flipH": "1"}, lambda a: a[:, ::-1]),
    ({"flipV": "true"}, lambda a: a[::-1]),
    ({"flipH": "1", "flipV": "1"}, lambda a: a[::-1, ::-1]),
    ({"flipH": "1", "rot": "5400000"}, lambda a: np.rot90(a[:, ::-1], -1)),
    ({"flipV": "1", "rot": "16200000"}, lambda a: np.rot90(a[::-1])),
    ({"rot": "1800000"}, lambda a: a),
    ({"rot": "round", "flipH": "0"}, lambda a: a),
])  # fmt: skip
def test_word_picture_is_mirrored_and_turned(
    tmp_path: Path, frame: dict[str, str], seen: Callable[[Image], Image]
) -> None:
    got = read(tmp_path, docx(tmp_path, micrograph(), {}, frame))
    assert got.inputs[0].status == "ok"
    assert np.array_equal(grey_of(tmp_path), seen(micrograph()))


def test_powerpoint_picture_is_cropped_then_mirrored_then_turned(tmp_path: Path) -> None:
    def place(_: Any, picture: Any) -> None:
        picture.crop_left, picture.crop_bottom = 0.25, 0.5
        picture.rotation = 90
        flip(picture, "flipH")

    image = micrograph()
    got = read(tmp_path, pptx(tmp_path, image, place))
    assert np.array_equal(grey_of(tmp_path), np.rot90(image[:60, 40:][:, ::-1], -1))
    assert got.panels[0].source.box_px == (40, 0, 160, 60)
    assert got.panels[0].source.page == 1
    assert [(p.page, "62% of the picture" in p.reason) for p in got.problems] == [(1, True)]


@pytest.mark.parametrize(("group", "inner", "seen"), [
    ({"rot": "5400000"}, {}, lambda a: np.rot90(a, -1)),
    ({"rot": "5400000"}, {"rot": "5400000"}, lambda a: a[::-1, ::-1]),
    ({"flipH": "1"}, {"flipH": "1"}, lambda a: a),
    ({"flipH": "1"}, {"rot": "5400000"}, lambda a: np.rot90(a, -1)[:, ::-1]),
    ({"flipV": "1", "rot": "5400000"}, {"rot": "5400000", "flipH": "1"},
     lambda a: np.rot90(np.rot90(a[:, ::-1], -1)[::-1], -1)),
])  # fmt: skip
def test_groups_around_a_picture_mirror_and_turn_it(
    tmp_path: Path, group: dict[str, str], inner: dict[str, str], seen: Callable[[Image], Image]
) -> None:
    def place(slide: Any, picture: Any) -> None:
        for shape, names in ((picture, inner), (slide.shapes.add_group_shape([picture]), group)):
            frame = next(shape._element.iter(f"{DRAWING}xfrm"))
            for name, value in names.items():
                frame.set(name, value)

    read(tmp_path, pptx(tmp_path, micrograph(), place))
    assert np.array_equal(grey_of(tmp_path), seen(micrograph()))


def test_a_picture_after_a_turned_one_stands_upright(tmp_path: Path) -> None:
    def place(slide: Any, picture: Any) -> None:
        picture.rotation = 90
        slide.shapes.add_picture(io.BytesIO(papers.png(micrograph(1))), Emu(0), Emu(0))

    read(tmp_path, pptx(tmp_path, micrograph(), place))
    assert np.array_equal(grey_of(tmp_path, "d1-f1-1"), np.rot90(micrograph(), -1))
    assert np.array_equal(grey_of(tmp_path, "d1-f2-1"), micrograph(1))


def test_two_crops_of_one_raster_are_two_panels(tmp_path: Path) -> None:
    def place(slide: Any, picture: Any) -> None:
        picture.crop_right = 0.5
        slide.shapes.add_picture(io.BytesIO(papers.png(micrograph())), Emu(0), Emu(0)).crop_left = 0.5

    got = read(tmp_path, pptx(tmp_path, micrograph(), place))
    assert [p.source.box_px for p in got.panels] == [(0, 0, 80, 120), (80, 0, 160, 120)]
    assert np.array_equal(grey_of(tmp_path, "d1-f2-1"), micrograph()[:, 80:])


@pytest.mark.parametrize("crop", ["16384f", "0.25", "25%"])
def test_old_word_pictures_are_cropped_too(tmp_path: Path, crop: str) -> None:
    file = papers.docx(tmp_path, [(papers.png(micrograph()), "Figure 1. Cells.")])
    out = tmp_path / "old.docx"
    body = (
        '<w:document xmlns:w="w" xmlns:v="v" xmlns:r="r"><w:p><v:shape><v:imagedata r:id="rIdOld" '
        f'cropleft="{crop}"/></v:shape></w:p></w:document>'
    )
    link = '<Relationships><Relationship Id="rIdOld" Target="media/image1.png"/></Relationships>'
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            if name not in ("word/document.xml", "word/_rels/document.xml.rels"):
                new.writestr(name, old.read(name))
        new.writestr("word/document.xml", body)
        new.writestr("word/_rels/document.xml.rels", link)
    read(tmp_path, out)
    assert np.array_equal(grey_of(tmp_path), micrograph()[:, 40:])


def corners(height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
    yield 0, 0, width, height
    yield 0, 0, 5, 3
    yield width - 7, 2, width, 12


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_a_box_is_found_again_in_the_raster(mirrored: bool, quarters: int) -> None:
    """What a box holds in the picture as seen is what its place in the raster holds, seen the same way."""
    image = micrograph()
    place = placing.Place((20, 10, 150, 90), mirrored, quarters, 0.5)
    seen = place.cut(image)
    for box in corners(*seen.shape):
        x0, y0, x1, y1 = box
        a0, b0, a1, b1 = (int(v) for v in place.back(box))
        whole = place._replace(box=(a0, b0, a1, b1))
        assert np.array_equal(whole.cut(image), seen[y0:y1, x0:x1])


NAMES = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" xmlns:v="urn:schemas-microsoft-com:vml" '
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
)
LINK = "this picture is linked to and not in the document; embed it or name its file"
MISSING = "the document names this picture and does not hold it; embed it"


def written(folder: Path, pictures: list[str], relations: dict[str, str], members: dict[str, bytes]) -> Path:
    """Write a Word document of pictures (XML), of relations (id to the rest of the element) and of media."""
    body = "".join(f"<w:p>{one}</w:p><w:p>Figure {n}. Cells.</w:p>" for n, one in enumerate(pictures, 1))
    links = "".join(f'<Relationship Id="{name}" {rest}/>' for name, rest in relations.items())
    with zipfile.ZipFile(folder / "paper.docx", "w") as archive:
        archive.writestr("word/document.xml", f"<w:document {NAMES}>{body}</w:document>")
        archive.writestr("word/_rels/document.xml.rels", f"<Relationships>{links}</Relationships>")
        for name, data in members.items():
            archive.writestr(name, data)
    return folder / "paper.docx"


def test_every_channel_of_a_tiff_in_a_document_is_a_picture_of_its_own(tmp_path: Path) -> None:
    images = [micrograph(seed) for seed in range(4)]
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as pages:
        pages.write(np.stack(images[:2]), photometric="minisblack", planarconfig="separate")
        pages.write(np.stack(images[2:]), photometric="minisblack", planarconfig="separate")
    got = read(tmp_path, written(
        tmp_path, ['<a:blip r:embed="r1"/>', '<a:blip r:embed="r2"/>'],
        {"r1": 'Target="media/image1.tif"', "r2": 'Target="media/image2.png"'},
        {"word/media/image1.tif": out.getvalue(), "word/media/image2.png": papers.png(micrograph(9))},
    ))  # fmt: skip
    assert (got.inputs[0].status, got.inputs[0].reason) == ("ok", "")
    names = ["d1-f1-1", "d1-p2-f1-1", "d1-p3-f1-1", "d1-p4-f1-1", "d1-f2-1"]
    assert [p.id for p in got.panels] == names
    for name, image in zip(names, [*images, micrograph(9)], strict=True):
        assert np.array_equal(grey_of(tmp_path, name), image)


@pytest.mark.parametrize(("picture", "relation", "reason"), [
    ('<a:blip r:link="r1"/>', 'Target="file:///C:/figs/1.png" TargetMode="External"', f"file:///C:/figs/1.png: {LINK}"),
    ('<a:blip r:embed="" r:link="r1"/>', 'Target="1.png" TargetMode="External"', f"1.png: {LINK}"),
    ('<v:imagedata r:href="r1"/>', 'Target="http://x.org/1.png" TargetMode="External"', f"http://x.org/1.png: {LINK}"),
    ('<a:blip r:embed="r1"/>', 'Target="media/image1.png"', f"word/media/image1.png: {MISSING}"),
    ('<a:blip r:embed="r7"/>', 'Target="media/image1.png"', f"r7: {MISSING}"),
])  # fmt: skip
def test_a_picture_that_a_document_only_names_is_told(tmp_path: Path, picture: str, relation: str, reason: str) -> None:
    pictures, relations = [picture, '<a:blip r:embed="r2"/>'], {"r1": relation, "r2": 'Target="media/image2.png"'}
    held = {"word/media/image2.png": papers.png(micrograph())}
    got = read(tmp_path, written(tmp_path, pictures, relations, held))
    assert [(i.status, i.reason) for i in got.inputs] == [("partial", reason)]
    assert [p.reason for p in got.problems] == [reason]
    assert [(p.id, p.caption) for p in got.panels] == [("d1-f2-1", "Figure 2. Cells.")]
    got = read(tmp_path, written(tmp_path, [picture] * 3, relations, {}))
    assert [(i.status, i.reason) for i in got.inputs] == [("failed", reason)]


def test_a_picture_that_is_linked_and_embedded_or_named_in_other_cases_is_whole(tmp_path: Path) -> None:
    relations = {
        "r1": 'Target="C:/1.png" TargetMode="External"', "r2": 'Target="media/A%20b.PNG"', "r3": 'Target="media/c.png"',
    }  # fmt: skip
    pictures = ['<a:blip r:link="r1" r:embed="r3"/>', '<a:blip r:embed="r2"/>', "<a:blip/>"]
    held = {"word/media/a b.png": papers.png(micrograph(1)), "word/media/c.png": papers.png(micrograph(2))}
    got = read(tmp_path, written(tmp_path, pictures, relations, held))
    assert (got.inputs[0].status, got.problems) == ("ok", ())
    assert np.array_equal(grey_of(tmp_path, "d1-f1-1"), micrograph(2))
    assert np.array_equal(grey_of(tmp_path, "d1-f2-1"), micrograph(1))


def test_a_picture_in_more_places_than_are_read_is_told_once(tmp_path: Path) -> None:
    held = {"word/media/image1.png": papers.png(micrograph())}
    got = read(tmp_path, written(tmp_path, ['<a:blip r:embed="r1"/>'] * 8, {"r1": 'Target="media/image1.png"'}, held))
    assert len(got.panels) == 5
    assert got.inputs[0].status == "partial"
    assert [p.reason for p in got.problems] == ["word/media/image1.png stands in 8 places; only the first 5 are read"]


@pytest.mark.parametrize("draw", [papers.odt, papers.epub])
@pytest.mark.parametrize(("place", "reason"), [
    ("https://x.org/1.png", f"https://x.org/1.png: {LINK}"),
    ("data:image/png;base64,AAAA", "pictures that are written into the text as data are not read; save them as files"),
    ("no.png", MISSING),
])  # fmt: skip
def test_pictures_outside_of_other_documents_are_told(
    tmp_path: Path, draw: Callable[[Path, list[tuple[bytes, str]]], Path], place: str, reason: str
) -> None:
    file, out = draw(tmp_path, [(papers.png(micrograph(seed)), "") for seed in (1, 2)]), tmp_path / "new"
    out.mkdir()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(out / file.name, "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name.endswith(("content.xml", "9.xhtml")):
                text = re.sub(rb'((?:src|href)=")[^"]*9\.png', rb"\g<1>" + place.encode(), text)
            if not name.endswith("9.png"):
                new.writestr(name, text)
    got = read(tmp_path, out / file.name)
    assert got.inputs[0].status == "partial"
    assert [p.reason.endswith(reason) for p in got.problems] == [True]
    assert [p.id for p in got.panels] == ["d1-f2-1"]
