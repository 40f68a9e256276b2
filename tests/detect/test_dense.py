"""The correlation search finds smooth panels that have no keypoints, in every flip, and tells where."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from tests.detect.scenes import byte, real, scene

from twinscope import geometry
from twinscope.detect import align, dense, features
from twinscope.settings import Settings

SETTINGS = Settings(threads=1)


def strip(seed: int, bands: int = 4) -> np.ndarray:
    """A smooth blot strip: dark soft bands of several widths on light ground, float32."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:60, 0:240].astype(np.float32)
    dark = np.zeros_like(x)
    for k in range(bands):
        cx, cy = (k + 0.5) * 240 / bands + rng.normal(0, 6), 30 + rng.normal(0, 5)
        dark += rng.uniform(0.2, 0.8) * np.exp(
            -(np.abs(x - cx) ** 3 / rng.uniform(12, 24) ** 3) - ((y - cy) / rng.uniform(4, 9)) ** 2
        )
    return np.clip(0.9 - 0.8 * cv2.GaussianBlur(dark, (0, 0), 2), 0, 1)


def placed(a: np.ndarray, b: np.ndarray) -> tuple[features.View, features.View, tuple[dense.Place, ...]]:
    va, vb = features.view(byte(a), SETTINGS.features), features.view(byte(b), SETTINGS.features)
    turned = dense.turn(dense.prepare(va, SETTINGS.dense), SETTINGS.dense)
    return va, vb, dense.search(turned, dense.prepare(vb, SETTINGS.dense), SETTINGS.dense)


FLIPS = {
    "as it is": (lambda p: p, np.eye(3)),
    "left-right": (lambda p: p[:, ::-1], geometry.mirror(240)),
    "top-bottom": (lambda p: p[::-1], np.array([[1, 0, 0], [0, -1, 59], [0, 0, 1.0]])),
    "half a turn": (lambda p: p[::-1, ::-1], np.array([[-1, 0, 239], [0, -1, 59], [0, 0, 1.0]])),
}


@pytest.mark.parametrize("name", FLIPS)
@pytest.mark.parametrize("gamma", [1.0, 0.6])
def test_a_flipped_strip_is_found_where_it_is(name: str, gamma: float) -> None:
    flip, true = FLIPS[name]
    a = strip(1)
    va, vb, places = placed(a, np.ascontiguousarray(flip(a)) ** gamma)
    found = dense.alignments(va, vb, places, SETTINGS.align)
    frame = geometry.corners((0, 0, 240, 60))
    misses = []
    for one in found:
        transform = np.linalg.inv(vb.to_work) @ one.transform @ va.to_work
        misses.append(np.abs(geometry.apply(transform, frame) - geometry.apply(true, frame)).max())
    assert min(misses) < 2.0


def test_a_part_at_another_scale_is_found() -> None:
    a = strip(2)
    b = cv2.resize(a[:, 60:220], None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
    va, vb, places = placed(a, np.clip(b, 0, 1))
    true = np.array([[1.5, 0, -90], [0, 1.5, 0], [0, 0, 1.0]])
    frame = geometry.corners((60, 0, 220, 60))
    misses = [
        np.abs(
            geometry.apply(np.linalg.inv(vb.to_work) @ one.transform @ va.to_work, frame) - geometry.apply(true, frame)
        ).max()
        for one in dense.alignments(va, vb, places, SETTINGS.align)
    ]
    assert min(misses) < 4.0


def test_an_inverted_strip_is_told_as_inverted() -> None:
    a = strip(3)
    _, _, places = placed(a, 1 - a)
    assert places[0].inverted


def test_blank_panels_fit_nothing() -> None:
    rng = np.random.default_rng(0)
    a, b = (0.5 + 0.003 * rng.standard_normal((60, 240)) for _ in range(2))
    assert placed(a, b)[2] == ()


def test_a_place_that_is_some_way_off_is_climbed_to_the_top() -> None:
    a = strip(4)
    va, vb, _ = placed(a, a)
    c, s = 1.06 * np.cos(0.04), 1.06 * np.sin(0.04)
    off = np.array([[c, -s, 9.0], [s, c, -8.0], [0, 0, 1.0]])
    started = dense.Place(0.9, False, off)
    found = dense.alignments(va, vb, (started,), SETTINGS.align)
    frame = geometry.corners((0, 0, va.shape[1], va.shape[0]))
    assert np.abs(geometry.apply(off, frame) - frame).max() > 12
    assert np.abs(geometry.apply(found[0].transform, frame) - frame).max() < 1.0


def test_a_stretched_strip_is_not_said_to_fit() -> None:
    a = strip(5)
    va, vb, _ = placed(a, cv2.resize(a, (336, 60), interpolation=cv2.INTER_CUBIC).clip(0, 1))
    stretched = np.diag([vb.shape[1] / va.shape[1], vb.shape[0] / va.shape[0], 1.0])
    assert dense.alignments(va, vb, (dense.Place(0.95, False, stretched),), SETTINGS.align) == []


def test_an_alignment_by_keypoints_that_lie_together_reaches_the_far_corner() -> None:
    a = features.view(scene(3), SETTINGS.features)
    b = features.view(byte(real(scene(3)) ** 0.7), SETTINGS.features)
    corner = np.array([[30.0, 30.0], [60.0, 34.0], [34.0, 62.0], [58.0, 60.0], [300.0, 250.0]])
    turn, grow = np.deg2rad(1.2), 1.02
    c, n = grow * np.cos(turn), grow * np.sin(turn)
    wrong = np.array([[c, -n, 45 - 45 * c + 45 * n], [n, c, 45 - 45 * n - 45 * c], [0, 0, 1]])
    target = corner.copy()
    target[4] += 9
    start = align.Alignment(wrong, False, 5, corner, target)
    frame = geometry.corners((0, 0, a.shape[1], a.shape[0]))
    assert np.abs(geometry.apply(wrong, frame) - frame).max() > 9
    found = dense.climbed(a, b, start, SETTINGS.align)
    assert found is not None
    assert np.abs(geometry.apply(found.transform, frame) - frame).max() < 0.5
    assert len(found.points_a) == len(found.points_b) == 4
    other = features.view(scene(4), SETTINGS.features)
    assert dense.climbed(a, other, start, SETTINGS.align) is None
