"""The calibrated probability: the graph computes the fitted regression, and the planted pairs are what they say."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import PolynomialFeatures

from twinscope import geometry
from twinscope.detect import judge
from twinscope.manipulate import fields
from twinscope.settings import Settings
from twinscope.train import calibrate, pairs, strips, wear

WAYS = len(judge.WAYS)
UNIT = ("second", "agreeing", "inlier_ratio", "overlap", "perspective", "textured")


def numbers(rng: np.random.Generator, same: bool, way: int) -> dict[str, float]:
    level = 0.85 if same else 0.5
    out = {f"correlation_{k}": float(np.clip(level + 0.15 * rng.standard_normal(), 0, 0.99)) for k in range(4)}
    out |= {name: float(rng.uniform(0, 1)) for name in UNIT}
    return out | {
        "peak_z": 20 * rng.random(), "independent": 500 * rng.random(), "inliers": 100 * rng.random(),
        "anisotropy": 1 + rng.random(), "dense": float(way in (1, 3)), "again": float(way > 1), "laid": float(way == 3),
        "registered": rng.random(), "distinct": 4 * rng.standard_normal(),
    }  # fmt: skip


def drawn(seed: int, count: int) -> list[calibrate.Sample]:
    rng = np.random.default_rng(seed)
    return [
        calibrate.Sample(numbers(rng, same, way), same, "", 0)
        for _ in range(count) for same in (True, False) for way in range(WAYS)
    ]  # fmt: skip


def test_the_graph_is_the_regression(tmp_path: Path) -> None:
    samples = drawn(0, 40)
    size = len(judge.SIGNALS) + 1
    wide = np.stack([np.full(WAYS * size, -1e3), np.full(WAYS * size, 1e3)])
    calibrate.save(tmp_path / "p.onnx", calibrate.fit(samples), wide)
    session = onnxruntime.InferenceSession(tmp_path / "p.onnx", providers=["CPUExecutionProvider"])
    x = np.array([judge.signals(s.numbers) for s in samples], np.float32)
    got = session.run(None, {"signals": x})[0]
    for way in range(WAYS):
        rows = x[:, (way + 1) * size - 1] == 1
        assert rows.sum() == 80
        part = x[rows, way * size : (way + 1) * size - 1].astype(np.float64)
        part = (part - part.mean(0)) / part.std(0)
        products = PolynomialFeatures(2, include_bias=False).fit_transform(part)
        y = np.array([s.same for s in samples])[rows]
        plain = LogisticRegression(C=calibrate.STIFFNESS, max_iter=20000).fit(products, y)
        assert np.allclose(got[rows], plain.predict_proba(products)[:, 1], atol=2e-3)


def test_a_signal_further_out_than_any_that_was_learned_counts_as_the_outermost(tmp_path: Path) -> None:
    samples = drawn(2, 60)
    quadratic, ends = calibrate.fit(samples), calibrate.limits(samples)
    x = np.array([judge.signals(s.numbers) for s in samples])
    size = len(judge.SIGNALS) + 1
    for way in range(WAYS):
        block, rows = slice(way * size, (way + 1) * size), x[:, (way + 1) * size - 1] == 1
        assert np.allclose(ends[:, block], np.quantile(x[rows, block], (0.002, 0.998), axis=0))
    calibrate.save(tmp_path / "p.onnx", quadratic, ends)
    session = onnxruntime.InferenceSession(tmp_path / "p.onnx", providers=["CPUExecutionProvider"])
    far = np.where(x == 0, 0, np.where(x == 1, 1, x + np.sign(x) * 50))  # the constants and other ways stay
    at_the_end = calibrate.within(far, ends)
    assert (at_the_end[x == 0] == 0).all(), "ways that do not apply"
    plain = 1 / (1 + np.exp(-np.einsum("nk,kl,nl->n", at_the_end, quadratic, at_the_end)))
    for given in (far, 4 * (far - at_the_end) + far):
        assert np.allclose(session.run(None, {"signals": given.astype(np.float32)})[0], plain, atol=2e-3)


def test_long_chains_aligned_without_keypoints_teach_nothing() -> None:
    rng = np.random.default_rng(1)
    samples = [
        calibrate.Sample(numbers(rng, same, way), same, "blot", 0)
        for same in (True, False) for way in range(WAYS) for _ in range(60)
    ]  # fmt: skip
    fitted = calibrate.fit(samples)
    for dense, changes in ((True, False), (False, True)):
        more = [calibrate.Sample(numbers(rng, False, dense), True, "long chain", 0) for _ in range(20)]
        assert np.allclose(calibrate.fit(samples + more), fitted) != changes


@pytest.mark.parametrize("way", range(WAYS))
def test_signals_fill_the_part_of_their_way(way: int) -> None:
    rng = np.random.default_rng(0)
    known = numbers(rng, True, way)
    size = len(judge.SIGNALS) + 1
    parts = np.array(judge.signals(known)).reshape(len(judge.WAYS), size)
    assert parts[way, -1] == 1
    assert parts[way, judge.SIGNALS.index("distinct")] == known["distinct"]
    assert not np.delete(parts, way, 0).any()


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


def test_a_corrupted_pair_lies_where_its_transform_says(shared: Path) -> None:
    source = pairs.pool("val", shared / "data" / "micrographs")
    agreed = []
    for seed in range(12):
        pair = pairs.corrupted(source, np.random.default_rng(seed), True)
        assert pair.same
        assert pair.transform is not None
        size = (pair.b.shape[1], pair.b.shape[0])
        grey = [z if z.ndim == 2 else cv2.cvtColor(z, cv2.COLOR_RGB2GRAY) for z in (pair.a, pair.b)]
        laid = cv2.warpPerspective(grey[0].astype(np.float32), pair.transform, size, borderValue=-1e4)
        x, y = (cv2.GaussianBlur(z.astype(np.float32), (0, 0), 2)[laid > 0] for z in (np.maximum(laid, 0), grey[1]))
        agreed.append(np.corrcoef(x, y)[0, 1])
    assert np.median(agreed) > 0.8
    assert min(agreed) < 0.99  # and corrupted they are


def test_a_corrupted_pair_of_two_places_is_not_the_same(shared: Path) -> None:
    source = pairs.pool("val", shared / "data" / "micrographs")
    pair = pairs.corrupted(source, np.random.default_rng(3), False)
    assert (pair.same, pair.transform, pair.category) == (False, None, "corrupted")
    assert pair.a.shape[0] == pair.a.shape[1]


def test_the_transform_nearest_to_a_flow() -> None:
    known = np.array([[1.1, 0.05, -4], [-0.03, 0.95, 6], [1e-4, -2e-4, 1]])
    there = geometry.apply(known, fields.grid((64, 64)).reshape(-1, 2).astype(np.float64)).reshape(64, 64, 2)
    flow = (there - fields.grid((64, 64))).astype(np.float32)
    seen = np.zeros((64, 64), bool)
    assert wear.nearest(flow, seen, np.random.default_rng(0)) is None
    seen[10:50, 20:60] = True
    flow[~seen] = 99
    found = wear.nearest(flow, seen, np.random.default_rng(0))
    np.testing.assert_allclose(found, known, atol=2e-3)


def test_pairs_become_samples_where_they_are_aligned_as_planted(shared: Path) -> None:
    source = pairs.pool("val", shared / "data" / "micrographs")
    right = pairs.planted(source, np.random.default_rng(5), "gamma")
    wrong = right._replace(transform=np.array([[1, 0, 150], [0, 1, 150], [0, 0, 1.0]]), category="moved")
    other = right._replace(transform=None, same=False, category="other")  # told as different: every alignment counts
    job = calibrate.Job("val", "planted", 3)
    settings = Settings(threads=1)
    samples, others, counts = calibrate._each(
        [right, wrong, other], settings, job, lambda pair, views: calibrate._first(pair, views, settings)
    )
    assert counts == {"gamma": [1, 1], "moved": [0, 1]}
    assert others == 1
    assert {(sample.category, sample.same) for sample in samples} == {("gamma", True), ("other", False)}
    assert all({"registered", "distinct"} <= set(sample.numbers) for sample in samples)


def test_each_kind_is_kept_and_all_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parts = {"planted": ([["numbers", True, "blot", 0]], 0, {"blot": [1, 2]}), "look-alikes": ([], 7, {}),
             "corrupted": ([["numbers", False, "corrupted", 0]], 1, {"corrupted": [0, 3], "blot": [1, 1]}),
             "laid": ([["numbers", False, "neighbours", 1]], 2, {})}  # fmt: skip
    (tmp_path / ".cache" / "calibrate").mkdir(parents=True)
    for kind, count in (("planted", 2), ("look-alikes", 5), ("corrupted", 2), ("laid", 2 * calibrate.LAID)):
        kept = tmp_path / ".cache" / "calibrate" / f"val-{kind}-{count}.json"
        kept.write_text(json.dumps([*parts[kind], 1.5]))
    got = calibrate.all_kinds("val", 2, 5, 1)
    assert [sample.category for sample in got.samples] == ["blot", "corrupted", "neighbours"]
    assert (got.compared, got.counts, got.seconds) == (8, {"blot": [2, 3], "corrupted": [0, 3]}, 6.0)


def test_worn_pairs_are_laid_over_each_other_where_they_hardly_correlate(shared: Path) -> None:
    source, settings = pairs.pool("val", shared / "data" / "micrographs"), Settings(threads=1)
    job = calibrate.Job("val", "laid", 2)
    samples, others, counts = calibrate._laid(source, np.random.default_rng(4), settings, job)
    assert others == calibrate.CORRUPTED // 2 + calibrate.NOISES
    assert counts == {"laid": [sum(sample.same for sample in samples), calibrate.CORRUPTED // 2]}
    assert samples
    assert all(sample.numbers["laid"] and sample.numbers["correlation_1"] < settings.second.laid for sample in samples)
    assert all(sample.numbers["peak_z"] >= settings.second.stands for sample in samples)


def pair_of(pair: pairs.Pair) -> tuple[np.ndarray, np.ndarray]:
    return pair.a.astype(np.float32), pair.b.astype(np.float32)


def test_two_pictures_of_noise_are_two() -> None:
    found = [pairs.noises(np.random.default_rng(seed)) for seed in range(40)]
    assert all((pair.same, pair.transform, pair.category) == (False, None, "noise") for pair in found)
    assert all(pair.a.shape == pair.b.shape and pair.a.dtype == np.uint8 for pair in found)
    assert all(pair.a.std() > 0.5 and not np.array_equal(pair.a, pair.b) for pair in found)
    alike = [np.corrcoef(*((z - cv2.blur(z, (41, 41))).ravel() for z in pair_of(pair)))[0, 1] for pair in found]
    assert np.abs(alike).max() < 0.8  # but for the ground that some share
    assert np.median(np.abs(alike)) < 0.05


def test_calibration_numbers_by_hand() -> None:
    sample = {"correlation_1": 0.0}
    samples = [calibrate.Sample(sample, same, "blot", 0) for same in (True, True, False, False)]
    samples.append(calibrate.Sample({**sample, "again": 1.0, "laid": 1.0}, False, "periodic", 0))
    told = calibrate.report(samples, 100, {"blot": [2, 3]}, np.array([0.9, 0.4, 0.6, 0.1, 0.8]))
    assert told["brier"] == pytest.approx((0.01 + 0.36 + 0.36 + 0.01 + 0.64) / 5)
    assert told["ways"] == {"keypoints": {"brier": pytest.approx(0.74 / 4), "same": 2, "different": 2},
                            "laid": {"brier": pytest.approx(0.64), "same": 0, "different": 1}}  # fmt: skip
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
