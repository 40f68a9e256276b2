"""The page of the metric's results, docs/metric.md, from benchmarks/results/metric.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Numbers = Mapping[str, Any]
SETS = {"micrographs": "micrographs", "blots": "blots", "photos": "photographs", "copymove": "copy-move hosts"}
COLUMNS = {
    "accuracy": "accuracy at the border", "best_accuracy": "best", "auc": "AUC", "tpr_1e-3": "found at FPR 1e-3",
    "tpr_1e-4": "at 1e-4", "ir1": "IR@1",
}  # fmt: skip


def page(results: Numbers) -> Iterator[str]:
    """Yield the lines of the page."""
    methods, sizes, where = results["methods"], results["sizes"], results["circumstances"]
    yield "# The metric, measured"
    yield from (
        "",
        "Made by `python benchmarks/metric.py`: all methods on the same pictures of 128 px; 95 % intervals in",
    )
    yield "brackets, from a bootstrap over groups. A dash stands where the pairs are too few to tell the rate."
    yield f"{where['device']}; commit {where['commit']}, {where['date']}."
    for name, method in methods.items():
        if "circumstances" in method:
            made = method["circumstances"]
            yield f"The row of {name} is of an older run, the same pictures: commit {made['commit']}, {made['date']}."
    yield from ("", "Every border is chosen on validation groups of the micrographs, none on what is shown here:", "")
    yield from ("| method | what it is | same up to | a false-positive rate of 1e-3 below |", "|---|---|---|---|")
    for name, method in methods.items():
        border = method["border"]
        told = f"{border['told']} ({border['chosen']})"
        yield f"| {name} | {method['about']} | {told} | {method['border_1e-3']['told']} |"
    if results["missing"]:
        parts = "; ".join(f"{name}: {why}" for name, why in results["missing"].items())
        yield from ("", f"Not measured: {parts}.")
    yield from ("", "## The papers' protocol", "")
    yield f"A plain picture and nine versions (`v02`) of each of up to {sizes['classes']} classes; all pairs of"
    yield "different classes, of which SIFT was given a sample. On the micrographs' test groups, and on sets that"
    yield "nothing was learned from. The papers published .854 (SN) and .748 (SN[G]) on pictures of their own."
    for name in SETS:
        yield from _protocol(methods, "synthetic", name)
    yield from ("", "## Real edits", "")
    yield "Pairs of one picture, edited by others: blots (synthetic patches, retouching), photographs (cut-outs in new"
    yield "scenes and local edits) and copy-move. Different: all pairs of two hosts or originals."
    for name in list(SETS)[1:]:
        yield from _protocol(methods, "real", name)
    yield from _carried(methods)
    yield from _modalities(methods)
    yield from _grid(methods)
    yield from _speed(methods)


def _protocol(methods: Numbers, part: str, name: str) -> Iterator[str]:
    first = next(iter(methods.values()))[part][name]
    title = "copy-move" if part == "real" and name == "copymove" else SETS[name]
    count = "pairs" if part == "real" else "classes"
    yield from ("", f"### {title[0].upper()}{title[1:]}: {first['classes']} {count} of {first['groups']} groups", "")
    yield "| method | " + " | ".join(COLUMNS.values()) + " | different pairs |"
    yield "|---|" + "---|" * len(COLUMNS) + "---:|"
    for method, numbers in methods.items():
        row = numbers[part][name]
        yield f"| {method} | " + " | ".join(cell(row, key) for key in COLUMNS) + f" | {row['different_pairs']:,} |"


def _carried(methods: Numbers) -> Iterator[str]:
    yield from ("", "## Does a border travel?", "")
    yield "True positives below the border that let one different pair in 1000 of the validation groups in, and the"
    yield "rate of false positives that it really gives, in thousandths."
    places = [("synthetic", name) for name in SETS] + [("real", name) for name in list(SETS)[1:]]
    heads = [f"{SETS[name]}{', real' if part == 'real' else ''}" for part, name in places]
    yield from ("", "| method | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads))
    for name, method in methods.items():
        rows = [method[part][place] for part, place in places]
        parts = [f"{share(row['tpr_validation'])} at {1000 * row['fpr_validation']:.2g}" for row in rows]
        yield f"| {name} | " + " | ".join(parts) + " |"


def _modalities(methods: Numbers) -> Iterator[str]:
    yield from ("", "## By modality", "")
    yield "Micrographs: found at FPR 1e-3 over all pairs / false positives at the border within that modality."
    yield "Intervals (95 %, a bootstrap over groups) stand where a modality has more than one group."
    first = next(iter(methods.values()))["synthetic"]["modalities"]
    yield from ("", "| modality | classes | " + " | ".join(methods) + " |", "|---|---:|" + "---|" * len(methods))
    for kind, numbers in first.items():
        rows = [method["synthetic"]["modalities"][kind] for method in methods.values()]
        parts = [f"{cell(row, 'tpr_1e-3')} / {cell(row, 'fpr_within_modality')}" for row in rows]
        yield f"| {kind.replace('_', ' ')} | {numbers['classes']} | " + " | ".join(parts) + " |"


def _grid(methods: Numbers) -> Iterator[str]:
    first = next(iter(methods.values()))["grid"]
    windows = next(iter(next(iter(first.values())).values()))["windows"]
    yield from ("", "## By manipulation and strength", "")
    yield f"{windows} windows of 256 px of the test groups, one manipulation at a time: found below the method's own"
    yield "border of FPR 1e-3 (on validation) / within its border. Lengths are px of 256. The intervals are in"
    yield "`benchmarks/results/metric.json`."
    yield from ("", "| manipulation | strength | " + " | ".join(methods) + " |", "|---|---|" + "---|" * len(methods))
    for name, strengths in first.items():
        for k, strength in enumerate(strengths):
            rows = [method["grid"][name][strength] for method in methods.values()]
            parts = [f"{share(row['tpr_validation'])} / {share(row['within_border'])}" for row in rows]
            yield f"| {'' if k else name} | {strength} | " + " | ".join(parts) + " |"


def _speed(methods: Numbers) -> Iterator[str]:
    yield from ("", "## Speed", "")
    yield "Pictures of 128 px a second on two threads (SIFT: key points alone, without a single comparison), beside"
    yield "what else the machine did."
    yield from ("", "| method | described | decoded (PNG) and described | load |", "|---|---:|---:|---:|")
    for name, method in methods.items():
        row = method["speed"]
        yield f"| {name} | {row['described_per_s']} | {row['decoded_and_described_per_s']} | {row['load_average']} |"


def cell(row: Numbers, key: str) -> str:
    """Return a share with its interval, or a dash where it is not known."""
    if row.get(key) is None:
        return "–"
    between = row.get(f"{key}_95")
    return share(row[key]) + (f" [{share(between[0])}, {share(between[1])}]" if between else "")


def share(value: float | None) -> str:
    """Return a share to three places without the leading nought, or a dash."""
    if value is None:
        return "–"
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0") else text
