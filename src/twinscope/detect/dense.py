"""The second way to align: correlation search, where keypoints are few (blot strips, dark or smooth pictures).

A small tone-free picture of each panel is correlated with another's at every shift, in both mirror states, upright and
upside down, over a range of scales, by Fourier transforms that are computed once a panel. `climb` refines the places
that it finds.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from twinscope import geometry
from twinscope.detect import align, features
from twinscope.detect.features import Floats, View
from twinscope.settings import Dense

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
