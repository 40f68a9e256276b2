"""Panels: drawn compound figures whose boxes are known are split into just those boxes."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ingest import compose
from tests.ingest.compose import Composed

from twinscope.ingest import cuts, panels
from twinscope.types import Box

WHITE, BLACK, BLUE, GREY = (255, 255, 255), (0, 0, 0), (30, 60, 160), (200, 200, 200)
DRAWN = ("graph", "diagram")


def assert_split(figure: Composed, least: float = 0.9, hints: tuple[Box, ...] = ()) -> None:
    """Assert that a figure falls into its panels and nothing else, and that pictures and drawings are told apart."""
    found = panels.split(figure.image, hints)
    boxes = [piece.box for piece in found]
    for panel in figure.panels:
        best = max(found, key=lambda piece: compose.iou(panel.box, piece.box), default=None)
        assert best is not None
        want = 0.7 if panel.kind in DRAWN else least
        assert compose.iou(panel.box, best.box) >= want, (panel, boxes)
        assert (best.kind in DRAWN) == (panel.kind in DRAWN), (panel, best)
    assert len(found) == len(figure.panels), boxes


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("letters", ["", "in", "out"])
@pytest.mark.parametrize("gutter", [3, 12, 30])
def test_pictures_on_white_with_letters(seed: int, letters: str, gutter: int) -> None:
    rng = np.random.default_rng([seed, gutter])
    rows, columns = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    assert_split(compose.grid(rng, gutter=gutter, rows=rows, columns=columns, letters=letters, margin=20))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("quality", [75, 90])
@pytest.mark.parametrize("factor", [0.6, 1.0, 1.7])
def test_jpeg_figures_with_soft_gutters(seed: int, quality: int, factor: float) -> None:
    rng = np.random.default_rng([seed, quality])
    figure = compose.scaled(compose.grid(rng, gutter=8, rows=2, columns=3, letters="in"), factor)
    assert_split(Composed(compose.jpeg(figure.image, quality), figure.panels))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("colour", [BLUE, GREY, BLACK])
def test_coloured_gutters(seed: int, colour: tuple[int, int, int]) -> None:
    rng = np.random.default_rng([seed, 21])
    assert_split(compose.grid(rng, _textured, gutter=8, colour=colour, rows=2, columns=3))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("colour", [WHITE, BLACK])
@pytest.mark.parametrize("gutter", [1, 2])
@pytest.mark.parametrize("margin", [0, 15])
def test_hair_line_gutters(seed: int, colour: tuple[int, int, int], gutter: int, margin: int) -> None:
    rng = np.random.default_rng([seed, 22])
    figure = compose.grid(rng, _textured, gutter=gutter, colour=colour, rows=2, columns=3, margin=margin, equal=True)
    assert_split(figure)


@pytest.mark.parametrize("seed", range(6))
def test_touching_pictures(seed: int) -> None:
    rng = np.random.default_rng([seed, 23])
    assert_split(compose.grid(rng, _textured, gutter=0, rows=2, columns=2, equal=True, margin=15))


def _textured(rng: np.random.Generator, kind: str, height: int, width: int) -> compose.Image:
    """Draw a picture with something on every edge, so that its edge can be seen."""
    level = rng.uniform(60, 190)
    field = compose.noise(rng, height, width, rng.uniform(2, 5)) * 25 + rng.normal(0, 4, (height, width))
    return np.repeat(np.clip(level + field, 5, 245).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("framed", [False, True])
def test_blot_strips_with_labels(seed: int, framed: bool) -> None:
    rng = np.random.default_rng([seed, 24])
    assert_split(compose.strips(rng, gutter=int(rng.integers(2, 9)), framed=framed), least=0.85)


@pytest.mark.parametrize("seed", range(6))
def test_pictures_over_charts(seed: int) -> None:
    figure = compose.mixed(np.random.default_rng([seed, 25]))
    assert_split(figure)
    assert_split(Composed(compose.jpeg(figure.image, 85), figure.panels))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", ["micrograph", "blot"])
def test_a_single_picture_is_one_panel(seed: int, kind: str) -> None:
    image = compose.picture(np.random.default_rng(seed), kind, 300, 420)
    assert_split(Composed(image, [compose.Panel(kind, (0, 0, 420, 300))]))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    gutter=st.sampled_from([2, 3, 5, 9, 16, 28]),
    rows=st.integers(1, 3),
    columns=st.integers(1, 4),
    letters=st.sampled_from(["", "in"]),
    margin=st.sampled_from([0, 5, 24]),
    quality=st.sampled_from([None, 80, 92]),
)
def test_any_grid_on_white(
    seed: int, gutter: int, rows: int, columns: int, letters: str, margin: int, quality: int | None
) -> None:
    rng = np.random.default_rng(seed)
    figure = compose.grid(rng, _textured, gutter, rows=rows, columns=columns, letters=letters, margin=margin)
    image = figure.image if quality is None else compose.jpeg(figure.image, quality)
    assert_split(Composed(image, figure.panels))


def test_an_inset_does_not_break_its_picture() -> None:
    rng = np.random.default_rng(4)
    image = np.full((400, 700, 3), 255, np.uint8)
    for x in (20, 360):
        picture = _textured(rng, "micrograph", 360, 320)
        picture[230:350, 190:310] = cv2.resize(picture[40:80, 40:80], (120, 120), interpolation=cv2.INTER_CUBIC)
        cv2.rectangle(picture, (190, 230), (309, 349), WHITE, 2)
        image[20:380, x : x + 320] = picture
    boxes = [compose.Panel("micrograph", (x, 20, x + 320, 380)) for x in (20, 360)]
    assert_split(Composed(image, boxes))


def test_a_thin_cross_over_one_picture_is_no_gutter() -> None:
    rng = np.random.default_rng(5)
    field = np.clip(110 + 35 * compose.noise(rng, 300, 400, 9), 0, 255).astype(np.uint8)
    picture = np.repeat(field[..., None], 3, axis=2)
    picture[149:151], picture[:, 219:221] = 255, 255
    assert_split(Composed(picture, [compose.Panel("micrograph", (0, 0, 400, 300))]))


def test_hints_separate_what_the_eye_cannot() -> None:
    image = np.full((260, 520, 3), 255, np.uint8)
    rng = np.random.default_rng(6)
    boxes = [(20, 20, 250, 240), (250, 20, 500, 240)]
    for x0, y0, x1, y1 in boxes:
        image[y0:y1, x0:x1] = _textured(rng, "micrograph", y1 - y0, x1 - x0)
    figure = Composed(image, [compose.Panel("micrograph", box) for box in boxes])
    assert_split(figure, hints=tuple(Box(*box) for box in boxes))


def test_a_heat_map_is_one_drawing() -> None:
    rng = np.random.default_rng(7)
    image = np.full((300, 420, 3), 255, np.uint8)
    for row in range(6):
        for column in range(8):
            y, x = 30 + row * 40, 60 + column * 42
            image[y : y + 40, x : x + 42] = rng.integers(30, 255, 3)
        compose.text(image, f"Gene{row}", 6, 55 + row * 40, 9)
    for picture in (image, compose.jpeg(image, 85)):
        assert [piece.kind in DRAWN for piece in panels.split(picture)] == [True]


def test_a_label_image_is_a_diagram() -> None:
    rng = np.random.default_rng(8)
    image = np.zeros((300, 300, 3), np.uint8)
    for _ in range(60):
        spot = (int(rng.integers(300)), int(rng.integers(300)))
        colour = tuple(int(v) for v in rng.choice([40, 250, 130], 3))
        cv2.circle(image, spot, 18, colour, -1)
    assert [piece.kind for piece in panels.split(image)] == ["diagram"]


def test_grey_images_and_tiny_ones() -> None:
    rng = np.random.default_rng(9)
    figure = compose.grid(rng, _textured, gutter=10, rows=1, columns=2)
    assert len(panels.split(np.ascontiguousarray(figure.image[..., 0]))) == 2
    assert panels.split(np.zeros((3, 5), np.uint8)) == []
    assert panels.split(np.full((200, 300, 3), 255, np.uint8)) == []


def test_pieces_come_in_reading_order() -> None:
    figure = compose.grid(np.random.default_rng(10), _textured, gutter=14, rows=2, columns=3)
    found = [piece.box for piece in panels.split(figure.image)]
    for panel, box in zip(figure.panels, found, strict=True):
        assert compose.iou(panel.box, box) > 0.9


def test_the_same_figure_gives_the_same_pieces() -> None:
    image = compose.mixed(np.random.default_rng(11)).image
    assert panels.split(image) == panels.split(image.copy())


def test_large_rasters_are_split_in_their_own_pixels() -> None:
    figure = compose.scaled(compose.grid(np.random.default_rng(12), _textured, gutter=14, rows=2, columns=3), 4.5)
    assert max(figure.image.shape) > 2600
    assert_split(figure, least=0.95)


def test_twenty_panels_of_a_large_figure_are_split() -> None:
    figure = compose.grid(np.random.default_rng(13), _textured, gutter=12, rows=4, columns=5, equal=True)
    assert len(panels.split(cv2.resize(figure.image, (2000, 2000)))) == 20


def test_rectangles_cover_a_mask_of_two() -> None:
    mask = np.zeros((100, 200), np.uint8)
    mask[0:60, 0:100] = 1
    mask[30:100, 100:200] = 1
    assert sorted(cuts.rectangles(mask, 10)) == [(0, 0, 100, 60), (100, 30, 200, 100)]


def test_a_bitten_rectangle_stays_whole() -> None:
    mask = np.ones((100, 200), np.uint8)
    cv2.circle(mask, (200, 0), 45, 0, -1)
    assert cuts.rectangles(mask, 10) == [(0, 0, 200, 100)]


def test_real_single_pictures_stay_whole(shared: Path) -> None:
    with (shared / "data" / "micrographs" / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "val"][::4]
    whole = 0
    for row in rows:
        image = cv2.cvtColor(cv2.imread(str(shared / "data" / "micrographs" / row["file"])), cv2.COLOR_BGR2RGB)
        found = panels.split(image)
        whole += len(found) == 1 and found[0].box.area > 0.95 * image.shape[0] * image.shape[1]
    assert len(rows) > 20
    assert whole / len(rows) > 0.93
