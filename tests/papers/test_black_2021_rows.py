"""Rows of black-2021's tables that a run does not measure: they stay, and the page says of which run they are."""

from __future__ import annotations

import json
import runpy
import shlex
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import icn_desk
import icn_methods as im
import tables

from twinscope.detect import embed, judge

HERE = Path(__file__).resolve().parents[2] / "papers" / "black-2021"
PAGE = runpy.run_path(str(HERE / "readme.py"))
PART = {"mean": 0.5, "interval": [0.4, 0.6]}
SET = {"pairs": 3, "groups": 2, **dict.fromkeys(tables.IOUS, PART)}


def run_of(names: list[str], commit: str, code: str | None = None, **sizes: int) -> dict[str, Any]:
    """Return results of a run that asked these methods."""
    rows = {name: {"ms_a_pair": 1.0} | ({"code": code or im.code(name)}) for name in names}
    judged = [name for name in names if not name.startswith("SSD")]
    return {
        "circumstances": {"device": "a machine", "commit": commit, "date": f"2026-01-0{commit[-1]}"},
        **im.Wanted()._asdict(), **sizes, "seconds": 1.0, "networks": rows,
        "missing": {name: "not trained yet" for name in ("full", "no-align", "F_A") if name not in names},
        "table2": [{"name": name, "sets": {"both": {**SET, "of": commit}}} for name in names],
        "table3": {name: {"ap": PART, "iou": PART, "accuracy": PART, "of": commit} for name in judged},
        "figure7": {},
    }  # fmt: skip


DESK = im.DESK[True]
OLD = ["full", *im.DESK.values(), "SSD", "SSD + F_A"]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A file of results of an older run, by other code."""
    path = tmp_path / "tables.json"
    path.write_text(json.dumps(run_of(OLD, "old1", "another")))
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Ask nothing: what was to be asked is written down, and answered with rows of a commit new2."""
    asked: list[list[str]] = []

    def answer(there: Any, missing: Any, wanted: im.Wanted, cache: Path) -> dict[str, Any]:
        asked.append([one.name for one in there])
        return {**run_of(asked[-1], "new2", **wanted._asdict()), "missing": missing}

    monkeypatch.setattr(tables, "results", answer)
    return asked


def asked_for(path: Path, *arguments: str) -> list[str]:
    """Return the arguments of a run without a single checkpoint."""
    return ["--json", str(path), "--runs", str(path.parent / "none"), "--cache", str(path.parent), *arguments]


# ---------------------------------------------------------------------------------------------------- rows that stay


def test_rows_that_were_not_measured_stay_with_their_run() -> None:
    first = tables.beside(run_of(["SSD", "no-align"], "new2"), run_of(["full", "no-align", "SSD", "SSD + F_A"], "old1"))
    assert [(row["name"], row["sets"]["both"]["of"]) for row in first["table2"]] == [
        ("SSD", "new2"), ("no-align", "new2"), ("full", "old1"), ("SSD + F_A", "old1"),
    ]  # fmt: skip
    assert {name: row["of"] for name, row in first["table3"].items()} == {"full": "old1", "no-align": "new2"}
    assert first["circumstances"]["commit"] == "new2"
    made = {name: row.get("circumstances", {}).get("commit") for name, row in first["networks"].items()}
    assert made == {"full": "old1", "no-align": None, "SSD": None, "SSD + F_A": "old1"}
    assert first["networks"]["full"]["same_code"]
    assert first["missing"] == {}
    again = tables.beside(run_of([DESK], "later3"), first)  # what is older yet keeps its date
    made = {name: row.get("circumstances", {}).get("commit") for name, row in again["networks"].items()}
    assert made == {"full": "old1", "no-align": "new2", "SSD": "new2", "SSD + F_A": "old1", DESK: None}


def test_rows_without_a_hash_of_their_own_have_that_of_their_file() -> None:
    old = run_of(["full", DESK], "old1")
    for row in old["networks"].values():
        del row["code"]
    old["code"] = im.code("full")
    rows = tables.dated(old)
    assert rows["full"]["same_code"]
    assert not rows[DESK]["same_code"]  # which did not cover the desk
    assert tables.dated({**old, "code": "another"})["full"]["same_code"] is False


