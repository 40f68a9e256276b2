"""The tables of papers/bharathi-2023/README.md, from results/fingerprints.json; docs/generate.py writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- results: begin; made by docs/generate.py from results/fingerprints.json -->", "<!-- results: end -->"
PUBLISHED = {
    "relation": (".505", ".503", ".220", ".790", ".614", 79, 22, 78, 21),
    "ward": (".495", ".495", ".440", ".550", ".521", 55, 44, 56, 45),
    "svm": (".525", ".537", ".690", ".360", ".431", 36, 69, 31, 64),
}
"""Table 1 of the paper: accuracy, precision, specificity, recall, F1, TP, TN, FP, FN of 200 real pictures."""
METHODS = {
    "relation": "relation network", "ward": "Ward clustering (section 5.2)",
    "company": "Ward with generated (abstract)", "svm": "RBF-SVM on pairs",
    "ours": "ours, nothing known", "ours_known": "ours, with known examples",
}  # fmt: skip
KINDS = {"ddpm": "DDPM", "dcgan": "DCGAN"}
NUMBERS = ("accuracy", "precision", "specificity", "recall", "f1")


def text() -> str:
    """Return the whole page, with its tables made again."""
    before, rest = (HERE / "README.md").read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    path = HERE / "results" / "fingerprints.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return "\n".join([before + BEGIN, "", *tables(results), "", END + after])


def tables(results: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the lines of all tables; what was not measured is said to be so."""
    yield from ("### As published: a diffusion network, 256 px CT slices, 200 real pictures", "", *published(), "")
    if results is None:
        yield "Nothing has been measured here yet: `run.sh` does it."
        return
    found = results["summaries"]
    for saw in (True, False):
        for kind, steps in dict.fromkeys((one["generator"], one["steps"]) for one in found if one["saw"] == saw):
            own = [one for one in found if (one["generator"], one["saw"], one["steps"]) == (kind, saw, steps)]
            seeds = len(own[0]["seeds"])
            what = "" if saw else ", asked of pictures that it never saw, neither half"
            count = f"{seeds} {'seed' if seeds == 1 else 'seeds'}"
            yield from (f"### {KINDS[kind]}, {steps:,} steps{what} ({count})", "", *table(own), "")
    yield from ("### Is the stated probability the observed rate?", "", *reliability(results), "")
    yield from ("### The paper's eigenvalue analysis", "", *eigen(results["eigenvalues"]), "")
    yield from ("### Circumstances", "", *circumstances(results))
    yield from figures(HERE / "figures")


def published() -> Iterator[str]:
    """Yield table 1 of the paper."""
    yield from _head(("TP", "TN", "FP", "FN"))
    for name, cells in PUBLISHED.items():
        yield f"| {METHODS[name]} | " + " | ".join(map(str, cells)) + " |"


def table(own: list[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the table of one generator: a row a method."""
    yield from _head(("TP", "TN", "FP", "FN", "AUC", "Brier"))
    for one in own:
        cells = [_cell(one[name]) for name in NUMBERS] + [str(one[name]) for name in ("tp", "tn", "fp", "fn")]
        brier = _short(one["brier"]) if one["method"].startswith("ours") else ""
        yield f"| {METHODS[one['method']]} | " + " | ".join([*cells, _short(one["auc"]), brier]) + " |"


def _head(more: tuple[str, ...]) -> Iterator[str]:
    names = ("", "accuracy", "precision", "specificity", "recall", "F1", *more)
    yield "| " + " | ".join(names) + " |"
    yield "|---|" + "---:|" * (len(names) - 1)


def reliability(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of stated probability against the share used, of all generators that saw a half."""
    yield "| | stated (mean) | used | pictures |"
    yield "|---|---:|---:|---:|"
    for name, rows in results["reliability"].items():
        for stated, observed, items in rows:
            yield f"| {METHODS[name]} | {_short(stated)} | {_short(observed)} | {items} |"


def eigen(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the largest eigenvalue of each picture's maps says of used and unused pictures."""
    yield "| pictures of seed | mean of used | mean of unused | AUC |"
    yield "|---|---:|---:|---:|"
    for one in told["seeds"]:
        yield f"| {one['pictures']} | {one['used_mean']:,.0f} | {one['unused_mean']:,.0f} | {_short(one['auc'])} |"


def circumstances(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield how the numbers were made: pictures, generators, wall times, and how well the relation network fitted."""
    fitted = [value for row in results["rows"] if row["method"] == "relation" for value in row["fitted"]]
    cost: dict[str, list[float]] = {}
    for row in results["rows"]:
        cost.setdefault(row["method"], []).append(row["wall_s"])
    times = "; ".join(f"{METHODS[name]} {sum(own) / len(own):.0f} s" for name, own in cost.items())
    each = results["each"]
    yield f"{each} used and {each} unused pictures a seed at {results['side_px']} px; backbone {results['backbone']}."
    yield "Intervals of 95 % draw pictures (files) again, 2,000 times. Data (sha256): " + ", ".join(
        f"{key} `{digest[:12]}`" for key, digest in results["data_sha256"].items()
    ) + f". Commit {results['commit']}."  # fmt: skip
    yield f"The relation network is right on {_short(min(fitted))} to {_short(max(fitted))} of what it learned from."
    yield f"Asking one generator took on average: {times}."
    yield from (
        "",
        "| generator | learned from | steps | loss | training | commit | device |",
        "|---|---:|---:|---:|---:|---|---|",
    )
    for run in results["generators"]:
        yield (f"| {run['name']} | {run['learned_from']} | {run['lengths'][-1]:,} | {run['loss']:.4f} | "
               f"{run['train_s']:,.0f} s | {run['commit']} | {run['device']} |")  # fmt: skip


def figures(folder: Path) -> Iterator[str]:
    """Yield the figures that lie in a folder: the dendrogram and the curves."""
    told = {
        "dendrogram": "Dendrogram of the real pictures of seed 1 (paper, section 5.2)",
        "curves": "Losses during training",
    }
    for name, what in told.items():
        if (folder / f"{name}.png").is_file():
            yield from ("", f"![{what}](figures/{name}.png)")
    yield from (
        "",
        "`run.sh` also draws what each generator made above the nearest real pictures "
        "(`.cache/bharathi-2023/*/sheet.png`). These show real pictures and copies of them, and stay there.",
    )


def _cell(told: list[float] | None) -> str:
    if told is None:
        return "–"
    value, low, high = told
    return f"{_short(value)} [{_short(low, 2)}, {_short(high, 2)}]"


def _short(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("0.", ".", 1) if value < 1 else f"{value:.{digits}f}"
