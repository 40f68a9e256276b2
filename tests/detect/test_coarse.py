"""The second look: what noise hid is found, and the alignment is that of the pictures as they are."""

from __future__ import annotations

import numpy as np
from tests.detect.scenes import cells, scene

from twinscope import geometry
from twinscope.detect import candidates, coarse, embed, features
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


def test_two_different_pictures_stay_different() -> None:
    for a, b in ((cells(3), speckled(cells(4))), (scene(5), scene(6))):
        views = [features.view(image, SETTINGS.features) for image in (a, b)]
        found = coarse.judged((a, b), views, SETTINGS)
        assert found is None or found.probability < 0.2
