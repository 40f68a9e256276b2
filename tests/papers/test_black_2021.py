"""The tables of black-2021: by hand, from made results, and on networks that nobody trained."""

from __future__ import annotations

import itertools
import json
import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

import icn_desk
import icn_methods as im
import sheets
import tables
import torch
from PIL import Image

from twinscope.train import changes, changes_real, comparator, drawn, icn, icn_scores, loop

HERE = Path(__file__).resolve().parents[2] / "papers" / "black-2021"
TINY = icn.Design(size="tiny")
DESK = im.DESK[True]


def pair(label: int = 1, flow: bool = True, how: tuple[str, ...] = ()) -> changes_real.RealPair:
    picture = np.zeros((128, 128, 3), np.uint8)
    changed = np.zeros((128, 128), np.bool_)
    changed[:32] = True
    still = np.zeros((128, 128, 2), np.float32) if flow else None
    return changes_real.RealPair(picture, picture, still, None, changed if flow else None, label, how)


def write_run(runs: Path, name: str, network: Any, design: icn.Design, seed: int = 0) -> Path:
    """Write what a run of the recipe leaves behind."""
    folder = runs / f"black-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    stage = "joint" if isinstance(network, icn.Comparator) else "flow"
    row = {"step": 20 + seed, "seconds": 90}
    parts = {"stage": stage, "network": network.state_dict(), "built": comparator.built(network), "row": row}
    loop.save(folder / "best.pt", parts)
    (folder / "curve.csv").write_text("step,seconds\n20,90\n40,180\n")
    record = {"side": 128, "design": design._asdict(), "plan": {"threads": 1}, "commit": "abc"}
    (folder / "run.json").write_text(json.dumps(record))
    return folder / "best.pt"


def write_networks(runs: Path) -> None:
    torch.manual_seed(3)
    write_run(runs, "flow", icn.Aligner(icn.SIZES["tiny"]), TINY)
    write_run(runs, "full", icn.Comparator(TINY), TINY)
    still = TINY._replace(align=False)
    write_run(runs, "no-align", icn.Comparator(still), still)


# ---------------------------------------------------------------------------------------------------- scores


def test_scores_by_hand() -> None:
    heat = np.zeros((128, 128), np.float32)
    heat[:64] = 0.6
    heat[64:96] = 0.12
    alone = im.scored(pair(how=("splice", "flip")), im.Said(heat, None))
    assert alone == {"mirrored": True, "t": 0.5, "free_t": 0.5, "half": 0.5, "no_t": alone["no_t"],
                     "free_no_t": alone["no_t"]}  # fmt: skip
    assert alone["no_t"] == pytest.approx(32 / (32 + 32 + 0.2 * 32), abs=1e-4)
    benign = im.scored(pair(), im.Said(heat, np.array([0.5, 0.4, 0.1], np.float32)))
    assert (benign["t"], benign["no_t"], benign["half"], benign["free_t"]) == (0, 0, 0, 0.5)
    assert benign["p"] == [0.5, 0.4, 0.1]
    distinct = im.scored(pair(), im.Said(heat, np.array([0.1, 0.4, 0.5], np.float32)))
    assert (distinct["t"], distinct["no_t"], distinct["half"]) == (0.25, 0.25, 0.25)
    low = im.scored(pair(), im.Said(heat / 2, np.array([0.1, 0.8, 0.1], np.float32)))
    assert (low["t"], low["half"]) == (0.5, 0)  # .35 of the largest value, .5 of the value itself


def test_where_the_truth_is_not_known_there_is_no_iou() -> None:
    said = im.Said(np.ones((128, 128), np.float32), np.array([0.2, 0.7, 0.1], np.float32))
    for one in (pair(flow=False), pair(label=2), pair(label=0)):
        assert set(im.scored(one, said)) == {"mirrored", "p"}


