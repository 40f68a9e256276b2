"""The corruptions of ImageNet-C: pictures in, pictures out; the rng alone decides; what can be computed by hand is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from twinscope import manipulate as m
from twinscope.manipulate import corruptions as c

STEADY = [name for name in m.CORRUPTIONS if name not in ("saturate", "elastic", "snow", "frost", "spatter", "fog")]
"""Those whose published strengths grow in one direction; the others change in kind from one severity to the next."""


def textured(size: int = 112, channels: int = 3, seed: int = 0) -> m.Image:
    """Return a picture with detail of 1 to 8 px, in colour where there are channels."""
    rng = np.random.default_rng(seed)
    shape = (size, size, channels) if channels else (size, size)
    parts = [cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), s) * s for s in (1, 3, 8)]
    image = sum(parts[1:], parts[0])
    return np.asarray(0.5 + 0.14 * image / image.std(), np.float32).clip(0.02, 0.98)


def test_the_whole_list_is_there_and_the_moving_ones_are_told_apart() -> None:
    assert len(m.CORRUPTIONS) == 19
    assert set(m.MOVING) == {"zoom_blur", "elastic"}
    assert set(m.IN_PLACE) | set(m.MOVING) == set(m.CORRUPTIONS)
    assert not set(m.IN_PLACE) & set(m.MOVING)


@pytest.mark.parametrize("name", list(m.CORRUPTIONS))
@pytest.mark.parametrize("channels", [0, 3])
def test_results_are_pictures_and_the_rng_alone_decides(name: str, channels: int) -> None:
    image = textured(channels=channels)[:, :90]
    before = image.copy()
    for severity in range(1, 6):
        first, again = (m.CORRUPTIONS[name](image, np.random.default_rng(4), severity) for _ in range(2))
        assert np.array_equal(image, before)
        assert np.array_equal(first.image, again.image)
        assert first.image.shape == image.shape
        assert first.image.dtype == np.float32
        assert first.image.min() >= 0
        assert first.image.max() <= 1
        assert not first.mask.any()
        assert name in m.MOVING or np.array_equal(first.transform, np.eye(3))
    for severity in (0, 6):
        with pytest.raises(ValueError, match="severity"):
            m.CORRUPTIONS[name](image, np.random.default_rng(0), severity)


@pytest.mark.parametrize("name", [k for k in m.CORRUPTIONS if "blur" not in k or k in ("glass_blur", "motion_blur")])
def test_other_draws_differ_where_anything_is_drawn(name: str) -> None:
    image = textured(64)
    results = [m.CORRUPTIONS[name](image, np.random.default_rng(seed), 3).image for seed in (0, 1)]
    fixed = name in ("brightness", "contrast", "saturate", "pixelate", "jpeg")
    assert np.array_equal(*results) == fixed


@pytest.mark.parametrize("name", STEADY)
def test_severity_takes_more_and_more_of_the_picture(name: str) -> None:
    far = np.zeros(5)
    for seed in range(3):
        image = textured(224, seed=seed)
        for severity in range(1, 6):
            out = m.CORRUPTIONS[name](image, np.random.default_rng(seed), severity).image
            far[severity - 1] += np.abs(out - image).mean()
    assert (np.diff(far) > 0).all(), far


@pytest.mark.parametrize("name", ["snow", "frost", "spatter", "fog"])
def test_the_worst_weather_is_worse_than_the_best(name: str) -> None:
    far = np.zeros(5)
    for seed in range(6):
        image = textured(seed=seed) * np.float32(0.3 if name == "frost" else 1)  # ice is like mid-grey
        for severity in (1, 5):
            out = m.CORRUPTIONS[name](image, np.random.default_rng(seed), severity).image
            far[severity - 1] += np.abs(out - image).mean()
    assert far[4] > 1.1 * far[0]


def test_noise_has_the_published_strength() -> None:
    grey = np.full((200, 200), 0.5, np.float32)
    rng = np.random.default_rng(0)
    assert c.gaussian_noise(grey, rng, 1).image.std() == pytest.approx(0.08, rel=0.03)
    assert c.speckle_noise(grey, rng, 2).image.std() == pytest.approx(0.1, rel=0.03)
    shot = c.shot_noise(grey, rng, 2).image
    assert shot.std() == pytest.approx(np.sqrt(0.5 / 25), rel=0.03)
    assert shot.mean() == pytest.approx(0.5, abs=0.01)
    impulse = c.impulse_noise(grey, rng, 4).image
    assert (impulse == 0).mean() == pytest.approx(0.085, abs=0.01)
    assert (impulse == 1).mean() == pytest.approx(0.085, abs=0.01)


def test_brightness_by_hand() -> None:
    grey = np.array([[0.0, 0.25], [0.5, 0.9]], np.float32)
    assert np.allclose(c.brightness(grey, np.random.default_rng(0), 3).image, [[0.3, 0.55], [0.8, 1.0]])
    colour = np.tile(np.array([0.4, 0.2, 0.0], np.float32), (2, 2, 1))  # value .4, saturation 1, halfway red to yellow
    out = c.brightness(colour, np.random.default_rng(0), 4).image
    assert np.allclose(out, np.array([0.8, 0.4, 0.0]), atol=1e-3)


def test_contrast_by_hand() -> None:
    image = np.zeros((2, 2, 3), np.float32)
    image[0, :, 0], image[:, :, 1] = 1.0, 0.7
    out = c.contrast(image, np.random.default_rng(0), 3).image  # each channel to a fifth about its own mean
    assert np.allclose(out[0, :, 0], 0.6)
    assert np.allclose(out[1, :, 0], 0.4)
    assert np.allclose(out[..., 1], 0.7)


def test_saturate_by_hand() -> None:
    colour = np.tile(np.array([0.8, 0.6, 0.6], np.float32), (2, 2, 1))  # value .8, saturation .25
    rng = np.random.default_rng(0)
    assert np.allclose(c.saturate(colour, rng, 2).image, np.array([0.8, 0.78, 0.78]), atol=2e-3)
    assert np.allclose(c.saturate(colour, rng, 3).image, np.array([0.8, 0.4, 0.4]), atol=2e-3)
    assert np.allclose(c.saturate(colour, rng, 5).image, np.array([0.8, 0, 0]), atol=2e-3)
    grey = colour[..., 0]
    assert np.array_equal(c.saturate(grey, rng, 5).image, grey)


def test_pixelate_by_hand() -> None:
    image = np.arange(16, dtype=np.float32).reshape(4, 4) / 16
    squares = np.kron(image.reshape(2, 2, 2, 2).mean((1, 3)), np.ones((2, 2)))
    assert np.allclose(c.pixelate(image, np.random.default_rng(0), 2).image, squares)
    large = textured(448, 0)
    out = c.pixelate(large, np.random.default_rng(0), 2).image  # as coarse as at 224 px: squares of 4 px
    assert np.allclose(out, np.kron(large.reshape(112, 4, 112, 4).mean((1, 3)), np.ones((4, 4))), atol=1e-5)


def test_what_blurs_keeps_the_centre_of_mass_of_a_point() -> None:
    y, x = np.indices((225, 225))
    for name in ("defocus_blur", "motion_blur", "gaussian_blur", "glass_blur"):
        for severity in (1, 5):
            centres = []
            for seed in range(12):
                point = np.zeros((225, 225), np.float32)
                point[110:115, 110:115] = 1
                out = m.CORRUPTIONS[name](point, np.random.default_rng(seed), severity).image
                centres.append([(out * x).sum() / out.sum(), (out * y).sum() / out.sum()])
                spread = np.sqrt((out * ((x - 112) ** 2 + (y - 112) ** 2)).sum() / out.sum())
                assert spread > 2.1  # of the square itself: 2.0
            assert np.abs(np.mean(centres, 0) - 112).max() < (0.35 if name == "glass_blur" else 0.05)


def test_a_point_far_from_the_centre_is_zoomed_to_where_the_move_says() -> None:
    point = np.zeros((225, 225), np.float32)
    point[112, 172] = 1
    out = c.zoom_blur(point, np.random.default_rng(0), 2)
    assert np.array_equal(out.transform, c.zoom_move((225, 225), 2).transform)
    x, y, w = out.transform @ (172, 112, 1)
    found = (out.image * np.arange(225)).sum() / out.image.sum()
    assert y / w == pytest.approx(112)
    assert found == pytest.approx(x / w, abs=0.5)
    # 1 and 1, 1.01, ..., 1.15, averaged (the last step of the range lies at its end and is left out)
    assert x / w == pytest.approx(112 + 60 * (1 + np.arange(1, 1.16, 0.01).sum()) / 17)


@pytest.mark.parametrize("severity", range(1, 6))
def test_elastic_is_its_move(severity: int) -> None:
    image = textured(160, 0)
    out = c.elastic(image, np.random.default_rng(3), severity)
    move = c.elastic_move((160, 160), np.random.default_rng(3), severity)
    assert np.array_equal(out.transform, move.transform)
    assert move.field is not None
    y, x = np.indices((160, 160)).astype(np.float32)
    at = (
        np.stack([x + move.field[..., 0], y + move.field[..., 1], np.ones_like(x)], 2) @ np.linalg.inv(move.transform).T
    )
    plain = cv2.remap(
        image, at[..., 0].astype(np.float32), at[..., 1].astype(np.float32), cv2.INTER_LINEAR, borderMode=4
    )
    assert np.allclose(out.image, plain, atol=2e-2)
    assert np.abs(out.image - plain).mean() < 1e-3


def test_elastic_waves_have_the_published_size() -> None:
    """Uniform noise in [-1, 1) blurred by s has the deviation 1 / (sqrt(3) 2 sqrt(pi) s)."""
    for severity, (factor, sigma) in {2: (2, 0.08), 3: (0.05, 0.01), 5: (0.12, 0.01)}.items():
        fields = [c.elastic_move((224, 224), np.random.default_rng(k), severity).field for k in range(12)]
        expected = factor * 224 / (np.sqrt(3) * 2 * np.sqrt(np.pi) * sigma * 224)
        assert np.std(fields) == pytest.approx(expected, rel=0.12)


def test_fog_keeps_the_maximum_and_plasma_fills_its_range() -> None:
    image = textured(100, 0) * 0.6
    assert c.fog(image, np.random.default_rng(0), 3).image.max() <= image.max() + 1e-6
    cloud = m.plasma((100, 140), np.random.default_rng(1), 2.0)
    assert cloud.shape == (100, 140)
    assert (cloud.min(), cloud.max()) == (0, 1)
    steps = [np.abs(np.diff(m.plasma((128, 128), np.random.default_rng(2), d))).mean() for d in (3.0, 2.0, 1.4)]
    assert steps[0] < steps[1] < steps[2]  # the slower it decays, the rougher


def test_jpeg_is_that_of_the_quality() -> None:
    image = textured()
    assert np.array_equal(
        c.jpeg(image, np.random.default_rng(0), 5).image, m.jpeg(image, np.random.default_rng(0), 7).image
    )


def test_mud_darkens_and_water_lightens() -> None:
    image = np.full((224, 224, 3), 0.5, np.float32)
    water, mud = (c.spatter(image, np.random.default_rng(0), severity).image for severity in (3, 5))
    assert (water >= image).all()
    assert 0.05 < (water > 0.52).any(2).mean() < 0.6
    assert (mud <= image + 1e-6).all()
    assert mud.reshape(-1, 3).min(0) == pytest.approx([63 / 255, 42 / 255, 20 / 255], abs=0.02)
