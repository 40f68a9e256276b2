"""Metrics: accuracy, AUC, true positives at a false-positive rate, AP, IR@k, IoU, calibration, intervals.

Distances are small for alike; scores and probabilities are large. All functions take numpy arrays and return floats;
an empty input that leaves a metric undefined is a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Labels = NDArray[Any]


class Interval(NamedTuple):
    """A two-sided confidence interval."""

    low: float
    high: float


class Bin(NamedTuple):
    """One bin of a reliability table: mean predicted probability, share that was true, how many."""

    predicted: float
    observed: float
    items: int


def accuracy(same: Floats, different: Floats, border: float = 1.0) -> float:
    """Return the share that `distance <= border` gets right, same pairs and different pairs weighing alike."""
    _filled(same, different)
    return 0.5 * (float(np.mean(same <= border)) + float(np.mean(different > border)))


def best_border(same: Floats, different: Floats) -> tuple[float, float]:
    """Return the border (a distance) of the best `accuracy` and that accuracy; ties go to the smallest border."""
    _filled(same, different)
    borders = np.unique(np.concatenate([same, different]))
    hits = np.searchsorted(np.sort(same), borders, "right") / len(same)
    alarms = np.searchsorted(np.sort(different), borders, "right") / len(different)
    best = int(np.argmax(hits - alarms))
    return float(borders[best]), float(0.5 * (hits[best] + 1 - alarms[best]))


def auc(same: Floats, different: Floats) -> float:
    """Return the chance that a same pair is nearer than a different pair; a tie counts one half."""
    _filled(same, different)
    ordered = np.sort(different)
    below = np.searchsorted(ordered, same, "left")
    upto = np.searchsorted(ordered, same, "right")
    return float(np.mean(len(ordered) - 0.5 * (below + upto)) / len(ordered))


def tpr_at_fpr(same: Floats, different: Floats, fpr: float) -> tuple[float, float]:
    """Return the share of same pairs within the widest border that lets at most `fpr` of the different ones in.

    The second value is that border, a distance: `distance < border` counts as same.
    """
    _filled(same, different)
    allowed = int(np.floor(fpr * len(different)))
    border = float(np.sort(different)[allowed]) if allowed < len(different) else float("inf")
    return float(np.mean(same < border)), border


def average_precision(scores: Floats, truth: Labels) -> float:
    """Return the area under precision over recall, as a sum over ranks; equal scores enter together."""
    truth = np.asarray(truth, np.bool_)
    if not truth.any():
        raise ValueError("average precision needs at least one true item")
    order = np.argsort(-np.asarray(scores), kind="stable")
    scores, truth = np.asarray(scores)[order], truth[order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    hits = np.cumsum(truth)[last]
    return float(np.sum(np.diff(hits, prepend=0) * hits / (last + 1)) / truth.sum())


def ir_at_k(distances: Floats, queries: Labels, gallery: Labels, k: int = 1) -> float:
    """Return the share of queries whose k nearest of the gallery hold one of their own label; see `hits_at_k`."""
    return float(np.mean(hits_at_k(distances, queries, gallery, k)))


def hits_at_k(distances: Floats, queries: Labels, gallery: Labels, k: int = 1) -> NDArray[np.bool_]:
    """Say for each query whether its k nearest of the gallery hold one of its own label.

    `distances` is (queries, gallery); infinity leaves a pair out. Ties are broken by the gallery's order.
    """
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :k]
    right = np.asarray(gallery)[nearest] == np.asarray(queries)[:, None]
    reached = np.isfinite(np.take_along_axis(np.asarray(distances), nearest, 1))
    return np.asarray((right & reached).any(1))


def roc(same: Floats, different: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the false-positive and true-positive rates of `distance <= border` for every border, from (0, 0) up."""
    _filled(same, different)
    borders = np.unique(np.concatenate([same, different]))
    rates = [np.searchsorted(np.sort(one), borders, "right") / len(one) for one in (different, same)]
    return np.append(0.0, rates[0]), np.append(0.0, rates[1])


def iou(a: Labels, b: Labels) -> float:
    """Return intersection over union of two boxes (xyxy) or of two masks (bool HxW); 0 where both are empty."""
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype == np.bool_:
        union = float((a | b).sum())
        return float((a & b).sum()) / union if union else 0.0
    overlap = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    union = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - overlap)
    return float(overlap) / union if union else 0.0


def brier(probabilities: Floats, truth: Labels) -> float:
    """Return the mean squared difference between probabilities and what was true."""
    _filled(probabilities)
    return float(np.mean((np.asarray(probabilities) - np.asarray(truth, np.float64)) ** 2))


def reliability(probabilities: Floats, truth: Labels, bins: int = 10) -> list[Bin]:
    """Return the table of predicted against observed, over equal bins of probability; empty bins are left out."""
    place = np.minimum((np.asarray(probabilities) * bins).astype(int), bins - 1)
    truth = np.asarray(truth, np.float64)
    return [
        Bin(float(np.mean(probabilities[place == k])), float(np.mean(truth[place == k])), int((place == k).sum()))
        for k in range(bins)
        if (place == k).any()
    ]


def calibration_error(probabilities: Floats, truth: Labels, bins: int = 10) -> float:
    """Return the expected calibration error: the mean gap between predicted and observed over `reliability`'s bins."""
    _filled(probabilities)
    table = reliability(probabilities, truth, bins)
    return sum(row.items * abs(row.predicted - row.observed) for row in table) / len(probabilities)


def wilson(hits: int, count: int, z: float = 1.959964) -> Interval:
    """Return Wilson's interval of a share of `hits` in `count` (95 % by default)."""
    if not 0 <= hits <= count or count == 0:
        raise ValueError(f"a share needs 0 <= hits <= count and count > 0, got {hits} of {count}")
    share, room = hits / count, 1 + z**2 / count
    middle = (share + z**2 / (2 * count)) / room
    reach = z / room * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return Interval(max(0.0, float(middle - reach)), min(1.0, float(middle + reach)))


def bootstrap(
    groups: int,
    metric: Callable[[NDArray[np.int64]], float],
    rng: np.random.Generator,
    rounds: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Return the percentile interval of `metric(indices)`, drawing `groups` independent units with replacement.

    Rounds in which the metric is not defined (NaN) are left out. Raises ValueError where it is defined in none.
    """
    drawn = np.array([metric(rng.integers(0, groups, groups)) for _ in range(rounds)])
    values = drawn[~np.isnan(drawn)]
    _filled(values)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _filled(*arrays: Any) -> None:
    if any(np.size(array) == 0 for array in arrays):
        raise ValueError("a metric of nothing is not defined: give it at least one pair of each kind")
