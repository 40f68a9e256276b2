"""The tables of papers/black-2021/retrieval/README.md, from results/retrieval.json (`ir_tables.py`) and
results/choice.json (`ir_choice.py`); docs/generate.py writes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BEGIN = "<!-- results: begin; made by docs/generate.py from results/retrieval.json and results/choice.json -->"
END = "<!-- results: end -->"
SETS = {"benign": "benign", "manipulated": "manipulated", "both": "manipulated + benign"}
NAMES = {
    "both stages": "**ours, stage 1 + 2**", "both stages, distinct": "ours, stage 1 + 2, by distinct alone",
    "ours": "**ours, stage 1**",
    "ours-pq": "ours, stage 1, in 128 bits (equation 3)",
    "start": "ours without fine-tuning", "imagenet": "ImageNet ResNet-50",
    "hashnet": "HashNet", "csq": "CSQ", "SN": "SN", "pHash": "pHash",
}  # fmt: skip
ROWS = ("ours", "ours-pq", "start", "embedder", "imagenet", "hashnet", "csq", "SN", "pHash")
"""The rows in their order; "embedder" stands for the one that the desk had when the table was made."""
LOOKED = {"both stages": "stage 1+2", "both stages, distinct": "stage 1+2, distinct", "ours": "stage 1"}
"""The rows of the queries that stage 2 saw, by their keys in the results."""
KS = ("1", "10", "100")
THEIRS = "published, their data (2,000,000 distractors)"
PUBLISHED = {
    "both stages": ".9003 .9331 .9408 .9206 .9300 .9300 .8028 .8312 .8412 .8745 .8981 .9039",
    "ours": ".7585 .8788 .9408 .8108 .8817 .9300 .5723 .7323 .8412 .7138 .8309 .9039",
    "MSResNet, fine-tuned": ".7203 .8499 .9202 .8162 .8905 .9314 .5582 .7147 .8289 .6982 .8184 .8935",
    "ImageNet, fine-tuned": ".6691 .8226 .9084 .7858 .8676 .9128 .4801 .6614 .7902 .6450 .7839 .8705",
    "start": ".4899 .5907 .6743 .8885 .9402 .9611 .3828 .4962 .5965 .5870 .6757 .7439",
    "MSResNet": ".1548 .2567 .3885 .8807 .9358 .9662 .1020 .1898 .3108 .3792 .4608 .5552",
    "imagenet": ".220 .3113 .4056 .8797 .9260 .9527 .1640 .2498 .3441 .4212 .4957 .5675",
    "hashnet": ".0635 .1274 .2310 .4611 .5618 .6726 .0349 .0797 .1606 .1865 .2563 .3547",
    "csq": ".0353 .0873 .2286 .3274 .4257 .6179 .0222 .0611 .1818 .1283 .1914 .3428",
    "pHash": ".3218 .3282 .3321 .3662 .3743 .3760 .1529 .1612 .1658 .2803 .2879 .2913",
}  # fmt: skip
"""Table 1 of the paper: IR@1, 10 and 100 of each set and of their average; "start" is theirs of DeepAugMix."""
ALONE = ("MSResNet, fine-tuned", "ImageNet, fine-tuned", "MSResNet")
"""Rows that the paper alone has."""
REACH = {"ours": 0.90, "both stages": 0.95}
"""The average IR@1 that the project set itself."""


def text() -> str:
    """Return the whole page, with its tables made again."""
    before, rest = (HERE / "README.md").read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    path = HERE / "results" / "retrieval.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    choice = HERE / "results" / "choice.json"
    chosen = json.loads(choice.read_text(encoding="utf-8")) if choice.is_file() else None
    return "\n".join([before + BEGIN, "", *tables(results), *choices(chosen), "", END + after])


def tables(results: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the lines of the tables; what was not measured is said to be so."""
    if results is None:
        yield "Nothing has been measured here yet: `run.sh` does it."
        return
    yield from ("### Table 1: search", "")
    originals = f"{results['originals']} originals of {results['groups']} groups"
    yield f"{originals} among {results['distractors']:,} distractors."
    rows = {row["name"]: row for row in results["table1"]}
    yield from ("", *_head())
    desk = next((name for name in rows if name.startswith("embedder-")), "embedder")
    order = [desk if name == "embedder" else name for name in ROWS]
    for name in order:
        yield _row(named(name), rows[name]) if name in rows else _absent(name, results["missing"])
    looked = results["looked"]
    if looked:
        yield from ("", "### Table 1: both stages", "")
        yield f"The first {looked['queries']} queries of each set; the nearest {looked['near']} are ranked anew,"
        yield f"{looked['seconds']:.1f} s a query (the median, one thread, a machine with other work)."
        yield from ("", *_head(), _row("ours, stage 1, the same queries", looked["stage 1"]))
        for name in ("both stages", "both stages, distinct"):
            if LOOKED[name] in looked:
                yield _row(NAMES[name], looked[LOOKED[name]])
    yield from ("", "### Table 1: IR@1 / IR@10 / IR@100 of each query set, beside theirs", "")
    yield from by_set(results, order)
    yield from ("", "### Reach", "", "| | reach | average IR@1 | |", "|---|---|---|---|")
    for name, goal in REACH.items():
        found = rows.get("ours") if name == "ours" else (looked or {}).get("stage 1+2")
        if found:
            value = found["average"]["1"]["mean"]
            told = "reached" if value >= goal else "**not reached**"
            cells = [NAMES[name].strip("*"), _short(f"{goal:.2f}"), _cell(found["average"]["1"]), told]
            yield "| " + " | ".join(cells) + " |"
    yield from ("", "### Figure 4: recall to k = 100", "", "![recall by k](figures/recall.png)", "")
    yield from _circumstances(results)


