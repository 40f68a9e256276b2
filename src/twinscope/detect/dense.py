"""The second way to align: correlation search, where keypoints are few (blot strips, dark or smooth pictures).

A small tone-free picture of each panel is correlated with another's at every shift, in both mirror states, upright and
upside down, over a range of scales, by Fourier transforms that are computed once a panel. The best place is refined
from coarse to fine by ECC.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft, optimize

from twinscope import geometry
from twinscope.detect import align, features
from twinscope.detect.align import Alignment
from twinscope.detect.features import Floats, View
from twinscope.settings import Align, Dense

Spectra = NDArray[np.complex64]


class Small(NamedTuple):
    """A panel made ready for the search; all spectra are of pictures padded to one square.

    `to_small` maps working px to px of the small picture. `fixed` are the spectra (3, ...) of the picture, its square
    and its mask. `turned` has those of the picture and its square for each scale and flip (s, f, 2, ...), `masks` those
    of the mask for each scale (s, ...); `areas` the masks' areas (s,). `moves` (s, f, 3, 3) map working px to the
    turned picture.
    """

    to_small: geometry.Transform
    area: float
    fixed: Spectra
    turned: Spectra
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
    fixed = np.stack([_spectrum(p, settings) for p in (picture, picture * picture, mask)])
    turned, masks, areas, moves = [], [], [], []
    for factor in np.geomspace(1 / settings.scale, settings.scale, settings.steps):
        size = (max(6, round(picture.shape[1] * factor)), max(6, round(picture.shape[0] * factor)))
        if max(size) > settings.pad_px - 8 or min(size) < 6:
            factor = (settings.pad_px - 8) / max(picture.shape) if max(size) > settings.pad_px - 8 else factor
            size = (max(6, round(picture.shape[1] * factor)), max(6, round(picture.shape[0] * factor)))
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        scaled = np.asarray(cv2.resize(picture, size, interpolation=how), np.float32)
        flat = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), np.float32)
        base = geometry.scaling(size[0] / picture.shape[1], size[1] / picture.shape[0]) @ to_small
        flips, places = [], []
        for across, down in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
            flipped = scaled[::down, ::across]
            flips.append(np.stack([_spectrum(flipped, settings), _spectrum(flipped * flipped, settings)]))
            move = np.array(
                [[across, 0, 0 if across > 0 else size[0] - 1], [0, down, 0 if down > 0 else size[1] - 1], [0, 0, 1.0]]
            )
            places.append(move @ base)
        turned.append(np.stack(flips))
        masks.append(_spectrum(flat, settings))
        areas.append(flat.sum())
        moves.append(np.stack(places))
    return Small(
        to_small,
        float(mask.sum()),
        fixed,
        np.stack(turned),
        np.stack(masks),
        np.array(areas, np.float32),
        np.stack(moves),
    )


def search(a: Small, b: Small, settings: Dense) -> tuple[Place, ...]:
    """Return where a fits b over all shifts and scales: the best place of each flip that is nearly as good as the best.

    Bands are nearly symmetrical, so that only the fine detail tells the flips apart.
    """
    size = (settings.pad_px, settings.pad_px)
    b_picture, b_square, b_mask = (np.conj(part) for part in b.fixed)
    top = fft.irfft2(a.turned[:, :, 0] * b_picture, size, axes=(-2, -1))
    ours = fft.irfft2(a.turned[:, :, 1] * b_mask, size, axes=(-2, -1))
    theirs = fft.irfft2(a.masks * b_square, size, axes=(-2, -1))[:, None]
    common = fft.irfft2(a.masks * b_mask, size, axes=(-2, -1))[:, None]
    least = settings.overlap * np.minimum(a.areas, b.area)[:, None, None, None]
    energy = np.sqrt(np.maximum(ours, 1e-3) * np.maximum(theirs, 1e-3))
    enough = (common >= least) & (energy > settings.energy * common)
    surface = np.where(enough, top / np.maximum(energy, 1e-3), 0)
    weighed = np.arctanh(np.minimum(np.abs(surface), 0.98)) * np.sqrt(common.clip(0))  # Fisher: a large area says more
    places: list[tuple[float, Place]] = []
    half = settings.pad_px // 2
    for flip in range(surface.shape[1]):
        s, y, x = np.unravel_index(int(weighed[:, flip].argmax()), weighed[:, flip].shape)
        dy, dx = ((int(v) + half) % settings.pad_px - half for v in (y, x))
        shift = np.array([[1, 0, -dx], [0, 1, -dy], [0, 0, 1.0]])
        value = float(surface[s, flip, y, x])
        place = Place(abs(value), value < 0, align.inverse(b.to_small) @ shift @ a.moves[s, flip])
        places.append((float(weighed[s, flip, y, x]), place))
    best = max(weight for weight, _ in places)
    kept = [(weight, place) for weight, place in places if place.score >= settings.score and weight > 0.6 * best]
    return tuple(place for _, place in sorted(kept, key=lambda row: -row[0]))


def alignments(a: View, b: View, places: Sequence[Place], settings: Align) -> list[Alignment]:
    """Refine places from coarse to fine, the best two all the way; return the sound ones where the views agree."""
    none = np.zeros((0, 2))
    started = [Alignment(place.transform, place.inverted, 0, none, none) for place in places]
    coarse = [
        _climb(a, b, one, 4.0, settings) for one in started if align.sound(one.transform, a.shape, b.shape, settings)
    ]
    coarse.sort(key=lambda one: -_agreement(a, b, one))
    reached = []
    for one in coarse[:2]:
        found = align.refine(a, b, _climb(a, b, one, 2.0, settings), settings)
        parts = geometry.take_apart(found.transform, (0.0, 0.0, float(a.shape[1]), float(a.shape[0])))
        if parts.anisotropy <= settings.dense_anisotropy and _agreement(a, b, found) > settings.dense_agreement:
            reached.append(found)
    return reached


def _agreement(a: View, b: View, found: Alignment) -> float:
    """Return the correlation of two views under an alignment, in [-1, 1]."""
    plane_a, plane_b = align.best_planes(a, b, found)
    mask = (~b.annotated).astype(np.uint8) * 255
    sign = -1 if found.inverted else 1
    return align.correlation_at(plane_a, sign * plane_b, align.inverse(found.transform), mask)


def _climb(a: View, b: View, current: Alignment, level: float, settings: Align) -> Alignment:
    """Improve a similarity by Nelder and Mead's simplex on pictures `level` times smaller.

    ECC lets smooth bands run away; here only turn, scale and shift may change, and what is climbed is Fisher's
    transform of the correlation times the root of the common area: it cannot grow by giving up common ground.
    """
    small_a, to_a = _shrunk(a.tones[0], level)
    small_b, to_b = _shrunk(b.tones[0], level)
    plane_a, plane_b = features.tone_free(small_a, 8), features.tone_free(small_b, 8)
    template = -plane_b if current.inverted else plane_b
    base = to_b @ current.transform @ align.inverse(to_a)
    height, width = plane_a.shape
    centre = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1.0]])
    side = float(max(plane_b.shape))
    around = align.inverse(centre)

    def moved(step: NDArray[np.float64]) -> geometry.Transform:
        c, s = np.exp(0.1 * step[0]) * np.cos(0.05 * step[1]), np.exp(0.1 * step[0]) * np.sin(0.05 * step[1])
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
        shift = np.array([[1, 0, 0.03 * side * step[2]], [0, 1, 0.03 * side * step[3]], [0, 0, 1.0]])
        return np.asarray(shift @ base @ centre @ turn @ around, np.float64)

    def loss(step: NDArray[np.float64]) -> float:
        return -agreement(plane_a, template, align.inverse(moved(step)))

    start = np.vstack([np.zeros(4), np.eye(4)])
    options = {"initial_simplex": start, "maxfev": settings.climb_steps, "xatol": 0.02, "fatol": 1e-3}
    best = optimize.minimize(loss, np.zeros(4), method="Nelder-Mead", options=options)
    transform = align.inverse(to_b) @ moved(best.x) @ to_a
    transform /= transform[2, 2]
    return current._replace(transform=transform) if align.sound(transform, a.shape, b.shape, settings) else current


def agreement(plane_a: Floats, plane_b: Floats, back: geometry.Transform) -> float:
    """Return Fisher's transform of the correlation of b with a warped onto it, times the root of their common area."""
    size = (plane_b.shape[1], plane_b.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpPerspective(plane_a, back, size, flags=flags, borderValue=align.OUTSIDE)
    inside = warped < align.INSIDE
    count = int(inside.sum())
    if count < 64:
        return -1e3
    x, y = warped[inside], plane_b[inside]
    correlation = float((x @ y) / np.sqrt(max(float((x @ x) * (y @ y)), 1e-9)))
    return float(np.arctanh(np.clip(correlation, -0.995, 0.995)) * np.sqrt(count))


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


def _spectrum(picture: Floats, settings: Dense) -> Spectra:
    padded = np.zeros((settings.pad_px, settings.pad_px), np.float32)
    padded[: picture.shape[0], : picture.shape[1]] = picture
    return np.asarray(fft.rfft2(padded), np.complex64)