def answered(kinds: dict[str, list[int]]) -> dict[str, Any]:
    """Return parts whose rows give the class they name .9 (and IoU .5, .4 where edited)."""
    out = {}
    for name, said in kinds.items():
        rows = []
        for number, kind in enumerate(said):
            row = {"p": [0.9 if k == kind else 0.05 for k in range(3)], "mirrored": number == 0}
            rows.append({**row, **dict.fromkeys(tables.IOUS, 0.5 if number else 0.2)})
        out[name] = {"rows": rows, "seconds": 0.1}
    return out


def test_table_3_by_hand() -> None:
    each = answered({"benign": [0, 0, 0], "manipulated": [1, 1, 1], "both": [1, 1, 0], "distinct": [2, 2, 2]})
    each["both"]["rows"][2]["t"] = 0.8
    groups = {name: [1, 2, 3] for name in each}
    row = tables.classed(each, groups)
    # benign: three right ones and one wrong one share the highest score; manipulated: five first, then one of seven.
    assert row["ap_benign"] == 0.75
    assert row["ap_manipulated"] == pytest.approx(5 / 6 + 6 / 12 / 6, abs=1e-4)
    assert row["ap_distinct"] == 1
    assert row["ap"]["mean"] == pytest.approx((0.75 + row["ap_manipulated"] + 1) / 3, abs=1e-4)
    assert row["ap"]["interval"][0] < row["ap"]["mean"] < row["ap"]["interval"][1] == 1
    assert row["accuracy"]["mean"] == pytest.approx(11 / 12, abs=1e-4)
    assert row["iou"]["mean"] == pytest.approx((0.2 + 0.5 + 0.5 + 0.2 + 0.5 + 0.8) / 6, abs=1e-4)
    assert (row["pairs"], row["groups"]) == (12, 3)


def test_table_2_leaves_out_the_mirrored_ones_in_a_column_of_its_own() -> None:
    row = tables.heats(answered({name: [1, 1, 1] for name in im.EDITED}), {name: [1, 1, 2] for name in im.EDITED})
    assert row["both"]["t"]["mean"] == 0.4
    assert row["unmirrored"]["t"] == {"mean": 0.5, "interval": [0.5, 0.5]}
    assert (row["both"]["pairs"], row["both"]["groups"], row["unmirrored"]["pairs"]) == (3, 2, 2)


def test_figure_7_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "BENIGN_CLASSES", ("fog",))
    each = answered({"identical": [0, 0], "benign": [0, 1], "manipulated": [1, 1], "both": [1, 0], "distinct": [2, 2],
                     "photos": [1, 2], "benign:fog": [0, 0], "both:fog": [1, 0]})  # fmt: skip
    out = tables.figure7(each, {name: [1, 2] for name in each})
    assert out["rows"]["benign"]["said"] == [0.5, 0.5, 0]
    assert out["rows"]["photos"]["said"] == [0, 0.5, 0.5]
    assert "ap" not in out["rows"]["photos"]
    assert out["rows"]["photos"]["right"]["mean"] == 0.5
    assert out["rows"]["distinct"]["ap"] == 1
    # of the six that are not benign one is called so; all that is called so has one score, and comes in at once
    assert out["rows"]["identical"]["ap"] == pytest.approx(2 / 3, abs=1e-4)
    assert out["classes"]["fog"]["benign"]["right"]["mean"] == 1
    assert out["classes"]["fog"]["both"]["right"]["mean"] == 0.5
    assert out["classes"]["fog"]["ap"] == pytest.approx(0.5 + 0.5 * 2 / 4)


# ---------------------------------------------------------------------------------------------------- the page


