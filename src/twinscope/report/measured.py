"""An evaluation, a calibration and a training in words for the terminal, and the files of an evaluation."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from twinscope.report import curves
from twinscope.report.curves import Distances
from twinscope.report.table import harmless

WORDS = {
    "accuracy": "accuracy at the border 1",
    "best_accuracy": "accuracy at the best border",
    "best_border": "the best border",
    "auc": "AUC",
    "same_within_border": "same pairs within the border 1",
    "different_within_border": "different pairs within the border 1",
    "tpr_at_fpr_1e-1": "TPR at FPR 1e-1",
    "tpr_at_fpr_1e-2": "TPR at FPR 1e-2",
    "tpr_at_fpr_1e-3": "TPR at FPR 1e-3",
    "tpr_at_fpr_1e-4": "TPR at FPR 1e-4",
    "ir_at_1": "IR@1",
    "ir_at_5": "IR@5",
}
TRAINED = {
    "accuracy": WORDS["accuracy"],
    "auc": WORDS["auc"],
    "ir1": WORDS["ir_at_1"],
    "tpr_1e-2": WORDS["tpr_at_fpr_1e-2"],
    "tpr_1e-3": WORDS["tpr_at_fpr_1e-3"],
}
PLOTS = ("roc.svg", "distances.svg")
COLUMNS = ("line", "a", "b", "same", "group", "label", "distance")


def write(
    told: dict[str, Any], pairs: Sequence[Sequence[Any]], same: Distances, different: Distances, folder: Path
) -> None:
    """Write evaluation.json, pairs.csv and, where there are same and different pairs, roc.svg and distances.svg.

    pairs: rows of `COLUMNS`; a distance that is not a number is left empty. Plots of an earlier run are taken away.
    """
    for name in PLOTS:
        (folder / name).unlink(missing_ok=True)
    if len(same) and len(different):
        curves.write_roc(same, different, folder / "roc.svg")
        curves.write_histogram(same, different, folder / "distances.svg")
    text = io.StringIO(newline="")
    rows = csv.writer(text, dialect="excel")
    rows.writerow(COLUMNS)
    for line, a, b, is_same, group, label, distance in pairs:
        number = "" if math.isnan(distance) else f"{distance:.6g}"
        rows.writerow([line, harmless(a), harmless(b), int(is_same), harmless(group), harmless(label), number])
    (folder / "pairs.csv").write_text("\ufeff" + text.getvalue(), encoding="utf-8", newline="")
    (folder / "evaluation.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def evaluation(told: dict[str, Any]) -> Iterator[str]:
    """Yield an evaluation in lines of plain text."""
    pairs = told["pairs"]
    yield (
        f"{pairs['measured']} of {pairs['given']} pairs measured, {pairs['same']} same and {pairs['different']} "
        f"different; {told['pictures']} pictures, {told['seconds']:.1f} s"
    )
    yield ""
    for name, number in told["metrics"].items():
        yield f"  {WORDS[name]:38}{_with_interval(number)}"
    yield ""
    yield from told["notes"]


def calibration(told: dict[str, Any]) -> Iterator[str]:
    """Yield a calibration in lines of plain text."""
    used, found = told["pictures"]["used"], told["pictures"]["found"]
    groups = "" if told["groups"] is None else f" in {told['groups']} sub-folders"
    yield f"{used} of {found} pictures{groups}, {told['pairs']} pairs, {told['seconds']:.1f} s"
    panels = list(told["border"]["expected_false"])
    head = "".join(f"{f'N = {n}':>12}" for n in panels)
    yield ""
    yield f"  {'':38}false candidates to expect among the panels of a manuscript of N"
    yield f"  {'false alarms':16}{'distance below':22}{head}"
    for row in told["thresholds"]:
        if row["distance"] is None:
            needed = f"needs {row['pairs_needed']} pairs, such as {row['pictures_needed']} pictures of as many sources"
            yield f"  {row['rate']:<16g}{needed}"
            continue
        expected = "".join(f"{_number(row['expected_false'][n]):>12}" for n in panels)
        yield f"  {row['rate']:<16g}{_with_interval(row['distance']):22}{expected}"
    border = told["border"]
    expected = "".join(f"{_number(border['expected_false'][n]['value']):>12}" for n in panels)
    yield f"  {border['share']['value']:<16.3g}{'1, the border':22}{expected}"
    yield ""
    yield (
        f"Within the border 1 lie {border['pairs_within']} of {told['pairs']} pairs, a share of "
        f"{_with_interval(border['share'])}."
    )
    yield "The nearest pairs:"
    for pair in told["nearest"]:
        yield f"  {pair['distance']:.3f}  {pair['a']}  {pair['b']}"
    yield ""
    yield from told["notes"]


def training(told: dict[str, Any]) -> Iterator[str]:
    """Yield a training in lines of plain text."""
    pictures = told["pictures"]
    if told["again"]:
        yield "this run was finished before; nothing is done again"
    why = "the patience was over" if told["stopped"] == "patience" else "all that were asked for"
    yield (
        f"learned from {pictures['training']} pictures, chosen by {pictures['validation']}; {told['epochs']} epochs "
        f"({why}), the best was {told['best_epoch']}; {told['train_s']:.1f} s"
    )
    yield ""
    for name, words in TRAINED.items():
        low, high = told["validation"].get(f"{name}_95") or (None, None)
        yield f"  {words:38}{_with_interval({'value': told['validation'][name], 'low': low, 'high': high})}"
    yield ""
    yield "The weights and the border were chosen by these validation pictures: the numbers flatter."


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _with_interval(number: dict[str, float | None] | None) -> str:
    if number is None or number["value"] is None:
        return "too few to say"
    if number["low"] is None or number["high"] is None:
        return f"{number['value']:.4g}"
    return f"{number['value']:.4g} ({number['low']:.4g}-{number['high']:.4g})"
