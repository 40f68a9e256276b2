"""Table 1 of black-2021 by query set beside the paper's, both orders of stage 2, and the scripts that are named."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import ir_looked
import ir_pictures as ip
import ir_readme
import ir_tables

from twinscope import corpus
from twinscope.detect import embed, heat, judge
from twinscope.detect.judge import Judged

HERE = Path(__file__).resolve().parents[2] / "papers" / "black-2021" / "retrieval"


# ---------------------------------------------------------------------------------------------------- both orders


def judged(number: int, probability: float, distinct: float) -> Judged:
    return Judged(0, number, None, {"distinct": distinct}, probability)  # type: ignore[arg-type]


def test_the_paper_ranks_by_distinct_alone() -> None:
    said = [judged(0, 0.99, -1.0), None, judged(2, 0.3, -4.0), judged(3, 0.6, 5.0), judged(4, 0.97, -1.0), None]
    far = (3, 9, 4, 1, 2, 8)
    hits = [corpus.Hit(far[k], {"number": k}, one) for k, one in enumerate(said)]
    assert [hit.row["number"] for hit in ir_looked.by_distinct(hits)] == [2, 4, 0, 3, 5, 1]
    assert [hit.row["number"] for hit in corpus.ranked(hits)] == [4, 0, 3, 2, 5, 1]


def test_both_orders_come_of_one_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The original, number 1, is the most probable; to the comparator number 7 is less distinct."""
    calls: list[int] = []

    def answer(views: Any, others: Any, pairs: Any, settings: Any) -> Any:
        calls.append(len(pairs[0]))
        return [[judged(0, 0.1, 3.0), judged(1, 0.9, -1.0), judged(2, 0.5, -2.0)]]

    monkeypatch.setattr(ir_looked, "seen", lambda picture: (None, np.zeros(2, np.float32)))
    monkeypatch.setattr(corpus, "judged", answer)

    class Blank(ir_looked.Made):
        def __init__(self) -> None:
            super().__init__("test", 1, 10, None)  # type: ignore[arg-type]

        def picture(self, number: int) -> Any:
            return np.zeros((8, 8), np.uint8)

    pictures = np.zeros((2, 8, 8, 3), np.uint8)
    asked = ip.Asked(pictures, {"both": pictures}, np.arange(2), np.eye(2, dtype=np.bool_))
    near = {"both": {1: [(4, 0.1), (1, 0.2), (7, 0.3)]}}
    path = tmp_path / "looked.jsonl"
    found = ir_looked.anew(near, {"both": np.array([1.0, 2.0])}, asked, Blank(), path)
    assert calls == [3]
    assert (found.ranks["both"].tolist(), found.distinct["both"].tolist()) == ([1.0], [2.0])
    line = json.loads(path.read_text())
    assert (line["rank"], line["distinct"], line["before"]) == (1.0, 2.0, 2.0)


def test_the_rows_of_both_orders_stand_in_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = ir_looked.Seen({"both": np.array([1.0, 1.0])}, {"both": np.array([1.0, 7.0])}, 0.5)
    monkeypatch.setattr(ir_looked, "anew", lambda *_: seen)
    vectors = type("Toy", (), {"originals": np.eye(2, 4), "queries": {"both": np.eye(2, 4)}})()
    asked = ip.Asked(np.zeros((2, 8, 8, 3), np.uint8), {}, np.arange(2), np.eye(2, dtype=np.bool_))
    method = ir_tables.im.Method("ours", ir_tables.im.Family("ours", "1", lambda _: np.zeros(1)), "", None, None)  # type: ignore[arg-type]
    given = type("Given", (), {"looked": 2, "split": "test", "seed": 1})()
    out = ir_tables.both(method, vectors, {"both": np.array([2.0, 2.0])}, asked, [], tmp_path, given)  # type: ignore[arg-type]
    rows = {name: [out[name]["sets"]["both"][k]["mean"] for k in ("1", "10")] for name in ir_readme.LOOKED.values()}
    assert rows == {"stage 1+2": [1.0, 1.0], "stage 1+2, distinct": [0.5, 1.0], "stage 1": [0.0, 1.0]}


def test_stage_two_is_asked_again_where_the_desk_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "src" / "twinscope"
    weights = [f"models/weights/{name}.onnx" for name in (heat.MODEL, embed.MODEL, judge.MODEL)]
    files = [package / name for name in ("detect/judge.py", "corpus.py", *weights)]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    monkeypatch.setattr(ir_looked, "HERE", tmp_path / "papers" / "black-2021" / "retrieval")
    for path in files:
        before = ir_looked.code()
        path.write_text("2")
        assert ir_looked.code() != before, path


# ---------------------------------------------------------------------------------------------------- the page


def row_of(name: str, first: float) -> dict[str, Any]:
    """Return a row whose recalls all differ: .1 more a set, .01 more a k."""

    def part(start: float) -> dict[str, Any]:
        return {"queries": 4} | {
            k: {"mean": start + 0.01 * n, "interval": [0.0, 1.0]} for n, k in enumerate(("1", "10", "100"))
        }

    sets = {key: part(first + 0.1 * n) for n, key in enumerate(ir_readme.SETS)}
    return {"name": name, "about": "", "sets": sets, "average": part(first + 0.3)}


