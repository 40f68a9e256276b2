"""Outlines, ticks and glyphs lie where the transform puts them."""

from __future__ import annotations

import numpy as np
import pytest

from twinscope import geometry
from twinscope.report import overlay
from twinscope.types import Box

WHOLE_A, WHOLE_B = Box(0, 0, 480, 360), Box(0, 0, 360, 480)
TURN = np.array([[0, -1, 359], [1, 0, 0], [0, 0, 1.0]])  # 90° clockwise for a panel of 480 x 360
MIRROR = geometry.mirror(480)


def corner(matrix: np.ndarray) -> overlay.Square:
    return overlay.corner_transform(geometry.as_matrix(matrix))


def test_corner_positions_are_half_a_pixel_from_centres() -> None:
    moved = overlay.project(corner(MIRROR), np.array([[0.0, 0.0], [480.0, 360.0]]))
    assert moved == pytest.approx(np.array([[480.0, 0.0], [0.0, 360.0]]))


def test_the_whole_panel_is_shared_after_a_quarter_turn() -> None:
    a, b = overlay.shared(corner(TURN), WHOLE_A, WHOLE_B)
    assert geometry.bounds(a) == pytest.approx(WHOLE_A, abs=0.01)
    assert geometry.bounds(b) == pytest.approx(WHOLE_B, abs=0.01)


def test_the_tick_follows_the_top_edge() -> None:
    a, b = overlay.marks(corner(TURN), WHOLE_A, WHOLE_B)
    assert a.tick[0] == pytest.approx([240, 0], abs=0.01)
    assert a.tick[1] - a.tick[0] == pytest.approx([0, -1], abs=1e-6)
    assert b.tick[0] == pytest.approx([360, 240], abs=0.01)  # the top edge of a is the right edge of b
    assert b.tick[1] - b.tick[0] == pytest.approx([1, 0], abs=1e-6)


def test_the_glyph_is_mirrored_with_the_picture() -> None:
    a, b = overlay.marks(corner(MIRROR), WHOLE_A, WHOLE_A)
    assert np.linalg.det(a.glyph[:2, :2]) > 0
    assert np.linalg.det(b.glyph[:2, :2]) < 0
    centre_a, centre_b = (mark.glyph @ [0.5, 0.5, 1] for mark in (a, b))
    assert centre_a[0] < 240
    assert centre_b[0] > 240
    assert centre_a[1] == pytest.approx(centre_b[1])


def test_partial_overlap_is_outlined_in_both() -> None:
    shift = np.array([[1, 0, -200], [0, 1, 0], [0, 0, 1.0]])
    a, b = overlay.shared(corner(shift), Box(200, 0, 480, 360), Box(0, 0, 280, 360))
    assert geometry.bounds(a) == pytest.approx((200, 0, 480, 360), abs=0.01)
    assert geometry.bounds(b) == pytest.approx((0, 0, 280, 360), abs=0.01)


def test_regions_that_do_not_meet_fall_back_to_their_boxes() -> None:
    a, b = overlay.shared(corner(np.eye(3)), Box(0, 0, 10, 10), Box(50, 50, 60, 60))
    assert geometry.bounds(a) == (0, 0, 10, 10)
    assert geometry.bounds(b) == (50, 50, 60, 60)


def test_a_horizon_inside_the_panel_falls_back_to_the_boxes() -> None:
    bent = np.array([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1.0]])
    a, b = overlay.shared(corner(bent), WHOLE_A, WHOLE_B)
    assert np.isfinite(a).all()
    assert np.isfinite(b).all()


def test_only_perspective_that_can_be_seen_counts() -> None:
    slight, strong = np.eye(3), np.eye(3)
    slight[2, 0], strong[2, 0] = 1e-9, 1e-4
    assert overlay.affine(corner(slight), (360, 480)) is not None
    assert overlay.affine(corner(strong), (360, 480)) is None


def test_warp_puts_pixels_where_the_transform_says() -> None:
    image = np.zeros((360, 480), np.uint8)
    image[20:40, 100:140] = 255
    warped = overlay.warp(image, corner(TURN), (480, 360), 1.0)
    ys, xs = np.nonzero(warped > 127)
    assert (xs.min(), xs.max() + 1, ys.min(), ys.max() + 1) == (320, 340, 100, 140)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0)])
def test_a_tick_stands_outward_whichever_way_the_outline_runs(order: tuple[int, ...]) -> None:
    outline = np.array([[0, 0], [10, 0], [10, 6], [0, 6]], np.float64)[list(order)]
    start, end = overlay._tick(outline, overlay._top_edge(outline))
    np.testing.assert_allclose([start, end], [[5, 0], [5, -1]], atol=1e-9)
