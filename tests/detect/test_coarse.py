"""The second look: what noise hid is found, and the alignment is that of the pictures as they are."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from tests.detect.scenes import byte, cells, real, scene

from twinscope import geometry
from twinscope import manipulate as m
from twinscope.detect import candidates, coarse, embed, features, judge
from twinscope.settings import Settings

SETTINGS = Settings(threads=1)


def speckled(image: np.ndarray, share: float = 0.6) -> np.ndarray:
    """Return the picture with a share of its pixels black or white."""
    rng = np.random.default_rng(0)
    return np.where(rng.random(image.shape) < share, rng.choice((0, 255), image.shape), image).astype(np.uint8)


def test_a_cut_and_speckled_copy_is_found_where_the_first_look_finds_nothing() -> None:
    a = cells(3)
    b = speckled(a)[20:, 30:].copy()
    views = [features.view(image, SETTINGS.features) for image in (a, b)]
    points = embed.embed([a, b], threads=1)
    assert candidates.candidates(views, SETTINGS, embed.distances(points, points)) == []
    found = coarse.judged((a, b), views, SETTINGS)
    assert found is not None
    transform = np.linalg.inv(views[1].to_work) @ found.alignment.transform @ views[0].to_work
    corners = geometry.corners((30, 20, 256, 256))
    assert np.abs(geometry.apply(transform, corners) - (corners - (30, 20))).max() < 1.5
    assert found.probability > 0.5


@pytest.mark.parametrize("name", ["fog", "frost"])
def test_what_lies_in_place_under_fog_is_found(name: str) -> None:
    a = scene(5)
    b = byte(m.CORRUPTIONS[name](real(a), np.random.default_rng(1), 5).image)
    b = cv2.resize(b, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    views = [features.view(image, SETTINGS.features) for image in (a, b)]
    found = coarse.judged((a, b), views, SETTINGS)
    assert found is not None
    transform = np.linalg.inv(views[1].to_work) @ found.alignment.transform @ views[0].to_work
    corners = geometry.corners((0, 0, a.shape[1], a.shape[0]))
    assert np.abs(geometry.apply(transform, corners) - 0.8 * corners).max() < 3
    assert found.probability > 0.5


def test_pictures_of_other_aspects_are_not_laid_over_each_other() -> None:
    wide = cv2.resize(scene(5), (400, 200))
    for other, places in ((cv2.resize(scene(6), (300, 160)), 1), (cv2.resize(scene(6), (300, 200)), 0)):
        views = [features.view(image, SETTINGS.features) for image in (wide, other)]
        found = coarse._candidate(views, SETTINGS)
        straight = [place for place in found.places if place.score == 0]
        assert len(straight) == places
        if places:
            corners = geometry.corners((0, 0, 399, 199)) @ np.diag([299 / 399, 159 / 199])
            across = np.linalg.inv(views[1].to_work) @ straight[0].transform @ views[0].to_work
            assert np.abs(geometry.apply(across, geometry.corners((0, 0, 399, 199))) - corners).max() < 0.5
    blank = [features.view(np.full((200, 300), 128, np.uint8), SETTINGS.features) for _ in range(2)]
    assert coarse._candidate(blank, SETTINGS).places == ()


def test_two_different_pictures_stay_different() -> None:
    fog = byte(m.CORRUPTIONS["fog"](real(scene(6)), np.random.default_rng(1), 5).image)
    for a, b in ((cells(3), speckled(cells(4))), (scene(5), scene(6)), (scene(5), fog)):
        views = [features.view(image, SETTINGS.features) for image in (a, b)]
        found = coarse.judged((a, b), views, SETTINGS)
        assert found is None or found.probability < 0.2


@pytest.mark.parametrize("mirrored", [False, True])
def test_what_no_correlation_tells_is_laid_over_and_looked_at(mirrored: bool) -> None:
    a = cells(3)
    b = cv2.resize(a[:, ::-1] if mirrored else a, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    b = speckled(cv2.GaussianBlur(b, (0, 0), 2.0), 0.8)
    views = [features.view(image, SETTINGS.features) for image in (a, b)]
    (right,) = coarse.laid(views, SETTINGS)  # the other way round they agree no better than when they are shifted
    assert bool(np.linalg.det(right.alignment.transform) < 0) is mirrored
    assert right.numbers["laid"] == 1
    transform = np.linalg.inv(views[1].to_work) @ right.alignment.transform @ views[0].to_work
    corners = geometry.corners((0, 0, a.shape[1], a.shape[0]))
    wanted = 0.75 * corners
    if mirrored:
        wanted[:, 0] = b.shape[1] - wanted[:, 0]
    assert np.abs(geometry.apply(transform, corners) - wanted).max() < 1.5
    assert right.numbers["correlation_1"] < SETTINGS.evidence.least
    assert right.numbers["peak_z"] >= SETTINGS.second.stands
    (told,) = judge.with_networks([right], 1)
    assert set(judge.SIGNALS) - {"fisher_0", "fisher_1", "fisher_2", "fisher_3", "peak_margin"} <= set(told)
    assert judge.way(told) == judge.WAYS.index("laid")


def test_pictures_of_other_aspects_or_blank_ones_are_not_laid() -> None:
    wide, blank = cv2.resize(scene(5), (400, 200)), np.full((200, 300), 128, np.uint8)
    for pair in ((wide, cv2.resize(scene(5), (200, 200))), (blank, cv2.resize(scene(5), (300, 200)))):
        assert coarse.laid([features.view(image, SETTINGS.features) for image in pair], SETTINGS) == []


@pytest.mark.parametrize("kind", ["white", "faint", "soft", "thin", "counted light"])
def test_two_pictures_of_nothing_but_noise_are_not_one(kind: str) -> None:
    rng = np.random.default_rng(7)
    shape, spread = {"thin": ((40, 200), 40), "faint": ((200, 200), 8)}.get(kind, ((200, 200), 40))

    def picture() -> np.ndarray:
        if kind == "counted light":
            return np.clip(2 * rng.poisson(6, shape), 0, 255).astype(np.uint8)
        grain = rng.standard_normal(shape)
        if kind == "soft":
            grain = cv2.GaussianBlur(grain, (0, 0), 4.0) / cv2.GaussianBlur(grain, (0, 0), 4.0).std()
        return np.clip(128 + spread * grain, 0, 255).astype(np.uint8)

    for _ in range(6):
        a, b = picture(), picture()
        views = [features.view(image, SETTINGS.features) for image in (a, b)]
        found = coarse.judged((a, b), views, SETTINGS)
        assert found is None or found.probability < 0.3
