"""Refine an alignment on the whole of both pictures, where keypoints are none or few.

From coarse to fine by damped Gauss-Newton steps; only turn, scale and shift may change, since ECC lets smooth bands run
away. First on tone-free pictures of each panel, then on the shared ground alone, as the evidence will be measured: a
picture cut elsewhere is normalised otherwise near its border, which pulls smooth pictures off their place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from twinscope import geometry
from twinscope.detect import align, evidence, features
from twinscope.detect.align import Alignment
from twinscope.detect.dense import Place
from twinscope.detect.features import Bools, Floats, View
from twinscope.settings import Align, Settings

_SETTLING = ((2, 0.25), (1, 0.5))
"""The smoothings (`evidence.BANDS`) at which an alignment settles, and the share of the working size each needs."""
_ROUNDS = 3
"""How often the shared ground is taken anew at each smoothing while an alignment settles."""


def alignments(a: View, b: View, places: Sequence[Place], settings: Settings) -> list[Alignment]:
    """Refine each place from coarse to fine; return the sound alignments, of the best two places.

    Each is settled from where the search found it and from where the coarse steps lead, and the better one is kept.
    """
    if not places:
        return []
    none, ground = np.zeros((0, 2)), levels(a, b)
    reached = []
    for place in places:
        start = Alignment(place.transform, place.inverted, 0, none, none)
        if not align.sound(start.transform, a.shape, b.shape, settings.align):
            continue
        coarse, agreement = _climb(a, b, start, 4.0, settings.align)
        if agreement >= settings.align.dense_agreement:
            fine, _ = _climb(a, b, coarse, 2.0, settings.align)
            reached.append(max((settled(ground, one, settings) for one in (fine, start)), key=lambda one: one[1]))
    reached.sort(key=lambda one: -one[1])
    refined = [align.refine(a, b, one, settings.align) for one, _ in reached[:2]]
    return [one for one in refined if _stretch(one, a) <= settings.align.dense_anisotropy]


def climbed(a: View, b: View, start: Alignment, settings: Settings) -> Alignment | None:
    """Refine an alignment by few keypoints, that lie close together, on the whole of both pictures; None if it cannot.

    The matches that no longer fit are left out; where fewer than `align.least` are left, it went elsewhere.
    """
    stiff = start._replace(transform=align.nearest_similarity(start.transform, a.shape))
    found, agreement = _climb(a, b, stiff, 4.0, settings.align)
    if agreement < settings.align.dense_agreement:
        return None
    found = align.refine(a, b, _climb(a, b, found, 2.0, settings.align)[0], settings.align)
    error = geometry.apply(found.transform, start.points_a) - start.points_b
    near = np.hypot(*error.T) < 2 * settings.align.error_px
    if near.sum() < settings.align.least:
        return None
    return found._replace(points_a=start.points_a[near], points_b=start.points_b[near])


def _stretch(alignment: Alignment, a: View) -> float:
    return geometry.take_apart(alignment.transform, (0.0, 0.0, float(a.shape[1]), float(a.shape[0]))).anisotropy


class Level(NamedTuple):
    """Two views shrunk by a factor, and the maps of working px to them."""

    a: View
    b: View
    to_a: geometry.Transform
    to_b: geometry.Transform
    factor: float


def levels(a: View, b: View) -> tuple[Level, ...]:
    """Return two views at the sizes at which an alignment settles, coarse first, and as they are."""
    made = []
    for factor in (*(factor for _, factor in _SETTLING), 1.0):
        (small_a, to_a), (small_b, to_b) = features.shrunk(a, factor), features.shrunk(b, factor)
        made.append(Level(small_a, small_b, to_a, to_b, factor))
    return tuple(made)


def settled(ground: Sequence[Level], start: Alignment, settings: Settings) -> tuple[Alignment, float]:
    """Refine an alignment on the ground that both show, coarse detail first; return it and how well it agrees there.

    That is Fisher's transform of the correlation times the root of the common area, at the finer of the two `levels`.
    """
    found, value = start, 0.0
    *smaller, whole = ground
    for (number, _), level in zip(_SETTLING, smaller, strict=True):
        moved = found._replace(transform=level.to_b @ found.transform @ align.inverse(level.to_a))
        for _ in range(_ROUNDS):
            if not align.sound(moved.transform, level.a.shape, level.b.shape, settings.align):
                return start, 0.0
            moved, value, gained = _settle(level, moved, number, settings)
            if gained < 0.005 * value:
                break
        transform = align.inverse(level.to_b) @ moved.transform @ level.to_a
        found = found._replace(transform=transform / transform[2, 2])
    if not align.sound(found.transform, whole.a.shape, whole.b.shape, settings.align):
        return start, 0.0
    return found, value


def _settle(level: Level, alignment: Alignment, number: int, settings: Settings) -> tuple[Alignment, float, float]:
    """Improve an alignment of shrunk views at one of `evidence.BANDS`; return it, its agreement and what was gained."""
    smooth, wide = evidence.BANDS[number]
    shared = evidence.frame(level.a, level.b, alignment)
    window = wide * settings.evidence.window_px * level.factor
    both = evidence.all_normalised((shared.a, shared.b), shared.seen, smooth * level.factor, window)
    x, y = (picture for picture, _ in both)
    moved, before, after = _improved(x, -y if alignment.inverted else y, np.eye(3), settings.align)
    if after is None or before is None:
        return alignment, 0.0, 0.0
    transform = align.inverse(shared.to_frame_b) @ moved @ shared.to_frame_a
    return alignment._replace(transform=transform / transform[2, 2]), after.value, after.value - before.value


def _climb(a: View, b: View, current: Alignment, level: float, settings: Align) -> tuple[Alignment, float]:
    """Improve a similarity on pictures `level` times smaller, each tone-free by itself; return the correlation, too."""
    small_a, to_a = _shrunk(a.tones[0], level)
    small_b, to_b = _shrunk(b.tones[0], level)
    plane_a, plane_b = features.tone_free(small_a, 8), features.tone_free(small_b, 8)
    start = to_b @ current.transform @ align.inverse(to_a)
    best, _, laid = _improved(plane_a, -plane_b if current.inverted else plane_b, start, settings)
    transform = align.inverse(to_b) @ best @ to_a
    transform /= transform[2, 2]
    if laid is None or not align.sound(transform, a.shape, b.shape, settings):
        return current, 0.0
    return current._replace(transform=transform), laid.correlation


def _improved(
    plane: Floats, template: Floats, best: geometry.Transform, settings: Align
) -> tuple[geometry.Transform, _Laid | None, _Laid | None]:
    """Improve the map of a picture to a template by damped Gauss-Newton steps; return it, and how it was and is laid.

    A step is taken only where Fisher's transform of the correlation times the root of the common area grows: it cannot
    grow by giving up common ground.
    """
    before = laid = _laid(plane, template, best)
    damping = 0.01
    for _ in range(settings.climb_steps):
        if laid is None or damping > 100:
            break
        moved = _step(laid, template, damping) @ best
        tried = _laid(plane, template, moved)
        if tried is None or tried.value <= laid.value:
            damping *= 10
            continue
        gained = tried.value - laid.value
        best, laid, damping = moved, tried, damping / 4
        if gained < 1e-3 * laid.value:
            break
    return best, before, laid


class _Laid(NamedTuple):
    """A picture warped onto another: the warped picture (0 outside), where it is, and how well it agrees."""

    warped: Floats
    inside: Bools
    correlation: float
    value: float


def _laid(plane_a: Floats, plane_b: Floats, transform: geometry.Transform) -> _Laid | None:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (plane_b.shape[1], plane_b.shape[0])
    warped = cv2.warpPerspective(plane_a, align.inverse(transform), size, flags=flags, borderValue=align.OUTSIDE)
    inside = warped < align.INSIDE
    count = int(np.count_nonzero(inside))
    if count < 64:
        return None
    warped = np.where(inside, warped, 0)
    theirs = float(np.vdot(plane_b, np.where(inside, plane_b, 0)))
    correlation = float(np.vdot(warped, plane_b)) / math.sqrt(max(float(np.vdot(warped, warped)) * theirs, 1e-9))
    return _Laid(warped, inside, correlation, math.atanh(min(max(correlation, -0.9999), 0.9999)) * math.sqrt(count))


def _step(laid: _Laid, template: Floats, damping: float) -> geometry.Transform:
    """Return the similarity of the frame that brings the warped picture nearer to the template (Levenberg-Marquardt).

    Minimised is |y/|y| - x/|x||^2 = 2 - 2 correlation over the common ground, by turn, scale and shift.
    """
    height, width = template.shape
    inner = cv2.erode(laid.inside.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0).astype(np.float32)
    x, y = laid.warped * inner, template * inner
    norm_x, norm_y = (math.sqrt(max(float(np.vdot(z, z)), 1e-9)) for z in (x, y))
    gx = cv2.Sobel(laid.warped, cv2.CV_32F, 1, 0, scale=0.125) * inner
    gy = cv2.Sobel(laid.warped, cv2.CV_32F, 0, 1, scale=0.125) * inner
    side = max(height, width) / 2  # turns and scales count in units of the half side, so that all four are alike
    u = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / side
    v = ((np.arange(height, dtype=np.float32) - (height - 1) / 2) / side)[:, None]
    slopes = np.stack([gx * u + gy * v, gy * u - gx * v, gx, gy]).reshape(4, -1) / np.float32(-norm_x)
    unit = x.ravel() / np.float32(norm_x)
    slopes -= (slopes @ unit)[:, None] * unit
    rest = y.ravel() / np.float32(norm_y) - unit
    normal = (slopes @ slopes.T).astype(np.float64)
    normal += np.diag(damping * np.diag(normal) + 1e-9)
    grow, turn, dx, dy = np.linalg.solve(normal, (slopes @ rest).astype(np.float64))
    c, s = 1 + grow / side, turn / side
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    linear = np.array([[c, -s], [s, c]])
    out = np.eye(3)
    out[:2, :2] = linear
    out[:2, 2] = centre - linear @ centre + (dx, dy)
    return out


def _shrunk(tone: Floats, level: float) -> tuple[Floats, geometry.Transform]:
    height, width = tone.shape
    size = (max(12, round(width / level)), max(12, round(height / level)))
    small = np.asarray(cv2.resize(tone, size, interpolation=cv2.INTER_AREA), np.float32)
    return small, geometry.scaling(size[0] / width, size[1] / height)
