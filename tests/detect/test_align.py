"""Alignments take the stiffest model that the matches carry, and matches lie where they are foretold."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from tests.detect.scenes import byte, real, scene

from twinscope import geometry
from twinscope import manipulate as m
from twinscope.detect import align, candidates, features, keypoints
from twinscope.settings import Settings

SETTINGS = Settings(threads=1)


def matches(linear: np.ndarray, wrong: int = 15) -> tuple[np.ndarray, np.ndarray]:
    """Sixty matches under a map, half a pixel off, and some that are wrong."""
    rng = np.random.default_rng(5)
    source = rng.uniform(0, 380, (60 + wrong, 2))
    target = source @ linear.T + (12, -7) + rng.normal(0, 0.5, source.shape)
    target[60:] = rng.uniform(0, 380, (wrong, 2))
    return source, target


def cells(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Three matches in each of some small cells, under a map that stretches by 1.55."""
    middles = np.array([(60, 80), (210, 300), (330, 110), (90, 340), (300, 350)], np.float64)[:count]
    source = (middles[:, None] + [(-4, -3), (5, -2), (0, 6)]).reshape(-1, 2)
    return source, source @ np.diag([1.4, 0.9]).T + (12, -7)


@pytest.mark.parametrize(("count", "stretched"), [(3, False), (4, False), (5, True)])
def test_a_few_cells_do_not_carry_a_stretch(count: int, stretched: bool) -> None:
    fitted = align.fit(*cells(count), SETTINGS.align)
    found = fitted is not None and bool(geometry.take_apart(fitted[0], (0, 0, 400, 400)).anisotropy > 1.3)
    assert found is stretched
    if not stretched:
        assert fitted is None or fitted[1].sum() <= 6, "what a similarity explains of them"


def test_a_homography_needs_one_place_more_than_an_affine_map() -> None:
    source, _ = cells(5)
    slanted = np.array([[1, 0.1, 3], [0.05, 1.2, -4], [0.0012, 0.0004, 1]])
    fitted = align.fit(source, geometry.apply(slanted, source), SETTINGS.align)
    assert fitted is None or np.allclose(fitted[0][2], [0, 0, 1])


def test_points_at_one_place_count_once() -> None:
    points = np.array([(0, 0), (19, 0), (20, 0), (20, 19), (300, 40)], np.float64)
    assert align.places(points, 20) == 3
    assert align.places(points, 0) == 5
    assert align.places(points[:0], 20) == 0


def test_a_similarity_is_taken_where_it_explains_the_matches() -> None:
    turned = 1.3 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    fitted = align.fit(*matches(turned), SETTINGS.align)
    assert fitted is not None
    model, inlier = fitted
    assert np.allclose(model[:2, :2], turned, atol=0.01)
    assert model[0, 0] == pytest.approx(model[1, 1], abs=1e-12)
    assert model[0, 1] == pytest.approx(-model[1, 0], abs=1e-12)
    assert inlier[:60].all()
    assert inlier[60:].sum() <= 2


def test_a_stretch_is_taken_where_a_similarity_leaves_matches_out() -> None:
    fitted = align.fit(*matches(np.diag([1.4, 0.9])), SETTINGS.align)
    assert fitted is not None
    assert np.allclose(fitted[0][:2, :2], np.diag([1.4, 0.9]), atol=0.02)


def test_refining_a_turned_noisy_copy_gives_a_similarity() -> None:
    image = scene(61)
    rng = np.random.default_rng(1)
    done = m.chain(real(image), rng, [lambda x, r: m.rotate(x, r, 17.0), lambda x, r: m.noise(x, r, 0.04)])
    pair = [features.view(x, SETTINGS.features) for x in (image, byte(done.image))]
    vote = candidates.candidates(pair, SETTINGS)[0].vote
    begun = align.from_vote(*pair, vote, SETTINGS.align)
    assert begun is not None
    a, b = (v.to_work[0, 0] for v in pair)
    linear = align.refine(*pair, begun, SETTINGS.align).transform[:2, :2] * a / b
    assert linear[0, 0] == pytest.approx(linear[1, 1], abs=1e-6)
    assert linear[0, 1] == pytest.approx(-linear[1, 0], abs=1e-6)
    assert np.degrees(np.arctan2(linear[1, 0], linear[0, 0])) == pytest.approx(-17, abs=0.1)


