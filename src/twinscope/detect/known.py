"""Fingerprints where some pictures are known to be used or unused: learn from them, cross-fitted, calibrated, gated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from twinscope import metrics
from twinscope.detect.fingerprint import SURE, Copies, Floats
from twinscope.errors import UsageError
from twinscope.settings import Fingerprint

Bools = NDArray[np.bool_]

LEAST = 8
"""Known examples of each kind without which nothing is learned."""


class Learned(NamedTuple):
    """What was learned: a probability for each picture, and how well the known ones were told apart.

    Of the known pictures each probability comes from the others (cross-fitting), so that auc (with its 95 % interval),
    p (of an auc by chance), brier and the table of reliability are honest. evidence is False where p is above `doubt`:
    then every probability is the share of used ones among the known.
    """

    probability: Floats
    evidence: bool
    auc: float
    interval: metrics.Interval
    p: float
    brier: float
    reliability: tuple[metrics.Bin, ...]


def signals(parts: Sequence[Copies], p: Floats, aligned: Floats) -> Floats:
    """Return what is learned from, (n, k): of each distance the margin, the hits and the closeness; -log10 p; aligned.

    aligned: (n,) the largest probability of an alignment with a generated picture, 0 where none was looked for. A
    p-value counts as 1e-4 at least: how far beyond doubt some copies are must not make other clear ones look doubtful.
    """
    columns = [column for one in parts for column in (one.margin, np.log1p(one.hits), one.close)]
    return np.stack([*columns, -np.log10(np.maximum(p, 1e-4)), aligned], 1).astype(np.float64)


def learn(values: Floats, used: Bools, known: Bools, settings: Fingerprint, seed: int = 0) -> Learned:
    """Learn from known pictures and tell of all: values (n, k), used (n,) where known (n,) is True.

    A logistic regression on standardised values (L2), in `folds` parts by turns; its log odds are put through another
    one with a slope of at least 0 (Platt). Raises UsageError where fewer than LEAST of a kind are known.
    """
    truth = used[known]
    for kind, count in (("used", int(truth.sum())), ("unused", int((~truth).sum()))):
        if count < LEAST:
            raise UsageError(f"{count} known {kind} pictures are too few to learn from; name at least {LEAST}")
    given = values[known]
    odds = np.zeros(len(given))
    for part in parts(truth, settings.folds, seed):
        odds[part] = _fit(given[~part], truth[~part]).decision_function(given[part])
    auc = metrics.auc(-odds[truth], -odds[~truth])
    p = float(stats.mannwhitneyu(odds[truth], odds[~truth], alternative="greater").pvalue)
    interval = auc_interval(odds, truth, seed)
    base = float(truth.mean())
    probability = np.full(len(values), base)
    evidence = p <= settings.doubt
    if evidence:
        slope, offset = platt(odds, truth)
        every = np.zeros(len(values))
        every[known] = odds
        if not known.all():
            every[~known] = _fit(given, truth).decision_function(values[~known])
        probability = np.clip(1 / (1 + np.exp(-np.clip(slope * every + offset, -30, 30))), 1 - SURE, SURE)
    told = probability[known]
    table = tuple(metrics.reliability(told, truth, 5))
    return Learned(probability, evidence, auc, interval, p, metrics.brier(told, truth), table)


def parts(truth: Bools, folds: int, seed: int) -> list[Bools]:
    """Return masks of so many parts, each with its share of both kinds; drawn by the seed."""
    rng = np.random.default_rng([folds, seed])
    place = np.zeros(len(truth), np.int64)
    for kind in (False, True):
        members = rng.permutation(np.flatnonzero(truth == kind))
        place[members] = np.arange(len(members)) % folds
    return [place == k for k in range(folds) if (place == k).any()]


def _fit(values: Floats, truth: Bools) -> Any:
    from sklearn.linear_model import LogisticRegression  # slow to load
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.3, class_weight="balanced")).fit(values, truth)


def platt(odds: Floats, truth: Bools) -> tuple[float, float]:
    """Return slope (0 or more) and offset that make probabilities of log odds, by likelihood.

    As Platt (1999) does, the targets are (used + 1) / (used + 2) and 1 / (unused + 2), so that few examples do not make
    certainties.
    """
    from scipy import optimize

    high, low = (truth.sum() + 1) / (truth.sum() + 2), 1 / ((~truth).sum() + 2)
    target = np.where(truth, high, low)

    def lost(line: Floats) -> float:
        z = line[0] * odds + line[1]
        return float((np.logaddexp(0, z) - target * z).sum())

    found = optimize.minimize(lost, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=[(0, None), (None, None)]).x
    return float(found[0]), float(found[1])


def auc_interval(odds: Floats, truth: Bools, seed: int) -> metrics.Interval:
    """Return the 95 % bootstrap interval of the AUC, drawing pictures."""

    def drawn(indices: NDArray[np.int64]) -> float:
        own = truth[indices]
        if own.all() or not own.any():
            return float("nan")
        return metrics.auc(-odds[indices][own], -odds[indices][~own])

    return metrics.bootstrap(len(odds), drawn, np.random.default_rng([7, seed]))
