"""Every pair of pictures counts: find those worth a closer look, by keypoint votes and by embedding distance."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from twinscope.detect import dense, features, keypoints
from twinscope.detect.features import Floats, View
from twinscope.settings import Candidates, Settings


class Candidate(NamedTuple):
    """A pair of panels (indices a < b) and why it is looked at: keypoint votes, or places found by correlation."""

    a: int
    b: int
    vote: keypoints.Vote
    places: tuple[dense.Place, ...] = ()


def project(views: Sequence[View], settings: Candidates) -> tuple[list[Floats], list[Floats]]:
    """Return for each view its strongest descriptors in the four states (4, N, D) and as they are (N, D).

    Descriptors are reduced to their principal components in this manuscript and brought back to unit length.
    """
    strongest = [v.descriptors[: settings.keypoints] for v in views]
    stacked = [np.stack([features.descriptors_in(s, d) for s in features.STATES]) for d in strongest]
    pool = np.concatenate([d for d in strongest if len(d)] or [np.zeros((2, 128), np.float32)])
    pool = pool if len(pool) > 1 else np.repeat(pool, 2, axis=0)
    pool = pool[:: max(1, len(pool) // 20000)]
    mean = pool.mean(0)
    _, basis = np.linalg.eigh(np.cov((pool - mean).T.astype(np.float64)) + 1e-9 * np.eye(128))
    basis = basis[:, ::-1][:, : settings.dimensions].astype(np.float32)

    def reduce(d: Floats) -> Floats:
        out = (d - mean) @ basis
        return np.asarray(out / np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-9), np.float32)

    return [reduce(d) for d in stacked], [reduce(d) for d in strongest]


def candidates(
    views: Sequence[View], settings: Settings, near: Callable[[int, int], bool] | None = None
) -> list[Candidate]:
    """Return the pairs worth a closer look, most promising first.

    A pair is kept for enough keypoint votes or, where a panel has few keypoints or `near(a, b)` says that the pair is
    near in the embedding space, for a place where one correlates with the other. At most `candidates.most` are kept.
    """
    with threadpool_limits(1, "blas"):  # small products: the threads of BLAS cost more than they bring
        return _candidates(views, settings, near or (lambda a, b: False))


def _candidates(views: Sequence[View], settings: Settings, near: Callable[[int, int], bool]) -> list[Candidate]:
    stacked, plain = project(views, settings.candidates)
    says = [_says_something(v, settings.dense.spread) for v in views]
    poor = [len(v.points) < settings.dense.keypoints for v in views]
    small = functools.cache(lambda k: dense.prepare(views[k], settings.dense))

    def row(a: int) -> list[Candidate]:
        out = []
        for b in range(a + 1, len(views)):
            found = keypoints.best_vote(views[a], views[b], stacked[a], plain[b], settings.candidates.ratio)
            places: tuple[dense.Place, ...] = ()
            worth = says[a] and says[b] and (poor[a] or poor[b] or near(a, b))
            if worth and found.votes < 2 * settings.candidates.votes:
                places = dense.search(small(a), small(b), settings.dense)
            if found.votes >= settings.candidates.votes or places:
                out.append(Candidate(a, b, found, places))
        return out

    with ThreadPoolExecutor(settings.threads) as pool:
        rows = list(pool.map(row, range(len(views))))
    every = [candidate for part in rows for candidate in part]
    every.sort(key=lambda c: (-c.vote.votes, -(c.places[0].score if c.places else 0.0), c.a, c.b))
    return every[: settings.candidates.most]


def _says_something(v: View, spread: float) -> bool:
    """Say whether a panel is more than blank, saturated or annotated ground."""
    ground = v.tones[0][~v.annotated]
    return ground.size >= 100 and float(ground.std()) > spread and float(v.usable.mean()) > 0.02