def made() -> dict[str, Any]:
    return {
        "circumstances": {"device": "a machine", "commit": "abc", "date": "2026-01-01"}, "seed": 7, "originals": 4,
        "groups": 2, "distractors": 12_345, "training": {}, "missing": {"imagenet": "weights not present"},
        "table1": [row_of("ours", 0.1), row_of("pHash", 0.5), row_of("embedder-9", 0.4)],
        "looked": {"queries": 3, "near": 100, "seconds": 1.0, "stage 1": row_of("ours", 0.2),
                   "stage 1+2": row_of("both stages", 0.3)},
    }  # fmt: skip


def test_every_recall_of_every_set_is_printed_beside_theirs() -> None:
    order = ["embedder-9" if name == "embedder" else name for name in ir_readme.ROWS]
    lines = list(ir_readme.by_set(made(), order))
    here = "here (12,345 distractors)"
    theirs = "published, their data (2,000,000 distractors)"
    some = f"{here}, the first 3 queries of each set"
    ours = ".100 / .110 / .120 | .200 / .210 / .220 | .300 / .310 / .320 | .400 / .410 / .420"
    assert f"| **ours, stage 1** | {here} | {ours} |" in lines
    assert f"| **ours, stage 1** | {some} | .200 / .210 / .220 | " in "\n".join(lines)
    looked = ".300 / .310 / .320 | .400 / .410 / .420 | .500 / .510 / .520 | .600 / .610 / .620"
    assert f"| **ours, stage 1 + 2** | {some} | {looked} |" in lines
    published = ".9003 / .9331 / .9408 | .9206 / .9300 / .9300 | .8028 / .8312 / .8412 | .8745 / .8981 / .9039"
    assert f"| **ours, stage 1 + 2** | {theirs} | {published} |" in lines
    assert any(line.startswith(f"| pHash | {theirs} | .3218 / .3282 / .3321 | ") for line in lines)
    assert any(line.startswith(f"| pHash | {here} | .500 / ") for line in lines)
    assert any(line.startswith(f"| embedder-9 (the desk's at that commit) | {here} | ") for line in lines)
    assert "| ImageNet ResNet-50 | here | weights not present |  |  |  |" in lines
    assert "| SN | here | not measured |  |  |  |" in lines
    assert sum(theirs in line for line in lines) == len(ir_readme.PUBLISHED)
    assert {line.count("|") for line in lines if line.startswith("|")} == {7}


def test_the_row_by_distinct_comes_in_when_it_is_measured() -> None:
    results = made()
    assert "by distinct alone" not in "\n".join(ir_readme.tables(results))
    results["looked"]["stage 1+2, distinct"] = row_of("both stages, distinct", 0.25)
    page = "\n".join(ir_readme.tables(results))
    assert "| ours, stage 1 + 2, by distinct alone | .550 [.000, 1.000] | .250 [.000, 1.000] |" in page
    assert "| ours, stage 1 + 2, by distinct alone | here (12,345 distractors), the first 3 queries" in page
    assert page.count("published, their data") == len(ir_readme.PUBLISHED)


def test_what_stage_two_did_not_see_is_left_out() -> None:
    results = {**made(), "looked": {}}
    page = "\n".join(ir_readme.tables(results))
    assert "queries of each set" not in page
    assert "| **ours, stage 1 + 2** | published" in page


def test_what_is_published_is_what_the_paper_says(shared: Path) -> None:
    text = (shared / "papers" / "black-2021-deep-image-comparator.txt").read_text(encoding="utf-8")
    names = {
        "both stages": "Ours (stage 1 + 2)", "ours": "Ours (stage 1)", "MSResNet, fine-tuned": "MSResNet fine.",
        "ImageNet, fine-tuned": "ImageNet fine.", "start": "DeepAugMix [17]", "MSResNet": "MSResNet [24]",
        "imagenet": "ImageNet [15]", "csq": "CSQ [39]", "hashnet": "HashNet [4]", "pHash": "pHash [40]",
    }  # fmt: skip
    assert set(ir_readme.PUBLISHED) == set(names)
    for name, theirs in names.items():
        (line,) = re.findall(rf"^{re.escape(theirs)}\t(0\.\d.*)$", text, re.M)
        assert ir_readme.PUBLISHED[name].split() == [value.removeprefix("0") for value in line.split()]
    assert "PSBat-Test plus 2 million diverse distractor images" in text


def test_their_averages_are_those_of_their_sets() -> None:
    for name, row in ir_readme.PUBLISHED.items():
        values = np.array(row.split(), np.float64).reshape(4, 3)
        assert values[:3].mean(0) == pytest.approx(values[3], abs=1.2e-4), name


def test_the_script_of_each_result_is_named() -> None:
    page, head = ((HERE / name).read_text(encoding="utf-8") for name in ("README.md", "run.sh"))
    told = "papers/black-2021/retrieval/ir_choice.py --json papers/black-2021/retrieval/results/choice.json"
    assert f"python {told} " in page
    assert f"python {told}\n" in head.partition("set -euo")[0]
    assert (HERE / "ir_choice.py").exists()
    assert "from results/retrieval.json and results/choice.json" in page
