"""Figures, captions and panel letters from boxes and lines alone."""

from __future__ import annotations

import numpy as np
import pytest

from twinscope.ingest import layout, letters, placed
from twinscope.ingest.layout import Graphic, Line
from twinscope.ingest.panels import Piece
from twinscope.ingest.pictures import crop, refined
from twinscope.types import Box

SIZE = (792.0, 612.0)
PROSE = "Cells were grown for three days and then fixed, stained and looked at by two of us. "


def line(x: float, y: float, text: str, width: float | None = None, size: float = 11.0) -> Line:
    return Line(Box(x, y, x + (len(text) * 4.6 if width is None else width), y + size), text, size)


def prose(x: float, y: float, lines: int, width: float = 250) -> list[Line]:
    return [line(x, y + 12 * i, PROSE[:60], width) for i in range(lines)]


def picture(x0: float, y0: float, x1: float, y1: float, index: int = 0) -> Graphic:
    return Graphic(Box(x0, y0, x1, y1), "raster", index)


def drawing(x0: float, y0: float, x1: float, y1: float) -> list[Graphic]:
    steps = np.linspace(0, 1, 12)
    return [Graphic(Box(x0, y0, x1, y1), "drawing")] + [
        Graphic(Box(x0 + s * (x1 - x0 - 9), y0, x0 + s * (x1 - x0 - 9) + 9, y1), "drawing") for s in steps
    ]


@pytest.mark.parametrize(("text", "label"), [
    ("Figure 2. Cells", "Figure 2"), ("FIGURE 1. Rgt2", "FIGURE 1"), ("Fig 3. Dilution", "Fig 3"),
    ("Figure 12", "Figure 12"), ("Fig. S4: More", "Fig. S4"),
    ("Figure 5 | Later", "Figure 5"),
    ("Scheme 1. A way", "Scheme 1"),
    ("Supplementary Figure 2. X", "Supplementary Figure 2"), ("Extended Data Fig. 3 | Y", "Extended Data Fig. 3"),
    ("Figure 4 Logarithmic scale", "Figure 4"),
])  # fmt: skip
def test_captions_are_known(text: str, label: str) -> None:
    found = layout.figures(SIZE, [picture(100, 100, 300, 300)], [line(100, 310, text)])
    assert [f.label for f in found] == [label]
    assert found[0].caption == text


@pytest.mark.parametrize(
    "text", ["Figure 2 shows that cells", "figures were drawn", "Figuratively, 2 cells", "(Figure 3)"]
)
def test_mentions_are_no_captions(text: str) -> None:
    found = layout.figures(SIZE, [picture(100, 100, 300, 300)], [line(100, 310, text)])
    assert [f.label for f in found] == [""]


def test_caption_takes_its_lines_and_not_the_text_after_it() -> None:
    lines = [line(60, 310, "Figure 1. Cells of the first"), line(60, 322, "week, stained."), *prose(60, 360, 6)]
    found = layout.figures(SIZE, [picture(60, 100, 300, 300)], lines)
    assert [f.caption for f in found] == ["Figure 1. Cells of the first week, stained."]


def test_pieces_of_one_caption_are_one_figure_with_their_text() -> None:
    graphics = [picture(100, 80, 280, 200), picture(330, 80, 500, 200, 1), *drawing(100, 240, 480, 340)]
    lines = [
        line(92, 70, "A", 7),
        line(322, 70, "B", 7),
        line(200, 346, "Time (days)"),
        line(100, 370, "Figure 1. All of it."),
    ]
    found = layout.figures(SIZE, graphics, lines)
    assert len(found) == 1
    assert found[0].box == (92, 70, 500, 357)
    assert found[0].rasters == (0, 1)