def by_set(results: Mapping[str, Any], order: Sequence[str]) -> Iterator[str]:
    """Yield table 1 as the paper has it, each of its rows followed by ours of the same method."""
    rows, looked = {row["name"]: row for row in results["table1"]}, results["looked"] or {}
    here = f"here ({results['distractors']:,} distractors)"
    yield "Theirs are photographs (807 originals) that people edited, ours micrographs that a simulation edited: these"
    yield "are not the same questions. The intervals of ours, for each k, are in `results/retrieval.json`."
    yield from ("", f"| | | {' | '.join(SETS.values())} | average |", "|---|---|" + "---|" * (len(SETS) + 1))
    for name in ("both stages", "both stages, distinct", *order, *ALONE):
        told = name if name in ALONE else named(name)
        if name in PUBLISHED:
            theirs = PUBLISHED[name].split()
            cells = [" / ".join(theirs[k : k + len(KS)]) for k in range(0, len(theirs), len(KS))]
            yield f"| {told}{' (theirs: DeepAugMix)' if name == 'start' else ''} | {THEIRS} | {' | '.join(cells)} |"
        if LOOKED.get(name) in looked:
            queries = f"{here}, the first {looked['queries']} queries of each set"
            yield f"| {told} | {queries} | {_recalls(looked[LOOKED[name]])} |"
        if name in rows:
            yield f"| {told} | {here} | {_recalls(rows[name])} |"
        elif name in order:
            yield f"| {told} | here | {results['missing'].get(name, 'not measured')} |" + "  |" * len(SETS)


def _recalls(row: Mapping[str, Any]) -> str:
    parts = [*(row["sets"][key] for key in SETS), row["average"]]
    return " | ".join(_short(" / ".join(f"{part[k]['mean']:.3f}" for k in KS)) for part in parts)


def choices(chosen: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield what validation says of the two networks that the desk could ship."""
    if chosen is None:
        return
    yield from ("", "### Which network the desk ships: validation", "")
    originals = f"{chosen['originals']} originals of {chosen['groups']} val groups"
    yield f"{originals} among {chosen['distractors']:,} distractors;"
    yield "then classes of the val groups as figures show them (IR@1 / best accuracy / true positives at FPR 1e-3)."
    yield "`ir_choice.py` asks it."
    views = list(next(iter(chosen["desk"].values())))
    yield from ("", f"| | IR@1 | {' | '.join(f'IR@1, {name}' for name in SETS.values())} | {' | '.join(views)} |")
    yield "|---|" + "---|" * (1 + len(SETS) + len(views))
    for row in chosen["table1"]:
        cells = [_cell(row["average"]["1"]), *(_cell(row["sets"][key]["1"]) for key in SETS)]
        for numbers in chosen["desk"][row["name"]].values():
            cells.append(_short(" / ".join(f"{value:.3f}" for value in numbers.values())))
        yield f"| {named(row['name']).strip('*')} | " + " | ".join(cells) + " |"


def named(name: str) -> str:
    """Return how the tables call a method."""
    return NAMES.get(name, f"{name} (the desk's at that commit)")


def _head() -> Iterator[str]:
    yield "| | IR@1, average | " + " | ".join(f"IR@1, {name}" for name in SETS.values()) + " |"
    yield "|---|" + "---|" * (len(SETS) + 1)


def _row(name: str, row: Mapping[str, Any]) -> str:
    cells = [_cell(row["average"]["1"]), *(_cell(row["sets"][key]["1"]) for key in SETS)]
    return f"| {name} | " + " | ".join(cells) + " |"


def _absent(name: str, missing: Mapping[str, str]) -> str:
    return f"| {named(name)} | {missing.get(name, 'not measured')} |" + "  |" * len(SETS)


def _circumstances(results: Mapping[str, Any]) -> Iterator[str]:
    where, run = results["circumstances"], results["training"]
    yield f"{where['device']}; commit {where['commit']}, {where['date']}; seed {results['seed']}."
    if run:
        steps = f"step {run['step']:,} of {run['steps']:,} of {run['views']} views, {run['minutes']:.0f} minutes"
        threads = "one thread" if run["threads"] == 1 else f"{run['threads']} threads"
        yield f"Our network: {steps} on {threads}, {run['side']} px, rate {run['rate']:g} at first,"
        yield f"begun with {run['start']}; checkpoint {run['sha256'][:12]}."


def _cell(part: Mapping[str, Any]) -> str:
    low, high = part["interval"]
    return _short(f"{part['mean']:.3f} [{low:.3f}, {high:.3f}]")


def _short(number: str) -> str:
    return number.replace("0.", ".")
