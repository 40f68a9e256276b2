"""The table of bharathi-2023: its numbers by hand, its pictures, tiny runs, and what its results must hold."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

import gan_figures
import gan_methods
import gan_pictures
import gan_readme
import gan_score
import gan_stats
import gan_train

from twinscope import pixels
from twinscope.train import relation

HERE = Path(__file__).resolve().parents[2] / "papers" / "bharathi-2023"
RESULTS = HERE / "results" / "fingerprints.json"


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    if not RESULTS.is_file():
        pytest.skip("there are no results yet")
    told: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return told


# --- numbers ------------------------------------------------------------------------------------------------------


def test_the_published_table_follows_from_its_counts() -> None:
    for *told, tp, tn, fp, fn in gan_readme.PUBLISHED.values():
        found = gan_stats.numbers(np.array([tp, tn, fp, fn]))
        assert [float(v) for v in told] == pytest.approx(
            [float(found[name]) for name in gan_stats.NAMES], abs=1e-3
        )  # some are cut off


def test_a_summary_by_hand() -> None:
    answers = {"1": [0.9, 0.2, 0.8, 0.1], "2": [0.9, 0.9, 0.1, 0.1]}
    rows = [{"pictures": key, "scores": scores, "border": 0.5} for key, scores in answers.items()]
    files = {"1": ["a", "b", "c", "d"], "2": ["a", "b", "c", "e"]}
    found = gan_stats.summary(rows, files)
    assert (found["tp"], found["fn"], found["fp"], found["tn"]) == (3, 1, 1, 3)
    assert found["accuracy"][0] == 0.75
    assert found["f1"][0] == 0.75
    assert found["auc"] == (3 * 4 + 3) / 16  # .9 is above all four, .2 above three
    assert found["chance"] == pytest.approx(stats.binomtest(6, 8).pvalue, abs=1e-5)
    low, high = found["accuracy"][1:]
    assert low < 0.75 < high


def test_what_never_differs_has_wilsons_interval_and_what_is_not_there_none() -> None:
    files = {"1": [str(k) for k in range(20)]}
    perfect, silent = (
        gan_stats.summary([{"pictures": "1", "scores": scores, "border": 0.5}], files)
        for scores in ([0.9] * 10 + [0.1] * 10, [0.5] * 20)
    )
    assert perfect["accuracy"] == [1.0, pytest.approx(0.8389, abs=1e-3), 1.0]  # Wilson, 20 of 20
    assert silent["precision"] is None
    assert silent["accuracy"][0] == 0.5
    assert silent["f1"][0] == 0
    assert gan_readme._cell(None) == "–"


def test_intervals_draw_files_and_not_rows() -> None:
    names = [str(k) for k in range(20)]
    once = {"pictures": "1", "scores": [0.9] * 7 + [0.1] * 3 + [0.9] * 3 + [0.1] * 7, "border": 0.5}
    one = gan_stats.summary([once], {"1": names})
    many = gan_stats.summary([once, {**once, "pictures": "2"}, {**once, "pictures": "3"}], dict.fromkeys("123", names))
    wide = [found["accuracy"][2] - found["accuracy"][1] for found in (one, many)]
    assert wide[1] == pytest.approx(wide[0], abs=0.03)  # the same twenty pictures three times say no more


# --- pictures -----------------------------------------------------------------------------------------------------


def test_halves_are_pairs_of_one_group_and_the_control_is_in_neither(shared: Path) -> None:
    group = {row["file"]: row["group"] for row in gan_pictures.rows(shared, "bccd")}
    one, two = (gan_pictures.halves(shared, seed, each=30, side=16) for seed in (1, 2))
    assert [group[name] for name in one.used_names] == [group[name] for name in one.unused_names]
    assert not set(one.used_names) & set(one.unused_names)
    assert len(set(one.used_names)) == 30
    assert set(one.used_names) != set(two.used_names)
    assert one.sha256() == gan_pictures.halves(shared, 1, each=30, side=16).sha256() != two.sha256()
    assert (one.used.shape, one.used.dtype) == ((30, 16, 16), np.uint8)
    control = gan_pictures.halves(shared, 1, each=30, side=16, control=True)
    assert [group[name] for name in control.used_names] == [group[name] for name in control.unused_names]
    both = set(control.used_names + control.unused_names)
    assert len(both) == 60
    assert not both & set(one.used_names + one.unused_names)


def test_pairs_stay_in_one_half_and_everybody_is_asked_once() -> None:
    seen: list[list[int]] = []

    def asked(taught: np.ndarray, open_: np.ndarray) -> np.ndarray:
        assert not (taught & open_).any()
        assert (open_[:10] == open_[10:]).all()
        assert open_.sum() == 10
        seen.append(np.flatnonzero(open_).tolist())
        return np.flatnonzero(open_).astype(float)

    case = gan_methods.Case(
        np.zeros((20, 8, 8), np.uint8), np.arange(20) < 10, np.zeros((3, 8, 8), np.uint8), Path(), 4
    )
    assert gan_methods.by_halves(case, asked).tolist() == list(range(20))
    assert sorted(np.concatenate(seen).tolist()) == list(range(20))


# --- the parts, on tiny runs --------------------------------------------------------------------------------------


def drawn(count: int, seed: int = 0) -> np.ndarray:
    """Return smooth random pictures (count, 32, 32)."""
    fine = np.random.default_rng(seed).normal(size=(count, 36, 36))
    smooth = sum(fine[:, y : y + 32, x : x + 32] for y in range(5) for x in range(5))
    return np.clip(128 + 12 * smooth, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tiny run of each kind."""
    folder = tmp_path_factory.mktemp("runs")
    for kind in ("ddpm", "dcgan"):
        job = gan_train.Job(kind, 1)
        gan_train.make(job, drawn(8), (1, 2), 20, folder / job.name, 1)
    return folder


