"""Draw pictures that look like micrographs and blots: nuclei, fibres, stained tissue, bands. Nothing third-party.

Every drawer is `(rng, size) -> picture`: size is (height, width) px, the picture float32 in [0, 1], HxW or HxWx3 RGB.
Lengths are in px, so a larger size shows a larger field, not larger cells.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
Size = tuple[int, int]
Picture = NDArray[np.float32]


def fog(rng: Rng, size: Size, grain_px: float) -> Picture:
    """Return smooth random ground of about this grain in [0, 1]."""
    height, width = (max(2, int(np.ceil(side / grain_px)) + 2) for side in size)
    small = rng.standard_normal((height, width), np.float32)
    large = cv2.resize(small, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return np.clip(0.5 + large / 4, 0, 1)


def clouds(rng: Rng, size: Size, grain_px: float, octaves: int = 4) -> Picture:
    """Return ground with detail at several scales in [0, 1]."""
    total, weight = np.zeros(size, np.float32), 0.0
    for octave in range(octaves):
        share = 0.55**octave
        total += share * fog(rng, size, max(1.0, grain_px / 2**octave))
        weight += share
    return np.clip((total / weight - 0.5) * 1.6 + 0.5, 0, 1)


def grain(rng: Rng, picture: Picture, photons: float = 120.0, reading: float = 0.01) -> Picture:
    """Return the picture with shot and reading noise of a camera."""
    shot = rng.poisson(np.clip(picture, 0, 1) * photons).astype(np.float32) / np.float32(photons)
    return np.clip(shot + reading * rng.standard_normal(picture.shape, np.float32), 0, 1)


def _blob(rng: Rng, radius: float, stretch: float) -> NDArray[np.int32]:
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    rim = np.ones(28)
    for order in (2, 3, 5):
        rim += rng.normal(0, 0.07 / order**0.5) * np.cos(order * turn + rng.uniform(0, 6.28))
    angle = rng.uniform(0, np.pi)
    x, y = radius * rim * np.cos(turn) * stretch, radius * rim * np.sin(turn) / stretch
    return np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], 1)


def _places(rng: Rng, size: Size, count: int, gap_px: float) -> list[tuple[float, float]]:
    """Return up to `count` random places (x, y), none nearer than `gap_px` to another."""
    kept = np.zeros((0, 2))
    for spot in rng.uniform((0, 0), size[::-1], (count * 6, 2)):
        if not len(kept) or ((kept - spot) ** 2).sum(1).min() > gap_px**2:
            kept = np.concatenate([kept, spot[None]])
        if len(kept) == count:
            break
    return [(float(x), float(y)) for x, y in kept]


Window = tuple[slice, slice]


def _mask(
    size: Size, outline: NDArray[np.float64], place: tuple[float, float], soft_px: float = 1.2
) -> tuple[Window, Picture]:
    """Return the window of the picture that a filled outline touches, and its soft cover there."""
    reach = int(np.abs(outline).max() + 4 * soft_px + 3)
    x0, y0 = max(0, int(place[0]) - reach), max(0, int(place[1]) - reach)
    x1, y1 = min(size[1], int(place[0]) + reach + 1), min(size[0], int(place[1]) + reach + 1)
    cover = np.zeros((max(1, y1 - y0), max(1, x1 - x0)), np.uint8)
    points = np.round((outline + place - (x0, y0)) * 16).astype(np.int32)
    cv2.fillPoly(cover, [points], (255,), cv2.LINE_AA, 4)
    window = slice(y0, y0 + cover.shape[0]), slice(x0, x0 + cover.shape[1])
    return window, cv2.GaussianBlur(cover, (0, 0), soft_px).astype(np.float32) / 255


def nuclei(rng: Rng, size: Size, radius_px: float = 16.0, density: float = 0.25) -> Picture:
    """Return fluorescent nuclei on a dark ground: textured, some bright, some dividing, out-of-focus haze."""
    count = max(3, int(size[0] * size[1] * density / (np.pi * radius_px**2)))
    out = np.zeros(size, np.float32)
    chromatin = clouds(rng, size, radius_px * 0.7)
    for place in _places(rng, size, count, radius_px * 1.5):
        shape = _blob(rng, radius_px * rng.uniform(0.75, 1.2), rng.uniform(1.0, 1.3))
        light = rng.uniform(0.3, 0.8) * (1.5 if rng.random() < 0.07 else 1.0)
        at, mask = _mask(size, shape, place)
        out[at] = np.maximum(out[at], mask * light * (0.55 + 0.75 * (chromatin[at] - 0.3)))
        for _ in range(int(rng.integers(1, 5))):
            spot = (place[0] + rng.normal(0, radius_px * 0.35), place[1] + rng.normal(0, radius_px * 0.35))
            at, mask = _mask(size, _blob(rng, radius_px * 0.16, 1.0), spot)
            out[at] *= 1 - 0.45 * mask
    haze = cv2.GaussianBlur(out, (0, 0), radius_px * 1.4)
    return grain(rng, out + 0.25 * haze + 0.03 + 0.02 * fog(rng, size, 90))


def fibres(rng: Rng, size: Size, count: int = 0) -> Picture:
    """Return fluorescent filaments that run along a common direction, over a dim ground."""
    count = count or int(size[0] * size[1] / 700)
    out, lean = np.zeros(size, np.float32), rng.uniform(0, np.pi)
    for _ in range(count):
        steps = int(rng.integers(20, 70))
        turn = lean + rng.normal(0, 0.35) + np.cumsum(rng.normal(0, 0.05, steps))
        start = rng.uniform(-20, np.array(size[::-1]) + 20)
        path = start + np.cumsum(np.stack([np.cos(turn), np.sin(turn)], 1) * 3.0, 0)
        layer = np.zeros(size, np.uint8)
        cv2.polylines(
            layer, [np.round(path * 16).astype(np.int32)], False, (255,), int(rng.integers(1, 3)), cv2.LINE_AA, 4
        )
        out += layer.astype(np.float32) * np.float32(rng.uniform(0.1, 0.4) / 255)
    out = cv2.GaussianBlur(np.clip(out, 0, 1), (0, 0), 0.8)
    return grain(rng, out * (0.5 + 0.7 * fog(rng, size, 120)) + 0.05, 90)


def cells(rng: Rng, size: Size, radius_px: float = 34.0) -> Picture:
    """Return a merge: blue nuclei, green cell bodies with filaments, red grains."""
    spots = _places(rng, size, max(3, int(size[0] * size[1] / (radius_px**2 * 5))), radius_px * 1.6)
    body, seed = np.zeros(size, np.float32), np.zeros(size, np.float32)
    dots = np.zeros(size, np.float32)
    inside = clouds(rng, size, 18)
    for place in spots:
        light = rng.uniform(0.4, 0.9)
        outline = _blob(rng, radius_px * rng.uniform(0.8, 1.3), rng.uniform(1.0, 1.6))
        at, mask = _mask(size, outline, place, 3.0)
        body[at] = np.maximum(body[at], mask * light)
        at, mask = _mask(size, _blob(rng, radius_px * 0.36, 1.15), place)
        seed[at] = np.maximum(seed[at], mask * rng.uniform(0.5, 1.0))
        for _ in range(int(rng.integers(15, 50))):
            spot = np.array(place) + rng.normal(0, radius_px * 0.5, 2)
            x, y = int(spot[0]), int(spot[1])
            if 0 <= y < size[0] and 0 <= x < size[1]:
                dots[y, x] += rng.uniform(0.5, 2.0)
    red = np.clip(cv2.GaussianBlur(dots, (0, 0), 1.3) * 6, 0, 1) * (body > 0.05)
    green = body * (0.35 + 0.9 * (inside - 0.2)) + 0.25 * body * fibres(rng, size)
    blue = seed * (0.6 + 0.6 * (clouds(rng, size, 8) - 0.3))
    return np.stack([grain(rng, c + 0.02, 90) for c in (red, green, blue)], -1).astype(np.float32)


def tissue(rng: Rng, size: Size) -> Picture:
    """Return a stained section: pink matrix with strands and gaps, purple nuclei."""
    strand = clouds(rng, size, 40, 5)
    wave = np.sin((strand * 14 + 3 * fog(rng, size, 100)) * np.pi).astype(np.float32)
    pink = np.array([0.93, 0.66, 0.78], np.float32)
    pale = np.array([0.97, 0.93, 0.95], np.float32)
    share = np.clip(0.55 + 0.35 * wave + 0.5 * (fog(rng, size, 25) - 0.5), 0, 1)[..., None]
    out = pale + share * (pink - pale)
    purple = np.array([0.38, 0.2, 0.52], np.float32)
    inside = clouds(rng, size, 6, 3)
    for place in _places(rng, size, int(size[0] * size[1] / 420), 11):
        at, mask = _mask(size, _blob(rng, rng.uniform(4.5, 8.5), rng.uniform(1.0, 1.5)), place, 0.8)
        share = (mask * (0.45 + 0.6 * inside[at]) * rng.uniform(0.7, 1.0))[..., None]
        out[at] += share * (purple - out[at])
    gaps = clouds(rng, size, 70, 2)
    hole = cv2.GaussianBlur((gaps > 0.74).astype(np.float32), (0, 0), 2)[..., None]
    out = out + hole * (0.96 - out)
    return np.clip(out + rng.normal(0, 0.012, (*size, 3)), 0, 1).astype(np.float32)


def phase(rng: Rng, size: Size) -> Picture:
    """Return spread cells in phase contrast: grey ground, dark bodies with granules, bright halos."""
    out = 0.5 + 0.1 * (fog(rng, size, 150) - 0.5)
    rough = clouds(rng, size, 5, 3)
    for place in _places(rng, size, int(size[0] * size[1] / 2600), 42):
        outline = _blob(rng, rng.uniform(16, 26), rng.uniform(1.1, 1.9))
        at, wide = _mask(size, outline, place, 4.2)
        inner = cv2.threshold(wide, 0.5, 1, cv2.THRESH_BINARY)[1]
        mask = cv2.GaussianBlur(inner, (0, 0), 1.0)
        out[at] += 0.55 * np.clip(wide - mask, 0, 1) - mask * (0.22 + 0.3 * (rough[at] - 0.5))
        at, mask = _mask(size, _blob(rng, 6, 1.2), place, 1.5)
        out[at] -= 0.12 * mask
    return grain(rng, out + 0.03 * (clouds(rng, size, 4, 2) - 0.5), 400)


def electron(rng: Rng, size: Size) -> Picture:
    """Return an electron micrograph: granular ground, membranes, dark and pale vesicles."""
    ground = clouds(rng, size, 30, 5)
    line = np.abs(clouds(rng, size, 80, 3) - 0.5)
    out = 0.55 + 0.3 * (ground - 0.5) - 0.45 * np.exp(-((line / 0.012) ** 2))
    for place in _places(rng, size, int(size[0] * size[1] / 1500), 20):
        shape = _blob(rng, rng.uniform(4, 14), rng.uniform(1.0, 1.4))
        at, mask = _mask(size, shape * 0.85, place, 0.8)
        out[at] += mask * rng.uniform(-0.25, 0.2) + 0.35 * mask
        at, mask = _mask(size, shape * 1.15, place, 0.8)
        out[at] -= 0.35 * mask
    return grain(rng, out, 90, 0.02)


def blot(
    rng: Rng, size: Size, lanes: int = 6, rows: int = 1, strength: NDArray[np.float64] | None = None, dark: float = 0.75
) -> Picture:
    """Return dark bands on grey: `strength` (rows x lanes, 0-1) how much each holds; drawn anew at every call."""
    held = rng.uniform(0.2, 1.0, (rows, lanes)) if strength is None else np.asarray(strength)
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    depth = np.zeros(size, np.float32)
    pitch = size[1] / lanes
    for row in range(rows):
        bend, tilt = rng.uniform(-0.06, 0.06) * size[0], rng.normal(0, 0.02) * size[0]
        for lane in range(lanes):
            cx = pitch * (lane + 0.5) + rng.normal(0, pitch * 0.03)
            cy = size[0] * (row + 0.5) / rows + bend * ((cx / size[1] - 0.5) * 2) ** 2 + rng.normal(0, size[0] * 0.012)
            half = pitch * rng.uniform(0.34, 0.42)
            thick = size[0] / rows * rng.uniform(0.09, 0.14) * (0.7 + 0.6 * held[row, lane])
            u = (x - cx) / half
            sag = thick * rng.uniform(0.1, 0.7) * u**2 + tilt * u
            across = np.exp(-(np.abs(u) ** rng.uniform(4, 8)))
            along = np.exp(-(np.abs((y - cy - sag) / thick) ** rng.uniform(2, 3.4)))
            smear = 0.18 * np.exp(-(((y - cy) / (thick * 3.5)) ** 2)) * across
            ripple = 1 + 0.35 * (fog(rng, size, max(4.0, pitch / 5)) - 0.5)
            depth = np.maximum(depth, held[row, lane] * (across * along * ripple + smear))
    ground = 0.86 - 0.1 * fog(rng, size, 120) - 0.05 * clouds(rng, size, 12, 3)
    out = ground * (1 - dark * np.clip(depth, 0, 1))
    for place in _places(rng, size, int(rng.integers(0, 5)), 10):
        at, mask = _mask(size, _blob(rng, rng.uniform(0.8, 2.0), 1.0), place, 0.6)
        out[at] -= 0.3 * mask
    return grain(rng, cv2.GaussianBlur(out, (0, 0), 0.9), 600, 0.008)


def lattice(rng: Rng, size: Size, pitch_px: float, angle: float) -> Picture:
    """Return a hexagonal lattice of spots with noise; phase and noise are random."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    out = np.zeros(size, np.float32)
    for turn in (0.0, 60.0, 120.0):
        wave = np.radians(angle + turn)
        out += np.cos(2 * np.pi * (x * np.cos(wave) + y * np.sin(wave)) / pitch_px + rng.uniform(0, 6.28))
    return grain(rng, np.clip(0.45 + 0.14 * out + 0.1 * (fog(rng, size, 80) - 0.5), 0, 1), 150)


def stripes(rng: Rng, size: Size, pitch_px: float, angle: float) -> Picture:
    """Return a grating, a little uneven, with noise; phase and noise are random."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    wave = np.radians(angle)
    along = (x * np.cos(wave) + y * np.sin(wave)) / pitch_px + rng.uniform(0, 1)
    out = 0.5 + 0.3 * np.tanh(3 * np.sin(2 * np.pi * along)) + 0.08 * (fog(rng, size, 50) - 0.5)
    return grain(rng, out, 150)


def blank(rng: Rng, size: Size, level: float) -> Picture:
    """Return an empty field at this grey level: noise, a trace of uneven light."""
    out = np.full(size, level, np.float32) + 0.02 * (fog(rng, size, 150) - 0.5)
    return np.clip(out + rng.uniform(0.002, 0.012) * rng.standard_normal(size, np.float32), 0, 1)
