"""What is computed once a panel: a tone-free picture and keypoints with descriptors.

A tone-free picture is locally normalised grey (zero mean, unit spread in a Gaussian window): brightness, contrast,
gamma and staining drop out, and inverting the picture only flips its sign. Keypoints are SIFT with RootSIFT
descriptors. A mirrored or inverted picture has the same descriptors with their bins in another order, so the
features of a panel serve all four states (plain, mirrored, inverted, both).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import geometry, pixels
from twinscope.ingest.annotations import annotation_mask
from twinscope.settings import Features

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
_Keypoints = tuple[Floats, Floats, Floats, Floats]


@dataclass(frozen=True)
class View:
    """A panel as the detectors see it, at working size.

    `planes` are the tone-free pictures (h, w) float32: luma first, then each colour channel that differs from it;
    `tones` are the same planes in [0, 1] and `names` what they are ("grey", "luma", "red", "green", "blue");
    `usable` is False on annotations and on flat or saturated ground, `annotated` True on annotations;
    `to_work` maps panel px to working px. `points` (N, 2), `sizes`, `angles` (N,) and `descriptors` (N, 128, unit
    length) are the keypoints, strongest first. `window_px` is the window of the local normalisation.
    """

    size: tuple[int, int]
    to_work: geometry.Transform
    names: tuple[str, ...]
    tones: tuple[Floats, ...]
    planes: tuple[Floats, ...]
    usable: Bools
    annotated: Bools
    points: Floats
    sizes: Floats
    angles: Floats
    descriptors: Floats
    window_px: float

    @property
    def shape(self) -> tuple[int, int]:
        """Return (height, width) at working size."""
        height, width = self.usable.shape
        return height, width


def view(image: pixels.Image, settings: Features) -> View:
    """Compute the view of one panel: uint8 HxW or HxWx3 RGB."""
    height, width = image.shape[:2]
    scale = settings.long_side / max(height, width)
    if min(height, width) * scale > settings.short_side:
        scale = min(scale, max(1.0, settings.short_side / min(height, width)))
    scale = min(scale, settings.enlarge)
    shape = (max(8, round(height * scale)), max(8, round(width * scale)))
    to_work = geometry.scaling(shape[1] / width, shape[0] / height)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(image, (shape[1], shape[0]), interpolation=interpolation)
    annotated = cv2.resize(
        annotation_mask(image).astype(np.uint8), (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR
    ).astype(bool)
    names, tones = _tones(small, settings)
    planes = tuple(tone_free(tone, settings.window_px) for tone in tones)
    usable = ~annotated & _textured(tones[0], settings)
    points, sizes, angles, descriptors = _keypoints(planes, tones, annotated, settings)
    return View(
        (height, width), to_work, names, tones, planes, usable, annotated,
        points, sizes, angles, descriptors, settings.window_px,
    )  # fmt: skip


def shrunk(v: View, factor: float) -> tuple[View, geometry.Transform]:
    """Return a view shrunk by a factor <= 1, tone-free anew and without keypoints, and the map of working px to it."""
    height, width = v.shape
    size = (max(16, round(width * factor)), max(16, round(height * factor)))
    if size >= (width, height):
        return v, np.eye(3)
    tones = tuple(np.asarray(cv2.resize(tone, size, interpolation=cv2.INTER_AREA), np.float32) for tone in v.tones)
    usable, annotated = (
        cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for mask in (v.usable, v.annotated)
    )
    move = geometry.scaling(size[0] / width, size[1] / height)
    planes = tuple(tone_free(tone, v.window_px) for tone in tones)
    none = np.zeros((0, 2), np.float32)
    lone = none[:, 0]
    descriptors = np.zeros((0, 128), np.float32)
    return View(
        v.size, move @ v.to_work, v.names, tones, planes, usable, annotated, none, lone, lone, descriptors, v.window_px
    ), move


def tone_free(tone: Floats, window_px: float) -> Floats:
    """Return the locally normalised picture: (h, w) float32 in [0, 1] -> float32, about zero mean and unit spread.

    The spread has a floor (a part of the whole picture's spread and the 8-bit step), so that flat ground stays quiet.
    """
    mean = cv2.GaussianBlur(tone, (0, 0), window_px)
    variance = np.maximum(cv2.GaussianBlur(tone * tone, (0, 0), window_px) - mean * mean, 0)
    floor = 0.1 * float(tone.std()) + 1.0 / 255
    return np.asarray((tone - mean) / (np.sqrt(variance) + floor), np.float32)


def _tones(image: pixels.Image, settings: Features) -> tuple[tuple[str, ...], tuple[Floats, ...]]:
    luma = pixels.grey(image)
    if image.ndim == 2:
        return ("grey",), (luma,)
    few = cv2.resize(image, (max(1, image.shape[1] // 4), max(1, image.shape[0] // 4)), interpolation=cv2.INTER_AREA)
    channels = cv2.split(few)  # shrunk, so that the noise of the channels is no colour
    spread = cv2.subtract(cv2.max(cv2.max(*channels[:2]), channels[2]), cv2.min(cv2.min(*channels[:2]), channels[2]))
    if cv2.mean(spread)[0] / 255 < settings.colour:
        return ("grey",), (luma,)
    kept: dict[str, Floats] = {"luma": luma}
    for name, channel in zip(("red", "green", "blue"), cv2.split(image), strict=True):
        plane = channel.astype(np.float32) / 255
        if float(cv2.meanStdDev(plane)[1][0, 0]) < 2 / 255:
            continue
        same = [
            abs(float(np.corrcoef(plane[::3, ::3].ravel(), other[::3, ::3].ravel())[0, 1])) for other in kept.values()
        ]
        if max(same) < settings.plane_correlation:
            kept[name] = plane
    return tuple(kept), tuple(kept.values())


def _textured(tone: Floats, settings: Features) -> Bools:
    """True where the picture is neither flat nor saturated over a small neighbourhood."""
    mean = cv2.boxFilter(tone, -1, (9, 9))
    variance = np.maximum(cv2.boxFilter(tone * tone, -1, (9, 9)) - mean * mean, 0)
    return np.asarray(np.sqrt(variance) > settings.flat, np.bool_)


def _keypoints(planes: Sequence[Floats], tones: Sequence[Floats], annotated: Bools, settings: Features) -> _Keypoints:
    """Detect keypoints on every plane at fine and at coarse scale, and interleave them, strongest of each first.

    Coarse keypoints come from a smoothed picture of half the size: noise and compression drown the fine ones, and
    smooth pictures have none.
    """
    blocked = cv2.dilate(annotated.astype(np.uint8), np.ones((5, 5), np.uint8))
    allowed = np.where(blocked > 0, 0, 255).astype(np.uint8)
    shrunk = cv2.resize(allowed, (allowed.shape[1] // 2, allowed.shape[0] // 2), interpolation=cv2.INTER_AREA)
    fine = [_sift(plane, allowed, settings.keypoints, settings) for plane in planes]
    coarse = []
    for tone in tones:
        half = cv2.resize(cv2.GaussianBlur(tone, (0, 0), settings.coarse_px), (shrunk.shape[1], shrunk.shape[0]))
        plane = tone_free(half, settings.coarse_window_px / 2)
        table, descriptors = _sift(plane, (shrunk > 200).astype(np.uint8) * 255, settings.keypoints, settings)
        table[:, :2] = table[:, :2] * 2 + 0.5
        table[:, 2] *= 2
        coarse.append((table, descriptors))
    tables = [_strongest(part, settings.keypoints // 2) for part in (fine, coarse)]
    rank = np.concatenate([np.arange(len(table)) for table, _ in tables])
    order = np.argsort(rank, kind="stable")
    table = np.concatenate([table for table, _ in tables])[order]
    descriptors = np.concatenate([found for _, found in tables])[order]
    return table[:, :2].copy(), table[:, 2].copy(), table[:, 3].copy(), descriptors


def _strongest(parts: Sequence[tuple[Floats, Floats]], most: int) -> tuple[Floats, Floats]:
    table = np.concatenate([part[0] for part in parts])
    descriptors = np.concatenate([part[1] for part in parts])
    order = np.argsort(-table[:, 4], kind="stable")[:most]
    return table[order], descriptors[order]


def _sift(plane: Floats, allowed: NDArray[np.uint8], most: int, settings: Features) -> tuple[Floats, Floats]:
    """Return (x, y, size, angle, response) rows and RootSIFT descriptors (N, 128) of one tone-free picture."""
    sift = cv2.SIFT_create(nfeatures=most, contrastThreshold=settings.contrast, edgeThreshold=settings.edge)
    eight = np.clip(plane * 42 + 127.5, 0, 255).astype(np.uint8)
    keypoints, descriptors = sift.detectAndCompute(eight, allowed)
    if descriptors is None or not len(keypoints):
        return np.zeros((0, 5), np.float32), np.zeros((0, 128), np.float32)
    table = np.array([(*k.pt, k.size, k.angle, k.response) for k in keypoints], np.float32)
    table[:, :2] -= 0.25  # OpenCV's enlarged first octave shifts every keypoint by a quarter of a pixel
    root = np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-9))
    return table, root.astype(np.float32)


_BINS = np.arange(128).reshape(4, 4, 8)
_MIRROR = _BINS[::-1, :, (-np.arange(8)) % 8].ravel()
_INVERT = _BINS[::-1, ::-1, :].ravel()
STATES = ((False, False), (True, False), (False, True), (True, True))
"""The four states (mirrored, inverted) in which a panel is matched."""


def descriptors_in(state: tuple[bool, bool], descriptors: Floats) -> Floats:
    """Return SIFT descriptors (N, 128) as they would be in the mirrored and/or inverted picture."""
    mirrored, inverted = state
    out = descriptors[:, _MIRROR] if mirrored else descriptors
    return out[:, _INVERT] if inverted else out


def frames_in(state: tuple[bool, bool], v: View) -> tuple[Floats, Floats]:
    """Return points (N, 2) and angles (N,) in degrees of a view in a state; the mirror is left-right."""
    mirrored, inverted = state
    points, angles = v.points, v.angles
    if mirrored:
        points = np.column_stack([v.shape[1] - 1 - points[:, 0], points[:, 1]]).astype(np.float32)
        angles = (180 - angles) % 360
    if inverted:
        angles = (angles + 180) % 360
    return points, angles.astype(np.float32)