def test_stacked_pieces_belong_to_the_caption_below_them() -> None:
    graphics = [picture(60, 60, 500, 150), picture(60, 200, 500, 300, 1), picture(60, 320, 200, 420, 2)]
    lines = [line(60, 155, "Figure 1. First."), line(60, 430, "Figure 2. Second.")]
    found = layout.figures(SIZE, graphics, lines)
    assert [(f.label, f.rasters) for f in found] == [("Figure 1", (0,)), ("Figure 2", (1, 2))]


def test_running_text_is_a_wall() -> None:
    graphics = [picture(60, 60, 300, 200), picture(60, 330, 300, 470, 1)]
    found = layout.figures(SIZE, graphics, prose(60, 215, 8))
    assert len(found) == 2


def test_tables_rules_and_text_boxes_are_no_figures() -> None:
    rules = [Graphic(Box(60, y, 300, y + 0.5), "rule") for y in (100, 115, 200)]
    frame = Graphic(Box(320, 100, 560, 300), "tint")
    cells = [line(60 + 60 * i, 120 + 14 * j, "12.5", 20) for i in range(4) for j in range(5)]
    lines = [line(60, 85, "Table 1. Numbers."), *cells, *[line(330, 110 + 14 * i, PROSE[:40], 210) for i in range(12)]]
    assert layout.figures(SIZE, [*rules, frame], lines) == []


def test_page_backgrounds_and_headers_are_no_figures() -> None:
    graphics = [Graphic(Box(0, 0, 612, 792), "tint"), *drawing(36, 30, 200, 60), picture(560, 750, 590, 780)]
    assert layout.figures(SIZE, graphics, []) == []


def test_letters_run_on_from_a() -> None:
    lines = [line(60, 60, "A", 7), line(200, 60, "(B)", 14), line(60, 200, "C", 7), line(300, 300, "F", 7)]
    places = letters.letters(lines, Box(50, 50, 400, 400))
    assert [p[0] for p in places] == ["A", "B", "C"]
    assert letters.letter_of(Box(70, 70, 180, 180), places) == "A"
    assert letters.letter_of(Box(210, 70, 380, 180), places) == "B"
    assert letters.letter_of(Box(210, 210, 380, 390), places) == "C"
    assert letters.letters(lines[1:], Box(50, 50, 400, 400)) == []


WHITE = np.full((340, 520, 3), 255, np.uint8)


def test_cells_of_a_grid_of_rasters_are_panels() -> None:
    grid = [Box(100 * i, 0, 100 * i + 90, 90) for i in range(4)]
    parts = [
        Piece(grid[0], "micrograph", "A"),
        Piece(Box(100, 0, 140, 90), "photo", ""),
        Piece(Box(145, 0, 190, 90), "photo", ""),
        Piece(Box(210, 20, 250, 60), "micrograph", ""),
    ]
    got = placed.respect(parts, grid, WHITE)
    assert [p.box for p in got] == grid
    assert [p.kind for p in got[:3]] == ["micrograph", "photo", "micrograph"]


def test_tiles_and_compound_rasters_are_left_alone() -> None:
    tiles = [Box(0, 0, 100, 100), Box(100, 0, 200, 100), Box(0, 100, 100, 200), Box(100, 100, 200, 200)]
    pieces = [Piece(Box(10, 10, 190, 90), "micrograph", ""), Piece(Box(10, 110, 80, 190), "blot", "")]
    assert placed.respect(pieces, tiles, WHITE) == pieces
    two = [Piece(Box(5, 5, 60, 90), "blot", ""), Piece(Box(70, 5, 150, 90), "blot", "")]
    assert placed.respect(two, [Box(0, 0, 160, 100)], WHITE) == two


def test_a_picture_across_rasters_with_a_gap_is_several_panels() -> None:
    rasters = [Box(0, 0, 100, 60), Box(102, 0, 200, 60)]
    across = Piece(Box(0, 0, 200, 60), "blot", "E")
    assert placed.respect([across], rasters, WHITE) == [Piece(rasters[0], "blot", "E"), Piece(rasters[1], "blot", "")]
    touching = [Box(0, 0, 100, 60), Box(100, 0, 200, 60)]
    assert placed.respect([across], touching, WHITE) == [across]
    chart = across._replace(kind="graph")
    assert placed.respect([chart], rasters, WHITE) == [chart]


