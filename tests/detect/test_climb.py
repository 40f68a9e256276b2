"""Alignments without keypoints, or with few, are brought to the top on the whole of both pictures."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from tests.detect.scenes import SETTINGS, byte, placed, real, scene, strip

from twinscope import geometry
from twinscope.detect import align, climb, dense, features

NONE = np.zeros((0, 2))


def test_a_place_that_is_some_way_off_is_climbed_to_the_top() -> None:
    a = strip(4)
    va, vb, _ = placed(a, a)
    c, s = 1.06 * np.cos(0.04), 1.06 * np.sin(0.04)
    off = np.array([[c, -s, 9.0], [s, c, -8.0], [0, 0, 1.0]])
    started = dense.Place(0.9, False, off)
    found = climb.alignments(va, vb, (started,), SETTINGS)
    frame = geometry.corners((0, 0, va.shape[1], va.shape[0]))
    assert np.abs(geometry.apply(off, frame) - frame).max() > 12
    assert np.abs(geometry.apply(found[0].transform, frame) - frame).max() < 1.0


def test_a_stretched_strip_is_not_said_to_fit() -> None:
    a = strip(5)
    va, vb, _ = placed(a, cv2.resize(a, (336, 60), interpolation=cv2.INTER_CUBIC).clip(0, 1))
    stretched = np.diag([vb.shape[1] / va.shape[1], vb.shape[0] / va.shape[0], 1.0])
    assert climb.alignments(va, vb, (dense.Place(0.95, False, stretched),), SETTINGS) == []


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
    found = climb.climbed(a, b, start, SETTINGS)
    assert found is not None
    assert np.abs(geometry.apply(found.transform, frame) - frame).max() < 0.5
    assert len(found.points_a) == len(found.points_b) == 4
    other = features.view(scene(4), SETTINGS.features)
    assert climb.climbed(a, other, start, SETTINGS) is None
    target[3] += 9
    assert climb.climbed(a, b, start._replace(points_b=target), SETTINGS) is None  # three matches that fit are too few


def cut_lower(seed: int) -> tuple[features.View, features.View, np.ndarray]:
    """Three soft bands; the same mirrored, in another tone, without the upper rows; and how one maps to the other."""
    whole = cv2.resize(strip(seed, 3)[10:50, 40:150], None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC).clip(0, 1)
    a, b = (features.view(byte(x), SETTINGS.features) for x in (whole, np.ascontiguousarray(whole[44:, ::-1]) ** 0.6))
    return a, b, b.to_work @ np.array([[-1, 0, 329], [0, 1, -44], [0, 0, 1.0]]) @ np.linalg.inv(a.to_work)


@pytest.mark.parametrize("seed", [1, 3, 7, 9])
def test_a_strip_that_is_cut_elsewhere_is_not_pulled_off_its_place(seed: int) -> None:
    a, b, true = cut_lower(seed)
    frame = geometry.corners((0, 0, a.shape[1], a.shape[0]))

    def miss(one: align.Alignment) -> float:
        return float(np.abs(geometry.apply(one.transform, frame) - geometry.apply(true, frame)).max())

    start = align.Alignment(np.array([[1, 0, 6], [0, 1, -5], [0, 0, 1.0]]) @ true, False, 0, NONE, NONE)
    by_panel = climb._climb(a, b, climb._climb(a, b, start, 4.0, SETTINGS.align)[0], 2.0, SETTINGS.align)[0]
    found, value = climb.settled(climb.levels(a, b), start, SETTINGS)
    assert miss(found) <= min(6.5, 0.45 * miss(by_panel))
    exact, most = climb.settled(climb.levels(a, b), start._replace(transform=true), SETTINGS)
    assert 0 < value <= 1.1 * most
    assert miss(exact) < 3


def test_where_settling_would_lead_off_the_pictures_the_start_is_kept() -> None:
    a, b, true = cut_lower(1)
    start = align.Alignment(np.array([[1, 0, 390], [0, 1, 80], [0, 0, 1.0]]) @ true, False, 0, NONE, NONE)
    assert climb.settled(climb.levels(a, b), start, SETTINGS) == (start, 0.0)


def test_the_better_half_of_the_places_is_told_best_first() -> None:
    a = strip(1)
    va, vb, places = placed(a, np.ascontiguousarray(a[:, ::-1]))
    assert len(places) >= 2
    found = climb.alignments(va, vb, places[::-1], SETTINGS)
    assert 1 <= len(found) <= 2
    frame = geometry.corners((0, 0, va.shape[1], va.shape[0]))
    true = geometry.apply(geometry.mirror(va.shape[1]), frame)
    assert np.abs(geometry.apply(found[0].transform, frame) - true).max() < 2


def test_a_map_that_runs_away_is_dropped_before_a_frame_is_made_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, true = cut_lower(1)
    start = align.Alignment(true, False, 0, NONE, NONE)
    asked = []

    def runs_away(*arguments: Any) -> tuple[align.Alignment, float, float]:
        asked.append(arguments[1].transform)
        return arguments[1]._replace(transform=np.diag([60.0, 60.0, 1.0]) @ arguments[1].transform), 9.0, 9.0

    monkeypatch.setattr(climb, "_settle", runs_away)
    assert climb.settled(climb.levels(a, b), start, SETTINGS) == (start, 0.0)
    assert len(asked) == 1
    monkeypatch.setattr(climb, "_ROUNDS", 1)
    monkeypatch.setattr(climb, "_SETTLING", ((1, 0.5),))
    assert climb.settled(climb.levels(a, b), start, SETTINGS) == (start, 0.0)


def test_a_place_is_settled_from_where_it_was_found_too() -> None:
    a, b, true = cut_lower(3)
    off = np.array([[1, 0, -8], [0, 1, 4], [0, 0, 1.0]]) @ true
    frame = geometry.corners((0, 0, a.shape[1], a.shape[0]))
    found = climb.alignments(a, b, [dense.Place(0.95, False, off)] * 3, SETTINGS)
    assert len(found) == 2
    assert np.abs(geometry.apply(found[0].transform, frame) - geometry.apply(true, frame)).max() < 6
