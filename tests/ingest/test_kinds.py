"""Kinds: pictures are not taken for drawings, nor drawings for pictures."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from tests.ingest import compose

from twinscope.ingest import kinds, panels

TAKEN, DRAWN = ("micrograph", "blot", "photo"), ("graph", "diagram")


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("quality", [None, 80])
def test_charts_are_graphs(seed: int, quality: int | None) -> None:
    image = compose.chart(np.random.default_rng(seed), 220, 300)
    assert kinds.classify(image if quality is None else compose.jpeg(image, quality)) in DRAWN


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("quality", [None, 80])
def test_pictures_are_taken(seed: int, quality: int | None) -> None:
    for kind in ("micrograph", "blot"):
        image = compose.picture(np.random.default_rng(seed), kind, 120, 320)
        assert kinds.classify(image if quality is None else compose.jpeg(image, quality)) in TAKEN


@pytest.mark.parametrize("seed", range(8))
def test_strips_are_blots(seed: int) -> None:
    image = compose.picture(np.random.default_rng(seed), "blot", 60, 420)
    assert kinds.classify(image) == "blot"


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("white", [252, 262])
def test_pale_pictures_are_taken(seed: int, white: int) -> None:
    """Nuclei dark on white, and bands clipped to white, with a letter: not graphs."""
    rng = np.random.default_rng([seed, 5])
    layer = np.zeros((220, 240), np.float32)
    for _ in range(int(rng.integers(6, 16))):
        spot = int(rng.uniform(0, 240)), int(rng.uniform(0, 220))
        axes = int(rng.uniform(10, 18)), int(rng.uniform(7, 12))
        cv2.ellipse(layer, spot, axes, rng.uniform(0, 180), 0, 360, float(rng.uniform(0.4, 1)), -1)
    cells = cv2.GaussianBlur(layer, (0, 0), 1.5) * (1 + 0.12 * compose.noise(rng, 220, 240, 3))
    shown = white - 170 * cells + rng.normal(0, 1.5, cells.shape)
    nuclei = np.repeat(np.clip(shown, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    compose.text(nuclei, "F", 8, 28, 18)
    assert kinds.classify(nuclei) in TAKEN
    blot = compose.picture(rng, "blot", 110, 260).astype(np.float32)
    clipped = np.clip((blot - 30) * white / (np.percentile(blot, 60) - 30), 0, 255).astype(np.uint8)
    assert kinds.classify(clipped) in TAKEN
    assert kinds.classify(compose.jpeg(clipped, 85)) in TAKEN


def test_what_is_empty_or_tiny_is_other() -> None:
    assert kinds.classify(np.full((80, 80, 3), 255, np.uint8)) == "other"
    assert kinds.classify(np.zeros((4, 90), np.uint8)) == "other"


def test_bars_and_colour_bars_are_no_pictures() -> None:
    bar = np.full((120, 40, 3), 90, np.uint8)
    assert kinds.is_flat(bar)
    assert not kinds.is_flat(compose.picture(np.random.default_rng(0), "micrograph", 120, 120))
    ramp = np.repeat(np.linspace(20, 240, 200).astype(np.uint8)[None, :, None], 30, axis=0).repeat(3, axis=2)
    assert kinds.is_ruled(ramp)
    assert kinds.classify(np.ascontiguousarray(ramp)) in DRAWN


def test_a_dark_picture_with_little_in_it_is_not_flat() -> None:
    rng = np.random.default_rng(1)
    image = np.clip(rng.normal(6, 1, (200, 200)), 0, 255)
    cv2.circle(image, (60, 80), 14, 40.0, -1)
    cv2.circle(image, (140, 120), 14, 36.0, -1)
    assert not kinds.is_flat(image.astype(np.uint8))


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2)))
def test_the_median_is_that_of_numpy(levels: np.ndarray) -> None:
    assert kinds._median(levels) == np.median(levels)


def test_the_most_of_three_channels_is_taken() -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (9, 7, 3), np.uint8)
    assert np.array_equal(kinds.most(rgb[::2]), rgb[::2].max(axis=2))


def test_shares_add_up() -> None:
    shares = kinds.shares(compose.chart(np.random.default_rng(2), 200, 240))
    assert shares.shape == (len(kinds.KINDS),)
    assert float(shares.sum()) == pytest.approx(1, abs=1e-4)


def test_grey_and_colour_give_the_same_kind() -> None:
    image = compose.picture(np.random.default_rng(3), "blot", 60, 300)
    assert np.array_equal(kinds.features(image), kinds.features(np.ascontiguousarray(image[..., 0])))


def test_real_micrographs_are_taken(shared: Path) -> None:
    with (shared / "data" / "micrographs" / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "test"][::3]
    seen = []
    for row in rows:
        image = cv2.imread(str(shared / "data" / "micrographs" / row["file"]))
        seen.append(kinds.classify(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)))
    assert np.mean([kind in TAKEN for kind in seen]) > 0.95


@pytest.mark.parametrize("seed", range(6))
def test_a_picture_found_as_ink_is_a_picture_and_a_chart_is_not(seed: int) -> None:
    """A picture on pure white is no solid block of a figure, and may come out among the drawings."""
    rng = np.random.default_rng([seed, 8])
    layer = np.zeros((260, 300), np.float32)
    for k in range(24):
        spot = 30 + 48 * (k % 6) + int(rng.integers(-8, 9)), 35 + 62 * (k // 6) + int(rng.integers(-9, 10))
        axes = int(rng.uniform(12, 18)), int(rng.uniform(9, 13))
        cv2.ellipse(layer, spot, axes, rng.uniform(0, 180), 0, 360, float(rng.uniform(0.4, 1)), -1)
    cells = cv2.GaussianBlur(layer, (0, 0), 1.5) * (1 + 0.12 * compose.noise(rng, 260, 300, 3))
    nuclei = np.repeat(np.clip(262 - 170 * cells, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    figure = np.full((340, 720, 3), 255, np.uint8)
    figure[50:310, 20:320] = nuclei
    figure[50:310, 380:700] = compose.chart(rng, 260, 320)
    compose.text(figure, "A", 24, 76, 18)
    for kind in DRAWN:
        assert panels._kind_again(figure, (20, 50, 320, 310), kind) in TAKEN
        assert panels._kind_again(figure, (380, 50, 700, 310), kind) == kind
    assert panels._kind_again(figure, (380, 50, 700, 310), "photo") == "photo"


def test_flat_shapes_that_no_raster_made_are_drawn_and_grain_is_not() -> None:
    icon = np.full((78, 92, 3), 255, np.uint8)
    cv2.ellipse(icon, (46, 39), (44, 37), 0, 0, 360, (247, 144, 112), -1, cv2.LINE_AA)
    cv2.putText(icon, "M", (32, 50), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (20, 20, 20), 2, cv2.LINE_AA)
    assert {kinds.of_drawn(icon, kind) for kind in ("micrograph", "blot", "photo")} <= {"graph", "diagram"}
    assert kinds.of_drawn(icon, "graph") == "graph"
    assert kinds.of_drawn(icon, "other") == "other"
    for seed in range(6):
        rng = np.random.default_rng(seed)
        for kind in ("micrograph", "blot"):
            assert kinds.of_drawn(compose.picture(rng, kind, 120, 150), kind) == kind
