"""Fill the tables of black-2021 (2, 3 and figure 7) on our data.

    python papers/black-2021/tables.py --json papers/black-2021/results/tables.json
    python papers/black-2021/tables.py --only desk --json papers/black-2021/results/tables.json  # what ships anew
    python papers/black-2021/tables.py --check --json papers/black-2021/results/tables.json

Asked are the networks whose checkpoints lie in --runs (black-NAME/best.pt, see run.sh), the baselines of section 4.5,
and the network that ships, for which no checkpoint is needed. What is not trained yet is named in `missing`, and comes
in when it is. Rows that --json has and a run does not measure stay as they are, each with the commit and date of its
own run, unless --fresh is given; those of a network that shipped once and does so no longer go. Sets: simulated pairs
from the micrographs' test groups, and the evaluation-only pairs that people made. Every finished part is kept in
--cache, by the hash of weights, pairs and code: stopped, it goes on where it stopped. Intervals: 95 %, a bootstrap
over groups.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "benchmarks"), str(HERE.parents[1] / "src")]

import common
import icn_methods as im

from twinscope import metrics
from twinscope.train import changes, evaluate
from twinscope.types import CLASSES

Part = Mapping[str, Any]
ROUNDS = 1000
IOUS = ("t", "no_t", "free_t", "free_no_t", "half")
ROWS = ("identical", "benign", "manipulated", "both", "distinct")
"""The rows of figure 7."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    old = shipping(json.loads(given.json.read_text(encoding="utf-8"))) if given.json.is_file() else None
    if given.check:
        return checked(old)
    cv2.setNumThreads(1)
    torch.set_num_threads(given.threads)
    wanted = im.Wanted(*(getattr(given, name) for name in im.Wanted._fields))
    there, missing = im.methods(given.runs, given.side, given.imagenet)
    for name, why in missing.items():
        print(f"{name}: {why}", flush=True)
    if lacking := [name for name in given.only or () if not chosen(there, [name])]:
        parser.error(f"{lacking[0]} is not at hand: {missing.get(lacking[0], 'it is no method of the tables')}")
    there = chosen(there, given.only)
    others = [name for name in (old or {"networks": ()})["networks"] if name not in {one.name for one in there}]
    sizes = {key: (old or {}).get(key) for key in wanted._fields}
    if others and not given.fresh and sizes != wanted._asdict():
        parser.error(f"{given.json} is of a run of other sizes, {sizes}; its rows ({', '.join(others)}) cannot stand "
                     "beside new ones: give the same sizes, or --fresh to leave them out")  # fmt: skip
    out = results(there, missing, wanted, given.cache)
    if old is not None and not given.fresh:
        out = beside(out, old)
    for name in others:
        print(f"{name}: {'left out' if given.fresh else of_run(out['networks'][name])}", flush=True)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    for row in out["table2"]:
        print(row["name"], {name: part["t"]["mean"] for name, part in row["sets"].items()})
    for name, row in out["table3"].items():
        print(name, {key: row[key]["mean"] for key in ("ap", "iou")})
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = im.Wanted()
    parser.add_argument("--json", type=Path, required=True, help="where to keep the results")
    parser.add_argument("--runs", type=Path, default=Path(".cache/train"), help="where trained networks lie")
    parser.add_argument("--cache", type=Path, default=Path(".cache/black-2021"), help="where finished parts are kept")
    parser.add_argument("--pairs", type=int, default=sizes.pairs, help="simulated pairs of each kind")
    parser.add_argument("--each", type=int, default=sizes.each,
                        help="pairs of each benign class, as many again with an edit")  # fmt: skip
    parser.add_argument("--side", type=int, default=sizes.side, help="of the pictures, px: as the networks had them")
    parser.add_argument("--seed", type=int, default=sizes.seed)
    parser.add_argument("--imagenet", type=Path, help="a file of torchvision's resnet50 weights, for ResNetConv")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these methods alone; desk is both rows of what ships"
    )
    parser.add_argument("--fresh", action="store_true", help="leave out the rows of --json that are not measured now")
    parser.add_argument("--check", action="store_true", help="measure nothing; say which rows are of other code")
    return parser


def chosen(there: Sequence[im.Method], only: Sequence[str] | None) -> list[im.Method]:
    """Return the methods that are asked for by name, all where none is named; "desk" is what ships, both rows."""
    names = [im.DESK[True] if name == "desk" else name for name in only or ()]
    return [one for one in there if only is None or {one.name, one.name.partition(", ")[0]} & set(names)]


