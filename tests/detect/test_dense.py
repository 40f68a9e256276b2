"""The correlation search finds smooth panels that have no keypoints, in every flip, and tells where."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from tests.detect.scenes import SETTINGS, placed, strip

from twinscope import geometry
from twinscope.detect import climb

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
    found = climb.alignments(va, vb, places, SETTINGS)
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
        for one in climb.alignments(va, vb, places, SETTINGS)
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
