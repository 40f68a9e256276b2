"""Say which real pictures a generator learned from, by distances that are calibrated picture by picture.

A picture that a generator has learned by heart comes back: some generated picture is much nearer to it than to the next
real ones. How much nearer a picture comes by accident is known from the real pictures themselves: each is laid among
the others as if it had been generated. What follows are p-values, and from them probabilities that stay at the prior
where nothing speaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from twinscope import metrics
from twinscope.errors import UsageError
from twinscope.pixels import grey
from twinscope.settings import Fingerprint

Floats = NDArray[np.float64]
Small = NDArray[np.float32]
Indices = NDArray[np.int64]

LEAST = 8
"""With fewer real pictures there is no null to test against."""
LEVELS = (0.001, 0.01, 0.05)
"""Levels at which the count of copies is tested, the smallest p-value times their number."""
SURE = 0.99
"""No picture is told as more certain than this, or less than 1 minus this."""
MOST_MADE = 1500
"""Generated pictures that are laid over each other to see how often they repeat themselves, at most."""


class Ratios(NamedTuple):
    """Of so many pictures laid among n real ones: the nearest real one, its distance, and how far it stands out.

    margin: log of the mean distance of the next real ones over the distance of the nearest; 0 where none stands out.
    """

    nearest: Indices
    distance: Floats
    margin: Floats


class Copies(NamedTuple):
    """What one kind of distance says of n real pictures.

    margin: of the generated picture that stands out most for it; by: which one that is, -1 where none has it for its
    nearest; hits: how many have it for their nearest; close: log of the distance of the nearest generated picture over
    that of the nearest other real one; p: chance that a picture not learned from gets such a margin.
    """

    margin: Floats
    by: Indices
    hits: Indices
    close: Floats
    p: Floats


class Verdict(NamedTuple):
    """What the p-values of a set say: whether there is evidence, its p-value, the share of copied pictures and its
    95 % interval, the probabilities that each was learned from (n,), and the prior that they came out at.
    """

    evidence: bool
    p: float
    share: float
    interval: metrics.Interval
    probability: Floats
    prior: float


def small(image: NDArray[np.uint8], side: int) -> Small:
    """Return a picture as it is laid over others: HxW or HxWx3 RGB uint8 -> (side, side) float32 luma."""
    seen = grey(image)
    how = cv2.INTER_AREA if seen.size >= side * side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(seen, (side, side), interpolation=how), np.float32)


def pixel_distances(real: Small, made: Small, settings: Fingerprint) -> Floats:
    """Return how far pictures are apart as they are: (n, s, s) and (m, s, s) -> (n, m) in [0, 2].

    Each has its mean taken off and is brought to length 1, so that brightness and contrast do not count: the distance
    is sqrt(2 - 2 r), r the correlation, the least over the eight orientations and the small shifts of the settings.
    """
    t = settings.shift_px
    inner = real.shape[1] - 2 * t
    fixed = _unit(real[:, t : t + inner, t : t + inner])
    best = np.full((len(real), len(made)), -1.0, np.float32)
    for turned in _turned(made, settings.turned):
        for y in range(2 * t + 1):
            for x in range(2 * t + 1):
                np.maximum(best, fixed @ _unit(turned[:, y : y + inner, x : x + inner]).T, out=best)
    return np.sqrt(np.clip(2 - 2 * best.astype(np.float64), 0, None))


def _turned(pictures: Small, wanted: bool) -> Iterator[Small]:
    for mirrored in (pictures, pictures[:, :, ::-1]) if wanted else (pictures,):
        for quarters in range(4 if wanted else 1):
            yield np.rot90(mirrored, quarters, (1, 2))


def _unit(pictures: Small) -> Small:
    flat = pictures.reshape(len(pictures), -1)
    flat = flat - flat.mean(1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6), np.float32)


def ratios(distances: Floats, others: int) -> Ratios:
    """Return what stands out: distances (n real, m pictures); infinity leaves a pair out.

    The margin of a picture is log(mean(d_2 .. d_(k+1)) / d_1) of its sorted distances, k = `others` or fewer.
    """
    k = min(others, len(distances) - 2)
    order = np.argsort(distances, axis=0, kind="stable")[: k + 1]
    near = np.take_along_axis(distances, order, 0)
    first = np.maximum(near[0], 1e-6)
    return Ratios(order[0], near[0], np.log(np.maximum(near[1:].mean(0), first) / first))


def tail(null: Floats, margins: Floats, share: float) -> Floats:
    """Return the chance that a margin of the null is at least as large: (j,) and (n,) -> (n,).

    Up to the null's quantile 1 - `share` it is counted, (1 + larger) / (j + 1); beyond, the excess falls off
    exponentially, by the mean excess and one and a half of its standard errors, as few values must not tell too much.
    """
    ordered = np.sort(null)
    larger = len(null) - np.searchsorted(ordered, margins, "left")
    counted = (1 + larger) / (len(null) + 1)
    start = float(np.quantile(ordered, 1 - share))
    excess = ordered[ordered > start] - start
    if not len(excess):
        return np.asarray(counted, np.float64)
    fall = float(excess.mean()) * (1 + 1.5 / np.sqrt(len(excess)))
    beyond = (len(excess) + 1) / (len(null) + 1) * np.exp(-(margins - start) / max(fall, 1e-9))
    return np.asarray(np.where(margins > start, beyond, counted), np.float64)


def different(made: Floats, border: float) -> float:
    """Return as how many different pictures a set counts: distances among them (m, m) -> 1 .. m.

    Each counts 1 / (pictures within `border` of it, itself included).
    """
    return float((1 / np.maximum((made <= border).sum(1), 1)).sum())


def copies(real_made: Floats, real_real: Floats, numbers: float, settings: Fingerprint) -> Copies:
    """Return what distances say of each real picture.

    real_made: (n, m). real_real: (n, n), [i, j] of picture i and of j as if it were generated; the diagonal does not
    count. numbers: as how many different pictures the m count. A picture that was not learned from is the nearest of a
    n-th of them, each with a margin of the null: p = 1 - exp(-numbers x tail(margin) / n).
    """
    n = len(real_made)
    if n < LEAST:
        raise UsageError(f"{n} real pictures are too few to say what is near by accident; give at least {LEAST}")
    if not real_made.shape[1]:
        raise UsageError("there is no generated picture; name a folder that holds some")
    among = np.where(np.eye(n, dtype=bool), np.inf, real_real)
    null = ratios(among, settings.others).margin
    seen = ratios(real_made, settings.others)
    margin, by = np.zeros(n), np.full(n, -1, np.int64)
    for g in np.argsort(seen.margin, kind="stable"):
        if seen.margin[g] > 0:
            margin[seen.nearest[g]], by[seen.nearest[g]] = seen.margin[g], g
    hits = np.bincount(seen.nearest, minlength=n)
    p = -np.expm1(-numbers / n * tail(null, margin, settings.tail))
    close = np.log(np.maximum(real_made.min(1), 1e-6) / np.maximum(among.min(1), 1e-6))
    return Copies(margin, by, hits, close, np.where(by < 0, 1.0, np.clip(p, 1e-12, 1.0)))


def of_distance(real_made: Floats, real_real: Floats, made_made: Floats, settings: Fingerprint) -> Copies:
    """Return what one kind of distance says; made_made: among the generated pictures, or a part of them.

    Generated pictures that lie within the nearest hundredth of the distances between real neighbours repeat each other,
    and count as fewer.
    """
    n = len(real_real)
    nearest = np.where(np.eye(n, dtype=bool), np.inf, real_real).min(1) if n else np.ones(1)
    share = different(made_made, float(np.quantile(nearest, 0.01))) / max(1, len(made_made))
    return copies(real_made, real_real, share * real_made.shape[1], settings)


def combined(parts: Sequence[Floats]) -> Floats:
    """Return one p-value for each picture from several that need not be independent: the least, times their number."""
    return np.asarray(np.minimum(1.0, len(parts) * np.min(np.stack(parts), axis=0)), np.float64)


def chance(p: float) -> str:
    """Return a p-value as it is told."""
    return f"p = {p:.2g}" if p >= 1e-4 else "p < 0.0001"


def verdict(p: Floats, settings: Fingerprint) -> Verdict:
    """Return what the p-values of n real pictures say together.

    The set: at each of LEVELS the count of smaller p-values against the binomial law. The share of copied pictures at
    `level` t: (x - t) / (1 - t), x the observed share, with Wilson's interval of x. A picture is copied with
    probability q = c f / (c f + 1 - c), c that share, f = a p^(a - 1) with a fitted; it was learned from with
    probability q + (1 - q) (prior - c) / (1 - c): the more of those that were used come back, the less likely it is of
    one that does not. Without evidence (p-value above `doubt`) every probability is the prior.
    """
    n = len(p)
    tests = [float(stats.binom.sf(int((p <= t).sum()) - 1, n, t)) for t in LEVELS]
    whole = min(1.0, len(LEVELS) * min(tests))
    t = settings.level
    hits = int((p <= t).sum())
    low, high = metrics.wilson(hits, n)
    share, *ends = (max(0.0, (x - t) / (1 - t)) for x in (hits / n, low, high))
    interval = metrics.Interval(*ends)
    if whole > settings.doubt or share == 0:
        return Verdict(False, whole, share, interval, np.full(n, settings.prior), settings.prior)
    copied = _copied(p, share)
    prior = max(settings.prior, share)
    rest = (prior - share) / (1 - share) if share < 1 else 1.0
    return Verdict(True, whole, share, interval, np.clip(copied + (1 - copied) * rest, 1 - SURE, SURE), prior)


def _copied(p: Floats, share: float) -> Floats:
    """Return the probability that each picture is copied, where a share is: p-values of copies follow a p^(a-1)."""

    def likely(a: float) -> Floats:
        return np.asarray(a * np.clip(p, 1e-12, 1.0) ** (a - 1), np.float64)

    def lost(a: float) -> float:
        return -float(np.log(share * likely(a) + 1 - share).sum())

    a = float(optimize.minimize_scalar(lost, bounds=(0.02, 0.9), method="bounded").x)
    told = share * likely(a)
    return np.asarray(told / (told + 1 - share), np.float64)
