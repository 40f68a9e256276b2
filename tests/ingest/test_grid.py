"""Panels known from the grid of the others, and heat maps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from twinscope.ingest import grid, panels
from twinscope.types import Box

Image = NDArray[np.uint8]
Rect = tuple[int, int, int, int]
SIZE, GUTTER = 120, 10


def never(rect: Rect, flanked: bool) -> bool:
    return False


def nuclei(rng: np.random.Generator, height: int, width: int) -> Image:
    """Draw nuclei dark on a ground that is pure white: fluorescence shown inverted."""
    layer = np.zeros((height, width), np.float32)
    for _ in range(7):
        at = int(rng.integers(25, width - 25)), int(rng.integers(25, height - 25))
        cv2.ellipse(layer, at, (int(rng.integers(9, 14)), int(rng.integers(6, 10))), 30, 0, 360, 1.0, -1)
    grain = cv2.GaussianBlur(rng.normal(size=layer.shape), (0, 0), 1.5) * 60
    dark = cv2.GaussianBlur(layer, (0, 0), 2) * (150 + grain)
    return np.repeat(np.clip(255 - dark, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def sheet(rng: np.random.Generator, white: set[int], gutter: int, count: int = 6) -> tuple[Image, list[Rect]]:
    """Draw three columns of grey pictures on white, those in `white` nuclei on pure white, as a JPEG."""
    pitch, size = 160 + gutter, 160
    figure = np.full((-(-count // 3) * pitch, 3 * pitch, 3), 255, np.uint8)
    boxes = []
    for index in range(count):
        x, y = index % 3 * pitch, index // 3 * pitch
        grey = 120 + 40 * cv2.GaussianBlur(rng.normal(size=(size, size)), (0, 0), 3) / 0.1
        grey = np.clip(grey + rng.normal(0, 3, grey.shape), 0, 255).astype(np.uint8)
        figure[y : y + size, x : x + size] = nuclei(rng, size, size) if index in white else grey[..., None]
        boxes.append((x, y, x + size, y + size))
    kept = cv2.imdecode(cv2.imencode(".jpg", figure, [cv2.IMWRITE_JPEG_QUALITY, 85])[1], cv2.IMREAD_COLOR)
    return np.asarray(kept, np.uint8), boxes


def black_figure(
    rng: np.random.Generator, dark: set[int], columns: int = 4, panels_: int = 8
) -> tuple[Image, list[Rect]]:
    """Draw panels of one size on black: bright ones, and `dark` ones that are black between a few spots."""
    rows = -(-panels_ // columns)
    pitch = SIZE + GUTTER
    figure = np.zeros((rows * pitch - GUTTER, columns * pitch - GUTTER, 3), np.uint8)
    boxes = []
    for index in range(panels_):
        y, x = (index // columns) * pitch, (index % columns) * pitch
        if index in dark:
            part = np.zeros((SIZE, SIZE), np.float64)
            for cx, cy in rng.integers(30, SIZE - 30, (5, 2)):
                cv2.circle(part, (int(cx), int(cy)), 9, 160, -1)
            part = cv2.GaussianBlur(part, (0, 0), 2)
        else:
            part = 130 + 60 * cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE)), (0, 0), 3) / 0.1
        figure[y : y + SIZE, x : x + SIZE] = np.clip(part + rng.normal(0, 2, part.shape), 0, 255)[..., None]
        boxes.append((x, y, x + SIZE, y + SIZE))
    return figure, boxes


def iou(a: Rect, b: Box) -> float:
    shared = grid.common(a, (int(b.x0), int(b.y0), int(b.x1), int(b.y1)))
    return shared / (grid.area(a) + b.area - shared)


def assert_found(figure: Image, boxes: list[Rect]) -> None:
    found = [piece.box for piece in panels.split(figure)]
    for box in boxes:
        assert max(iou(box, other) for other in found) > 0.9, (box, found)
    assert len(found) == len(boxes), found


def test_black_panels_among_bright_ones_on_black() -> None:
    assert_found(*black_figure(np.random.default_rng(1), {1, 2, 6}))


def test_the_last_row_of_a_black_figure_may_be_short() -> None:
    assert_found(*black_figure(np.random.default_rng(2), {3, 5}, panels_=6))


def test_one_bright_panel_tells_the_size_of_black_ones() -> None:
    assert_found(*black_figure(np.random.default_rng(3), {0, 1, 2}, panels_=4))


def test_a_picture_that_fades_into_white_gets_its_cell() -> None:
    away = np.zeros((300, 620), np.uint8)
    full: list[Rect] = [(0, 0, 140, 140), (150, 0, 290, 140), (450, 0, 590, 140)]
    for x0, y0, x1, y1 in full:
        away[y0:y1, x0:x1] = 100
    cv2.circle(away, (440, 140), 60, 100, -1)
    away[:, 440:450] = 0
    away[140:] = 0
    blob = (380, 80, 440, 140)
    assert grid.completed(away, [*full, blob], False, never) == ([(300, 0, 440, 140)], [blob])


def test_a_small_picture_with_edges_stays_as_it_is() -> None:
    away = np.zeros((300, 620), np.uint8)
    rects: list[Rect] = [(0, 0, 140, 140), (150, 0, 290, 140), (300, 0, 370, 80), (450, 0, 590, 140)]
    for x0, y0, x1, y1 in rects:
        away[y0:y1, x0:x1] = 100
    assert grid.completed(away, rects, False, never) == ([], [])


def test_a_panel_of_a_grid_takes_its_fragments() -> None:
    away = np.full((140, 620), 100, np.uint8)
    away[:, 140:150] = away[:, 290:300] = 0
    whole: list[Rect] = [(0, 0, 140, 140), (150, 0, 290, 140)]
    torn: list[Rect] = [(300, 0, 340, 140), (344, 0, 440, 60), (344, 64, 440, 140)]
    away[:, 440:] = 0
    added, replaced = grid.completed(away, [*whole, *torn], True, never)
    assert added == [(300, 0, 440, 140)]
    assert sorted(replaced) == sorted(torn)


def test_heat_maps_are_cells_of_several_colours_that_touch() -> None:
    rng = np.random.default_rng(4)
    image = np.full((200, 300, 3), 255, np.uint8)
    cells = [(20 + 40 * i, 20 + 30 * j, 60 + 40 * i, 50 + 30 * j) for i in range(5) for j in range(4)]
    for x0, y0, x1, y1 in cells:
        image[y0:y1, x0:x1] = rng.integers(0, 256, 3)
    assert grid.heat_maps(image, cells) == [(20, 20, 220, 140)]
    noisy = rng.integers(0, 256, image.shape).astype(np.uint8)
    assert grid.heat_maps(noisy, cells) == []
    image[20:140, 20:220] = 90
    assert grid.heat_maps(image, cells) == []


def test_a_block_is_torn_where_its_parts_have_no_size_in_common() -> None:
    blocks: list[Rect] = [(0, 0, 100, 100), (110, 0, 210, 100)]
    assert grid.is_torn(blocks[0], blocks, [(0, 0, 30, 100), (31, 0, 100, 100)])
    assert not grid.is_torn(blocks[0], blocks, [(0, 0, 50, 100), (50, 0, 100, 100)])
    assert not grid.is_torn(blocks[0], blocks[:1], [(0, 0, 30, 100), (31, 0, 100, 100)])


@pytest.mark.parametrize("gutter", [4, 10, 24])
@pytest.mark.parametrize("white", [{4}, {1, 5}])
def test_nuclei_on_pure_white_get_the_cell_of_their_grid(gutter: int, white: set[int]) -> None:
    assert_found(*sheet(np.random.default_rng([gutter, len(white)]), white, gutter))


def test_an_empty_cell_of_a_grid_is_no_panel() -> None:
    figure, boxes = sheet(np.random.default_rng(5), set(), 12, 5)
    cv2.putText(figure, "n = 12", (360, 260), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 2, cv2.LINE_AA)
    rects = [piece.box for piece in panels.split(figure) if piece.kind not in ("graph", "diagram")]
    assert len(rects) == len(boxes)


def test_fragments_with_one_top_tell_a_row() -> None:
    away = np.zeros((420, 310), np.uint8)
    whole: list[Rect] = [(0, 0, 150, 150), (152, 0, 302, 150)]
    torn: list[Rect] = [(20, 200, 60, 300), (60, 200, 110, 320), (200, 260, 240, 330)]
    for x0, y0, x1, y1 in whole + torn:
        away[y0:y1, x0:x1] = 100
    added, replaced = grid.completed(away, [*whole, *torn], False, lambda rect, flanked: True)
    assert added[:1] == [(0, 200, 150, 350)]
    assert set(torn[:2]) <= set(replaced)


def test_a_picture_as_wide_as_its_neighbour_is_as_high_where_it_fades() -> None:
    away = np.zeros((180, 420), np.uint8)
    away[:170, 210:410] = 100
    away[:110, :200] = np.linspace(120, 0, 110).astype(np.uint8)[:, None]
    low, high = (0, 0, 200, 110), (210, 0, 410, 170)
    assert grid.levelled(away, [low, high]) == {low: (0, 0, 200, 170)}
    away[:110, :200] = 120
    assert grid.levelled(away, [low, high]) == {}


def test_fragments_as_wide_together_as_their_neighbour_are_one_panel() -> None:
    away = np.zeros((200, 450), np.uint8)
    away[:170, 210:410] = 100
    torn: list[Rect] = [(10, 20, 60, 90), (80, 60, 208, 168)]
    for x0, y0, x1, y1 in torn:
        cv2.ellipse(away, ((x0 + x1) // 2, (y0 + y1) // 2), ((x1 - x0) // 2, (y1 - y0) // 2), 0, 0, 360, 100, -1)
    assert grid.levelled(away, [(210, 0, 410, 170), *torn]) == dict.fromkeys(torn, (10, 0, 208, 170))
    assert grid.levelled(away, [(210, 0, 440, 170), *torn]) == {}


def test_a_cell_between_two_pictures_is_asked_as_such() -> None:
    away = np.zeros((150, 620), np.uint8)
    row: list[Rect] = [(0, 0, 150, 150), (310, 0, 460, 150)]
    for x0, y0, x1, y1 in row:
        away[y0:y1, x0:x1] = 100
    asked: dict[Rect, bool] = {}

    def taken(rect: Rect, flanked: bool) -> bool:
        asked[rect] = flanked
        return flanked

    assert grid.completed(away, row, False, taken)[0] == [(155, 0, 305, 150)]
    assert asked == {(155, 0, 305, 150): True, (465, 0, 615, 150): False}
