"""Smooth displacements: what they move, and where it went."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from twinscope import manipulate as m
from twinscope.manipulate import fields


def smooth(size: int = 128, seed: int = 0) -> m.Image:
    noise = np.random.default_rng(seed).standard_normal((size, size)).astype(np.float32)
    image = cv2.GaussianBlur(noise, (0, 0), 4)
    return ((image - image.min()) / (image.max() - image.min())).astype(np.float32)


def test_a_field_has_the_reach_that_was_asked_for() -> None:
    field = m.smooth_field((90, 130), np.random.default_rng(0), 5.0, 40.0)
    assert field.shape == (90, 130, 2)
    assert field.dtype == np.float32
    assert np.hypot(field[..., 0], field[..., 1]).max() == pytest.approx(5.0, rel=1e-4)
    assert np.abs(np.diff(field, axis=0)).max() < 0.6  # 5 px over waves of 40 px


def test_a_constant_field_by_hand() -> None:
    image = smooth()
    field = np.zeros((128, 128, 2), np.float32)
    field[..., 0], field[..., 1] = 3, -2
    out = m.displaced(image, m.Move(np.eye(3), field))
    assert np.allclose(out[10:100, 10:100], image[8:98, 13:103], atol=1e-6)
    at, sure = m.carried(fields.grid((128, 128)), m.Move(np.eye(3), field))
    assert sure.all()
    assert np.allclose(at[50, 60], (57, 52), atol=1e-5)


def test_the_order_of_transform_and_field() -> None:
    """A turn by a quarter, then a shift: result[q] = source[turn^-1(q + field)]."""
    turn = np.array([[0, 1, 0], [-1, 0, 127], [0, 0, 1]], np.float64)
    field = np.zeros((128, 128, 2), np.float32)
    field[..., 0] = 5
    image = smooth()
    out = m.displaced(image, m.Move(turn, field))
    assert np.allclose(out[10:110, 10:110], np.rot90(image)[10:110, 15:115], atol=1e-5)
    at, _ = m.carried(fields.grid((128, 128)), m.Move(turn, field))
    assert np.allclose(at[40, 70], (40 - 5, 127 - 70), atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_bend_brings_pixels_where_carried_says(seed: int) -> None:
    image = smooth(seed=9)
    out, move = m.bend(image, np.random.default_rng(seed))
    assert np.array_equal(out.transform, np.eye(3))
    at, sure = m.carried(fields.grid((128, 128)), move)
    assert sure.mean() > 0.99
    back = cv2.remap(out.image, at, None, cv2.INTER_CUBIC)
    inner = (slice(10, -10), slice(10, -10))
    assert np.abs(out.image - image)[inner].mean() > 0.005
    assert np.abs(back - image)[inner].max() < 0.02


def test_what_folds_is_not_sure() -> None:
    field = np.zeros((64, 64, 2), np.float32)
    field[..., 0] = 8 * np.sin(np.arange(64) / 2.5)  # its slope is 3.2: places are shown several times
    _, sure = m.carried(fields.grid((64, 64)), m.Move(np.eye(3), field))
    assert 0.02 < (~sure).mean() < 0.98
    _, sure = m.carried(fields.grid((64, 64)), m.Move(np.eye(3), field / 8))
    assert sure.all()
