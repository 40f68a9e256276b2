"""The presets of manipulations: `v01`, `v02`, `geometric` and `figure`, and what only `figure` uses."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import cv2
import numpy as np
import pytest

from twinscope import manipulate as m
from twinscope.manipulate import figures

V02_MEANS = [0.41405, 0.33198, 0.2823, 0.34305, 0.41405, 0.38138, 0.23762, 0.38979]
"""What `v02` has given since it was first used to calibrate: the seeds 0 to 7 on `smooth()`."""


def smooth(height: int = 256, width: int = 256, seed: int = 0, channels: int = 0) -> m.Image:
    shape = (height, width, channels) if channels else (height, width)
    noise = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    image = cv2.GaussianBlur(noise, (0, 0), 6)
    return ((image - image.min()) / (image.max() - image.min())).astype(np.float32)


def carried(image: m.Image, out: m.Manipulated) -> tuple[m.Image, m.Mask]:
    """Return the result brought back by the inverse transform, and where it holds what the source holds."""
    shape, inverse = image.shape[1::-1], np.linalg.inv(out.transform)
    back = cv2.warpPerspective(out.image, inverse, shape, flags=cv2.INTER_CUBIC)
    inside = cv2.warpPerspective(np.ones(out.image.shape[:2], np.float32), inverse, shape) > 0.999
    filled = cv2.warpPerspective(np.ones(image.shape[:2], np.float32), out.transform, out.image.shape[1::-1]) < 0.999
    wrong = (filled | out.mask).astype(np.float32)
    inside &= cv2.warpPerspective(wrong, inverse, shape) < 1e-6
    return back, cv2.erode(inside.astype(np.uint8), np.ones((11, 11), np.uint8), borderValue=0) > 0


def test_v02_is_what_it_always_was() -> None:
    means = [float(m.v02(smooth(), np.random.default_rng(seed)).image.mean()) for seed in range(8)]
    assert means == pytest.approx(V02_MEANS, abs=2e-4)


def test_v01_is_milder_and_never_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    image = smooth()
    scales: dict[str, list[float]] = {"v01": [], "v02": []}
    for name, found in scales.items():
        for seed in range(300):
            transform = getattr(m, name)(image, np.random.default_rng(seed)).transform
            found.append(float(np.sqrt(abs(np.linalg.det(transform[:2, :2])))))
    assert 0.6 < min(scales["v01"]) < 0.85
    assert 1.15 < max(scales["v01"]) < 1.55  # the corners' shift adds to .75-1.25
    assert min(scales["v02"]) < 0.6
    assert max(scales["v02"]) > 1.6
    monkeypatch.setattr("twinscope.manipulate.presets.decoded_jpeg", lambda *_: pytest.fail("V01 has no JPEG"))
    for seed in range(60):
        m.v01(image, np.random.default_rng(seed))


def test_v01_gamma_stays_within_a_quarter() -> None:
    flat = np.full((256, 256), 0.5, np.float32)
    flat[60:66, 60:70], flat[120:200, 120:200] = 0.0, 1.0
    for seed in range(60):
        out = m.v01(flat, np.random.default_rng(seed), cluttered=False)
        plain = (out.image > 0.3) & (out.image < 0.7) & ~out.mask
        if plain.sum() > 500 and not out.mask.any() and out.image.max() > 0.99:
            assert 0.5**1.26 < np.median(out.image[plain]) < 0.5**0.74


def test_geometric_moves_and_changes_nothing_else() -> None:
    image = smooth(seed=4)
    aligned = 0
    for seed in range(40):
        out = m.geometric(image, np.random.default_rng(seed))
        assert not out.mask.any()
        assert out.image.shape == (128, 128)
        back, inside = carried(image, out)
        if inside.sum() > 400:
            aligned += 1
            assert np.abs(back - image)[inside].max() < 0.03
    assert aligned > 30


@pytest.mark.parametrize("name", ["v01", "v02", "geometric"])
def test_a_source_smaller_than_the_cut_stands_in_its_middle(name: str) -> None:
    image = smooth(100, 100, seed=7)
    for seed in (4, 10, 11):
        out = getattr(m, name)(image, np.random.default_rng(seed))
        assert out.image.shape == out.mask.shape == (128, 128)
    plain = m.geometric(smooth(100, 300, seed=7), np.random.default_rng(0), deformed=False)
    assert np.array_equal(plain.image[14:114], smooth(100, 300, seed=7)[:, 86:214])
    assert not plain.image[:14].any()
    assert np.array_equal(plain.transform, [[1, 0, -86], [0, 1, 14], [0, 0, 1]])


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 3), (3, 300), (300, 3)])
@pytest.mark.parametrize("name", ["figure", "similarity", "perspective", "v02"])
def test_the_smallest_pictures_come_out(name: str, shape: tuple[int, int]) -> None:
    """In a process of its own, since OpenCV may not come back from a border that cannot be reflected."""
    code = (
        "import numpy as np; from twinscope import manipulate as m; image = np.full({shape}, 0.5, np.float32)\n"
        "outs = [m.{name}(image, np.random.default_rng(seed)) for seed in range(20)]\n"
        "assert all(out.image.shape[:2] == out.mask.shape and abs(np.linalg.det(out.transform)) > 0 for out in outs)"
    )
    subprocess.run([sys.executable, "-c", code.format(shape=shape, name=name)], check=True, timeout=60)


@pytest.mark.parametrize("shape", [(200, 200), (150, 260)])
def test_figure_realigns_by_its_inverse(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the steps that change tone left out, what is not masked is the source's content at the right place."""
    keep = [(0.4, step) for step in (m.erase, m.retouch, m.letters, m.arrow, m.panel_letter, figures.feathered)]
    monkeypatch.setattr(figures, "changes", lambda donor: keep)
    image, aligned, worst = smooth(*shape, seed=6), 0, []
    for seed in range(80):
        out = m.figure(image, np.random.default_rng(seed))
        back, inside = carried(image, out)
        if inside.sum() > 400:
            aligned += 1
            worst.append(np.abs(back - image)[inside].max())
    assert aligned > 60
    assert np.max(worst) < 0.04