def test_a_black_raster_under_the_pictures_tells_nothing() -> None:
    ground = Box(0, 0, 206, 104)
    rasters = [ground, Box(2, 2, 100, 102), Box(106, 2, 204, 102)]
    got = placed.respect([Piece(ground, "micrograph", "A")], rasters, WHITE)
    assert [p.box for p in got] == rasters[1:]


def test_black_paper_between_rasters_is_no_picture() -> None:
    rng = np.random.default_rng(6)
    view = np.zeros((230, 420, 3), np.uint8)
    rasters = [Box(0, 0, 200, 100), Box(210, 0, 410, 100), Box(60, 110, 260, 220)]
    for box in rasters:
        x0, y0, x1, y1 = map(int, box)
        view[y0:y1, x0:x1] = rng.normal(60, 20, (y1 - y0, x1 - x0, 1)).clip(0, 255).astype(np.uint8)
    whole = Piece(Box(0, 0, 420, 230), "micrograph", "A")
    assert [p.box for p in placed.respect([whole], rasters, view)] == rasters
    shifted = [Piece(Box(0, 0, 300, 100), "micrograph", ""), Piece(rasters[2], "micrograph", "")]
    assert {p.box for p in placed.respect(shifted, rasters, view)} == set(rasters)
    view[:, 200:210] = rng.integers(0, 255, (230, 10, 3), np.uint8)
    assert placed.respect(shifted, rasters, view) == shifted


def test_fragments_of_a_picture_placed_by_itself_are_one_panel() -> None:
    raster = Box(0, 100, 300, 320)
    torn = [
        Piece(Box(70, 210, 230, 260), "micrograph", "E"),
        Piece(Box(76, 260, 234, 283), "micrograph", ""),
        Piece(Box(72, 283, 229, 320), "micrograph", ""),
    ]
    assert placed.respect(torn, [raster, Box(400, 0, 500, 90)], WHITE) == [Piece(raster, "micrograph", "E")]
    apart = [torn[0], torn[2]._replace(box=Box(72, 290, 229, 320))]
    assert placed.respect(apart, [raster, Box(400, 0, 500, 90)], WHITE) == apart


def test_a_picture_with_a_box_over_its_corner_is_one_panel() -> None:
    raster = Box(0, 0, 200, 300)
    parts = [Piece(Box(0, 0, 160, 300), "micrograph", "A"), Piece(Box(160, 0, 200, 240), "blot", "")]
    assert placed.respect(parts, [raster], WHITE) == [Piece(raster, "micrograph", "A")]
    halves = [parts[0]._replace(box=Box(0, 0, 100, 300)), parts[1]._replace(box=Box(100, 0, 200, 300))]
    assert placed.respect(halves, [raster], WHITE) == halves


def test_crop_rounds_and_stays_inside() -> None:
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    part, box = crop(image, Box(-3, 2.4, 4.6, 99))
    assert box == (0, 2, 5, 10)
    assert np.array_equal(part, image[2:10, 0:5])


def test_edges_are_found_again_on_flat_ground() -> None:
    image = np.full((400, 400), 255, np.uint8)
    image[103:297, 98:301] = np.random.default_rng(0).integers(40, 160, (194, 203), np.uint8)
    assert refined(image, Box(100, 100, 300, 300), 5) == (98, 103, 301, 297)
    assert refined(image, Box(97, 105, 303, 294), 5) == (98, 103, 301, 297)


def test_edges_at_a_neighbour_stay() -> None:
    image = np.random.default_rng(0).integers(40, 160, (400, 400), np.uint8)
    assert refined(image, Box(100, 100, 300, 300), 5) == (100, 100, 300, 300)
    assert refined(image, Box(0, 0, 400, 400), 5) == (0, 0, 400, 400)
