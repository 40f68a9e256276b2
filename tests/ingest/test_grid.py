"""Panels known from the grid of the others, and heat maps."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope.ingest import grid, panels
from twinscope.types import Box

Image = NDArray[np.uint8]
Rect = tuple[int, int, int, int]
SIZE, GUTTER = 120, 10


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
    assert grid.completed(away, [*full, blob], dark=False) == ([(300, 0, 440, 140)], [blob])


def test_a_small_picture_with_edges_stays_as_it_is() -> None:
    away = np.zeros((300, 620), np.uint8)
    rects: list[Rect] = [(0, 0, 140, 140), (150, 0, 290, 140), (300, 0, 370, 80), (450, 0, 590, 140)]
    for x0, y0, x1, y1 in rects:
        away[y0:y1, x0:x1] = 100
    assert grid.completed(away, rects, dark=False) == ([], [])


def test_a_panel_of_a_grid_takes_its_fragments() -> None:
    away = np.full((140, 620), 100, np.uint8)
    away[:, 140:150] = away[:, 290:300] = 0
    whole: list[Rect] = [(0, 0, 140, 140), (150, 0, 290, 140)]
    torn: list[Rect] = [(300, 0, 340, 140), (344, 0, 440, 60), (344, 64, 440, 140)]
    away[:, 440:] = 0
    added, replaced = grid.completed(away, [*whole, *torn], dark=True)
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