def shipping(old: dict[str, Any]) -> dict[str, Any]:
    """Return results without the rows of a network that shipped once and does so no longer."""

    def stays(name: str) -> bool:
        return not name.startswith("comparator-") or name in im.DESK.values()

    parts = {part: {name: row for name, row in old[part].items() if stays(name)}
             for part in ("networks", "table3", "figure7")}  # fmt: skip
    return {**old, **parts, "table2": [row for row in old["table2"] if stays(row["name"])]}


def checked(old: Mapping[str, Any] | None) -> int:
    """Print a line for each row of results whose code has changed since; return 3 where there are any, else 0."""
    other = {name: row for name, row in dated(old).items() if not row["same_code"]} if old is not None else {}
    for name, row in other.items():
        print(f"{name}: {of_run(row)}")
    return 3 if other else 0


def results(there: Sequence[im.Method], missing: dict[str, str], wanted: im.Wanted, cache: Path) -> dict[str, Any]:
    """Return all three tables of the methods at hand, the circumstances, and what is missing."""
    found = im.parts(there, wanted, cache)
    names = dict.fromkeys(name for method in there for name in method.sets)
    groups = {name: im.groups(name, wanted) for name in names}
    second = [
        {"name": method.name, "sets": heats(found[method.name], groups)}
        for method in there
        if set(im.EDITED) <= set(method.sets)
    ]
    third = {m.name: classed(found[m.name], groups) for m in there if set(im.JUDGED) <= set(m.sets)}
    seventh = {m.name: figure7(found[m.name], groups) for m in there if set(im.whole()) <= set(m.sets)}
    seconds = sum(part["seconds"] for each in found.values() for part in each.values())
    return {
        "circumstances": common.circumstances(), **wanted._asdict(), "seconds": round(seconds, 1),
        "networks": {
            m.name: {**m.training, "ms_a_pair": speed(found[m.name]), "code": im.code(m.name)} for m in there
        },
        "missing": missing, "table2": second, "table3": third, "figure7": seventh,
    }  # fmt: skip


def beside(new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results of a run with the rows of an older one that it did not measure; each says when it was made.

    Mostly those are of networks whose checkpoints are not here any more, or of a baseline aligned by one of them.
    """
    had = {row["name"] for row in new["table2"]}
    rows = [row for row in old["table2"] if row["name"] not in had]
    merged = {part: {**old[part], **new[part]} for part in ("table3", "figure7")}
    networks = {**dated(old), **new["networks"]}
    known = {*networks, *("F_A" for row in rows if row["name"].endswith(" + F_A"))}
    missing = {name: why for name, why in new["missing"].items() if name not in known}
    return {**new, **merged, "networks": networks, "missing": missing, "table2": [*new["table2"], *rows]}


def dated(old: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what results say of each method, with the circumstances of its run and whether its code is today's.

    The pairs are drawn by seed, so that rows of two runs of the same sizes and code are of the same pairs.
    """
    rows = {name: {"code": old.get("code"), **row} for name, row in old["networks"].items()}
    rows = common.dated(rows, old["circumstances"])
    return {name: row | {"same_code": row["code"] == im.code(name)} for name, row in rows.items()}


def of_run(row: Mapping[str, Any]) -> str:
    """Return what a row that was not measured now is told with."""
    made = row["circumstances"]
    code = "" if row["same_code"] else ", by code that has changed since"
    return f"measured at commit {made['commit']}, {made['date']}{code}"


def speed(each: Mapping[str, Part]) -> float:
    """Return the milliseconds that a pair took, the scores included."""
    return round(1000 * sum(p["seconds"] for p in each.values()) / sum(len(p["rows"]) for p in each.values()), 2)


def heats(each: Mapping[str, Part], groups: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Return a row of table 2: the mean IoUs of each set of edits; "unmirrored" is "both" without the flipped."""
    out = {name: _heats(each[name]["rows"], groups[name]) for name in im.EDITED}
    straight = [k for k, row in enumerate(each["both"]["rows"]) if not row["mirrored"]]
    if straight:
        rows = each["both"]["rows"]
        out["unmirrored"] = _heats([rows[k] for k in straight], [groups["both"][k] for k in straight])
    return out


def _heats(rows: Sequence[Mapping[str, Any]], groups: Sequence[int]) -> dict[str, Any]:
    means = {name: mean([row[name] for row in rows], groups) for name in IOUS}
    return {"pairs": len(rows), "groups": len(set(groups)), **means}


def mean(values: Sequence[float], groups: Sequence[int]) -> dict[str, Any]:
    """Return a mean and its 95 % interval, a bootstrap over groups."""
    held = np.asarray(values, np.float64)
    return {"mean": round(float(held.mean()), 4), "interval": evaluate.interval(held, list(groups), ROUNDS)}


# ---------------------------------------------------------------------------------------------------- classes


def classed(each: Mapping[str, Part], groups: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Return a row of table 3, over benign, manipulated, both and distinct pairs.

    ap: the mean of the three classes' average precisions, each against the rest; accuracy of the class; iou and
    iou_no_t of the manipulated and the both pairs, S(U) with the threshold and without.
    """
    p, label, unit = _joined(each, groups, im.JUDGED)
    right = (p.argmax(1) == label).astype(np.float64)
    out = {"pairs": len(label), "groups": len(set(unit)), "ap": _precision(p, label, unit)}
    for k, name in enumerate(CLASSES):
        out[f"ap_{name}"] = round(metrics.average_precision(p[:, k], label == k), 4)
    edited = [
        (row, g) for name in ("manipulated", "both") for row, g in zip(each[name]["rows"], groups[name], strict=True)
    ]
    where = [g for _, g in edited]
    return {
        **out, "accuracy": mean(right, unit), "iou": mean([row["t"] for row, _ in edited], where),
        "iou_no_t": mean([row["no_t"] for row, _ in edited], where),
    }  # fmt: skip


def _joined(
    each: Mapping[str, Part], groups: Mapping[str, Sequence[int]], names: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.int64], list[int]]:
    """Return the probabilities (n, 3), the labels (n,) and the groups of all pairs of some sets."""
    p = np.array([row["p"] for name in names for row in each[name]["rows"]], np.float64)
    kinds = [changes.KINDS[name.partition(":")[0]] for name in names for _ in each[name]["rows"]]
    return p, np.array(kinds, np.int64), [g for name in names for g in groups[name]]


def _precision(p: NDArray[np.float64], label: NDArray[np.int64], groups: Sequence[int]) -> dict[str, Any]:
    """Return the mean of the classes' average precisions and its interval."""
    _, unit = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(unit == k) for k in range(int(unit.max()) + 1)]

    def of(rows: NDArray[np.int64]) -> float:
        chosen = [label[rows] == k for k in range(3)]
        if not all(k.any() for k in chosen):
            return float("nan")
        return float(np.mean([metrics.average_precision(p[rows, k], truth) for k, truth in enumerate(chosen)]))

    def again(drawn: NDArray[np.int64]) -> float:
        return of(np.concatenate([members[k] for k in drawn]))

    interval = metrics.bootstrap(len(members), again, np.random.default_rng(4), ROUNDS)
    return {"mean": round(of(np.arange(len(label))), 4), "interval": [round(v, 4) for v in interval]}


