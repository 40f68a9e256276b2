"""Manipulations: exact transforms, exact masks, and the rng alone decides."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import pytest

from twinscope import manipulate as m

GEOMETRIC: dict[str, Callable[..., m.Manipulated]] = {
    "left-right": partial(m.reflect, axis="left-right"),
    "up-down": partial(m.reflect, axis="up-down"),
    "quarter": partial(m.rotate, angle=90),
    "half": partial(m.rotate, angle=180),
    "three quarters": partial(m.rotate, angle=-90),
    "rotate": partial(m.rotate, angle=23.0),
    "rotate same": partial(m.rotate, angle=-40.0, fit="same"),
    "rotate expand": partial(m.rotate, angle=65.0, fit="expand"),
    "smaller": partial(m.scale, factor=0.6),
    "larger": partial(m.scale, factor=1.7),
    "crop": partial(m.crop, share=0.4),
    "perspective": m.perspective,
    "similarity": m.similarity,
    "v02": partial(m.v02, cluttered=False),
}
LOCAL: dict[str, Callable[..., m.Manipulated]] = {
    name: getattr(m, name)
    for name in (
        "letters", "scale_bar", "arrow", "outline", "clutter", "erase", "local_contrast", "clone", "splice", "retouch",
    )
}  # fmt: skip
LOCAL["splice feathered"] = partial(m.splice, feather_px=4.0)
TONE = ("gamma", "contrast", "brightness", "invert", "one_channel", "merge_channel", "false_colour")
DEGRADING = ("jpeg", "blur", "noise", "resample")
ALL = {**GEOMETRIC, **LOCAL, **{name: getattr(m, name) for name in (*TONE, *DEGRADING)}}


def smooth(height: int = 256, width: int = 256, seed: int = 0, channels: int = 0) -> m.Image:
    shape = (height, width, channels) if channels else (height, width)
    noise = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    image = cv2.GaussianBlur(noise, (0, 0), 6)
    return ((image - image.min()) / (image.max() - image.min())).astype(np.float32)


@pytest.mark.parametrize("name", [k for k in GEOMETRIC if k != "v02"])
@pytest.mark.parametrize("shape", [(256, 256), (150, 220)])
@pytest.mark.parametrize("seed", [0, 1])
def test_inverse_transform_realigns(name: str, shape: tuple[int, int], seed: int) -> None:
    image = smooth(*shape)
    out = GEOMETRIC[name](image, np.random.default_rng(seed))
    inverse = np.linalg.inv(out.transform)
    back = cv2.warpPerspective(out.image, inverse, shape[::-1], flags=cv2.INTER_CUBIC)
    inside = cv2.warpPerspective(np.ones(out.image.shape[:2], np.float32), inverse, shape[::-1]) > 0.999
    if name in ("rotate same", "similarity", "perspective"):  # the result holds filled places too
        filled = cv2.warpPerspective(np.ones(shape, np.float32), out.transform, out.image.shape[1::-1]) < 0.999
        inside &= cv2.warpPerspective(filled.astype(np.float32), inverse, shape[::-1]) < 1e-6
    inside = cv2.erode(inside.astype(np.uint8), np.ones((7, 7), np.uint8), borderValue=0) > 0
    assert inside.mean() > 0.1
    assert np.abs(back - image)[inside].max() < 0.02


@pytest.mark.parametrize("name", list(LOCAL))
@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize("seed", range(4))
def test_outside_the_mask_nothing_changes(name: str, channels: int, seed: int) -> None:
    image = smooth(channels=channels, seed=3)
    before = image.copy()
    out = LOCAL[name](image, np.random.default_rng(seed))
    assert np.array_equal(image, before)
    assert np.array_equal(out.image[~out.mask], image[~out.mask])
    assert np.array_equal(out.transform, np.eye(3))
    changed = np.abs(out.image - image) if channels == 0 else np.abs(out.image - image).max(2)
    assert name == "clutter" or changed[out.mask].mean() > 0.002
    assert out.mask.mean() < 0.7


@pytest.mark.parametrize("name", list(ALL))
def test_the_rng_alone_decides(name: str) -> None:
    image = smooth(channels=0, seed=5)
    first, again, other = (ALL[name](image, np.random.default_rng(seed)) for seed in (7, 7, 8))
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a, b)
    if name in LOCAL and name != "clutter":
        assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("name", list(ALL))
@pytest.mark.parametrize("channels", [0, 3])
def test_results_are_pictures(name: str, channels: int) -> None:
    out = ALL[name](smooth(channels=channels, seed=2), np.random.default_rng(1))
    assert out.image.dtype == np.float32
    assert out.image.min() >= 0
    assert out.image.max() <= 1
    assert out.transform.shape == (3, 3)
    assert out.transform.dtype == np.float64
    assert out.mask.shape == out.image.shape[:2]
    assert out.mask.dtype == np.bool_


def test_hand_computed_geometry() -> None:
    image = np.arange(6, dtype=np.float32).reshape(2, 3) / 10
    rng = np.random.default_rng(0)
    assert np.allclose(m.reflect(image, rng, "left-right").image, [[0.2, 0.1, 0.0], [0.5, 0.4, 0.3]])
    turned = m.rotate(image, rng, 90)
    assert np.allclose(turned.image, [[0.2, 0.5], [0.1, 0.4], [0.0, 0.3]])
    assert np.allclose(turned.transform @ (2, 0, 1), (0, 0, 1))  # the top-right pixel comes to the top-left
    assert np.allclose(turned.transform @ (0, 1, 1), (1, 2, 1))
    cut = m.crop(image, rng, box=(1, 0, 3, 2))
    assert np.allclose(cut.image, [[0.1, 0.2], [0.4, 0.5]])
    assert np.allclose(cut.transform @ (1, 0, 1), (0, 0, 1))
    half = m.scale(np.kron(image, np.ones((2, 2), np.float32)), rng, 0.5)
    assert np.allclose(half.image, image)
    assert np.allclose(half.transform @ (0.5, 0.5, 1), (0, 0, 1))  # the middle of the first four pixels is the first


def test_hand_computed_tone() -> None:
    image = np.array([[0.0, 0.25], [0.5, 0.81]], np.float32)
    rng = np.random.default_rng(0)
    assert np.allclose(m.gamma(image, rng, 0.5).image, [[0, 0.5], [0.70711, 0.9]], atol=1e-5)
    assert np.allclose(m.invert(image, rng).image, [[1, 0.75], [0.5, 0.19]])
    assert np.allclose(m.contrast(image, rng, 2.0).image, [[0, 0.11], [0.61, 1.0]])
    assert np.allclose(m.brightness(image, rng, 2.0).image, [[0, 0.5], [1, 1]])
    green = m.merge_channel(image, rng, 1)
    assert np.allclose(green.image[0, 1], (0, 0.25, 0))
    assert np.allclose(m.one_channel(green.image, rng, 1).image, image)
    assert np.allclose(m.false_colour(image, rng, (1, 0, 0.5)).image[1, 0], (0.5, 0, 0.25))


def test_hand_computed_erase() -> None:
    out = m.erase(np.ones((41, 41), np.float32), np.random.default_rng(0), (20, 20), 5.0)
    assert np.allclose(out.image[20, [20, 25, 30, 35, 40]], [0, 0, 0.5, 1, 1])
    assert list(out.mask[20, [20, 30, 34, 35]]) == [True, True, True, False]


def test_hand_computed_local_contrast() -> None:
    flat = np.full((41, 41), 0.4, np.float32)
    out = m.local_contrast(flat, np.random.default_rng(0), (20, 20), 6.0, 2.0)
    assert np.allclose(out.image[20, [20, 26, 29, 32, 33]], [0.8, 0.8, 0.6, 0.4, 0.4])


def test_hand_computed_splice() -> None:
    out = m.splice(
        np.zeros((6, 6), np.float32), np.random.default_rng(0), np.ones((6, 6), np.float32), (0, 0, 3, 3), (2, 1)
    )
    expected = np.zeros((6, 6))
    expected[1:4, 2:5] = 1
    assert np.array_equal(out.image, expected)
    assert np.array_equal(out.mask, expected > 0)


def test_jpeg_worsens_with_quality() -> None:
    image = np.random.default_rng(0).random((64, 64), np.float32)
    errors = [np.abs(m.jpeg(image, np.random.default_rng(0), q).image - image).mean() for q in (95, 50, 10)]
    assert errors[0] < errors[1] < errors[2]
    colour = np.zeros((16, 16, 3), np.float32) + np.array([0.8, 0.2, 0.1], np.float32)
    assert np.abs(m.jpeg(colour, np.random.default_rng(0), 95).image - colour).max() < 0.03  # red stays red


def test_what_degrading_takes_away() -> None:
    rng = np.random.default_rng(0)
    fine = (np.indices((64, 64)).sum(0) % 2).astype(np.float32)
    assert np.allclose(m.resample(fine, rng, 0.5).image, 0.5)  # a checkerboard of single pixels is lost
    assert m.blur(fine, rng, 2.0).image[8:-8, 8:-8].std() < 0.01
    grey = np.full((64, 64), 0.5, np.float32)
    assert m.noise(grey, rng, 0.05).image.std() == pytest.approx(0.05, rel=0.05)


def test_warp_smooths_what_it_shrinks() -> None:
    fine = (np.indices((200, 200)).sum(0) % 2).astype(np.float32)
    small = m.similarity(fine, np.random.default_rng(0), 30, 0.4, (0, 0)).image
    assert small[60:140, 60:140].std() < 0.1


def test_chain_multiplies_transforms_and_carries_masks() -> None:
    image = smooth(200, 200)
    steps = [
        partial(m.erase, centre=(60, 50), radius_px=8.0),
        partial(m.rotate, angle=30.0),
        partial(m.reflect, axis="left-right"),
        partial(m.scale, factor=0.7),
    ]
    out = m.chain(image, np.random.default_rng(0), steps)
    plain = m.chain(image, np.random.default_rng(0), steps[1:])
    assert np.allclose(out.transform, plain.transform)
    assert np.array_equal(out.image[~out.mask], plain.image[~out.mask])
    x, y, w = out.transform @ (60, 50, 1)
    assert out.mask[round(y / w), round(x / w)]
    assert out.mask.sum() < np.pi * (0.7 * (18 + 2) + 3) ** 2  # the edit, and what two interpolations spread


def test_quarter_turns_carry_masks_exactly() -> None:
    steps = [partial(m.splice, box=(0, 0, 5, 4), to=(3, 2)), partial(m.rotate, angle=90)]
    out = m.chain(smooth(20, 30), np.random.default_rng(0), steps)
    assert out.mask.sum() == 20
    assert np.array_equal(out.mask, np.rot90(m.chain(smooth(20, 30), np.random.default_rng(0), steps[:1]).mask))


def test_v02_plain_is_the_centre_less_its_minimum() -> None:
    image = smooth() * 0.8 + 0.1
    out = m.v02(image, np.random.default_rng(0), deformed=False, cluttered=False)
    centre = image[64:192, 64:192]
    assert np.allclose(out.image, centre - centre.min())
    assert np.allclose(out.transform @ (64, 64, 1), (0, 0, 1))
    assert not out.mask.any()


def test_v02_frequencies_and_ranges() -> None:
    image = smooth()
    draws = [m.v02(image, np.random.default_rng(seed)) for seed in range(600)]
    plain = np.eye(3)
    plain[:2, 2] = -64
    untouched = np.mean([np.allclose(d.transform, plain) for d in draws])
    assert 0.1 + 0.9 * 0.5**2 * (0.5 + 0.125) == pytest.approx(untouched, abs=0.05)
    mirrored = np.mean([np.linalg.det(d.transform[:2, :2]) < 0 for d in draws])
    assert 0.9 * 0.25 == pytest.approx(mirrored, abs=0.05)
    edited = np.mean([d.mask.any() for d in draws])
    assert 1 - 0.5 * (1 - 0.9 * 0.5) == pytest.approx(edited, abs=0.06)
    middles = np.array([d.transform @ (127.5, 127.5, 1) for d in draws])
    assert (
        np.abs(middles[:, :2] / middles[:, 2:] - 63.5).max() < 60
    )  # 20 by translation, the rest by the moved corners and their scale


def test_v02_transform_fits_the_pixels() -> None:
    image = smooth(seed=9)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        transform = m.v02_transform(image.shape, rng)
        out = m.warp(image, transform, (128, 128)).image
        x, y, w = np.linalg.inv(transform) @ (63, 63, 1)
        expected = cv2.remap(image, np.float32([[x / w]]), np.float32([[y / w]]), cv2.INTER_CUBIC)[0, 0]
        assert abs(out[63, 63] - expected) < 0.02
