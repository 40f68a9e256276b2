"""Every pair of pictures counts: find those worth a closer look, by keypoint votes and by embedding distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from twinscope.detect import dense, features, keypoints
from twinscope.detect.features import Floats, View
from twinscope.settings import Candidates, Settings
from twinscope.types import PICTURE_KINDS, Panel


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


class Panels(NamedTuple):
    """All panels of a manuscript, made ready to be looked for in each other; lists by panel.

    `stacked` (4, N, D) and `plain` (N, D) are reduced descriptors; `says` is False for blank panels; `poor` is True
    where keypoints are few; `distances` (n, n) are those in the embedding space.
    """

    views: Sequence[View]
    stacked: Sequence[Floats]
    plain: Sequence[Floats]
    says: Sequence[bool]
    poor: Sequence[bool]
    small: Sequence[dense.Small]
    distances: Floats | None


def prepare(views: Sequence[View], settings: Settings, distances: Floats | None = None) -> Panels:
    """Make panels ready for `of_panel`; without `distances` (n, n) no pair counts as near or as far."""
    with threadpool_limits(1, "blas"):
        stacked, plain = project(views, settings.candidates)
        return Panels(
            views,
            stacked,
            plain,
            [says_something(v, settings.dense.spread) for v in views],
            [len(v.points) < settings.dense.keypoints for v in views],
            [dense.prepare(v, settings.dense) for v in views],
            distances,
        )


def candidates(views: Sequence[View], settings: Settings, distances: Floats | None = None) -> list[Candidate]:
    """Return all pairs worth a closer look, panel by panel; see `of_panel`."""
    panels = prepare(views, settings, distances)
    with threadpool_limits(1, "blas"):  # small products: the threads of BLAS cost more than they bring
        return [candidate for a in range(len(views)) for candidate in of_panel(a, panels, settings)]


def is_compared(panel: Panel, settings: Settings) -> bool:
    """Say whether a panel is compared with others: a picture, and not too small."""
    return panel.kind in PICTURE_KINDS and min(panel.size) >= settings.findings.least_side_px


def of_panel(a: int, panels: Panels, settings: Settings) -> list[Candidate]:
    """Return the pairs of panel a with a later panel that are worth a closer look, most promising first.

    A pair is kept for enough keypoint votes, or for a place where one correlates with the other. The latter is looked
    for where both are near in the embedding space, and where a panel has few keypoints and they are not far there. At
    most `candidates.most` are kept.
    """
    out = []
    turned: dense.Turned | None = None
    for b in range(a + 1, len(panels.views)):
        found = keypoints.best_vote(
            panels.views[a], panels.views[b], panels.stacked[a], panels.plain[b], settings.candidates
        )
        places: tuple[dense.Place, ...] = ()
        if _worth(a, b, panels, settings.candidates) and found.votes < 2 * settings.candidates.votes:
            turned = turned or dense.turn(panels.small[a], settings.dense)
            places = dense.search(turned, panels.small[b], settings.dense)
        if found.votes >= settings.candidates.votes or places:
            out.append(Candidate(a, b, found, places))
    out.sort(key=lambda c: (-c.vote.votes, -(c.places[0].score if c.places else 0.0), c.b))
    return out[: settings.candidates.most]


def _worth(a: int, b: int, panels: Panels, settings: Candidates) -> bool:
    """Say whether a correlation search may find something that the keypoints did not."""
    if not (panels.says[a] and panels.says[b]):
        return False
    poor = panels.poor[a] or panels.poor[b]
    if panels.distances is None:
        return poor
    return bool(panels.distances[a, b] <= (settings.far if poor else settings.distance))


def says_something(v: View, spread: float) -> bool:
    """Say whether a panel is more than blank, saturated or annotated ground."""
    ground = v.tones[0][~v.annotated]
    return ground.size >= 100 and float(ground.std()) > spread and float(v.usable.mean()) > 0.02
