"""The second way to align: correlation search, where keypoints are few (blot strips, dark or smooth pictures).

A small tone-free picture of each panel is correlated with another's at every shift, in both mirror states, upright and
upside down, over a range of scales, by Fourier transforms that are computed once a panel. The best place is refined
from coarse to fine by ECC.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from twinscope import geometry
from twinscope.detect import align, features
from twinscope.detect.align import Alignment
from twinscope.detect.features import Bools, Floats, View
from twinscope.settings import Align, Dense

Spectra = NDArray[np.complex64]
FLIPS = ((1, 1), (-1, 1), (1, -1), (-1, -1))
"""Steps (across, down) through the pixels: as it is, mirrored, upside down, both."""


class Small(NamedTuple):
    """A panel made ready for the search: its small tone-free picture and mask, and how working px map to it.

    `spectra` (3, ...) are those of the picture, its square and its mask, conjugated, padded to one square.
    """

    picture: Floats
    mask: Floats
    to_small: geometry.Transform
    area: float
    spectra: Spectra


class Turned(NamedTuple):
    """A panel at each scale and flip, ready to be laid on others.

    `pictures` (2, s, f, ...) are the spectra of the picture and of its square, `masks` (s, ...) those of the mask;
    `areas` the masks' areas (s,). `moves` (s, f, 3, 3) map working px to the turned picture.
    """

    pictures: Spectra
    masks: Spectra
    areas: Floats
    moves: NDArray[np.float64]


class Place(NamedTuple):
    """Where one panel fits another best: correlation in [0, 1], whether inverted, and the map of working px a -> b."""

    score: float
    inverted: bool
    transform: geometry.Transform


def prepare(v: View, settings: Dense) -> Small:
    """Return the small picture of a view and its spectra."""
    picture, mask, to_small = _small(v, settings)
    stacked = np.stack([_padded(p, settings.pad_px) for p in (picture, picture * picture, mask)])
    return Small(picture, mask, to_small, float(mask.sum()), np.conj(_spectrum(stacked)))


def turn(small: Small, settings: Dense) -> Turned:
    """Return a small picture at each scale, as it is, mirrored, upside down and both, with spectra."""
    picture, mask = small.picture, small.mask
    pictures, masks, moves = [], [], []
    for factor in np.geomspace(1 / settings.scale, settings.scale, settings.steps):
        size = (max(6, round(picture.shape[1] * factor)), max(6, round(picture.shape[0] * factor)))
        if max(size) > settings.pad_px - 8:
            factor = (settings.pad_px - 8) / max(picture.shape)
            size = (max(6, round(picture.shape[1] * factor)), max(6, round(picture.shape[0] * factor)))
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        scaled = np.asarray(cv2.resize(picture, size, interpolation=how), np.float32)
        flat = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), np.float32)
        base = geometry.scaling(size[0] / picture.shape[1], size[1] / picture.shape[0]) @ small.to_small
        for across, down in FLIPS:
            pictures.append(_padded(scaled[::down, ::across], settings.pad_px))
            move = np.array(
                [[across, 0, 0 if across > 0 else size[0] - 1], [0, down, 0 if down > 0 else size[1] - 1], [0, 0, 1.0]]
            )
            moves.append(move @ base)
        masks.append(_padded(flat, settings.pad_px))
    grid = np.stack(pictures).reshape(len(masks), len(FLIPS), settings.pad_px, settings.pad_px)
    flats = np.stack(masks)
    return Turned(
        np.stack([_spectrum(grid), _spectrum(grid * grid)]),
        _spectrum(flats),
        np.asarray(flats.sum((1, 2)), np.float32),
        np.stack(moves).reshape(len(masks), len(FLIPS), 3, 3),
    )


def search(a: Turned, b: Small, settings: Dense) -> tuple[Place, ...]:
    """Return where a fits b over all shifts and scales: the best place of each flip that is nearly as good as the best.

    Bands are nearly symmetrical, so that only the fine detail tells the flips apart.
    """
    pad = settings.pad_px
    b_picture, b_square, b_mask = b.spectra
    common = _back(a.masks * b_mask, pad)[:, None]
    theirs = _back(a.masks * b_square, pad)[:, None]
    top = _back(a.pictures[0] * b_picture, pad)
    energy = _back(a.pictures[1] * b_mask, pad)
    np.maximum(energy, 1e-3, out=energy)
    energy *= np.maximum(theirs, 1e-3)
    np.sqrt(energy, out=energy)
    least = settings.overlap * np.minimum(a.areas, b.area)[:, None, None, None]
    enough = energy > np.where(common >= least, settings.energy * common, np.inf)
    top /= energy
    top *= enough
    flat = np.flatnonzero(np.abs(top) >= settings.score)
    if not len(flat):
        return ()
    scale, flip, y, x = np.unravel_index(flat, top.shape)
    value, shared = top.ravel()[flat], np.broadcast_to(common, top.shape)[scale, flip, y, x]
    weight = np.arctanh(np.minimum(np.abs(value), 0.98)) * np.sqrt(shared)  # Fisher: a large area says more
    places: list[tuple[float, Place]] = []
    for number in range(top.shape[1]):
        here = np.flatnonzero(flip == number)
        if not len(here):
            continue
        k = here[weight[here].argmax()]
        dy, dx = ((int(v) + pad // 2) % pad - pad // 2 for v in (y[k], x[k]))
        shift = np.array([[1, 0, -dx], [0, 1, -dy], [0, 0, 1.0]])
        found = Place(
            abs(float(value[k])), bool(value[k] < 0), align.inverse(b.to_small) @ shift @ a.moves[scale[k], flip[k]]
        )
        places.append((float(weight[k]), found))
    best = max(w for w, _ in places)
    return tuple(place for w, place in sorted(places, key=lambda row: -row[0]) if w > 0.6 * best)


def alignments(a: View, b: View, places: Sequence[Place], settings: Align) -> list[Alignment]:
    """Refine places from coarse to fine, the best two all the way; return the sound ones where the views agree."""
    none = np.zeros((0, 2))
    started = [Alignment(place.transform, place.inverted, 0, none, none) for place in places]
    coarse = [
        _climb(a, b, one, 4.0, settings) for one in started if align.sound(one.transform, a.shape, b.shape, settings)
    ]
    coarse.sort(key=lambda found: -found[1])
    reached = []
    for begun, agreement in coarse[:2]:
        if agreement < settings.dense_agreement:
            break
        found = align.refine(a, b, _climb(a, b, begun, 2.0, settings)[0], settings)
        parts = geometry.take_apart(found.transform, (0.0, 0.0, float(a.shape[1]), float(a.shape[0])))
        if parts.anisotropy <= settings.dense_anisotropy:
            reached.append(found)
    return reached


def climbed(a: View, b: View, start: Alignment, settings: Align) -> Alignment | None:
    """Refine an alignment by few keypoints, that lie close together, on the whole of both pictures; None if it cannot.

    The matches that no longer fit are left out.
    """
    stiff = start._replace(transform=align.nearest_similarity(start.transform, a.shape))
    found, agreement = _climb(a, b, stiff, 4.0, settings)
    if agreement < settings.dense_agreement:
        return None
    found = align.refine(a, b, _climb(a, b, found, 2.0, settings)[0], settings)
    error = geometry.apply(found.transform, start.points_a) - start.points_b
    near = np.hypot(*error.T) < 2 * settings.error_px
    return found._replace(points_a=start.points_a[near], points_b=start.points_b[near])


def _climb(a: View, b: View, current: Alignment, level: float, settings: Align) -> tuple[Alignment, float]:
    """Improve a similarity by damped Gauss-Newton steps on pictures `level` times smaller; return the correlation, too.

    ECC lets smooth bands run away; here only turn, scale and shift may change, and a step is taken only where Fisher's
    transform of the correlation times the root of the common area grows: it cannot grow by giving up common ground.
    """
    small_a, to_a = _shrunk(a.tones[0], level)
    small_b, to_b = _shrunk(b.tones[0], level)
    plane_a, plane_b = features.tone_free(small_a, 8), features.tone_free(small_b, 8)
    template = -plane_b if current.inverted else plane_b
    best = to_b @ current.transform @ align.inverse(to_a)
    laid = _laid(plane_a, template, best)
    damping = 0.01
    for _ in range(settings.climb_steps):
        if laid is None or damping > 100:
            break
        moved = _step(laid, template, damping) @ best
        tried = _laid(plane_a, template, moved)
        if tried is None or tried.value <= laid.value:
            damping *= 10
            continue
        gained = tried.value - laid.value
        best, laid, damping = moved, tried, damping / 4
        if gained < 1e-3 * laid.value:
            break
    transform = align.inverse(to_b) @ best @ to_a
    transform /= transform[2, 2]
    if laid is None or not align.sound(transform, a.shape, b.shape, settings):
        return current, 0.0
    return current._replace(transform=transform), laid.correlation


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


def _small(v: View, settings: Dense) -> tuple[Floats, Floats, geometry.Transform]:
    height, width = v.shape
    scale = settings.side_px / max(height, width)
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    tone = np.asarray(cv2.resize(v.tones[0], size, interpolation=cv2.INTER_AREA), np.float32)
    mask = 1 - np.asarray(cv2.resize(v.annotated.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32)
    plane = features.tone_free(tone, settings.window_px) * mask
    return plane.astype(np.float32), mask, geometry.scaling(size[0] / width, size[1] / height)


def _padded(picture: Floats, side: int) -> Floats:
    out = np.zeros((side, side), np.float32)
    out[: picture.shape[0], : picture.shape[1]] = picture
    return out


def _spectrum(pictures: Floats) -> Spectra:
    return np.asarray(fft.rfft2(pictures), np.complex64)


def _back(spectra: Spectra, side: int) -> Floats:
    return np.asarray(fft.irfft2(spectra, (side, side), axes=(-2, -1)), np.float32)
