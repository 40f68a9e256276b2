"""Edits of a region: outside it nothing changes, inside it what was asked for; and the margins of `pad`."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from twinscope import manipulate as m

REGION: dict[str, Callable[..., m.Manipulated]] = {
    "transplant": m.transplant, "inpaint": m.inpaint, "cover": m.cover, "mend": m.mend,
}  # fmt: skip


def smooth(size: int = 96, channels: int = 0, seed: int = 0) -> m.Image:
    shape = (size, size, channels) if channels else (size, size)
    noise = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal(shape).astype(np.float32), (0, 0), 4)
    return ((noise - noise.min()) / (noise.max() - noise.min())).astype(np.float32)


@pytest.mark.parametrize("name", [*REGION, "words"])
@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize("seed", range(4))
def test_outside_the_mask_nothing_changes(name: str, channels: int, seed: int) -> None:
    image = smooth(channels=channels)
    before = image.copy()
    out, again = (getattr(m, name)(image, np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(image, before)
    assert np.array_equal(out.image, again.image)
    assert out.image.dtype == np.float32
    assert out.image.shape == image.shape
    assert np.array_equal(out.image[~out.mask], image[~out.mask])
    assert np.abs(out.image - image)[out.mask].mean() > 0.01
    assert np.array_equal(out.transform, np.eye(3))


@pytest.mark.parametrize("name", list(REGION))
def test_a_given_region_is_the_mask(name: str) -> None:
    region = np.zeros((96, 96), np.bool_)
    region[20:50, 30:44] = True
    out = REGION[name](smooth(), np.random.default_rng(0), region)
    assert np.array_equal(out.mask, region)


def test_inpaint_fills_from_around() -> None:
    image = np.full((60, 60), 51 / 255, np.float32)
    image[25:31, 25:31] = 1.0
    region = np.zeros((60, 60), np.bool_)
    region[24:32, 24:32] = True
    out = m.inpaint(image, np.random.default_rng(0), region)
    assert np.allclose(out.image, 51 / 255, atol=2.5 / 255)


def test_cover_takes_the_colour_and_the_grain_around() -> None:
    rng = np.random.default_rng(0)
    image = (0.3 + 0.02 * rng.standard_normal((120, 120))).astype(np.float32)
    image[50:70, 50:70] = 0.9
    region = np.zeros((120, 120), np.bool_)
    region[45:75, 45:75] = True
    out = m.cover(image, rng, region).image[region]
    assert out.mean() == pytest.approx(0.3, abs=0.01)
    assert out.std() == pytest.approx(0.02, rel=0.25)
    assert (m.cover(image, rng, region, value=1.0).image[region] == 1).all()


def test_transplant_copies_a_part_unchanged() -> None:
    image = np.random.default_rng(1).random((80, 80)).astype(np.float32)
    region = np.zeros((80, 80), np.bool_)
    region[10:22, 12:28] = True
    out = m.transplant(image, np.random.default_rng(0), region).image[10:22, 12:28]
    views = np.lib.stride_tricks.sliding_window_view(image, (12, 16))
    assert (np.abs(views - out).max((2, 3)) < 1e-6).sum() == 1
    donor = np.ones((80, 80), np.float32)
    half = m.transplant(np.zeros((80, 80), np.float32), np.random.default_rng(0), region, donor, feather_px=3.0).image
    assert half[10, 15] == pytest.approx(0.25, abs=0.01)  # a border of 1 px is a quarter opaque
    assert half[15, 20] == 1


def test_mend_matches_the_rim() -> None:
    ramp = np.tile(np.linspace(0, 1, 100, dtype=np.float32), (100, 1))
    region = np.zeros((100, 100), np.bool_)
    region[40:60, 40:60] = True
    for seed in range(5):
        out = m.mend(ramp, np.random.default_rng(seed), region, 0.0).image
        assert out[40:60, 40:60].mean() == pytest.approx(ramp[40:60, 40:60].mean(), abs=0.02)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_regions_have_the_share_that_was_asked_for(share: float) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        blob, box = m.blob((150, 150), rng, share), m.rectangle((150, 150), rng, share)
        assert blob.mean() == pytest.approx(share, rel=0.2)
        assert box.mean() == pytest.approx(share, rel=0.2)
        assert cv2.connectedComponents(blob.astype(np.uint8))[0] == 2
        rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
        assert box.sum() == len(rows) * len(columns)


def test_pad_by_hand() -> None:
    image = np.array([[0.1, 0.2]], np.float32)
    out = m.pad(image, np.random.default_rng(0), (1, 2, 0, 1), 0.5)
    assert np.allclose(out.image, [[0.5] * 3, [0.5] * 3, [0.5, 0.1, 0.2], [0.5] * 3])
    assert np.allclose(out.transform @ (0, 0, 1), (1, 2, 1))
    for seed in range(10):
        grown = m.pad(smooth(), np.random.default_rng(seed))
        dx, dy = (int(v) for v in grown.transform[:2, 2])
        assert np.array_equal(grown.image[dy : dy + 96, dx : dx + 96], smooth())
        assert max(grown.image.shape) <= 96 + 2 * 9
