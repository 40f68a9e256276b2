"""The commands for those who train and measure: what they print, what they refuse, and how they exit."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet
import pytest

from twinscope import pixels
from twinscope.detect import embed, judge, vectors
from twinscope.models import card, runtime

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of four pictures of two kinds: noise, and one picture at two contrasts."""
    place = tmp_path / "pictures"
    place.mkdir()
    for seed in (1, 2):
        noise = np.random.default_rng(seed).integers(0, 256, (3, 3), dtype=np.uint8)
        image = np.kron(noise, np.ones((40, 40), np.uint8))
        pixels.write_png(place / f"p{seed}.png", image)
        pixels.write_png(place / f"p{seed}-pale.png", (image // 2 + 90).astype(np.uint8))
    return place


def test_embed_writes_a_table_and_names_it(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.parquet"
    code, told, err = run("embed", str(folder), "-o", str(out))
    assert (code, err) == (0, "")
    assert told.startswith("4 pictures embedded")
    assert told.endswith(f"vectors: {out}\n")
    assert pyarrow.parquet.read_table(out).column_names == ["path", "vector"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "v.parquet"]
    assert run("embed", str(folder), "-o", str(out))[0] == 0  # its own output may be written again


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Return a network that is not the shipped one, as `train metric` leaves it: a graph, and its card beside it."""
    place = tmp_path / "run"
    place.mkdir()
    shutil.copy(card.WEIGHTS / "embedder-0.onnx", place / "metric.onnx")
    shutil.copy(card.CARDS / "embedder-0.json", place / "metric.json")
    return place / "metric.onnx"


def test_a_network_of_ones_own_is_used_and_named(
    run: Run, folder: Path, pairs: Path, own: Path, tmp_path: Path
) -> None:
    tables = []
    for name, more in (("shipped", ()), ("own", ("--model", str(own)))):
        out = tmp_path / f"{name}.parquet"
        assert run("embed", str(folder), "-o", str(out), *more)[0] == 0
        tables.append(pyarrow.parquet.read_table(out))
        assert run("evaluate", str(pairs), "-o", str(tmp_path / name), *more)[0] == 0
        assert run("calibrate", str(folder), "-o", str(tmp_path / f"{name}.json"), *more)[0] == 0
    shipped, other = ([table["vector"].to_pylist(), table.schema.metadata[b"model"]] for table in tables)
    assert (shipped[1], other[1]) == (embed.MODEL.encode(), b"embedder-0")
    images = [pixels.read_png(Path(path)) for path in tables[1]["path"].to_pylist()]
    np.testing.assert_allclose(other[0], embed.embed(images, "embedder-0"), atol=1e-5)
    assert not np.allclose(shipped[0], other[0], atol=0.1)
    for name, model in (("shipped", embed.MODEL), ("own", "embedder-0")):
        for path in (tmp_path / name / "evaluation.json", tmp_path / f"{name}.json"):
            assert json.loads(path.read_text())["model"] == model
    assert (
        run("evaluate", str(pairs), "-o", str(tmp_path / "shipped"), "--model", str(own))[0] == 0
    )  # nothing kept is mixed
    again, before = (tmp_path / name / "pairs.csv" for name in ("shipped", "own"))
    assert again.read_text() == before.read_text()


def test_what_is_no_network_of_ones_own_is_one_sentence(run: Run, folder: Path, own: Path, tmp_path: Path) -> None:
    def told(path: Path) -> tuple[int, str]:
        code, _, err = run("embed", str(folder), "-o", str(tmp_path / "v.parquet"), "--model", str(path))
        assert err.count("\n") == 1
        assert not (tmp_path / "v.parquet").exists()
        return code, err

    code, err = told(tmp_path / "none.onnx")
    assert (code, "is no metric.onnx" in err) == (2, True)
    shutil.copy(card.WEIGHTS / f"{judge.MODEL}.onnx", own.with_name("other.onnx"))
    shutil.copy(card.CARDS / f"{judge.MODEL}.json", own.with_name("other.json"))
    code, err = told(own.with_name("other.onnx"))
    assert (code, "takes something else than pictures" in err) == (2, True)
    row = json.loads(own.with_suffix(".json").read_text())
    row["probe"]["first"][0] += 1
    own.with_suffix(".json").write_text(json.dumps(row))
    code, err = told(own)
    assert (code, "answers its probe with a difference" in err) == (4, True)
    own.write_bytes(own.read_bytes() + b"x")
    runtime.load.cache_clear()
    code, err = told(own)
    assert (code, "is not the file that the card" in err) == (4, True)
    own.with_suffix(".json").unlink()
    code, err = told(own)
    assert (code, "cannot read the card" in err) == (4, True)


def test_embed_tells_every_problem_and_exits_with_3(run: Run, folder: Path, tmp_path: Path) -> None:
    (folder / "\x1b[2Jtorn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "paper.pdf").write_bytes(b"%PDF-1.4")
    code, told, _ = run("embed", str(folder), "-o", str(tmp_path / "v.parquet"))
    assert code == 3
    assert "paper.pdf: refused: PDF is not a picture file" in told
    assert "torn.png: could not be read: the picture is damaged" in told
    assert "\x1b" not in told
    code, told, _ = run("embed", str(folder), "-o", str(tmp_path / "v.parquet"), "--json")
    row = json.loads(told)
    assert (code, row["pictures"], row["output"]) == (3, 4, str(tmp_path / "v.parquet"))
    assert [one["status"] for one in row["problems"]] == ["failed", "refused"]


def test_embed_goes_on_after_an_interruption(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(vectors, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        code, _, err = run("embed", str(folder), "-o", str(tmp_path / "v.parquet"))
    assert code == 130
    assert "same command again" in err
    assert "v.parquet.part" in err
    monkeypatch.setattr(vectors.embed, "prepare", lambda _: pytest.fail("what was done is done again"))
    assert run("embed", str(folder), "-o", str(tmp_path / "v.parquet"))[0] == 0


def test_what_an_ended_run_left_is_no_problem(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "v.parquet.new").write_text("")
    assert run("embed", ".", "-o", "v.parquet")[0] == 0
    (folder / "v.parquet").unlink()
    for name in ("c.json", "c.out"):
        (folder / f"{name}.part").write_text("")
        assert [run("calibrate", ".", "-o", name)[0] for _ in range(2)] == [0, 0]
        (folder / name).unlink()


def test_calibrate_leaves_nothing_where_there_is_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    code, _, err = run("calibrate", str(tmp_path / "bare"), "-o", str(tmp_path / "c.json"))
    assert (code, "holds no two pictures" in err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["bare"]


@pytest.fixture
def pairs(folder: Path) -> Path:
    path = folder.with_name("pairs.csv")
    lines = ["p1.png,p1-pale.png,1,=1+1", "p2.png,p2-pale.png,1,g", "p1.png,p2.png,0,g", "p1-pale.png,p2-pale.png,0,h"]
    path.write_text(
        "\n".join(["a,b,same,group", *(f"pictures/{line.replace(',', ',pictures/', 1)}" for line in lines)])
    )
    return path


def test_evaluate_writes_numbers_pairs_and_plots(run: Run, pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "ev"
    code, told, err = run("evaluate", str(pairs), "-o", str(out))
    assert (code, err) == (0, "")
    assert told.startswith("4 of 4 pairs measured, 2 same and 2 different; 4 pictures")
    assert "accuracy at the border 1" in told
    assert "TPR at FPR 1e-4                       too few to say" in told
    assert f"roc.svg: {out / 'roc.svg'}" in told
    written = json.loads((out / "evaluation.json").read_text())
    assert written["metrics"]["auc"]["value"] == 1.0
    rows = (out / "pairs.csv").read_text(encoding="utf-8-sig").splitlines()
    assert rows[0] == "line,a,b,same,group,label,distance"
    assert rows[1].startswith("2,pictures/p1.png,pictures/p1-pale.png,1,'=1+1,,")
    assert sorted(path.name for path in out.iterdir()) == [
        "cache", "distances.svg", "evaluation.json", "pairs.csv", "roc.svg",
    ]  # fmt: skip
    code, told, _ = run("evaluate", str(pairs), "-o", str(out), "--json")
    assert {**json.loads(told), "seconds": 0} == {**written, "seconds": 0}


def test_evaluate_tells_what_it_could_not_measure(run: Run, pairs: Path, tmp_path: Path) -> None:
    pairs.write_text("a,b,same\npictures/p1.png,pictures/none.png,1\npictures/p1.png,pictures/p2.png,x\n")
    code, told, _ = run("evaluate", str(pairs), "-o", str(tmp_path / "ev"))
    assert code == 3
    assert "none.png: could not be read" in told
    assert "pairs.csv, line 3: refused: needs a, b" in told
    assert told.startswith("0 of 2 pairs measured")
    assert "roc.svg" not in told
    assert (tmp_path / "ev" / "pairs.csv").read_text(encoding="utf-8-sig").splitlines()[1].endswith(",1,,,")
    assert json.loads((tmp_path / "ev" / "evaluation.json").read_text())["problems"][0]["status"] == "refused"


def test_evaluate_goes_on_from_an_early_interruption(
    run: Run, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "ev"
    with monkeypatch.context() as patched:
        patched.setattr(vectors, "embedded", ended)
        assert run("evaluate", str(pairs), "-o", str(out))[0] == 130
    (out / "cache").mkdir(parents=True, exist_ok=True)  # as an end without a word leaves it
    assert run("evaluate", str(pairs), "-o", str(out))[0] == 0
    (tmp_path / "other" / "cache").mkdir(parents=True)
    (tmp_path / "other" / "cache" / "mine.txt").write_text("mine")
    assert run("evaluate", str(pairs), "-o", str(tmp_path / "other"))[0] == 2


@pytest.mark.parametrize("place", ["{0}/x", "/proc/x", "{0}/" + "x" * 300])
def test_a_folder_that_cannot_be_made_is_one_sentence(place: str, run: Run, pairs: Path) -> None:
    code, out, err = run("evaluate", str(pairs), "-o", place.format(pairs))
    assert (code, out) == (2, "")
    assert err.startswith(f"twinscope: the folder {place.format(pairs)[:20]}")
    assert err.endswith("; name another\n")


def test_a_table_from_a_pipe_is_refused(run: Run, pairs: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    code, _, err = run("evaluate", str(tmp_path / "pipe"), "-o", str(tmp_path / "ev"))
    assert (code, "no regular file; write the table into one first" in err) == (2, True)
    assert not (tmp_path / "ev").exists()


def test_evaluate_leaves_no_plot_of_an_earlier_run(run: Run, pairs: Path, tmp_path: Path) -> None:
    run("evaluate", str(pairs), "-o", str(tmp_path / "ev"))
    assert (tmp_path / "ev" / "roc.svg").exists()
    pairs.write_text("a,b,same\npictures/p1.png,pictures/p2.png,0\n")
    code, told, _ = run("evaluate", str(pairs), "-o", str(tmp_path / "ev"))
    assert code == 0
    assert "AUC                                   too few to say" in told
    assert not (tmp_path / "ev" / "roc.svg").exists()
    assert not (tmp_path / "ev" / "distances.svg").exists()


def test_calibrate_writes_thresholds_and_what_it_cannot_say(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "calibration.json"
    code, told, err = run("calibrate", str(folder), "-o", str(out), "--panels", "30")
    assert (code, err) == (0, "")
    assert told.startswith("4 of 4 pictures, 6 pairs")
    assert "0.1             needs 100 pairs, such as 15 pictures" in told
    assert "It holds only if no two of these pictures show the same." in told
    written = json.loads(out.read_text())
    assert list(written["border"]["expected_false"]) == ["30"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibration.json", "pictures"]
    code, told, _ = run("calibrate", str(folder), "-o", str(out), "--panels", "30", "--json")
    assert {**json.loads(told), "seconds": 0} == {**written, "seconds": 0}


def test_calibrate_tells_a_bad_picture(run: Run, folder: Path, tmp_path: Path) -> None:
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, told, _ = run("calibrate", str(folder), "-o", str(tmp_path / "c.json"))
    assert code == 3
    assert "torn.png: could not be read" in told


@pytest.mark.parametrize("name", ["torch", "onnx", "onnxscript"])
def test_training_says_what_it_needs(
    name: str, run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("torch", "onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, other, ModuleType(other))
        sys.modules[other].__spec__ = ModuleSpec(other, None)
    monkeypatch.setitem(sys.modules, name, None)
    code, out, err = run("train", "metric", str(folder), "--validation", str(tmp_path), "-o", str(tmp_path / "run"))
    assert (code, out) == (2, "")
    assert err == f"twinscope: training needs {name}: pip install 'twinscope[train]'\n"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["evaluate", "none.csv", "-o", "ev"], "none.csv does not exist"),
        (["evaluate", "notes.txt", "-o", "ev"], "no column a"),
        (["evaluate", "pictures", "-o", "ev"], "cannot be read as a CSV file"),
        (["evaluate", "notes.txt", "-o", "pictures"], "not of an evaluation"),
        (["evaluate", "notes.txt", "-o", "notes.txt"], "is a file"),
        (["calibrate", "notes.txt", "-o", "c.json"], "is a file"),
        (["calibrate", "none", "-o", "c.json"], "none does not exist"),
        (["calibrate", "pictures", "-o", "notes.txt"], "holds something else"),
        (["calibrate", "pictures", "-o", "c.json", "--panels", "1"], "--panels"),
        (["embed", "none", "-o", "v.parquet"], "none does not exist"),
        (["embed", "pictures", "-o", "pictures"], "is a folder"),
        (["embed", "pictures", "-o", "none/v.parquet"], "none does not exist"),
        (["embed", "pictures", "-o", "notes.txt"], "notes.txt is no Parquet file"),
        (["embed", "bare", "-o", "v.parquet"], "there is no picture in bare"),
        (["embed", "pictures"], "Missing option"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_2(
    arguments: list[str], word: str, run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert word in err
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "notes.txt").read_text() == "mine"
