"""What is measured beside the metric: bits, inliers, which pairs a slow method compares, what is at hand."""

from __future__ import annotations

import importlib.machinery
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

import rivals

from twinscope.train import data, drawn, protocol


def texture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(cv2.resize(rng.integers(0, 256, (40, 40), np.uint8), (200, 200), interpolation=cv2.INTER_CUBIC))


def classes(count: int = 4, versions: int = 2) -> protocol.Classes:
    parts = [texture(k)[20:148, 20:148] for k in range(count)]
    views = np.stack([np.stack([part] * (1 + versions)) for part in parts])
    return protocol.Classes(views, [data.Window(k, k, 0, "", "a", (0, 0, 1, 1)) for k in range(count)])


def test_bits_by_hand() -> None:
    a, b = np.array([[0, 0, 1, 1]], np.float32), np.array([[0, 0, 1, 1], [1, 1, 0, 0], [0, 1, 1, 1]], np.float32)
    assert rivals.by_bits(a, b).tolist() == [[1, 5, 2]]


def test_hashes_differ_by_the_bits_that_imagehash_counts() -> None:
    from PIL import Image

    imagehash = pytest.importorskip("imagehash")
    (method,), missing = rivals.methods(["dHash"], Path("nowhere"))
    one, two = texture(1), texture(2)
    points = method.describe([one, two])
    expected = 1 + (imagehash.dhash(Image.fromarray(one)) - imagehash.dhash(Image.fromarray(two)))
    assert missing == {}
    assert method.between(points[:1], points[1:], None).tolist() == [[expected]]
    assert method.told(expected) == f"{expected - 1} of 64 bits"


def test_inliers_of_a_shifted_a_mirrored_and_another_picture() -> None:
    whole = texture(3)
    here, there = whole[:128, :128], whole[10:138, 6:134]
    shown = rivals.key_points([there, np.ascontiguousarray(there[:, ::-1]), texture(4)[:128, :128]])
    shifted, mirrored, other = 1 / rivals.by_inliers(rivals.key_points([here]), shown)[0] - 1
    assert shifted > 50
    assert mirrored > 50
    assert other < 8
    assert rivals.inliers(rivals.key_points([here])[0], shown[1]) < 8  # it is the mirrored copy that fits


def test_a_blank_picture_has_no_inliers() -> None:
    blank, some = rivals.key_points([np.full((128, 128), 9, np.uint8), texture(1)[:128, :128]])
    assert rivals.by_inliers([blank], [some, blank]).tolist() == [[1, 1]]


def test_a_slow_method_compares_all_true_pairs_and_whole_queries() -> None:
    asked: list[np.ndarray] = []

    def between(a: np.ndarray, b: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        asked.append(wanted)
        return np.where(wanted, np.float32(2), np.float32(np.nan))

    slow = rivals.Method("slow", "", lambda x: np.zeros((len(x), 1)), between, "", pairwise=True)
    found = rivals.cross(slow, classes(), 3, np.random.default_rng(0))
    assert asked[0].shape == (4, 8)
    assert not np.isnan(found.same()).any()
    assert asked[0].all(0).sum() == 3
    assert len(found.different()) == 3 * 3
    assert np.isnan(found.hits()).sum() == 8 - 3


def test_a_fast_method_compares_everything() -> None:
    fast = rivals.Method("grey", "", lambda x: np.array([[p.mean()] for p in x]),
                         lambda a, b, _: np.abs(a - b.T).astype(np.float32), "")  # fmt: skip
    test = classes()
    found = rivals.cross(fast, test, 0, np.random.default_rng(0))
    means = test.views.mean((2, 3))
    assert np.allclose(found.cross[1, 2], abs(means[1, 0] - means[2, 1:]), atol=1e-3)


def test_what_lies_at_the_border_is_within() -> None:
    raw = protocol.Distances(np.array([[[0.1 * 3]]], np.float32), np.zeros((1, 1), np.bool_))
    assert rivals.scaled(raw, rivals.Borders(float(np.float32(0.1 * 3)), 0.1)).cross.tolist() == [[[1.0]]]


def test_what_is_not_at_hand_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found, missing = rivals.methods(["SN", "SN[G]", "PDQ", "pHash"], tmp_path)
    assert found == []
    assert missing["SN"] == "not trained here (sn-v02/best.pt)"
    assert rivals.methods(["SN[G], faithful"], tmp_path)[1] == {
        "SN[G], faithful": "not trained here (sn-g-v02-faithful/best.pt)"
    }
    assert missing["PDQ"] == "pdqhash is not installed"
    assert set(missing) == {"SN", "SN[G]", "PDQ", "pHash"}
    with pytest.raises(ValueError, match="no method is called magic"):
        rivals.methods(["magic"], tmp_path)


def test_pdq_is_asked_for_rgb_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.ModuleType("pdqhash")
    fake.compute = lambda image: (np.full(256, image.shape == (128, 128, 3)), 100)  # type: ignore[attr-defined]
    fake.__spec__ = importlib.machinery.ModuleSpec("pdqhash", None)
    monkeypatch.setitem(sys.modules, "pdqhash", fake)
    (method,), _ = rivals.methods(["PDQ"], Path("nowhere"))
    assert method.describe([np.zeros((128, 128), np.uint8)]).tolist() == [[1.0] * 256]


def test_the_papers_network_measures_equation_1(tmp_path: Path) -> None:
    import torch

    from twinscope.train import triplets
    from twinscope.train.papers_sn import metric

    pictures = np.stack(drawn.family(np.random.default_rng(0), list(range(6))))
    plan = triplets.Plan(steps=1, batch=3, every=1, fixed=5, bf16=False)
    triplets.train(pictures, pictures, plan, tmp_path / "sn-v02")
    (method,), _ = rivals.methods(["SN"], tmp_path)
    assert method.border == 1
    network = triplets.load(tmp_path / "sn-v02" / "best.pt")
    points = method.describe(list(pictures[:2]))
    x, y = (torch.as_tensor(points[k : k + 1]) for k in (0, 1))
    expected = float(metric(network.alpha.detach(), x, y))
    assert method.between(points[:1], points[1:], None)[0, 0] == pytest.approx(expected, abs=1e-5)
    assert "1 steps" in method.about
