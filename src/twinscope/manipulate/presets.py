"""Chains of manipulations, and the deformations of the papers: V01, V02 and SN[G]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from twinscope.manipulate.local import clutter, erase, local_gain
from twinscope.manipulate.place import corner_transform, turn_about, warp, warp_mask
from twinscope.manipulate.record import Image, Manipulated, Rng, Step, Transform, done
from twinscope.manipulate.tone import decoded_jpeg


def chain(image: Image, rng: Rng, steps: Sequence[Step]) -> Manipulated:
    """Apply manipulations one after the other; transforms are multiplied and masks carried along."""
    whole = Manipulated(image, np.eye(3), np.zeros(image.shape[:2], np.bool_))
    for step in steps:
        part = step(whole.image, rng)
        shape = (part.image.shape[0], part.image.shape[1])
        mask = part.mask | warp_mask(whole.mask, part.transform, shape)
        whole = Manipulated(part.image, part.transform @ whole.transform, mask)
    return whole


def v02(image: Image, rng: Rng, *, deformed: bool = True, cluttered: bool = True, size: int = 128) -> Manipulated:
    """Apply the deformation of cicconet-2019 (V02) to a source picture (256x256): the `size` centre, deformed.

    In this order, each with p .5 (one in ten pictures is only cropped): reflections, perspective (corners +-20 px),
    similarity (+-45 degrees, .5-1.5, +-20 px); crop and subtract the minimum; JPEG quality 10-49; gamma .5-2; erase or
    local contrast. Then clutter, which anchors have too: `deformed=False` gives the plain centre, cluttered. The three
    geometric steps are one bicubic warp; outside the source lies 0. The +-20 px are for 256 and grow with the source;
    the ramp of an erasure (10 px) and the text (16 px) do not.
    """
    return _deformed(image, rng, _V02, deformed, cluttered, size)


def v01(image: Image, rng: Rng, *, deformed: bool = True, cluttered: bool = True, size: int = 128) -> Manipulated:
    """Apply the deformation of cicconet-2018 (V01): as `v02`, but scale .75-1.25, no JPEG, and gamma .75-1.25."""
    return _deformed(image, rng, _V01, deformed, cluttered, size)


def geometric(image: Image, rng: Rng, *, deformed: bool = True, size: int = 128) -> Manipulated:
    """Apply the deformation of SN[G] (cicconet-2019): the geometric steps of `v02` alone; nothing is edited."""
    steps = bool(deformed and rng.random() < 0.9)
    if not steps:
        return _cut(image, size)
    return warp(image, v02_transform(image.shape[:2], rng, size), (size, size))


class _Version(NamedTuple):
    factors: tuple[float, float]
    gammas: tuple[float, float]
    jpeg: bool


_V01, _V02 = _Version((0.75, 1.25), (0.75, 1.25), jpeg=False), _Version((0.5, 1.5), (0.5, 2.0), jpeg=True)


def _deformed(image: Image, rng: Rng, version: _Version, deformed: bool, cluttered: bool, size: int) -> Manipulated:
    steps = bool(deformed and rng.random() < 0.9)
    shape = image.shape[:2]
    placed = warp(image, v02_transform(shape, rng, size, version.factors), (size, size)) if steps else _cut(image, size)
    out = placed.image - placed.image.min()
    mask = np.zeros((size, size), np.bool_)
    if steps:
        if version.jpeg and rng.random() < 0.5:
            out = decoded_jpeg(out, int(rng.integers(10, 50)))
        if rng.random() < 0.5:
            out = np.power(out, np.float32(rng.uniform(*version.gammas)))
        if rng.random() < 0.5:
            if rng.random() < 0.5:
                out, _, mask = erase(out, rng)
            else:
                gain, mask = local_gain(out, rng)
                out = out * (gain if out.ndim == 2 else gain[..., None])
                out = out / max(1e-6, float(out.max()))
    if cluttered:
        out, _, drawn = clutter(out, rng)
        mask = mask | drawn
    return done(out, placed.transform, mask)


def v02_transform(
    shape: tuple[int, ...], rng: Rng, size: int = 128, factors: tuple[float, float] = (0.5, 1.5)
) -> Transform:
    """Return V02's random geometric transform from a source of `shape` to its `size` centre (V01: other `factors`)."""
    height, width = shape[:2]
    reach = 20.0 * min(height, width) / 256
    whole = np.eye(3)
    if rng.random() < 0.5:
        for axis in (0, 1):
            if rng.random() < 0.5:
                mirror = np.eye(3)
                mirror[axis, axis], mirror[axis, 2] = -1, (width, height)[axis] - 1
                whole = mirror @ whole
    if rng.random() < 0.5:
        whole = corner_transform(shape, rng.uniform(-reach, reach, (4, 2))) @ whole
    if rng.random() < 0.5:
        angle, factor = rng.uniform(-45, 45), rng.uniform(*factors)
        move = np.eye(3)
        move[:2, 2] = rng.uniform(-reach, reach, 2)
        whole = move @ turn_about(angle, factor, ((width - 1) / 2, (height - 1) / 2)) @ whole
    return _centre_crop(shape, size) @ whole


def _centre_crop(shape: tuple[int, ...], size: int) -> Transform:
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    return np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float64)


def _cut(image: Image, size: int) -> Manipulated:
    """Return the `size` centre; 0 lies around a source that is smaller."""
    centre = _centre_crop(image.shape, size)
    left, top = (-centre[:2, 2]).astype(int)
    if min(left, top) < 0:
        return warp(image, centre, (size, size))
    return done(image[top : top + size, left : left + size], centre)
