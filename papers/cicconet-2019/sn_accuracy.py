"""Fill the table of cicconet-2019: accuracy over 10 runs on synthetic classes and on real edits.

    python papers/cicconet-2019/sn_accuracy.py --keep --json papers/cicconet-2019/results/accuracy.json

Synthetic: 402 classes of the micrographs' test groups, each one fixed picture and nine deformed ones (v02). Real: each
evaluation-only set of pairs by itself. A run asks of each class two questions, whether the fixed picture is the same as
a random other one of its class and whether it is the same as a random one of another random class. Intervals: 95 %, a
bootstrap over groups. Networks whose checkpoints are not at hand are named in `missing`; with --keep their rows in
--json stay, each with the commit and the date at which it was measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "src")]

import common
import rivals

from twinscope.detect import embed
from twinscope.train import evaluate, protocol, triplets

NAMES = (*rivals.CHECKPOINTS, embed.MODEL)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where to keep the results")
    parser.add_argument("--runs", type=Path, default=Path(".cache/train"), help="where trained networks lie")
    parser.add_argument("--classes", type=int, default=402)
    parser.add_argument("--keep", action="store_true", help="leave the rows of --json whose networks are not at hand")
    given = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    test = protocol.classes("test", given.classes, 9, "v02", seed=3, per_image=4)
    old = json.loads(given.json.read_text(encoding="utf-8")) if given.keep and given.json.is_file() else None
    if other := different(old, test, given.runs):
        parser.error(f"{given.json} is of a run of other classes ({other}); its rows cannot stand beside new ones")
    out = results(given.runs, test)
    if old is not None:
        out = beside(out, old)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    for name, network in out["networks"].items():
        print(name, {key: part["mean"] for key, part in network["sets"].items()})
    for name, why in out["missing"].items():
        print(f"{name}: {why}")
    return 0


def results(runs: Path, test: protocol.Classes, sets: tuple[str, ...] = tuple(evaluate.SETS)) -> dict[str, Any]:
    """Return the accuracy of every network that is at hand."""
    found, missing = rivals.methods(NAMES, runs)
    networks = {}
    for method in found:
        far = rivals.cross(method, test, 0, np.random.default_rng(0))
        parts = {"synthetic": judged(far, [w.group for w in test.windows])}
        for name in sets:
            parts[name] = judged(*real(method, name))
        networks[method.name] = {"about": method.about, "sets": parts, **run_of(runs, method.name)}
    return {"circumstances": common.circumstances(), "networks": networks, "missing": missing}


def different(old: dict[str, Any] | None, test: protocol.Classes, runs: Path) -> str:
    """Return which row that would be kept is of other classes, and of how many; nothing where all are of the same."""
    if old is None:
        return ""
    _, missing = rivals.methods(NAMES, runs)
    sizes = {"synthetic": [w.group for w in test.windows]}
    sizes |= {name: evaluate.real_pairs(name).groups for name in evaluate.SETS}
    for name, network in old["networks"].items():
        for key, part in network["sets"].items() if name in missing else ():
            if (part["classes"], part["groups"]) != (len(sizes[key]), len(set(sizes[key]))):
                return f"{name}, {key}: {part['classes']} of {part['groups']} groups"
    return ""


def beside(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """Return the results of a run with the rows of an older one that it did not measure; each says when it was made.

    A network that is no longer asked for, as one that shipped before, goes. The pictures are drawn by seed, so that
    rows of two runs of the same classes are of the same pictures.
    """
    rows = common.dated(old["networks"], old["circumstances"]) | new["networks"]
    networks = {name: rows[name] for name in NAMES if name in rows}
    missing = {name: why for name, why in new["missing"].items() if name not in networks}
    return new | {"networks": networks, "missing": missing}


def real(method: rivals.Method, name: str) -> tuple[protocol.Distances, list[int]]:
    """Return a method's distances on a set of real edits, and the pairs' groups."""
    pairs = evaluate.real_pairs(name)
    a, b = (method.describe([triplets.square(image) for image in side]) for side in (pairs.a, pairs.b))
    return evaluate.paired(method.between(a, b, None), pairs.groups), pairs.groups


def judged(found: protocol.Distances, groups: list[int]) -> dict[str, Any]:
    """Return the accuracies of 10 runs, their mean, the interval of what a run is expected to give, and the counts."""
    runs = protocol.runs(found, np.random.default_rng(8))
    return {
        "mean": round(float(runs.mean()), 6), "runs": [round(float(v), 6) for v in runs],
        "interval": evaluate.interval(evaluate.right(found), groups),
        "same": round(float((found.same() <= 1).mean()), 4),
        "different": round(float((found.different() > 1).mean()), 4),
        "classes": len(groups), "groups": len(set(groups)),
    }  # fmt: skip


def run_of(runs: Path, name: str) -> dict[str, Any]:
    """Return how a network of the papers was trained here: steps and minutes of the kept weights and of the run."""
    if name not in rivals.CHECKPOINTS:
        return {}
    folder = runs / rivals.CHECKPOINTS[name]
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    rows = (folder / "curve.csv").read_text(encoding="utf-8").splitlines()
    last = dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))
    return {
        "training": {
            "steps": int(last["step"]), "minutes": round(int(last["seconds"]) / 60, 1), "commit": record["commit"],
            "windows": record["windows"], **{key: record["plan"][key] for key in ("batch", "faithful", "threads")},
        }
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