def test_figure_edits_only_inside_its_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    local = [(1.0, step) for _, step in figures.changes(None) if _is_local(step)]
    nothing = [(1.0, lambda image, rng: m.Manipulated(image, np.eye(3), np.zeros(image.shape[:2], np.bool_)))]
    image = smooth(180, 220, seed=1, channels=3)
    for seed in range(40):
        some = local[seed % len(local) :]
        results = []
        for steps in (nothing * len(some), some):
            monkeypatch.setattr(figures, "changes", lambda donor, steps=steps: steps)
            results.append(m.figure(image, np.random.default_rng(seed)))
        plain, edited = results
        assert np.array_equal(edited.transform, plain.transform)
        assert np.array_equal(edited.image[~edited.mask], plain.image[~edited.mask])
        assert edited.mask.any()


def _is_local(step: m.Step) -> bool:
    named = step.func if isinstance(step, partial) else step
    return named.__name__ in {
        "erase", "local_contrast", "feathered", "retouch", "panel_letter", "letters", "scale_bar", "arrow", "outline",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["v01", "v02", "geometric", "figure"])
def test_the_rng_alone_decides(name: str) -> None:
    image = smooth(seed=5)
    preset = getattr(m, name)
    differ = 0
    for seed in range(10):
        first, again, other = (preset(image, np.random.default_rng(s)) for s in (seed, seed, seed + 100))
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        differ += first.image.shape != other.image.shape or not np.array_equal(first.image, other.image)
    assert differ >= 9


def test_figures_are_pictures_of_any_shape_and_colour() -> None:
    before = {channels: smooth(90, 140, seed=2, channels=channels) for channels in (0, 3)}
    kept = {channels: image.copy() for channels, image in before.items()}
    for seed in range(150):
        channels = 3 * (seed % 2)
        out = m.figure(before[channels], np.random.default_rng(seed), donor=before[3 - channels])
        assert out.image.dtype == np.float32
        assert out.image.ndim in (2, 3)
        assert 0 <= out.image.min() <= out.image.max() <= 1
        assert min(out.image.shape[:2]) >= 8
        assert out.mask.shape == out.image.shape[:2]
        assert out.mask.dtype == np.bool_
        assert np.isfinite(out.transform).all()
    assert all(np.array_equal(kept[channels], before[channels]) for channels in (0, 3))


