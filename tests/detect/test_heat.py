"""What the comparator is given of two aligned pictures, and what becomes of its answer."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from tests.detect.scenes import real, scene

from twinscope.detect import heat

A = real(scene(81))
CLEAN = np.ones(A.shape, bool)


def test_equal_pictures_give_equal_planes() -> None:
    given = heat.planes(A, A, CLEAN, False)
    assert given.shape == (heat.PLANES, *A.shape)
    np.testing.assert_allclose(given[:3], given[3:6], atol=1e-4)
    assert given[0].mean() == pytest.approx(0, abs=0.02)
    assert given[0].std() == pytest.approx(A.std() / (A.std() + 0.02), abs=0.02)
    assert (given[6] == 1).all()


def test_an_inverted_copy_gives_the_same_planes() -> None:
    given = heat.planes(A, 1 - A, CLEAN, True)
    for k in range(3):
        assert np.abs(given[k] - given[k + 3]).mean() < 0.05
    assert np.abs(given[0] - heat.planes(A, 1 - A, CLEAN, False)[3]).mean() > 0.5


def test_another_tone_curve_is_gone_from_the_matched_tones() -> None:
    given = heat.planes(A, A**2.2, CLEAN, False)
    assert np.abs(given[2] - given[5]).mean() < 0.03
    assert np.abs(given[0] - given[3]).mean() > 0.1


def test_noise_leaves_the_contrast_of_the_unmatched_tones() -> None:
    noisy = np.clip(A + np.random.default_rng(0).normal(0, 0.4, A.shape), 0, 1).astype(np.float32)
    given = heat.planes(A, noisy, CLEAN, False)
    assert given[0].std() == pytest.approx(1, abs=0.15)


def test_what_is_not_clean_is_zero_and_changes_nothing_else() -> None:
    clean = CLEAN.copy()
    clean[40:90, 60:140] = False
    drawn = A.copy()
    drawn[40:90, 60:140] = 1.0
    given = heat.planes(A, drawn, clean, False)
    assert not given[:, 40:90, 60:140].any()
    np.testing.assert_allclose(given, heat.planes(A, A, clean, False), atol=5e-3)  # the tone curve looks 1 px about
    assert not heat.planes(A, A, np.zeros_like(CLEAN), False).any()


@pytest.mark.parametrize(("shape", "given"), [((100, 90), (112, 96)), ((400, 300), (224, 176)), ((20, 400), (16, 224))])
def test_pictures_are_shown_at_a_size_for_the_network(shape: tuple[int, int], given: tuple[int, int]) -> None:
    picture = np.asarray(cv2.resize(A, shape[::-1]), np.float32)
    assert heat.given(picture, picture, np.ones(shape, bool), False).shape == (heat.PLANES, *given)


def test_a_place_is_shown_only_where_all_of_it_is_clean() -> None:
    picture, clean = np.asarray(cv2.resize(A, (448, 448)), np.float32), np.ones((448, 448), bool)
    clean[:, 301:] = False  # the half of a column of what is shown
    given = heat.given(picture, picture, clean, False)
    assert given[6, :, :150].all()
    assert not given[:, :, 150:].any()


def test_a_tone_far_from_all_others_is_cut() -> None:
    spot = np.full(A.shape, 0.5, np.float32) + 0.001 * A
    spot[50:53, 50:53] = 1.0
    given = heat.planes(spot, A, CLEAN, False)
    assert given[0, 51, 51] == heat.MOST == np.abs(given[:6]).max()


def test_an_answer_lies_where_it_was_asked() -> None:
    clean = np.ones((300, 240), bool)  # shown at 224 x 179, filled up to 224 x 192
    answer = np.zeros((112, 96), np.float32)
    answer[28:56, 48:60] = 1.0  # rows 56-112 of 224, columns 96-120 of 179
    back = heat.at_size(heat.Heat(answer, np.zeros(3, np.float32)), clean)
    rows, columns = np.nonzero(back > 0.5)
    assert back.shape == clean.shape
    assert (rows.min(), rows.max() + 1) == pytest.approx((56 * 300 / 224, 112 * 300 / 224), abs=1.5)
    assert (columns.min(), columns.max() + 1) == pytest.approx((96 * 240 / 179, 120 * 240 / 179), abs=1.5)
    clean[:, 120:] = False
    assert not heat.at_size(heat.Heat(np.ones((112, 96), np.float32), np.zeros(3, np.float32)), clean)[:, 120:].any()


def test_the_network_answers_alike_whatever_the_threads() -> None:
    edited = A.copy()
    cv2.circle(edited, (150, 120), 24, 0.9, -1)
    given = heat.given(A, edited, CLEAN, False)
    other = heat.given(A, A, CLEAN, False)
    one, two = (heat.ask([given, other], threads) for threads in (1, 2))
    for k in (0, 1):
        np.testing.assert_array_equal(one[k].heat, two[k].heat)
        np.testing.assert_array_equal(one[k].classes, two[k].classes)
    one = one[0]
    assert not np.array_equal(one.heat, two[1].heat)
    assert heat.ask([], 2) == []
    assert one.heat.shape == (given.shape[1] // 2, given.shape[2] // 2)
    assert one.classes.sum() == pytest.approx(1, abs=1e-5)
    assert one.heat.min() >= 0
    assert one.heat.max() <= 1
