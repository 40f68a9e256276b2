"""The calibrated probability: the graph computes the fitted regression, and the planted pairs are what they say."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import PolynomialFeatures

from twinscope import geometry
from twinscope.detect import judge
from twinscope.train import calibrate, pairs, strips

UNIT = ("second", "agreeing", "inlier_ratio", "overlap", "perspective", "textured")


def numbers(rng: np.random.Generator, same: bool, dense: bool) -> dict[str, float]:
    level = 0.85 if same else 0.5
    out = {f"correlation_{k}": float(np.clip(level + 0.15 * rng.standard_normal(), 0, 0.99)) for k in range(4)}
    out |= {name: float(rng.uniform(0, 1)) for name in UNIT}
    return out | {
        "peak_z": 20 * rng.random(), "independent": 500 * rng.random(), "inliers": 100 * rng.random(),
        "anisotropy": 1 + rng.random(), "dense": float(dense), "registered": rng.random(),
    }  # fmt: skip


def test_the_graph_is_the_regression(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = [
        calibrate.Sample(numbers(rng, same, dense), same, "", 0)
        for _ in range(40) for same in (True, False) for dense in (True, False)
    ]  # fmt: skip
    calibrate.save(tmp_path / "p.onnx", calibrate.fit(samples))
    session = onnxruntime.InferenceSession(tmp_path / "p.onnx", providers=["CPUExecutionProvider"])
    x = np.array([judge.signals(s.numbers) for s in samples], np.float32)
    got = session.run(None, {"signals": x})[0]
    half = len(judge.SIGNALS) + 1
    for way in (0, 1):
        rows = x[:, (way + 1) * half - 1] == 1
        part = x[rows, way * half : (way + 1) * half - 1].astype(np.float64)
        part = (part - part.mean(0)) / part.std(0)
        products = PolynomialFeatures(2, include_bias=False).fit_transform(part)
        y = np.array([s.same for s in samples])[rows]
        plain = LogisticRegression(C=calibrate.STIFFNESS, max_iter=20000).fit(products, y)
        assert np.allclose(got[rows], plain.predict_proba(products)[:, 1], atol=2e-3)


def test_long_chains_aligned_without_keypoints_teach_nothing() -> None:
    rng = np.random.default_rng(1)
    samples = [
        calibrate.Sample(numbers(rng, same, dense), same, "blot", 0)
        for same in (True, False) for dense in (True, False) for _ in range(60)
    ]  # fmt: skip
    fitted = calibrate.fit(samples)
    for dense, changes in ((True, False), (False, True)):
        more = [calibrate.Sample(numbers(rng, False, dense), True, "long chain", 0) for _ in range(20)]
        assert np.allclose(calibrate.fit(samples + more), fitted) != changes


def test_signals_fill_the_half_of_their_way() -> None:
    rng = np.random.default_rng(0)
    half = len(judge.SIGNALS) + 1
    by_keypoints, by_correlation = (judge.signals(numbers(rng, True, dense)) for dense in (False, True))
    assert by_keypoints[half:] == [0.0] * half
    assert by_keypoints[half - 1] == 1
    assert by_correlation[:half] == [0.0] * half
    assert by_correlation[-1] == 1


@pytest.mark.parametrize("category", pairs.CATEGORIES)
def test_planted_pairs_lie_where_their_transform_says(category: str, shared: Path) -> None:
    source = pairs.pool("val", shared / "data" / "micrographs")
    pair = pairs.planted(source, np.random.default_rng(3), category)
    assert pair.same
    assert pair.transform is not None
    quad = geometry.apply(pair.transform, geometry.corners((0, 0, pair.a.shape[1], pair.a.shape[0])))
    box = geometry.bounds(quad)
    assert (
        geometry.intersection(box, (0, 0, pair.b.shape[1], pair.b.shape[0])) > 0.2 * min(pair.a.size, pair.b.size) / 3
    )


@pytest.mark.parametrize("category", pairs.LOOKALIKES)
def test_look_alikes_are_pictures(category: str, shared: Path) -> None:
    source = pairs.pool("val", shared / "data" / "micrographs")
    pair = pairs.lookalike(source, np.random.default_rng(4), category)
    assert not pair.same
    assert pair.a.dtype == pair.b.dtype == np.uint8
    assert not (pair.a.shape == pair.b.shape and np.array_equal(pair.a, pair.b))


def test_calibration_numbers_by_hand() -> None:
    sample = {"correlation_1": 0.0}
    samples = [calibrate.Sample(sample, same, "blot", 0) for same in (True, True, False, False)]
    told = calibrate.report(samples, 100, {"blot": [2, 3]}, np.array([0.9, 0.4, 0.6, 0.1]))
    assert told["brier"] == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)
    assert told["recall"]["blot"] == {"found": 1, "candidates": 2, "planted": 3}
    rates = dict(zip(told["false_per_pair"]["level"], told["false_per_pair"]["rate"], strict=True))
    assert rates[0.0] == pytest.approx(0.025)
    assert rates[0.5] == pytest.approx(0.015)
    assert rates[0.7] == pytest.approx(0.005)


@pytest.mark.parametrize("seed", range(12))
def test_two_cuts_of_a_strip_are_the_same_ground(seed: int) -> None:
    rng = np.random.default_rng(seed)
    strip = cv2.GaussianBlur(strips.blot(rng), (0, 0), 1.5)
    pair = pairs.cut_twice(strip, rng, "blot")
    assert pair.same
    assert pair.transform is not None
    size = (pair.b.shape[1], pair.b.shape[0])
    laid = cv2.warpPerspective(pair.a.astype(np.float32), pair.transform, size, borderValue=-1e4)
    both = laid > 0
    assert both.mean() > 0.5
    ranks = [np.argsort(np.argsort(x[both])) for x in (laid, cv2.GaussianBlur(pair.b, (0, 0), 1.0).astype(np.float32))]
    assert np.corrcoef(*ranks)[0, 1] > 0.85


def test_lone_cells_are_few_and_bright_on_dark_ground_and_never_of_one_group(shared: Path) -> None:
    source = pairs.pool("val", shared / "data" / "micrographs")
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(20):
        image, group = pairs.lone_cells(source, rng, "")
        seen.add(group)
        grey = image if image.ndim == 2 else image.max(2)
        assert 170 <= max(grey.shape) <= 430
        assert float(np.median(grey)) < 0.6 * float(np.quantile(grey, 0.995))
        assert pairs.lone_cells(source, rng, group)[1] != group or group == ""
    assert "" in seen
    assert len(seen) > 4