def test_figure_shows_its_frame_at_the_size_asked_for() -> None:
    image = np.zeros((256, 256), np.float32)
    image[64:192, 64:192] = 1
    for seed in range(60):
        transform, size = m.figure_transform(image.shape, np.random.default_rng(seed), (64, 64, 192, 192), (96, 120))
        assert size == (96, 120)
        x, y, w = np.linalg.inv(transform) @ (59.5, 47.5, 1)
        assert 64 <= x / w <= 192  # the middle of the result lies in the frame
        assert 64 <= y / w <= 192
        assert m.warp(image, transform, size).image.mean() > 0.5


def test_a_crop_overlaps_in_part() -> None:
    image = np.ones((200, 200), np.float32)
    shares = []
    for seed in range(200):
        transform, size = m.figure_transform(image.shape, np.random.default_rng(seed))
        shown = cv2.warpPerspective(np.ones(size, np.float32), np.linalg.inv(transform), (200, 200))
        shares.append(shown.mean())
    assert 0.2 < min(shares) < 0.45  # .55 of each side is .30 of the area
    assert np.mean(np.array(shares) > 0.97) > 0.3


def test_screenshots_and_letters_keep_their_place() -> None:
    image = smooth(100, 130, seed=3)
    for factor in (0.6, 1.5):
        out = m.screenshot(image, np.random.default_rng(0), factor)
        assert out.image.shape == image.shape
        assert np.abs(out.image - image).mean() < 0.03
        assert not out.mask.any()
    for seed in range(20):
        out = m.panel_letter(image, np.random.default_rng(seed))
        assert np.array_equal(out.image[~out.mask], image[~out.mask])
        assert 0 < out.mask.mean() < 0.4


@pytest.mark.parametrize("factor", [1.2, 1.35, 1.5])
def test_a_screenshot_does_not_move_the_picture(factor: float) -> None:
    x, y = np.meshgrid(np.arange(160), np.arange(120))
    for ramp in (x, y):
        image = (0.1 + ramp / 200).astype(np.float32)
        for seed in range(6):
            out = m.screenshot(image, np.random.default_rng(seed), factor)
            moved_px = 200 * float((out.image - image)[20:-20, 20:-20].mean())
            assert abs(moved_px) < 0.1


def test_repeated_jpeg_loses_more_than_one() -> None:
    image = np.random.default_rng(0).random((64, 64), np.float32)
    lost = [np.abs(m.repeated_jpeg(image, np.random.default_rng(1), n).image - image).mean() for n in (1, 4)]
    assert lost[0] < lost[1]
    assert 0.001 < lost[0]
    assert np.abs(m.sharpen(image, np.random.default_rng(0), 0.0).image - image).max() < 1e-6
    assert m.sharpen(0.25 + image / 2, np.random.default_rng(0), 0.4).image.std() > (image / 2).std()


def test_upright_figures_lie_inside_their_frame_and_keep_its_proportions() -> None:
    frame, checked, whole = (20, 30, 140, 110), 0, 0
    for seed in range(300):
        transform, (height, width) = m.figure_transform((160, 200), np.random.default_rng(seed), frame)
        linear = transform[:2, :2]
        upright = np.allclose(transform[2], (0, 0, 1)) and np.abs(linear).min() < 1e-9
        sizes = np.linalg.svd(linear)[1]
        if not upright or abs(sizes[0] / sizes[1] - 1) > 0.03:  # another aspect was drawn
            continue
        checked += 1
        corners = np.array([[-0.5, -0.5, 1], [width - 0.5, -0.5, 1], [-0.5, height - 0.5, 1]]).T
        x, y, _ = np.linalg.inv(transform) @ corners
        assert frame[0] - 2 < min(x) < max(x) < frame[2] + 1
        assert frame[1] - 2 < min(y) < max(y) < frame[3] + 1
        whole += np.ptp(x) > 118 and np.ptp(y) > 78
    assert checked > 100  # .7 of all are upright, .85 of them have no perspective and .8 their own aspect
    assert whole > 60