def made() -> dict[str, Any]:
    part = {"mean": 0.4321, "interval": [0.4, 0.5]}
    sets = {
        name: {
            "pairs": 500,
            "groups": 80,
            **dict.fromkeys(tables.IOUS, part),
            "free_t": {"mean": 0.5, "interval": [0.4, 0.6]},
        }
        for name in ("both", "blots")
    }
    row = {"pairs": 9, "said": [0.25, 0.75, 0.0], "right": part, "ap": 0.875}
    photos = {"pairs": 12, "said": [0.0, 1.0, 0.0], "right": part}
    return {
        "circumstances": {"device": "a machine", "commit": "abc", "date": "2026-01-01"},
        "seconds": 1234.5, "pairs": 50, "each": 9, "side": 128, "seed": 7,
        "networks": {"full": {"step": 1200, "steps": 1300, "minutes": 28.0, "minutes_in_all": 30.0, "threads": 1,
                              "sha256": "0123456789abcdef", "ms_a_pair": 71.6}, "SSD": {"ms_a_pair": 1.0}},
        "missing": {"no-align": "not trained yet (black-no-align/best.pt)",
                    "F_A": "not trained yet (black-flow/best.pt)",
                    "ResNetConv": im.NO_RESNET, DESK: "not there yet"},
        "table2": [{"name": "full", "sets": sets}, {"name": "SSD", "sets": sets},
                   {"name": "SSD + true alignment", "sets": sets}],
        "table3": {"full": {"ap": part, "iou": part, "accuracy": part}},
        "figure7": {"full": {"rows": dict.fromkeys(tables.ROWS, row) | {"photos": photos},
                             "classes": {"gaussian_noise": {"benign": row, "both": row, "ap": 0.5}}}},
    }  # fmt: skip


def test_the_page_says_what_was_measured_and_what_was_not() -> None:
    text = "\n".join(runpy.run_path(str(HERE / "readme.py"))["tables"](made()))
    cell = ".432 [.400, .500]"
    assert f"| comparator | .551 | {cell} |  |  | {cell} |  |\n" in text
    assert "| comparator, its heat-map alone |  | .500 [.400, .600] |  |  | .500 [.400, .600] |  |\n" in text
    assert f"| SSD | .154 | {cell} |  |  | {cell} |  |\n" in text
    assert f"| SSD + true alignment |  | {cell} |  |  | {cell} |  |\n" in text
    assert "| SSD + F_A | .231 | not trained yet (black-flow/best.pt) |" in text
    assert f"| ResNetConv | .238 | {im.NO_RESNET} |" in text
    assert "| noise residual (theirs: MantraNet) | .027 | not measured |" in text
    assert f"| {DESK} (ships; not in the paper) |  | not there yet |" in text
    assert f"| comparator | .989 | {cell} | .6543 | {cell} | {cell} | 1,200 |" in text
    assert "| no F_A | .860 | not trained yet (black-no-align/best.pt) | .4314 |" in text
    assert "| benign + manipulated | published | .1155 | .8807 | .0037 |  |  |  |" in text
    assert f"| benign + manipulated | comparator | .250 | .750 | .000 | {cell} | .875 | 9 |" in text
    assert f"| edited photographs | comparator | .000 | 1.000 | .000 | {cell} |  | 12 |" in text
    assert f"| gaussian noise | {cell} | {cell} | .500 | 9 + 9 |" in text
    assert "comparator: step 1,200 of 1,300, 30 minutes on 1 thread(s), checkpoint 0123456789ab, 72 ms a pair." in text
    assert "a machine; commit abc, 2026-01-01; 1,234 s of asking." in text
    assert "Made with `tables.py --pairs 50 --each 9 --side 128 --seed 7`: 50 simulated pairs of each kind," in text
    assert "\n9 of each benign class and as many with an edit.\n" in text
    assert "older run" not in text
    one_table: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            one_table.append(line)
        else:
            assert len({row.count("|") for row in one_table}) <= 1, one_table
            one_table = []


def test_without_results_the_page_says_so() -> None:
    text = "\n".join(runpy.run_path(str(HERE / "readme.py"))["tables"](None))
    assert "Nothing has been measured here yet" in text
    assert "| SSD | .149 | not measured yet |" in text


def test_the_page_is_that_of_the_results() -> None:
    assert runpy.run_path(str(HERE / "readme.py"))["text"]() == (HERE / "README.md").read_text(encoding="utf-8")


