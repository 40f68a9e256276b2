"""Features: tone drops out, and the four states come from one computation."""

from __future__ import annotations

import numpy as np
import pytest
from tests.detect.scenes import scene

from twinscope.detect import features
from twinscope.settings import Features

SETTINGS = Features()


@pytest.mark.parametrize(("state", "made"), [((True, False), "mirror"), ((False, True), "invert")])
def test_descriptors_of_a_state_are_those_of_the_altered_picture(state: tuple[bool, bool], made: str) -> None:
    image = scene()
    altered = image[:, ::-1].copy() if made == "mirror" else 255 - image
    a, b = features.view(image, SETTINGS), features.view(altered, SETTINGS)
    points, _ = features.frames_in(state, a)
    descriptors = features.descriptors_in(state, a.descriptors)
    gap = np.linalg.norm(points[:, None] - b.points[None], axis=2) + np.abs(np.log(a.sizes[:, None] / b.sizes[None]))
    partner = gap.argmin(1)
    near = gap[np.arange(len(partner)), partner] < 0.2
    assert near.mean() > 0.6
    same = (descriptors[near] * b.descriptors[partner[near]]).sum(1)
    plain = (a.descriptors[near] * b.descriptors[partner[near]]).sum(1)
    assert np.median(same) > 0.97
    assert np.median(plain) < 0.9


def test_tone_free_forgets_brightness_contrast_and_sign() -> None:
    tone = scene().astype(np.float32) / 255
    plain = features.tone_free(tone, 10)
    dimmed = features.tone_free(0.5 * tone + 0.2, 10)
    inverted = features.tone_free(1 - tone, 10)
    assert np.corrcoef(plain.ravel(), dimmed.ravel())[0, 1] > 0.999
    assert np.allclose(inverted, -plain, atol=1e-3)


def test_flat_ground_stays_quiet() -> None:
    flat = np.full((100, 100), 0.5, np.float32)
    assert np.abs(features.tone_free(flat, 10)).max() < 1e-3
    blank = features.view(np.full((100, 100), 200, np.uint8), SETTINGS)
    assert len(blank.points) == 0
    assert not blank.usable.any()


def test_working_size_and_points_lie_in_the_panel() -> None:
    view = features.view(scene(size=(90, 700)), SETTINGS)
    assert max(view.shape) == SETTINGS.long_side
    back = np.linalg.inv(view.to_work)
    corner = back @ [view.shape[1] - 0.5, view.shape[0] - 0.5, 1]
    assert corner[:2] == pytest.approx([699.5, 89.5])
    assert np.allclose(np.linalg.norm(view.descriptors, axis=1), 1, atol=1e-4)


def test_a_grey_picture_in_colour_is_grey_and_a_merge_keeps_its_channels() -> None:
    grey = scene()
    same = features.view(np.repeat(grey[..., None], 3, 2), SETTINGS)
    assert same.names == ("grey",)
    merge = np.dstack([scene(1), scene(2), np.zeros_like(grey)])
    assert features.view(merge, SETTINGS).names == ("luma", "red", "green")
