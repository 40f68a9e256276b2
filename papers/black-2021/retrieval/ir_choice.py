"""Which network the desk should ship, by validation alone: the embedder or the paper's search network.

    python papers/black-2021/retrieval/ir_choice.py --json papers/black-2021/retrieval/results/choice.json

Table 1 on the val groups (distractors of the train groups alone), and what the desk asks beside it: windows against
what figures make of them ("v02", "strong" and "figure" of `train.data`), 140 classes of three, by the protocol of the
cards: IR@1, the best accuracy of any border, and true positives where one different pair in a thousand is taken.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[2] / "src")]

import ir_methods as im
import ir_tables

from twinscope.train import protocol, search

NAMES = (search.START, "ours")
VIEWS = ("v02", "strong", "figure")
KEYS = ("ir1", "best_accuracy", "tpr_1e-3")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path(".cache/train"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/black-2021/retrieval"))
    parser.add_argument("--distractors", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--classes", type=int, default=140)
    given = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    told = ["--json", str(given.json), "--runs", str(given.runs), "--cache", str(given.cache), "--split", "val"]
    asked = ["--distractors", str(given.distractors), "--queries", str(given.queries), "--looked", "0"]
    ir_tables.main([*told, *asked, "--only", *NAMES])
    out = json.loads(given.json.read_text(encoding="utf-8"))
    found, _ = im.methods(given.runs, given.cache, None)
    out["table1"] = [row for row in out["table1"] if row["name"] in NAMES]
    out["desk"] = {one.name: desk(one, given.classes) for one in found if one.name in NAMES}
    given.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    print(out["desk"])
    return 0


def desk(method: im.Method, count: int) -> dict[str, Any]:
    """Return a method's numbers on validation classes of each kind of view."""
    return {how: judged(method, protocol.classes("val", count, 3, how, seed=1)) for how in VIEWS}


def judged(method: im.Method, test: protocol.Classes) -> dict[str, float]:
    """Return `KEYS` of a method on classes; its vectors are compared by their distance."""

    def embed(views: Sequence[Any]) -> Any:
        return method.vectors(
            np.concatenate([method.family.look(list(views[k : k + 64])) for k in range(0, len(views), 64)])
        )

    numbers = protocol.summary(protocol.distances(embed, test))
    return protocol.rounded({key: numbers[key] for key in KEYS})


if __name__ == "__main__":
    sys.exit(main())
