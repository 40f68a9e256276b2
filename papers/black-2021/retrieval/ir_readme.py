"""The table of papers/black-2021/retrieval/README.md, from results/retrieval.json; docs/generate.py writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- results: begin; made by docs/generate.py from results/retrieval.json -->", "<!-- results: end -->"
SETS = {"benign": "benign", "manipulated": "manipulated", "both": "manipulated + benign"}
NAMES = {
    "both stages": "**ours, stage 1 + 2**", "ours": "**ours, stage 1**",
    "ours-pq": "ours, stage 1, in 128 bits (equation 3)",
    "start": "ours without fine-tuning", "imagenet": "ImageNet ResNet-50",
    "hashnet": "HashNet", "csq": "CSQ", "SN": "SN", "pHash": "pHash",
}  # fmt: skip
ROWS = ("ours", "ours-pq", "start", "embedder", "imagenet", "hashnet", "csq", "SN", "pHash")
"""The rows in their order; "embedder" stands for the one that the desk had when the table was made."""
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
    for name in (desk if name == "embedder" else name for name in ROWS):
        yield _row(named(name), rows[name]) if name in rows else _absent(name, results["missing"])
    looked = results["looked"]
    if looked:
        yield from ("", "### Table 1: both stages", "")
        yield f"The first {looked['queries']} queries of each set; the nearest {looked['near']} are ranked anew,"
        yield f"{looked['seconds']:.1f} s a query (the median, one thread, a machine with other work)."
        yield from ("", *_head(), _row("ours, stage 1, the same queries", looked["stage 1"]))
        yield _row(NAMES["both stages"], looked["stage 1+2"])
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


def choices(chosen: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield what validation says of the two networks that the desk could ship."""
    if chosen is None:
        return
    yield from ("", "### Which network the desk ships: validation", "")
    originals = f"{chosen['originals']} originals of {chosen['groups']} val groups"
    yield f"{originals} among {chosen['distractors']:,} distractors;"
    yield "then classes of the val groups as figures show them (IR@1 / best accuracy / true positives at FPR 1e-3)."
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
    yield "| | IR@1 | " + " | ".join(f"IR@1, {name}" for name in SETS.values()) + " | IR@10 | IR@100 |"
    yield "|---|" + "---|" * (len(SETS) + 3)


def _row(name: str, row: Mapping[str, Any]) -> str:
    cells = [_cell(row["average"]["1"]), *(_cell(row["sets"][key]["1"]) for key in SETS)]
    cells += [_short(f"{row['average'][k]['mean']:.3f}") for k in ("10", "100")]
    return f"| {name} | " + " | ".join(cells) + " |"


def _absent(name: str, missing: Mapping[str, str]) -> str:
    return f"| {named(name)} | {missing.get(name, 'not measured')} |" + "  |" * (len(SETS) + 2)


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
