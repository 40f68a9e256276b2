"""The metric's benchmark: borders from validation, rates that few pairs cannot tell, what is kept, and the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import metric
import metric_page
import rivals
import strengths

from twinscope.train import data, evaluate, protocol

SIZES = metric.Sizes(4, 4, 2, 3, 8)


def grey(border: float | None = None) -> rivals.Method:
    """Return a method that knows a picture by its mean grey value alone."""
    return rivals.Method("grey", "a toy", lambda x: np.array([[float(p.mean())] for p in x]),
                         lambda a, b, _: (np.abs(a - b.T) + 0.5).astype(np.float32), "7", border)  # fmt: skip


def flat(values: list[list[int]]) -> protocol.Classes:
    """Return classes of flat pictures: the first value is the plain one's."""
    views = np.array(values, np.uint8)[..., None, None] * np.ones((128, 128), np.uint8)
    windows = [
        data.Window(k, k // 2, 0, "bccd", "light" if k < 2 else "dark", (0, 0, 1, 1)) for k in range(len(values))
    ]
    return protocol.Classes(views, [w._replace(group=k) for k, w in enumerate(windows)])


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put flat pictures in place of all data; validation's best border is .5 + 4."""
    test = flat([[10, 12, 13], [60, 61, 66], [110, 110, 112], [200, 200, 220]])
    validation = flat([[10, 10, 14], [20, 22, 23], [100, 101, 101], [200, 200, 200]])
    monkeypatch.setattr(metric, "test_classes", lambda count: test)
    monkeypatch.setattr(metric, "validation_classes", lambda count: validation)
    monkeypatch.setattr(metric, "unseen_classes", lambda name: test)
    sides = [[np.full((40, 60, 3), v, np.uint8) for v in side] for side in ((10, 10, 90), (11, 30, 91))]
    monkeypatch.setattr(metric, "real_pairs", lambda name: evaluate.Pairs(*sides, [0, 0, 1]))
    cells = {("gamma", "0.5"): [np.full((128, 128), v, np.uint8) for v in (12, 30)]}
    plain = [np.full((128, 128), v, np.uint8) for v in (10, 20)]
    monkeypatch.setattr(metric, "shown", lambda count: strengths.Shown(plain, [0, 1], cells))


def test_borders_come_from_validation(toy: None) -> None:
    limits = metric.borders(grey(), SIZES)
    assert limits.same == 4.5  # the widest same pair is 4 apart, the nearest different one 6
    assert limits.rare == 6.5  # none of 24 different pairs lies below the nearest of them
    assert metric.borders(grey(3.0), SIZES) == (3.0, 6.5)


def test_the_protocol_uses_the_border_of_validation(toy: None) -> None:
    out = metric.synthetic(grey(), rivals.Borders(4.5, 3.0), SIZES)
    row = out["micrographs"]
    assert row["tpr_at_border"] == pytest.approx(6 / 8)  # 6 and 20 are too far
    assert row["fpr_at_border"] == 0
    assert row["accuracy"] == pytest.approx(0.5 * 6 / 8 + 0.5)
    assert row["tpr_validation"] == pytest.approx(5 / 8)  # below 2.5 apart: 2, 1, 0, 2, 0
    assert row["fpr_validation"] == 0
    assert set(out) == {"micrographs", "modalities", "look_alikes", "blots", "photos", "copymove"}
    assert {kind: row["classes"] for kind, row in out["modalities"].items()} == {"light": 2, "dark": 2}


def test_rates_that_the_pairs_cannot_tell_are_none(toy: None) -> None:
    row = metric.synthetic(grey(), rivals.Borders(4.5, 3.0), SIZES)["micrographs"]
    assert row["different_pairs"] == 24
    assert [row[key] for key in ("tpr_1e-2", "tpr_1e-3", "tpr_1e-4", "tpr_1e-3_95")] == [None] * 4
    many = protocol.Distances(np.full((60, 60, 1), 2, np.float32), np.zeros((60, 60), np.bool_))
    told = metric.judged(many, list(range(60)), rivals.Borders(1, 1))
    assert told["different_pairs"] == 60 * 59
    assert (told["tpr_1e-3"], told["tpr_1e-4"]) == (0, None)


def test_real_edits_and_the_grid_by_hand(toy: None) -> None:
    limits = rivals.Borders(4.5, 2.0)
    row = metric.real(grey(), limits, SIZES)["photos"]
    assert (row["classes"], row["groups"], row["different_pairs"]) == (3, 2, 4)
    assert row["tpr_at_border"] == pytest.approx(2 / 3, abs=1e-4)
    cell = metric.grid(grey(), limits, SIZES)["gamma"]["0.5"]
    assert (cell["within_border"], cell["tpr_validation"], cell["windows"]) == (0.5, 0, 2)
    assert cell["within_border_95"] == [0, 1]
    assert cell["median_distance"] == pytest.approx((2.5 + 10.5) / 2 / 4.5, abs=1e-3)


def test_a_slow_method_is_given_a_sample_of_the_real_pairs(toy: None) -> None:
    def between(a: Any, b: Any, wanted: Any) -> Any:
        return np.where(wanted, grey().between(a, b, None), np.float32(np.nan))

    slow = grey()._replace(between=between, pairwise=True)
    row = metric.real(slow, rivals.Borders(4.5, 2.0), SIZES._replace(queries=1))["photos"]
    assert row["classes"] == 3
    assert row["different_pairs"] in (1, 2)
    assert row["tpr_at_border"] == pytest.approx(2 / 3, abs=1e-4)


def test_a_part_is_done_once_for_each_key(tmp_path: Path) -> None:
    calls: list[int] = []

    def work() -> dict[str, Any]:
        calls.append(1)
        return {"runs": len(calls)}

    assert metric.kept(grey(), SIZES, tmp_path, "grid", work) == {"runs": 1}
    assert metric.kept(grey(), SIZES, tmp_path, "grid", work) == {"runs": 1}
    assert metric.kept(grey()._replace(key="8"), SIZES, tmp_path, "grid", work) == {"runs": 2}
    assert metric.kept(grey()._replace(key="8"), SIZES._replace(classes=5), tmp_path, "grid", work) == {"runs": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["grey-grid.json"]


def test_a_method_that_tells_nothing_apart_is_refused(toy: None, tmp_path: Path) -> None:
    blind = rivals.Method("blind", "", lambda x: np.zeros((len(x), 1)), lambda a, b, _: np.zeros((len(a), len(b))), "")
    with pytest.raises(ValueError, match="tells nothing apart"):
        metric.measure(blind, SIZES, tmp_path)


def test_a_whole_run_and_its_page(toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "methods", lambda names, runs: ([grey()], {"SN": "not trained here"}))
    assert metric.main(["--json", str(tmp_path / "out.json"), "--cache", str(tmp_path / "kept")]) == 0
    assert metric.main(["table", "--json", str(tmp_path / "out.json")]) == 0
    results = metric.results(["grey"], metric.Sizes(), tmp_path, tmp_path / "kept")
    assert results["methods"]["grey"]["speed"]["described_per_s"] > 0
    text = "\n".join(metric_page.page(results))
    assert "| grey | a toy | 4.500 (the best of validation) | 6.500 |" in text
    assert "Not measured: SN: not trained here." in text
    assert "### Micrographs: 4 classes of 4 groups" in text
    assert "| grey | .875 [.750, 1.000] | " in text
    assert "| gamma | 0.5 | .500 / .500 |" in text


def test_rows_of_an_older_run_stay_and_say_so(
    toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.json"
    asked = ["--json", str(path), "--cache", str(tmp_path / "kept")]
    missing = {"SN": "not trained here"}
    monkeypatch.setattr(rivals, "methods", lambda names, runs: ([grey()], missing))
    assert metric.main(asked) == 0
    old = json.loads(path.read_text())
    old["circumstances"] |= {"commit": "0ld", "date": "2020-02-02"}
    path.write_text(json.dumps(old))
    monkeypatch.setattr(rivals, "methods", lambda names, runs: ([grey()._replace(name="pHash")], {}))
    assert metric.main([*asked, "--keep"]) == 0
    new = json.loads(path.read_text())
    assert list(new["methods"]) == ["pHash", "grey"]  # in the order of the table
    assert new["methods"]["grey"] == {"circumstances": old["circumstances"]} | old["methods"]["grey"]
    assert "circumstances" not in new["methods"]["pHash"]
    assert new["missing"] == missing
    page = "\n".join(metric_page.page(new))
    assert "The row of grey is of an older run, the same pictures: commit 0ld, 2020-02-02." in page
    assert "The row of pHash" not in page
    assert metric.main([*asked, "--keep"]) == 0  # once more: the date of an old row stays
    again = json.loads(path.read_text())["methods"]
    assert again["grey"]["circumstances"]["commit"] == "0ld"
    assert "circumstances" not in again["pHash"]
    with pytest.raises(SystemExit):
        metric.main([*asked, "--keep", "--classes", "7"])
    assert "its rows cannot stand beside new ones" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        metric.main(["--keep"])
    assert "--keep needs --json" in capsys.readouterr().err


def test_cells_of_the_page() -> None:
    row = {"auc": 0.9876, "auc_95": [0.9, 1.0], "ir1": 0.5, "tpr_1e-4": None}
    shown = [metric_page.cell(row, key) for key in ("auc", "ir1", "tpr_1e-4", "tpr_1e-3")]
    assert shown == [".988 [.900, 1.000]", ".500", "–", "–"]


def test_every_cell_of_the_grid_gives_a_picture_and_has_strengths() -> None:
    image = np.random.default_rng(0).random((256, 256, 3)).astype(np.float32)
    grid = strengths.grid()
    for name, steps in grid.items():
        assert 3 <= len(steps) <= 5 or name in ("mirrored", "inversion"), name
        for strength, step in steps.items():
            seen = strengths.small(step(image, np.random.default_rng(1)).image)
            again = strengths.small(step(image, np.random.default_rng(1)).image)
            assert seen.dtype == np.uint8, (name, strength)
            assert max(seen.shape) == 128, (name, strength)
            assert np.array_equal(seen, again), (name, strength)


@pytest.mark.parametrize("name", ["erase", "clone", "splice", "retouch", "boxes"])
def test_a_stronger_edit_changes_more(name: str) -> None:
    image = np.random.default_rng(0).random((256, 256)).astype(np.float32)
    sizes = [
        np.mean([step(image, np.random.default_rng(s)).mask.sum() for s in range(20)])
        for step in strengths.grid()[name].values()
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.7 * sizes[-1]


def test_small_keeps_the_aspect_and_never_grows() -> None:
    assert strengths.small(np.zeros((300, 600), np.float32)).shape == (64, 128)
    assert strengths.small(np.ones((20, 30, 3), np.float32)).tolist() == [[255] * 30] * 20
