"""Embeddings of pictures: any size, the same every time, near for the same picture and far for another."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.detect.scenes import cells

from twinscope import manipulate
from twinscope.detect.embed import distances, embed, prepare


def test_shapes_and_types() -> None:
    grey = cells(0)
    points = embed([grey, np.repeat(grey[..., None], 3, 2), cells(1, 40, 900), cells(2, 1000, 700), grey[:1, :1]])
    assert points.shape == (5, 128)
    assert points.dtype == np.float32
    assert np.isfinite(points).all()
    assert np.allclose(points[0], points[1], atol=1e-4)
    assert embed([]).shape == (0, 128)


def test_flat_pictures_are_embedded_without_nan() -> None:
    assert np.isfinite(embed([np.full((64, 64), value, np.uint8) for value in (0, 128, 255)])).all()


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_other_arrays_are_refused(bad: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="a picture is"):
        prepare(bad)


def test_prepare_resizes_any_aspect() -> None:
    wide = np.zeros((50, 400), np.uint8)
    wide[:, 200:] = 200
    out = prepare(wide)
    assert out.shape == (96, 96)
    assert out[:, 45].max() == 0
    assert out[:, 50].min() == 200
    assert np.array_equal(prepare(cells(0, 96, 96)), cells(0, 96, 96))


def test_same_answer_every_time_and_in_any_batch() -> None:
    pictures = [cells(k) for k in range(6)]
    first = embed(pictures)
    assert np.array_equal(first, embed(pictures))
    assert np.allclose(first, embed(pictures, batch=2), atol=1e-4)
    assert np.allclose(first[3], embed([pictures[3]], threads=1)[0], atol=1e-4)


def test_manipulated_copies_are_nearer_than_look_alikes() -> None:
    pictures = [cells(seed) for seed in range(12)]
    rng = np.random.default_rng(0)
    as_float = [p.astype(np.float32) / 255 for p in pictures]
    plain = embed(pictures)
    off = ~np.eye(len(pictures), dtype=bool)
    for step in (
        manipulate.reflect,
        lambda p, r: manipulate.rotate(p, r, 90),
        lambda p, r: manipulate.gamma(p, r, 0.6),
        lambda p, r: manipulate.jpeg(p, r, 40),
        lambda p, r: manipulate.scale(p, r, 0.6),
    ):
        copies = embed([np.rint(step(p, rng).image * 255).astype(np.uint8) for p in as_float])
        far = distances(plain, copies)
        assert np.mean(far.argmin(1) == np.arange(len(pictures))) >= 0.9
        assert np.diag(far).mean() < 0.6 * far[off].mean()


def test_hand_computed_distances() -> None:
    far = distances(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[3.0, 4.0], [0.0, 1.0], [3.0, 4.0]]))
    assert far.dtype == np.float32
    assert np.allclose(far, [[5, 1, 5], [0, np.sqrt(18), 0]])
