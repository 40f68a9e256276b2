"""Planted pairs: the transform is exact, the strengths are in range."""

from __future__ import annotations

import cv2
import draw
import numpy as np
import plant
import pytest
from numpy.typing import NDArray

SIZES = ((260, 300), (240, 280))
TONELESS = ("exact", "mirror", "rotation", "scale", "crop", "perspective", "resample", "noise", "blur", "jpeg", "gamma")


def grey(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return image if image.ndim == 2 else np.asarray(image.mean(2), np.float32)


def agreement(pair: plant.Pair) -> float:
    a, b = grey(pair.a), grey(pair.b)
    size = (b.shape[1], b.shape[0])
    moved = cv2.warpPerspective(a, pair.transform, size)
    valid = cv2.warpPerspective(np.ones_like(a), pair.transform, size, flags=cv2.INTER_NEAREST) > 0
    left, right = cv2.GaussianBlur(moved, (0, 0), 2.5)[valid], cv2.GaussianBlur(b, (0, 0), 2.5)[valid]
    return float(np.corrcoef(left, right)[0, 1])


def pair(category: str, seed: int, colour: bool = False) -> plant.Pair:
    rng = np.random.default_rng(seed)
    field = draw.cells(rng, (620, 700)) if colour else draw.nuclei(rng, (620, 700), 15, 0.3)
    for _ in range(20):
        made = plant.make(category, field, SIZES, rng)
        if made is not None:
            return made
    raise AssertionError(f"no pair of {category}")


@pytest.mark.parametrize("category", TONELESS)
def test_the_transform_maps_a_onto_b(category: str) -> None:
    for seed in (1, 2):
        made = pair(category, seed)
        assert made.a.shape == SIZES[0]
        assert made.b.shape == SIZES[1]
        assert agreement(made) > 0.9


def test_an_inverted_pair_agrees_in_reverse() -> None:
    assert agreement(pair("inversion", 3)) < -0.9


def test_a_channel_of_a_merge_is_grey_or_one_colour() -> None:
    made = pair("channel", 4, colour=True)
    assert made.a.ndim == 3
    assert made.b.ndim == 2 or made.detail["false_colour"]
    channel = made.a[..., made.detail["channel"]]
    assert agreement(made._replace(a=channel)) > 0.8


def test_mirror_reverses_and_rotation_does_not() -> None:
    assert np.linalg.det(pair("mirror", 5).transform[:2, :2]) < 0
    assert np.linalg.det(pair("rotation", 5).transform[:2, :2]) > 0


def test_crops_share_at_least_a_quarter_and_not_all() -> None:
    for seed in range(6):
        assert 0.25 <= pair("crop", seed).shared <= 0.6


def test_scale_stays_between_a_half_and_twice_and_is_not_one() -> None:
    for seed in range(8):
        factor = np.sqrt(abs(np.linalg.det(pair("scale", seed).transform[:2, :2])))
        assert 0.5 <= factor <= 0.8 or 1.25 <= factor <= 2.0


@pytest.mark.parametrize("category", ["erased", "cloned"])
def test_edits_are_told_with_their_boxes(category: str) -> None:
    made = pair(category, 7)
    assert made.edited
    assert made.changes
    moved = cv2.warpPerspective(grey(made.a), made.transform, made.b.shape[1::-1])
    apart = np.abs(cv2.GaussianBlur(moved - grey(made.b), (0, 0), 3))[6:-6, 6:-6]
    y, x = np.unravel_index(int(apart.argmax()), apart.shape)
    assert any(x0 - 4 <= x + 6 < x1 + 4 and y0 - 4 <= y + 6 < y1 + 4 for x0, y0, x1, y1 in made.changes)


def test_a_blank_source_is_refused() -> None:
    rng = np.random.default_rng(0)
    assert plant.make("exact", draw.blank(rng, (600, 700), 0.1), SIZES, rng) is None


def test_half_a_blob_is_no_blot() -> None:
    rng = np.random.default_rng(0)
    assert plant.has_bands(draw.blot(rng, (90, 300), 5))
    x = np.linspace(0, 1, 300, dtype=np.float32)
    assert not plant.has_bands(np.repeat(0.2 + 0.7 * x[None], 90, 0))
