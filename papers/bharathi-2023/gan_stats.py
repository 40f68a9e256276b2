"""What the rows come to: the task's numbers over the seeds, with intervals from drawing pictures again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from twinscope import metrics

ROUNDS = 2000
NAMES = ("accuracy", "precision", "specificity", "recall", "f1")
Floats = NDArray[np.float64]


def numbers(counts: Floats) -> dict[str, Floats]:
    """Return the task's numbers of counts (..., 4) of TP, TN, FP and FN: each (...); NaN where there is nothing."""
    tp, tn, fp, fn = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    with np.errstate(invalid="ignore"):
        return {
            "accuracy": (tp + tn) / (tp + tn + fp + fn), "precision": tp / (tp + fp), "specificity": tn / (tn + fp),
            "recall": tp / (tp + fn), "f1": 2 * tp / (2 * tp + fp + fn),
        }  # fmt: skip


def interval(name: str, value: float, drawn: Floats, counts: Floats) -> list[float] | None:
    """Return a number with the ends of its 95 % interval, None where it is not defined.

    The interval is that of the drawn values; where none of them differs, as where all answers are right, Wilson's.
    """
    if np.isnan(value):
        return None
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    if low == high:
        tp, tn, fp, fn = counts
        of = {"accuracy": tp + tn + fp + fn, "precision": tp + fp, "specificity": tn + fp, "recall": tp + fn,
              "f1": tp + (fp + fn) / 2}[name]  # fmt: skip
        low, high = metrics.wilson(round(value * of), round(of))
    return [round(float(value), 4), round(float(low), 4), round(float(high), 4)]


def summary(rows: Sequence[Mapping[str, Any]], files: Mapping[str, Sequence[str]], seed: int = 0) -> dict[str, Any]:
    """Return what the rows of one method and one setting, a row a seed, come to; intervals draw pictures, by file.

    files: of each set of pictures the names, the used half first. chance: the p-value of the accuracy against one half
    (exact binomial, two-sided).
    """
    names, used, scores, called = [], [], [], []
    for row in rows:
        own = files[row["pictures"]]
        names += list(own)
        used += [k < len(own) // 2 for k in range(len(own))]
        scores += row["scores"]
        called += [score > row["border"] for score in row["scores"]]
    truth, said = np.array(used), np.array(called)
    each = np.stack([truth & said, ~truth & ~said, ~truth & said, truth & ~said], 1).astype(np.float64)
    units, which = np.unique(names, return_inverse=True)
    by_unit = np.zeros((len(units), 4))
    np.add.at(by_unit, which, each)
    rng = np.random.default_rng(seed)
    drawn = numbers(rng.multinomial(len(units), np.full(len(units), 1 / len(units)), ROUNDS) @ by_unit)
    whole = numbers(each.sum(0))
    tp, tn, fp, fn = (int(v) for v in each.sum(0))
    values = np.array(scores)
    return {
        **{name: interval(name, float(whole[name]), drawn[name], each.sum(0)) for name in NAMES},
        "tp": tp, "tn": tn, "fp": fp, "fn": fn, "pictures": len(names),
        "auc": round(metrics.auc(-values[truth], -values[~truth]), 4),
        "brier": round(metrics.brier(values, truth), 4),
        "chance": round(float(stats.binomtest(tp + tn, len(names), 0.5).pvalue), 5),
    }  # fmt: skip


def settings(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, bool, int]]:
    """Return the settings that rows are of, each once: kind of generator, whether it saw a half, steps."""
    return list(dict.fromkeys((row["generator"], row["saw"], row["steps"]) for row in rows))


def summaries(rows: Sequence[Mapping[str, Any]], files: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return a summary for each setting and method."""
    out = []
    for kind, saw, steps in settings(rows):
        own = [row for row in rows if (row["generator"], row["saw"], row["steps"]) == (kind, saw, steps)]
        for method in dict.fromkeys(row["method"] for row in own):
            mine = [row for row in own if row["method"] == method]
            out.append({"generator": kind, "saw": saw, "steps": steps, "method": method,
                        "seeds": [row["seed"] for row in mine], **summary(mine, files)})  # fmt: skip
    return out


def reliability(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, float, int]]:
    """Return the table of stated probability against the share that was used, over all rows (used halves first)."""
    values = np.concatenate([row["scores"] for row in rows])
    truth = np.concatenate([np.arange(len(row["scores"])) < len(row["scores"]) // 2 for row in rows])
    return [(round(b.predicted, 4), round(b.observed, 4), b.items) for b in metrics.reliability(values, truth, 5)]
