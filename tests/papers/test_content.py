"""Whether a segmentation helps to tell copies from look-alikes: the parts of sn_content, where the answer is known."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

import cells
import sn_content

from twinscope.detect import align, evidence, features
from twinscope.train import pairs

HERE = Path(__file__).resolve().parents[2] / "papers" / "cicconet-2019"
FEATURES = sn_content.SETTINGS.features


def samples(told_by: str, count: int = 200) -> list[sn_content.Sample]:
    """Return samples of ten parts whose answer the odds tell, or the content, or neither."""
    rng = np.random.default_rng(1)
    out = []
    for k in range(count):
        same = bool(rng.random() < 0.5)
        odds = (3.0 if same else -3.0) if told_by == "odds" else 0.0
        value = (0.9 if same else 0.1) if told_by == "content" else 0.5
        noise = rng.normal(0, 0.05, 2)
        content = {way: (float(np.clip(value + noise[0], 0, 1)), float(0.5 + noise[1])) for way in sn_content.WAYS}
        out.append(sn_content.Sample(k % 10, same, "", odds + float(rng.normal(0, 0.5)), content))
    return out


def gain(some: list[sn_content.Sample]) -> dict[str, float | list[float]]:
    better = sn_content.losses(some, None) - sn_content.losses(some, "forest")
    return sn_content.gained(better, np.array([one.part for one in some]))


def test_content_gains_where_it_tells_what_the_odds_do_not() -> None:
    found = gain(samples("content"))
    assert found["mean"] > 0.5  # from log 2, a coin's, to next to nothing
    assert found["95"][0] > 0.5
    assert sn_content.losses(samples("content"), None).mean() == pytest.approx(np.log(2), abs=0.05)


@pytest.mark.parametrize("told_by", ["odds", "nothing"])
def test_content_that_tells_nothing_gains_nothing(told_by: str) -> None:
    found = gain(samples(told_by))
    assert found["95"][0] <= 0.002
    assert abs(found["mean"]) < 0.03


def test_a_part_is_judged_by_a_regression_that_has_not_seen_it() -> None:
    """The answers of every other part are turned round: what is learned from one half is wrong about the other."""
    some = [one._replace(same=one.same ^ (one.part % 2 == 1)) for one in samples("odds")]
    assert sn_content.losses(some, None, folds=2).min() > 1
    even = [one._replace(same=one.same ^ (one.part < 2)) for one in samples("odds")]
    loss = sn_content.losses(even, None)
    turned = np.array([one.part < 2 for one in even])
    assert loss[turned].min() > 0.7 > loss[~turned].max()


def looked_at(a: np.ndarray, b: np.ndarray, inverted: bool = False) -> tuple[float, float]:
    views = [features.view(image, FEATURES) for image in (a, b)]
    return sn_content.looked(evidence.frame(*views, moved(0, inverted)), inverted, None)


def moved(shift: float, inverted: bool = False) -> align.Alignment:
    nothing = np.zeros((0, 2))
    return align.Alignment(np.array([[1, 0, shift], [0, 1, 0], [0, 0, 1.0]]), inverted, 0, nothing, nothing)


def test_the_same_cells_correlate_on_their_content_and_others_do_not() -> None:
    one, other = (cells.draw(np.random.default_rng(k), 200)[0] for k in (1, 2))
    value, share = looked_at(one, one)
    assert value == pytest.approx(1, abs=1e-3)
    assert 0 < share <= 1
    assert looked_at(one, other)[0] < 0.5
    assert looked_at(one, 255 - one)[0] == pytest.approx(-1, abs=0.02)
    assert looked_at(one, 255 - one, inverted=True)[0] == pytest.approx(1, abs=0.02)


def test_an_alignment_is_right_to_a_twelfth_of_the_side() -> None:
    picture = cells.draw(np.random.default_rng(1), 200)[0]
    views = [features.view(picture, FEATURES)] * 2
    pair = pairs.Pair(picture, picture, True, "", np.eye(3))
    for shift, right in ((0, True), (10, True), (25, False)):
        found = SimpleNamespace(alignment=moved(shift * views[0].to_work[0, 0]))
        assert sn_content.right(views, found, pair) is right


def test_the_page_says_what_was_gained_and_what_was_not() -> None:
    content = runpy.run_path(str(HERE / "readme.py"))["content"]
    assert list(content(None)) == ["Nothing has been measured here yet: `sn_content.py` does it."]
    made = {
        "circumstances": {"device": "d", "commit": "c", "date": "2026-01-02"}, "parts": 3, "planted": 5, "others": 4,
        "log_loss": {"the probability alone": 0.2, "with content by forest": 0.1, "with content by Otsu": 0.21},
        "gained_by_forest": {"mean": 0.1, "95": [0.05, 0.12]}, "gained_by_Otsu": {"mean": -0.01, "95": [-0.1, 0.1]},
    }  # fmt: skip
    text = "\n".join(content(made))
    assert "| with content by forest | 0.1000 | +0.1000 [+0.0500, +0.1200] |" in text
    assert text.endswith("It helps.")
    made["gained_by_forest"] = {"mean": 0.1, "95": [-0.05, 0.12]}
    assert "\n".join(content(made)).endswith("Nothing is gained for certain, so `screen` does without.")
