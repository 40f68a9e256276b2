"""Judge one candidate pair: align it, measure the evidence, say how probable it is that both show the same source."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from twinscope import models
from twinscope.detect import align, climb, embed, evidence, heat
from twinscope.detect.align import Alignment
from twinscope.detect.candidates import Candidate
from twinscope.detect.features import Floats, View
from twinscope.pixels import Image
from twinscope.settings import Settings

MODEL = "probability-4"
"""The calibrated model: a logistic regression on `signals`, fitted by `python -m twinscope.train.calibrate`."""

SIGNALS = (
    "fisher_0", "fisher_1", "fisher_2", "agreeing", "peak_margin", "peak_z", "independent",
    "inliers", "inlier_ratio", "overlap", "anisotropy", "perspective", "textured", "registered", "fisher_3",
    "distinct",
)  # fmt: skip
"""What the probability is made of, in the order in which the model takes it."""

WAYS = ("keypoints", "correlation", "second look", "laid")
"""How an alignment was come by; see `climb` and `coarse` for the latter three."""
SEEN_PX = 128
"""Longest side at which the comparator sees an alignment to be judged: less than it sees of a finding, and quicker."""
SURE = 0.95
"""The probability from which on the better agreement decides between two alignments of one pair."""


class Measured(NamedTuple):
    """An alignment of a candidate pair, the numbers behind it, and what the networks are to see of it: what both show
    as registered (96x96 uint8 each), and the comparator's planes at SEEN_PX.
    """

    alignment: Alignment
    numbers: dict[str, float]
    registered: tuple[Image, Image]
    planes: Floats


class Judged(NamedTuple):
    """A pair of panels (indices) with its alignment, the numbers behind it and the calibrated probability."""

    a: int
    b: int
    alignment: Alignment
    numbers: dict[str, float]
    probability: float


def judge(a: View, b: View, candidate: Candidate, settings: Settings) -> Judged | None:
    """Return the most probable reading of a candidate pair, or None where no sound alignment exists."""
    return next(most_probable([(candidate, measure(a, b, candidate, settings))], settings.threads), None)


def most_probable(found: Sequence[tuple[Candidate, Sequence[Measured]]], threads: int = 2) -> Iterator[Judged]:
    """Yield the most probable of the alignments of each candidate pair that has any; of equals, that which agrees best.

    Probabilities to the hundredth are equal, and so are all from `SURE` on: beyond, the regression says nothing.
    """
    numbers = iter(with_networks([one for _, measured in found for one in measured], threads))
    for candidate, measured in found:
        a, b = candidate.a, candidate.b
        known = [(one.alignment, next(numbers)) for one in measured]
        read = [Judged(a, b, alignment, own, probability(own, threads)) for alignment, own in known]
        if read:
            yield max(read, key=lambda one: (min(round(one.probability, 2), SURE), one.numbers["correlation_1"]))


def with_networks(measured: Sequence[Measured], threads: int = 2) -> list[dict[str, float]]:
    """Return the numbers behind alignments, each with what two networks say of what both pictures show there.

    `registered` is how far the embedding finds the two apart; `distinct` the comparator's probability that they show
    different things, as log odds. The processes that measure cannot run a network.
    """
    points = embed.embed([picture for one in measured for picture in one.registered], embed.MODEL, threads)
    apart = np.linalg.norm(points[::2] - points[1::2], axis=1)
    answers = heat.ask([one.planes for one in measured], threads)
    return [
        {**one.numbers, "registered": float(far), "distinct": _log_odds(float(answer.classes[-1]))}
        for one, far, answer in zip(measured, apart, answers, strict=True)
    ]


def _log_odds(probability: float) -> float:
    share = min(max(probability, 1e-4), 1 - 1e-4)
    return math.log(share / (1 - share))


def measure(a: View, b: View, candidate: Candidate, settings: Settings) -> list[Measured]:
    """Align a candidate pair, by keypoints and by correlation where each proposes it, and measure each alignment.

    An alignment by few keypoints, which may say little of the far side, is also refined on the whole of both pictures.
    Alignments that the evidence speaks against are left out.
    """
    proposed: list[Alignment | None] = []
    if candidate.vote.votes >= settings.candidates.votes:
        start = align.from_vote(a, b, candidate.vote, settings.align)
        proposed.append(start and align.refine(a, b, start, settings.align))
        if start and len(start.points_a) < settings.align.few:
            proposed.append(climb.climbed(a, b, start, settings))
    proposed += climb.alignments(a, b, candidate.places, settings)
    out = []
    for alignment in proposed:
        if alignment is None:
            continue
        frame = evidence.frame(a, b, alignment)
        numbers = evidence.measure(a, b, alignment, frame, settings.evidence)
        if numbers is None:
            continue
        numbers["votes"] = float(candidate.vote.votes)
        numbers["dense"] = float(alignment.matches == 0)
        out.append(shown(alignment, numbers, frame))
    return out


def shown(alignment: Alignment, numbers: dict[str, float], frame: evidence.Frame) -> Measured:
    """Return a measured alignment with what the networks are to see of it."""
    planes = heat.given(frame.a, frame.b, frame.clean, alignment.inverted, SEEN_PX)
    return Measured(alignment, numbers, evidence.registered(frame, alignment.inverted), planes)


def signals(numbers: dict[str, float]) -> list[float]:
    """Return the values of SIGNALS and 1, once for each of WAYS.

    The parts that do not apply are 0, so that each way has its own weights.

    Counts enter as logarithms, and correlations by Fisher's transform (atanh), which tells .98 from .9.
    """
    made = {
        **{f"fisher_{k}": math.atanh(min(max(numbers[f"correlation_{k}"], 0.0), 0.995)) for k in range(4)},
        "peak_margin": numbers["correlation_1"] - numbers["second"],
        "peak_z": math.log1p(max(0.0, numbers["peak_z"])),
        "independent": math.log1p(numbers["independent"]),
        "inliers": math.log1p(numbers["inliers"]),
        "anisotropy": math.log(numbers["anisotropy"]),
        "perspective": min(numbers["perspective"], 1.0),
    }
    row = [float(made.get(name, numbers.get(name, 0.0))) for name in SIGNALS] + [1.0]
    own = way(numbers)
    return [value if k == own else 0.0 for k in range(len(WAYS)) for value in row]


def way(numbers: dict[str, float]) -> int:
    """Return by which of `WAYS` an alignment was come by, by the numbers behind it."""
    return 3 if numbers.get("laid") else 2 if numbers.get("again") else int(numbers.get("dense", 0))


def probability(numbers: dict[str, float], threads: int = 2) -> float:
    """Return the calibrated probability in [0, 1] that the two panels show the same source."""
    model = models.load(MODEL, threads)
    row = np.array([signals(numbers)], np.float32)
    return float(np.clip(model.run(row).ravel()[0], 0.0, 1.0))


def expected_false(level: float, pairs: int) -> float:
    """Return the number of false findings to expect at a probability >= `level` when `pairs` pairs are compared.

    The rate a pair was measured on look-alikes of the validation groups and lies in the model's card.
    """
    table = models.load(MODEL).card.metrics["false_per_pair"]
    levels, rates = table["level"], table["rate"]
    k = max(0, bisect.bisect_right(levels, level) - 1)
    return float(rates[k]) * pairs