def test_the_page_says_of_which_run_a_row_is() -> None:
    new = run_of(["SSD"], "new2")
    same = "\n".join(PAGE["tables"](tables.beside(new, run_of(["full", "SSD", "SSD + F_A"], "old1"))))
    when = "measured at commit old1, 2026-01-01."
    assert f"The rows of comparator and SSD + F_A are of an older run, the same pairs: {when}" in same
    other = "\n".join(PAGE["tables"](tables.beside(new, run_of([DESK], "old1", "another"))))
    assert f"The row of {DESK} is of an older run, by code that has changed since: {when}" in other
    assert "older run" not in "\n".join(PAGE["tables"](new))


# ---------------------------------------------------------------------------------------------------- commands


def test_a_run_without_checkpoints_deletes_no_row(results: Path, quick: list[list[str]], capsys: Any) -> None:
    assert tables.main(asked_for(results)) == 0
    assert set(OLD) - set(quick[0]) == {"full", "SSD + F_A"}
    out = json.loads(results.read_text())
    assert {row["name"]: row["sets"]["both"]["of"] for row in out["table2"] if row["name"] in OLD} == {
        "full": "old1", "SSD + F_A": "old1", "SSD": "new2", **dict.fromkeys(im.DESK.values(), "new2"),
    }  # fmt: skip
    told = capsys.readouterr().out
    assert "full: measured at commit old1, 2026-01-01, by code that has changed since\n" in told
    assert tables.main(asked_for(results, "--fresh")) == 0
    assert "full" not in json.loads(results.read_text())["networks"]
    assert "full: left out\n" in capsys.readouterr().out


def test_the_rows_of_a_network_that_ships_no_longer_go(results: Path, quick: list[list[str]]) -> None:
    results.write_text(json.dumps(run_of([*OLD, "comparator-0", "comparator-0, letters no edit"], "old1", "another")))
    assert tables.main(asked_for(results, "--only", "SSD")) == 0
    assert quick == [["SSD"]]
    out = json.loads(results.read_text())
    assert set(out["networks"]) == set(OLD) == {row["name"] for row in out["table2"]}
    assert set(out["table3"]) == {name for name in OLD if not name.startswith("SSD")}


def test_the_desk_is_asked_anew_alone(results: Path, quick: list[list[str]]) -> None:
    assert tables.main(asked_for(results, "--only", "desk")) == 0
    assert quick == [list(im.DESK.values())]
    out = json.loads(results.read_text())
    assert set(out["networks"]) == set(OLD)
    assert {name for name, row in out["networks"].items() if "circumstances" not in row} == set(im.DESK.values())
    with pytest.raises(SystemExit):
        tables.main(asked_for(results, "--only", "desk", "full"))
    assert len(quick) == 1


def test_what_is_not_at_hand_is_told(results: Path, quick: list[list[str]], capsys: Any) -> None:
    for name, why in (("full", "not trained yet (black-full/best.pt)"), ("Full", "it is no method of the tables")):
        with pytest.raises(SystemExit) as stopped:
            tables.main(asked_for(results, "--only", name))
        assert stopped.value.code == 2
        assert f"{name} is not at hand: {why}" in capsys.readouterr().err


def test_rows_of_other_sizes_are_refused_before_anything_is_asked(
    results: Path, quick: list[list[str]], capsys: Any
) -> None:
    before = results.read_text()
    with pytest.raises(SystemExit) as stopped:
        tables.main(asked_for(results, "--each", "100"))
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert "is of a run of other sizes, {'pairs': 500, 'each': 12, 'side': 128, 'seed': 7}" in told
    assert "(full, SSD + F_A) cannot stand beside new ones: give the same sizes, or --fresh to leave them out" in told
    assert (quick, results.read_text()) == ([], before)
    assert tables.main(asked_for(results, "--each", "100", "--fresh")) == 0
    assert json.loads(results.read_text())["each"] == 100
    assert tables.main(asked_for(results, "--each", "12")) == 0  # all of its rows are measured again
    assert json.loads(results.read_text())["each"] == 12