def test_the_results_name_their_circumstances() -> None:
    kept = json.loads((HERE / "results" / "tables.json").read_text(encoding="utf-8"))
    assert {"device", "commit", "date"} <= set(kept["circumstances"])
    assert kept["pairs"] >= 500
    assert {row["name"] for row in kept["table2"]} >= {"SSD", "ErrAnalysis", "noise residual", "SSD + true alignment"}
    told = {*kept["table3"], *kept["missing"]}
    assert {*icn.ABLATIONS, DESK} <= told


# ---------------------------------------------------------------------------------------------------- methods


def test_what_is_not_trained_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icn_desk, "WEIGHTS", tmp_path / f"{DESK}.onnx")
    there, missing = im.methods(tmp_path, 128)
    assert [one.name for one in there] == [
        name + end for name in ("SSD", "ErrAnalysis", "noise residual") for end in ("", " + true alignment")
    ]
    assert {*icn.ABLATIONS, "ResNetConv", "F_A"} <= set(missing)
    assert missing["no-heat-loss"] == "not trained yet (black-no-heat-loss/best.pt)"


def test_a_network_of_another_size_of_pictures_is_told(tmp_path: Path) -> None:
    path = write_run(tmp_path, "full", icn.Comparator(TINY), TINY)
    there, missing = im.methods(tmp_path, 224)
    assert missing["full"] == "was trained at 128 px: give --side 128"
    assert "full" not in [one.name for one in there]
    assert path.exists()


def test_alignment_is_that_of_the_whole_network_where_there_is_one(tmp_path: Path) -> None:
    assert im.aligner(tmp_path, 128) is None
    torch.manual_seed(5)
    flow = write_run(tmp_path, "flow", icn.Aligner(icn.SIZES["tiny"]), TINY)
    sha, of = im.aligner(tmp_path, 128)  # type: ignore[misc]
    assert sha == comparator.sha256(flow)
    field = of(pair())
    assert (field.shape, field.dtype) == ((128, 128, 2), np.float32)
    whole = write_run(tmp_path, "full", icn.Comparator(TINY), TINY)
    assert im.aligner(tmp_path, 128)[0] == comparator.sha256(whole)  # type: ignore[index]
    there, missing = im.methods(tmp_path, 128)
    assert "F_A" not in missing
    assert {"SSD + F_A", "ErrAnalysis + F_A", "noise residual + F_A"} <= {one.name for one in there}


def test_alignment_is_what_a_baseline_is_given() -> None:
    seen = []

    def show(original: Any, query: Any, flow: Any) -> Any:
        seen.append(flow)
        return np.zeros((128, 128), np.float32)

    mine = np.ones((128, 128, 2), np.float32)
    for method in im.based("toy", show, ("sha", lambda one: mine)):
        method.ask(pair())
    assert seen[0] is None
    assert seen[1] is mine
    assert seen[2].shape == (128, 128, 2)
    assert not seen[2].any()


def test_the_network_that_ships_comes_in_when_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icn_desk, "WEIGHTS", tmp_path / f"{DESK}.onnx")
    assert im.shipped() == f"not there yet (models/weights/{DESK}.onnx)"
    icn_desk.WEIGHTS.write_bytes(b"weights")
    said = (np.ones((128, 128), np.float32), np.array([0, 1, 0], np.float32))
    asked: list[bool] = []
    monkeypatch.setattr(icn_desk, "desk", lambda original, query, letters: asked.append(letters) or said)
    method, other = im.shipped(), im.shipped(letters=False)
    assert isinstance(method, im.Method)
    assert isinstance(other, im.Method)
    assert method.sets == im.whole()
    assert set(other.sets) == {*im.EDITED, *im.JUDGED}
    assert (method.name, other.name) == (DESK, im.DESK[False])
    assert im.scored(pair(), method.ask(pair()))["t"] == 0.25
    other.ask(pair())
    assert asked == [True, False]


