"""Match the keypoints of two views in all four states, and let the matches vote for a similarity."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinscope import geometry
from twinscope.detect import features
from twinscope.detect.features import Floats, View
from twinscope.settings import Candidates


class Vote(NamedTuple):
    """What the matched keypoints of a pair say: how many agree, in which state, on which similarity (work px)."""

    votes: int
    state: tuple[bool, bool]
    transform: geometry.Transform
    pairs: NDArray[np.int64]


NO_VOTE = Vote(0, (False, False), np.eye(3), np.zeros((0, 2), np.int64))


def nearest(a: Floats, b: Floats, ratio: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return mutual nearest neighbours (indices into a, into b) whose distance ratio is below `ratio`.

    Descriptors (N, D) and (M, D) are of unit length; Euclidean distance squared is 2 - 2 cos.
    """
    none = np.zeros(0, np.int64)
    if len(a) < 2 or len(b) < 2:
        return none, none
    close = a @ b.T
    best = close.argmax(1)
    rows = np.arange(len(a))
    first = close[rows, best]
    mutual = close.max(0)[best] == first
    rows = rows[mutual & (first > 0.6)]
    if not len(rows):
        return none, none
    best, first = best[rows], first[rows]
    part = close[rows]
    part[np.arange(len(rows)), best] = -1
    second = part.max(1)
    keep = (1 - first) + 1e-6 < ratio * ratio * (1 - second)
    return rows[keep], best[keep]


def vote(
    a: View, b: View, state: tuple[bool, bool], i: NDArray[np.int64], j: NDArray[np.int64], least: int = 2
) -> Vote:
    """Let every match propose a similarity from its two keypoint frames; return the one that most matches accept.

    Fewer than `least` (at least 2) matches that agree are no vote.
    """
    if len(i) < least:
        return NO_VOTE
    points_a, angles_a = features.frames_in(state, a)
    pa, pb = points_a[i].astype(np.float64), b.points[j].astype(np.float64)
    log_scale = np.log(b.sizes[j] / a.sizes[i])
    turn = np.deg2rad(b.angles[j] - angles_a[i])
    if len(i) > 150:
        keep = np.arange(150)
        i, j, pa, pb, log_scale, turn = i[keep], j[keep], pa[keep], pb[keep], log_scale[keep], turn[keep]
    s = np.exp(log_scale)
    c, n = s * np.cos(turn), s * np.sin(turn)
    dx = pa[None, :, 0] - pa[:, None, 0]
    dy = pa[None, :, 1] - pa[:, None, 1]
    x = c[:, None] * dx - n[:, None] * dy + pb[:, None, 0]
    y = n[:, None] * dx + c[:, None] * dy + pb[:, None, 1]
    error = np.hypot(x - pb[None, :, 0], y - pb[None, :, 1])
    tolerance = 6.0 + 0.12 * np.hypot(dx, dy) * s[:, None]
    delta = np.abs((turn[None, :] - turn[:, None] + np.pi) % (2 * np.pi) - np.pi)
    same = (error < tolerance) & (np.abs(log_scale[None] - log_scale[:, None]) < 0.45) & (delta < 0.4)
    counts = same.sum(1)
    lead = int(counts.argmax())
    if counts[lead] < least:
        return NO_VOTE
    chosen = _distinct(np.flatnonzero(same[lead]), pa, pb)
    if len(chosen) < least:
        return NO_VOTE
    transform = similarity(pa[chosen], pb[chosen])
    if state[0]:
        transform = transform @ geometry.mirror(a.shape[1])
    return Vote(len(chosen), state, transform, np.column_stack([i[chosen], j[chosen]]))


def _distinct(chosen: NDArray[np.int64], pa: NDArray[np.float64], pb: NDArray[np.float64]) -> NDArray[np.int64]:
    """Keep one match for each place: SIFT gives several keypoints at one point."""
    _, first = np.unique(np.round(np.column_stack([pa[chosen], pb[chosen]]) / 4), axis=0, return_index=True)
    return chosen[np.sort(first)]


def similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> geometry.Transform:
    """Return the least-squares similarity without reflection (Umeyama) from source to target points (N, 2)."""
    ms, mt = source.mean(0), target.mean(0)
    s = (source - ms) @ np.array([1, 1j])
    t = (target - mt) @ np.array([1, 1j])
    z = (np.conj(s) @ t) / max(float((np.abs(s) ** 2).sum()), 1e-9)
    linear = np.array([[z.real, -z.imag], [z.imag, z.real]])
    out = np.eye(3)
    out[:2, :2] = linear
    out[:2, 2] = mt - linear @ ms
    return out


def best_vote(a: View, b: View, da: Floats, db: Floats, settings: Candidates) -> Vote:
    """Match in all four states and return the vote with most support.

    `da` (N, D) and `db` (M, D) are the descriptors of the strongest N and M keypoints of the views. `da` is given
    in all four states, stacked (4, N, D).
    """
    best = NO_VOTE
    for state, descriptors in zip(features.STATES, da, strict=True):
        i, j = nearest(descriptors, db, settings.ratio)
        found = vote(a, b, state, i, j, max(settings.votes, best.votes + 1))
        if found.votes > best.votes:
            best = found
    return best