def test_a_check_tells_which_rows_other_code_made(results: Path, quick: list[list[str]], capsys: Any) -> None:
    assert tables.main(asked_for(results, "--check")) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{name}: measured at commit old1, 2026-01-01, by code that has changed since" for name in OLD]
    results.write_text(json.dumps(run_of(OLD, "old1")))
    assert tables.main(asked_for(results, "--check")) == 0
    assert tables.main(asked_for(results.parent / "none.json", "--check")) == 0
    assert (quick, capsys.readouterr().out) == ([], "")


def test_the_code_behind_the_desk_is_that_of_the_desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [Path("detect/align.py"), *(Path("models/weights") / path.name for path in icn_desk.parts()[:3])]
    assert [path.stem for path in files[1:]] == [DESK, embed.MODEL, judge.MODEL]
    for path in files:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("1")
    monkeypatch.setattr(icn_desk, "PACKAGE", tmp_path)
    monkeypatch.setattr(icn_desk, "WEIGHTS", tmp_path / f"models/weights/{DESK}.onnx")
    names = [*im.DESK.values(), "full", "SSD"]
    for path in files:
        before, key = [im.code(name) for name in names], im.shipped().key  # type: ignore[union-attr]
        (tmp_path / path).write_text("2")
        assert [im.code(name) != was for name, was in zip(names, before, strict=True)] == [True, True, False, False]
        assert im.shipped().key != key  # type: ignore[union-attr]


def test_a_measured_row_holds_the_hash_of_its_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = im.Said(np.zeros((128, 128), np.float32), np.array([1, 0, 0], np.float32))
    there = [im.Method(name, "", lambda one: said, ("photos",), {}) for name in (DESK, "SSD")]
    part = {"rows": [{}], "seconds": 0.1}
    monkeypatch.setattr(im, "parts", lambda *_: {method.name: {"photos": part} for method in there})
    monkeypatch.setattr(im, "groups", lambda *_: [0])
    out = tables.results(there, {}, im.Wanted(), tmp_path)
    assert {name: row["code"] for name, row in out["networks"].items()} == {
        DESK: im.code(DESK), "SSD": im.code("SSD"),
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------- documents


def commands(text: str, script: str) -> list[list[str]]:
    """Return the arguments of each command of a text that calls a script of this folder."""
    lines = (line.strip("# ") for line in text.splitlines() if f"python papers/black-2021/{script} " in line)
    return [shlex.split(line, comments=True)[2:] for line in lines]


def test_the_documented_commands_are_those_of_the_stored_results() -> None:
    stored = json.loads((HERE / "results" / "tables.json").read_text(encoding="utf-8"))
    wanted = {key: stored[key] for key in im.Wanted._fields}
    page = (HERE / "README.md").read_text(encoding="utf-8")
    head = (HERE / "run.sh").read_text(encoding="utf-8").partition("set -euo")[0]
    named = [*commands(page, "tables.py"), *commands(head, "tables.py"), *commands(tables.__doc__ or "", "tables.py")]
    assert len(named) == 3 + 1 + 3
    for arguments in named:
        given = vars(tables._parser().parse_args(arguments))
        assert {key: given[key] for key in wanted} == wanted
        assert given["json"] == Path("papers/black-2021/results/tables.json")
    desk = ["--only", "desk", "--json", "papers/black-2021/results/tables.json"]
    assert desk in commands(page, "tables.py")
    assert desk in commands(head, "tables.py")
    assert "Made with `tables.py " + " ".join(f"--{key} {value}" for key, value in wanted.items()) + "`" in page


def test_run_sh_asks_for_the_sizes_of_the_stored_results(tmp_path: Path) -> None:
    stored = json.loads((HERE / "results" / "tables.json").read_text(encoding="utf-8"))
    stub, log = tmp_path / "python", tmp_path / "log"
    stub.write_text(f'#!/bin/sh\necho "$*" >> {log}\n')
    stub.chmod(0o755)
    told = [str(HERE / "run.sh"), "--runs", str(tmp_path), "--only", ""]
    subprocess.run(told, check=True, env={"PYTHON": str(stub), "PATH": "/usr/bin:/bin"})
    line = next(line for line in log.read_text().splitlines() if "tables.py" in line)
    assert f"--pairs {stored['pairs']} --each {stored['each']} --side {stored['side']}" in line
