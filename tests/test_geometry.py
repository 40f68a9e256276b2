"""Transforms: hand-computed values, and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscope import geometry
from twinscope.types import Box

SQUARE = (0.0, 0.0, 100.0, 100.0)


def rotation(degrees: float, scale: float = 1.0) -> np.ndarray:
    c, s = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    return np.array([[c, -s, 3], [s, c, -7], [0, 0, 1.0]])


def test_apply_divides_by_depth() -> None:
    perspective = np.array([[1, 0, 0], [0, 1, 0], [0, 0.5, 1.0]])
    assert geometry.apply(perspective, [[4, 2]]).tolist() == [[2, 1]]


def test_iou_by_hand() -> None:
    assert geometry.iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(2 / 6)
    assert geometry.iou((0, 0, 1, 1), (1, 0, 2, 1)) == 0
    assert geometry.iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_clip_keeps_boxes_in_order() -> None:
    assert geometry.clip((-5, 2, 500, 9), (8, 10)) == Box(0, 2, 10, 8)
    assert geometry.clip((20, 20, 30, 30), (8, 10)).area == 0


def test_scaling_keeps_pixel_areas_in_place() -> None:
    # The left edge of the first pixel lies at -.5 and stays there.
    assert geometry.apply(geometry.scaling(2, 3), [[-0.5, -0.5]]).tolist() == [[-0.5, -0.5]]
    assert geometry.apply(geometry.scaling(2), [[9.5, 4.5]]).tolist() == [[19.5, 9.5]]


def test_mirror_is_its_own_inverse() -> None:
    assert np.array_equal(geometry.mirror(7) @ geometry.mirror(7), np.eye(3))
    assert geometry.apply(geometry.mirror(7), [[0, 5]]).tolist() == [[6, 5]]


@given(st.floats(-179, 179), st.floats(0.3, 3), st.booleans())
def test_take_apart_returns_what_was_put_together(angle: float, scale: float, mirrored: bool) -> None:
    transform = rotation(angle, scale) @ (geometry.mirror(100) if mirrored else np.eye(3))
    parts = geometry.take_apart(transform, SQUARE)
    assert parts.mirrored == mirrored
    assert parts.angle == pytest.approx(angle, abs=1e-6)
    assert parts.scale == pytest.approx(scale)
    assert parts.anisotropy == pytest.approx(1)
    assert parts.perspective == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("transform", "told"),
    [
        (np.eye(3), []),
        (geometry.mirror(100), ["mirrored left-right"]),
        (np.diag([1.0, -1.0, 1.0]), ["mirrored top-bottom"]),
        (rotation(90), ["rotated 90° clockwise"]),
        (rotation(-90.2), ["rotated 90° anticlockwise"]),
        (rotation(180), ["rotated 180°"]),
        (rotation(33.3), ["rotated 33.3° clockwise"]),
        (rotation(0, 0.5), ["scaled to 50 %"]),
        (np.diag([1.2, 1.0, 1.0]), ["scaled to 110 %", "stretched or sheared by 20 %"]),
        (rotation(90) @ geometry.mirror(100), ["mirrored left-right", "rotated 90° clockwise"]),
        (rotation(0.2, 1.01), []),
    ],
)
def test_words(transform: np.ndarray, told: list[str]) -> None:
    assert geometry.words(transform, SQUARE) == told


def test_words_name_perspective_and_crop() -> None:
    bent = np.array([[1, 0, 0], [0, 1, 0], [0.001, 0, 1.0]])
    told = geometry.words(bent, SQUARE, cropped=True)
    assert any(step.startswith("perspective changed") for step in told)
    assert told[-1] == "cropped"


def test_clockwise_means_clockwise_as_seen() -> None:
    """A point at the right of the centre goes below it: y points down."""
    x, y = geometry.jacobian(rotation(90), (0, 0)) @ [1, 0]
    assert (round(x, 9), round(y, 9)) == (0, 1)


def test_as_matrix_normalises() -> None:
    assert geometry.as_matrix(2 * np.eye(3)) == ((1, 0, 0), (0, 1, 0), (0, 0, 1))