@pytest.mark.parametrize(
    ("size", "bent", "halved"),
    [((240, 300), False, False), ((240, 300), True, False), ((90, 110), False, False), ((240, 300), False, True)],
)
def test_refining_finds_a_known_map_to_a_fraction_of_a_pixel(
    size: tuple[int, int], bent: bool, halved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pictures of half the size alone lead to (`halved`) is as near: no shift by half a pixel comes of it."""
    climb = align._ecc
    if halved:
        monkeypatch.setattr(align, "_ecc", lambda *given: climb(*given) if given[-1] == 3 else given[2])
    image = real(scene(7, size))
    true = np.array([[1.03, -0.04, 2.3], [0.05, 0.98, -1.6], [4e-5 * bent, -3e-5 * bent, 1]])
    if halved:  # half a turn, which shows a shift twice
        true = np.array([[-1, 0, size[1] - 1], [0, -1, size[0] - 1], [0, 0, 1]]) @ true
    moved = cv2.warpPerspective(image, true, size[::-1], borderMode=cv2.BORDER_REFLECT)
    pair = [features.view(byte(x), SETTINGS.features.model_copy(update={"enlarge": 1.0})) for x in (image, moved)]
    off = np.array([[1, 0.004, 1.2], [-0.003, 1, -0.9], [1e-7 * bent, 0, 1]]) @ true
    start = align.Alignment(off / off[2, 2], False, 9, np.zeros((9, 2)), np.zeros((9, 2)))
    found = align.refine(*pair, start, SETTINGS.align)
    inner = geometry.corners((0.2 * size[1], 0.2 * size[0], 0.8 * size[1], 0.8 * size[0]))
    assert np.abs(geometry.apply(start.transform, inner) - geometry.apply(true, inner)).max() > 1
    assert np.abs(geometry.apply(found.transform, inner) - geometry.apply(true, inner)).max() < 0.15


@pytest.mark.parametrize(("agree", "sound"), [(3, False), (4, True)])
def test_a_map_that_too_few_matches_agree_with_is_none(
    agree: int, sound: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = [features.view(scene(61), SETTINGS.features)] * 2
    vote = keypoints.Vote(9, (False, False), np.eye(3), np.zeros((0, 2), np.int64))
    monkeypatch.setattr(align, "fit", lambda source, *_: (np.eye(3), np.arange(len(source)) < agree))
    found = align.from_vote(*pair, vote, SETTINGS.align)
    assert (found is not None and len(found.points_a) == agree) == sound
    assert (found is None) != sound


def test_guided_matches_lie_where_they_are_foretold() -> None:
    half = scene(62, (200, 160))
    twice = features.view(np.hstack([half, half]), SETTINGS.features)  # every keypoint has a twin in the other half
    shift = np.array([[1, 0, twice.shape[1] / 2 + 3], [0, 1, -4.0], [0, 0, 1]])  # to the twins, not to themselves
    i, j = align.guided(twice, twice, (False, False), twice.points, shift, SETTINGS.align)
    assert len(i) > 50
    foretold = geometry.apply(shift, twice.points[i])
    assert np.hypot(*(foretold - twice.points[j]).T).max() <= SETTINGS.align.reach * max(twice.shape)


def test_views_of_other_scale_are_compared_at_one_scale() -> None:
    image = scene(63)
    large = cv2.resize(image[80:160, 90:190], None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    a, b = (features.view(x, SETTINGS.features) for x in (image, large))
    true = np.array([[4, 0, -4 * 90 + 1.5], [0, 4, -4 * 80 + 1.5], [0, 0, 1.0]])
    work = b.to_work @ true @ np.linalg.inv(a.to_work)
    small_a, small_b, to_a, to_b = align.at_one_scale(a, b, work, align.NEAR_SCALE)
    assert small_a is a
    assert small_b.shape[0] < b.shape[0] / 2.5
    parts = geometry.take_apart(to_b @ work @ align.inverse(to_a), (0, 0, a.shape[1], a.shape[0]))
    assert parts.scale == pytest.approx(1, abs=0.05)
    everywhere = np.full(small_b.shape, 255, np.uint8)
    back = align.inverse(to_b @ work @ align.inverse(to_a))
    alike = align.correlation_at(small_a.planes[0], small_b.planes[0], back, everywhere)
    unlike = align.correlation_at(a.planes[0], b.planes[0], align.inverse(work), np.full(b.shape, 255, np.uint8))
    assert alike > 0.93
    assert alike > unlike + 0.1