def figure7(each: Mapping[str, Part], groups: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Return figure 7: what is said of each kind of pair, of the edited photographs, and of each benign class.

    said: the shares called benign, manipulated and distinct. ap of a row: its class's average precision among the row's
    pairs and all pairs of the other classes. Of a benign class: the shares that are right alone and with an edit, and
    the average precision of "manipulated" between the two.
    """
    rows = {name: {**_said(each, groups, name), "ap": _row_precision(each, name)} for name in ROWS}
    rows["photos"] = _said(each, groups, "photos")
    by_class = {}
    for name in changes.BENIGN_CLASSES:
        alone, edited = (_said(each, groups, f"{kind}:{name}") for kind in ("benign", "both"))
        p, label, _ = _joined(each, groups, (f"benign:{name}", f"both:{name}"))
        by_class[name] = {
            "benign": alone, "both": edited, "ap": round(metrics.average_precision(p[:, 1], label == 1), 4),
        }  # fmt: skip
    return {"rows": rows, "classes": by_class}


def _said(each: Mapping[str, Part], groups: Mapping[str, Sequence[int]], name: str) -> dict[str, Any]:
    guess = np.array([int(np.argmax(row["p"])) for row in each[name]["rows"]])
    kind = changes.KINDS.get(name.partition(":")[0], changes.MANIPULATED)
    said = [round(float(np.mean(guess == k)), 4) for k in range(3)]
    return {"pairs": len(guess), "said": said, "right": mean((guess == kind).astype(np.float64), groups[name])}


def _row_precision(each: Mapping[str, Part], name: str) -> float:
    kind = changes.KINDS[name]
    others = [row["p"][kind] for other in ROWS if changes.KINDS[other] != kind for row in each[other]["rows"]]
    own = [row["p"][kind] for row in each[name]["rows"]]
    truth = np.arange(len(own) + len(others)) < len(own)
    return round(metrics.average_precision(np.array([*own, *others]), truth), 4)


if __name__ == "__main__":
    sys.exit(main())
