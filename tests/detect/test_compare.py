"""What remains between aligned pictures: noise, misfit and tone are no change, an edit is, and it is boxed."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from tests.detect.scenes import byte, real, scene

from twinscope import geometry
from twinscope import manipulate as m
from twinscope.detect import align, compare, evidence, features
from twinscope.settings import Settings

SETTINGS = Settings(threads=1)
STRAIGHT = align.Alignment(np.eye(3), False, 0, np.zeros((0, 2)), np.zeros((0, 2)))


def heat(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    va, vb = (features.view(byte(x), SETTINGS.features) for x in (a, b))
    shared = evidence.frame(va, vb, STRAIGHT)
    return compare.residual(shared, shared.a, False, SETTINGS.compare)[0]


def test_noise_leaves_no_heat() -> None:
    a = real(scene(81))
    noisy = (a + np.random.default_rng(0).normal(0, 0.3, a.shape)).clip(0, 1).astype(np.float32)
    assert (heat(a, noisy) > SETTINGS.compare.threshold).mean() < 1e-3


def test_nearly_a_pixel_of_misfit_leaves_no_heat() -> None:
    a = np.full((240, 300), 0.2, np.float32)
    for x, y in np.random.default_rng(1).uniform((20, 20), (280, 220), (25, 2)):
        cv2.circle(a, (int(x), int(y)), 9, 0.8, -1)
    move = np.array([[1, 0, 0.8], [0, 1, 0.0], [0, 0, 1]])
    assert (heat(a, m.warp(a, move, a.shape[:2]).image)[:, 8:] > SETTINGS.compare.threshold).mean() < 2e-3


def test_an_edit_is_hot_and_nothing_else() -> None:
    a = real(scene(83))
    edited = m.erase(a, np.random.default_rng(0), centre=(200, 120), radius_px=20, ramp_px=2, value=0.5)
    hot = heat(a, edited.image) > SETTINGS.compare.threshold
    grown = evidence.frame(*[features.view(byte(x), SETTINGS.features) for x in (a, a)], STRAIGHT).seen.shape
    y, x = np.mgrid[0 : grown[0], 0 : grown[1]]
    scale = grown[1] / a.shape[1]
    far = np.hypot(x / scale - 200, y / scale - 120)
    assert hot[far < 12].mean() > 0.5
    assert not hot[far > 32].any()


def test_contents_that_differ_throughout_are_not_told_as_edits() -> None:
    rng = np.random.default_rng(0)
    common = 0.4 * real(scene(84))
    a, b = common.copy(), common.copy()
    for picture in (a, b):  # two stains of one field: the cells of the one are not those of the other
        for x, y in rng.uniform((0, 0), (300, 240), (30, 2)):
            cv2.circle(picture, (int(x), int(y)), 12, 0.9, -1)
    pair = [features.view(byte(x.clip(0, 1)), SETTINGS.features) for x in (a, b)]
    told = compare.compare(*pair, STRAIGHT, evidence.frame(*pair, STRAIGHT), SETTINGS.compare)
    assert told.changes == ()
    assert told.verdict == "benign"
    assert "contents differ throughout, as channels or exposures of one field do" in told.steps


def told(a: np.ndarray, b: np.ndarray) -> compare.Comparison:
    pair = [features.view(byte(x), SETTINGS.features) for x in (a, b)]
    pair = [dataclasses.replace(v, annotated=np.zeros_like(v.annotated)) for v in pair]  # as if no mark were known
    return compare.compare(*pair, STRAIGHT, evidence.frame(*pair, STRAIGHT), SETTINGS.compare)


@pytest.mark.parametrize("sigma", [2.0, 4.0])
def test_a_blurred_copy_is_benign_and_told_as_blurred(sigma: float) -> None:
    a = real(scene(88))
    soft = cv2.GaussianBlur(a, (0, 0), sigma)
    for one, other, word in ((a, soft, "blurred"), (soft, a, "sharper")):
        result = told(one, other)
        assert (result.verdict, result.changes) == ("benign", ())
        assert (word in result.steps) == (sigma == 4.0)  # what the tone explains needs no blur


def test_an_erased_spot_of_a_blurred_copy_is_found() -> None:
    a = real(scene(88))
    soft = cv2.GaussianBlur(a, (0, 0), 3.0)
    hidden = m.erase(soft, np.random.default_rng(0), centre=(200, 120), radius_px=22, ramp_px=2, value=0.95).image
    result = told(a, hidden)
    assert result.verdict == "manipulated"
    assert len(result.changes) == 1
    assert geometry.iou(result.changes[0], (178, 98, 222, 142)) > 0.5


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_letter_is_a_mark_and_a_disc_of_its_colour_is_an_edit(level: float) -> None:
    drawn = byte(0.3 + 0.4 * real(scene(89)))
    lettered, spotted = drawn.copy(), drawn.copy()
    cv2.putText(lettered, "B", (20, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.9, int(255 * level), 2, cv2.LINE_AA)
    cv2.circle(spotted, (30, 32), 12, int(255 * level), -1)
    a, lettered, spotted = real(drawn), real(lettered), real(spotted)
    assert told(a, lettered).changes == ()
    assert told(lettered, a).changes == ()
    assert len(told(a, spotted).changes) == 1
    assert len(told(spotted, a).changes) == 1


def test_boxes_and_regions_are_in_the_panels_own_pixels() -> None:
    a = real(scene(87))
    edited = m.erase(a, np.random.default_rng(0), centre=(200, 120), radius_px=16, ramp_px=1, value=0.5).image
    pair = [features.view(byte(x), SETTINGS.features) for x in (a, edited[20:, 30:])]
    move = pair[1].to_work @ np.array([[1, 0, -30.0], [0, 1, -20], [0, 0, 1]]) @ np.linalg.inv(pair[0].to_work)
    shifted = STRAIGHT._replace(transform=move)
    told = compare.compare(*pair, shifted, evidence.frame(*pair, shifted), SETTINGS.compare)
    assert told.region_a == pytest.approx((30, 20, 300, 240), abs=1)
    assert told.region_b == pytest.approx((0, 0, 270, 220), abs=1)
    (box,) = told.changes
    assert geometry.iou(box, (170 - 16, 100 - 16, 170 + 16, 100 + 16)) > 0.5
    assert told.heat_a.shape == (240, 300)
    assert told.heat_b.shape == (220, 270)
    assert told.heat_b[95:105, 165:175].mean() > 0.5
    assert told.heat_a[115:125, 195:205].mean() > 0.5


def hot(where: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    heat = np.zeros((200, 300), np.float32)
    heat[where] = 1
    return heat, heat > 0


@pytest.mark.parametrize(
    ("where", "boxes"),
    [
        ((slice(80, 110), slice(100, 140)), 1),
        ((slice(8, 14), slice(100, 140)), 0),
        ((slice(20, 50), slice(220, 250)), 0),
        ((slice(80, 84), slice(100, 105)), 0),
    ],
    ids=["inside", "along the border of what both show", "where something is drawn", "too small"],
)
def test_changes_are_told_only_where_both_are_seen_clean_and_large(where: tuple[slice, slice], boxes: int) -> None:
    heat, disagreeing = hot(where)
    seen = np.ones(heat.shape, bool)
    seen[:10] = False
    clean = seen.copy()
    clean[15:55, 215:255] = False
    shared = evidence.Frame(heat, heat, seen, clean, np.eye(3), np.eye(3), ("grey", "grey"))
    found = compare.changed(heat, disagreeing, shared, SETTINGS.compare)
    assert len(found) == boxes
    if boxes:
        assert tuple(found[0]) == (100.0, 80.0, 140.0, 110.0)
    assert compare.changed(heat, ~disagreeing, shared, SETTINGS.compare) == []