def test_a_generator_is_trained_once_and_a_length_asked_for_later_is_its_beginning(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = json.loads((trained / "ddpm-1" / "run.json").read_text(encoding="utf-8"))
    assert record["lengths"] == [1, 2]
    assert record["learned_from"] == 8
    assert np.load(trained / "dcgan-1" / "drawn-2.npy").shape == (20, 32, 32)
    first = np.load(trained / "ddpm-1" / "drawn-1.npy")
    (trained / "ddpm-1" / "at-1.pt").unlink()
    (trained / "ddpm-1" / "run.json").unlink()
    job = gan_train.Job("ddpm", 1)
    gan_train.make(job, drawn(8), (1, 2), 20, trained / "ddpm-1", 1)
    assert (np.load(trained / "ddpm-1" / "drawn-1.npy") == first).all()
    monkeypatch.setattr(gan_train.diffusion, "train", lambda *_: pytest.fail("trained again"))
    gan_train.make(job, drawn(8), (1, 2), 20, trained / "ddpm-1", 1)


def test_figures_are_drawn(trained: Path, tmp_path: Path) -> None:
    both = gan_pictures.Halves(drawn(8, 1), drawn(8, 2), ("a",) * 8, ("b",) * 8)
    assert 0 < gan_figures.dendrogram(both, tmp_path / "d.png") <= 1
    real = np.concatenate([both.used, both.unused])
    gan_figures.sheet([both.unused[:3].repeat(6, 0)], real, 8, tmp_path / "s.png")
    sheet = pixels.read_png(tmp_path / "s.png")
    assert sheet.shape == (2 * 64, 16 * 64)
    assert (sheet[64:68] == 255).all()  # the nearest are unused, so framed
    assert gan_figures.nearest(both.used[:3], real) == [0, 1, 2]
    runs = [json.loads((trained / name / "run.json").read_text(encoding="utf-8")) for name in ("ddpm-1", "dcgan-1")]
    gan_figures.curves(runs, trained, tmp_path / "c.png")
    assert pixels.read_png(tmp_path / "c.png").shape[1] > 800


def test_every_method_answers_and_ours_alone_sees_a_copyist(tmp_path: Path) -> None:
    real = drawn(18, 3)
    used = np.arange(18) < 9
    noise = np.random.default_rng(0).normal(0, 6, (27, 32, 32))
    made = np.clip(real[:9].repeat(3, 0) + noise, 0, 255).astype(np.uint8)
    case = gan_methods.Case(real, used, made, tmp_path, 1)
    for name in ("ward", "company", "svm", "ours", "ours_known"):
        answer = gan_methods.METHODS[name](case)
        assert answer.scores.shape == (18,), name
        right = ((answer.scores > answer.border) == used).mean()
        if name.startswith("ours"):
            assert right >= 0.9, name
        elif name != "company":
            assert 0.1 <= right <= 0.9, name
    answer = gan_methods.relation_network(case, relation.Plan(steps=2, batch=4, side=32))
    assert answer.scores.shape == (18,)
    assert ((answer.scores >= 0) & (answer.scores <= 1)).all()
    assert len(answer.more["fitted"]) == 2


def test_an_answer_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def method(case: gan_methods.Case) -> gan_methods.Answer:
        calls.append(case.seed)
        return gan_methods.Answer(np.array([0.1, 0.9]), 0.5, {"more": 1})

    monkeypatch.setitem(gan_score.METHODS, "one", method)
    case = gan_methods.Case(drawn(2), np.array([True, False]), drawn(2), tmp_path, 7)
    first = gan_score.asked("one", case)
    assert gan_score.asked("one", case) == first
    assert calls == [7]
    assert first["scores"] == [0.1, 0.9]


def test_the_script_says_what_is_no_option() -> None:
    done = subprocess.run([HERE / "run.sh", "--epochs", "3"], capture_output=True, text=True, env={**os.environ})
    assert (done.returncode, done.stdout) == (2, "")
    assert "--epochs is not an option" in done.stderr


def test_the_tables_without_results_say_so() -> None:
    assert any("Nothing has been measured here yet" in line for line in gan_readme.tables(None))


# --- the results --------------------------------------------------------------------------------------------------


def of(results: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    return [one for one in results["summaries"] if all(one[key] == value for key, value in wanted.items())]


def test_the_summaries_follow_from_the_rows(results: dict[str, Any]) -> None:
    assert gan_stats.summaries(results["rows"], results["files"]) == results["summaries"]


def test_every_method_is_at_chance_where_the_generator_saw_neither_half(results: dict[str, Any]) -> None:
    control = of(results, saw=False)
    if not control:
        pytest.skip("no generator that saw neither half was asked yet")
    assert {one["method"] for one in control} == set(gan_methods.METHODS)
    for one in control:
        assert one["chance"] > 0.05 / len(control), one  # Bonferroni over all that are tested
        assert one["brier"] <= 0.27 or not one["method"].startswith("ours")


def test_the_papers_methods_do_not_see_even_a_generator_that_knows_its_pictures(results: dict[str, Any]) -> None:
    for one in of(results, saw=True):
        if not one["method"].startswith("ours"):
            assert one["accuracy"][0] < 0.65, one


def test_ours_reaches_what_was_promised(results: dict[str, Any]) -> None:
    for method in ("ours", "ours_known"):
        (learned,) = of(results, saw=True, generator="ddpm", steps=4000, method=method)
        assert learned["accuracy"][0] >= 0.9
        assert learned["accuracy"][1] >= 0.9  # the lower end, too
        for one in of(results, saw=True, method=method):  # and is never worse than chance
            assert one["accuracy"][2] >= 0.5
            assert one["brier"] <= 0.26


def test_each_row_has_a_score_for_each_picture(results: dict[str, Any]) -> None:
    each = results["each"]
    for row in results["rows"]:
        assert len(row["scores"]) == 2 * each == len(results["files"][row["pictures"]])
        assert all(0 <= value <= 1 for value in row["scores"])
    for names in results["files"].values():
        assert max(Counter(names).values()) == 1


def test_the_curves_are_of_the_runs(trained: Path) -> None:
    with (trained / "ddpm-1" / "curve.csv").open(newline="", encoding="utf-8") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2"]