def test_text_is_an_edit_to_the_paper_and_none_to_the_desk() -> None:
    plain = cv2.resize(drawn.family(np.random.default_rng(3), [1])[0], (256, 256), interpolation=cv2.INTER_AREA)
    original = np.repeat(plain[..., None], 3, axis=2)
    query = original.copy()
    cv2.putText(query, "WT 37", (20, 70), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (255, 255, 255), 3, cv2.LINE_AA)
    written = (query != original).any(axis=2)
    heat, probability = icn_desk.desk(original, query)
    assert int(probability.argmax()) == changes.MANIPULATED
    assert heat[written].mean() > 0.5 > heat[~written].mean()
    heat, probability = icn_desk.desk(original, query, letters=False)
    assert int(probability.argmax()) == changes.BENIGN
    assert heat[written].mean() < 0.2


def test_two_pictures_that_cannot_be_aligned_are_distinct_and_how_much_the_network_says() -> None:
    one, other = (drawn.family(np.random.default_rng(k), [1])[0] for k in (3, 4))
    rng = np.random.default_rng(0)
    speckled = np.where(rng.random(one.shape) < 0.3, rng.choice((0, 255), one.shape), one).astype(np.uint8)

    def said(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return icn_desk.unaligned([icn_desk.features.view(np.ascontiguousarray(z), icn_desk.SETTINGS.features)
                                   for z in (a, b)])  # fmt: skip

    same, mirrored, different = said(one, speckled), said(one[:, ::-1], speckled), said(one, other)
    for probability in (same, mirrored, different):
        assert probability.sum() == pytest.approx(1, abs=1e-6)
        assert probability.min() >= 0
        assert probability[2] >= icn_desk.MISSED
    assert max(same[2], mirrored[2]) < icn_desk.MISSED + 0.02 < 0.98 < different[2]


# ---------------------------------------------------------------------------------------------------- all of it


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the sets that people made, and the list of benign classes, short."""
    real, groups = dict(changes_real.SETS), im.groups

    def short(name: str) -> Any:
        return lambda size: itertools.islice(real[name](size), 2)

    monkeypatch.setattr(changes_real, "SETS", {name: short(name) for name in real})
    monkeypatch.setattr(im, "groups", lambda name, wanted: [0, 1] if name in real else groups(name, wanted))
    monkeypatch.setattr(changes, "BENIGN_CLASSES", ("jpeg", "flip"))
    monkeypatch.setattr(tables, "ROUNDS", 20)


def test_all_tables_of_networks_that_nobody_trained(
    shared: Path, few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    write_networks(tmp_path / "runs")
    out = tmp_path / "results" / "tables.json"
    given = ["--json", str(out), "--runs", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache"), "--pairs", "3",
             "--each", "2"]  # fmt: skip
    assert tables.main(given) == 0
    told = capsys.readouterr().out
    assert "frozen-align: not trained yet (black-frozen-align/best.pt)" in told
    assert "full, both: 3 pairs" in told
    first = json.loads(out.read_text())
    names = [row["name"] for row in first["table2"]]
    assert names[0] == "full"
    assert {"SSD", "SSD + F_A", "SSD + true alignment"} <= set(names)
    assert "no-align" not in names
    assert list(first["table3"]) == ["full", "no-align", *im.DESK.values()]
    assert list(first["figure7"]) == ["full", DESK]
    assert set(first["figure7"]["full"]["classes"]) == {"jpeg", "flip"}
    assert first["table3"]["full"]["pairs"] == 12
    assert (first["networks"]["full"]["step"], first["networks"]["full"]["steps"]) == (20, 40)
    assert first["networks"]["full"]["minutes"] == 1.5
    assert "\n".join(runpy.run_path(str(HERE / "readme.py"))["tables"](first)).count("not trained yet") > 5

    def never(*_: Any) -> Any:
        raise AssertionError("a part that was kept is asked for again")

    with monkeypatch.context() as patched:
        patched.setattr(im, "asked", never)
        assert tables.main(given) == 0
    again = json.loads(out.read_text())
    assert {key: again[key] for key in ("table2", "table3", "figure7", "networks", "seconds")} == {
        key: first[key] for key in ("table2", "table3", "figure7", "networks", "seconds")
    }
    still = TINY._replace(align=False)
    write_run(tmp_path / "runs", "no-align", icn.Comparator(still), still, seed=1)
    capsys.readouterr()
    assert tables.main(given) == 0
    assert re.findall(r"^(\S+), \w+: \d+ pairs in", capsys.readouterr().out, re.M) == ["no-align"] * 4
    with_all = json.loads(out.read_text())
    shutil.rmtree(tmp_path / "runs")
    with monkeypatch.context() as patched:
        patched.setattr(im, "asked", never)
        assert tables.main(given) == 0
        without = json.loads(out.read_text())
        assert tables.main([*given, "--only", "desk"]) == 0
    rows = json.loads(out.read_text())["networks"]
    assert [name for name, row in rows.items() if "circumstances" not in row] == list(im.DESK.values())
    for part in ("table3", "figure7"):
        assert without[part] == with_all[part]
    assert {row["name"]: row for row in without["table2"]} == {row["name"]: row for row in with_all["table2"]}
    old = {name for name, row in without["networks"].items() if "circumstances" in row}
    assert old == {"full", "no-align", *(f"{name} + F_A" for name in ("SSD", "ErrAnalysis", "noise residual"))}


def test_pairs_and_their_groups_go_together(shared: Path) -> None:
    wanted = im.Wanted(pairs=4, each=2)
    assert [len(im.pairs(name, wanted)) for name in ("both", "benign:jpeg")] == [4, 2]
    assert len(im.groups("both", wanted)) == 4
    assert im.groups("both", wanted)[:2] == im.groups("both:fog", wanted)
    assert len(im.groups("copymove", wanted)) == len(im.pairs("copymove", wanted)) == 18
    one = im.pairs("both:jpeg", wanted)[0]
    assert one.label == changes.MANIPULATED
    assert any(step.startswith("jpeg") for step in one.how)


# ---------------------------------------------------------------------------------------------------- sheets


def test_the_sheets_of_drawn_pictures_are_kept_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icn_desk, "WEIGHTS", tmp_path / f"{DESK}.onnx")  # which is not there
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2**26)  # whoever read documents before lowered it
    out, kept = tmp_path / "out", tmp_path / "kept"
    kept.mkdir()
    (kept / "worst-gone-drawn.png").write_bytes(b"of a method that is judged no more")
    arguments = ["-o", str(out), "--keep", str(kept), "--runs", str(tmp_path), "--pairs", "4", "--sets", "drawn"]
    assert sheets.main(arguments) == 0
    assert sorted(path.name for path in out.iterdir()) == ["heat-drawn.png", "worst-SSD-true-alignment-drawn.png"]
    (out / "heat-both.png").write_bytes(b"not ours to show")
    sheets.keep(out, kept)
    names = ["heat-drawn.png", "worst-SSD-true-alignment-drawn.png"]
    assert sorted(path.name for path in kept.iterdir()) == names
    for name in names:
        assert cv2.imread(str(kept / name)).std() > 5
    (kept / "worst-full-drawn.png").write_bytes(b"of a network that is not here to be asked again")
    sheets.keep(out, kept, ["full", "no-align"])
    assert (kept / "worst-full-drawn.png").read_bytes().startswith(b"of a network")
    (kept / "worst-full-drawn.png").unlink()
    shown = "\n".join(runpy.run_path(str(HERE / "readme.py"))["figures"](kept))
    assert "![Heat-maps on drawn pictures (figures 5 and 9)](figures/heat-drawn.png)" in shown
    assert "![The worst cases (figure 10), of drawn pictures: SSD-true-alignment]" in shown


def test_only_sheets_of_drawn_pictures_stand_in_the_repository() -> None:
    assert [path.name for path in (HERE / "figures").iterdir() if not path.name.endswith("-drawn.png")] == []


def test_the_worst_come_first() -> None:
    heat = np.zeros((128, 128), np.float32)
    heat[:64] = 1
    said = {
        "wrong": im.Said(heat, np.array([0.9, 0.1, 0], np.float32)),
        "unsure": im.Said(heat, np.array([0.5, 0.4, 0.1], np.float32)),
        "right": im.Said(heat, np.array([0, 1, 0], np.float32)),
    }
    answers = iter(said.values())
    method = im.Method("toy", "", lambda one: next(answers), (), {})
    cases = sheets.judged(method, "both", [pair()] * 3)
    assert [case.loss for case in cases] == pytest.approx([1.9, 1.5, 0.5])
    assert [case.words for case in cases] == ["manipulated, called benign"] * 2 + ["IoU 0.50"]
    blind = im.Method("toy", "", lambda one: im.Said(heat, None), (), {})
    assert [case.loss for case in sheets.judged(blind, "both", [pair(), pair(label=0), pair(flow=False)])] == [0.5]
    assert icn_scores.THRESHOLD == sheets.CUT


# ---------------------------------------------------------------------------------------------------- run.sh


def run(tmp_path: Path, *arguments: str) -> tuple[int, list[str], str]:
    """Run run.sh with a python that only writes down what it was asked."""
    stub, log = tmp_path / "python", tmp_path / "log"
    stub.write_text(f'#!/bin/sh\necho "$*" >> {log}\n')
    stub.chmod(0o755)
    log.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHON": str(stub)}
    done = subprocess.run([HERE / "run.sh", *arguments], env=environment, capture_output=True, text=True, check=False)
    return done.returncode, log.read_text().splitlines() if log.exists() else [], done.stdout + done.stderr


def test_run_trains_the_flow_and_every_row_and_makes_all(tmp_path: Path) -> None:
    runs = str(tmp_path / "R")
    code, asked, _ = run(
        tmp_path, "--flow-minutes", "6", "--minutes", "3", "--steps", "2", "--runs", runs, "--pairs", "9"
    )
    assert code == 0
    assert len(asked) == 1 + 8 + 3
    assert asked[0].startswith(
        f"-m twinscope.train.comparator --name black-flow --minutes 6 --side 128 --size small --threads 1 --runs {runs}"
    )
    assert asked[0].endswith("--stage flow --steps 2")
    rows = dict(zip(icn.ABLATIONS, asked[1:9], strict=True))
    for name, line in rows.items():
        assert f"--name black-{name} --minutes 3 " in line
        assert f"--stage joint --ablation {name} --flips" in line
        assert (f"--start {runs}/black-flow/best.pt" in line) == (name != "no-align")
        assert ("--resnet resnet18" in line) == (name == "no-predict")
    assert asked[9].startswith("papers/black-2021/tables.py --runs")
    assert "--pairs 9 --each 12 --side 128" in asked[9]
    assert asked[10].startswith("papers/black-2021/sheets.py")
    assert "--keep papers/black-2021/figures" in asked[10]
    assert asked[11] == "docs/generate.py"


def test_run_leaves_alone_what_had_its_time(tmp_path: Path) -> None:
    runs = tmp_path / "R"
    for name, record in {
        "flow": {"plan": {"minutes": 60.0}, "wall_s": 3600},
        "full": {"plan": {"minutes": 30.0}},
    }.items():
        (runs / f"black-{name}").mkdir(parents=True)
        (runs / f"black-{name}" / "run.json").write_text(json.dumps(record, indent=1))
    arguments = ("--runs", str(runs), "--only", "full", "--no-tables")
    code, asked, told = run(tmp_path, *arguments)
    assert (code, len(asked)) == (0, 1)
    assert "black-flow: has had its 60 minutes" in told
    assert "--name black-full" in asked[0]
    assert len(run(tmp_path, *arguments, "--flow-minutes", "90")[1]) == 2


def test_run_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    code, asked, told = run(tmp_path, "--magic", "1")
    assert (code, asked) == (2, [])
    assert "--magic is not an option" in told
    assert run(tmp_path, "--minutes")[0] == 2
