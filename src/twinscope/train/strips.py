"""Drawn panels that no data set has: blot strips, sharp or soft, spot plates, lone cells on a dark field.

All are float32 (h, w) in [0, 1]; the rng alone decides.
"""

from __future__ import annotations

import cv2
import numpy as np

from twinscope import manipulate as m

Rng = np.random.Generator
Float = m.Image


def _band(rng: Rng) -> tuple[float, float, float, float, float]:
    """Draw the shape of a band: half width, thickness, sag, and how its ends and its edges fall off."""
    sizes = float(rng.uniform(0.3, 0.45)), float(rng.uniform(0.07, 0.17)), float(rng.normal(0, 0.2))
    return *sizes, float(rng.uniform(2.5, 6)), float(rng.uniform(1.6, 2.6))


def blot(
    rng: Rng,
    lanes: int | None = None,
    layout: Float | None = None,
    even: float = 1.0,
    shape: int | None = None,
    grain: float = 1.0,
) -> Float:
    """Draw a blot strip: dark bands on light ground with smears, uneven ground, dust and film grain.

    `layout` (lanes,) in [0, 1] sets the strength of each band, so that two strips can look alike and not be the same;
    `even` below 1 makes the bands more alike in place and shape; `shape` is the seed of the shape that they share;
    `grain` scales the film grain and what is uneven in the ground.
    """
    count = lanes or int(rng.integers(3, 10))
    height, width = int(rng.integers(40, 110)), int(count * rng.integers(30, 60))
    strengths = layout if layout is not None else rng.uniform(0.1, 1, count).astype(np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    dark = np.zeros((height, width), np.float32)
    lane = width / len(strengths)
    tilt = even * rng.normal(0, 0.02)
    usual = _band(np.random.default_rng(int(rng.integers(2**31)) if shape is None else shape))
    for k, strength in enumerate(strengths):
        cx = (k + 0.5) * lane + even * rng.normal(0, 0.05 * lane)
        cy = height * 0.5 + tilt * (cx - width / 2) + even * rng.normal(0, 0.04 * height)
        mixed = [even * own + (1 - even) * same for own, same in zip(_band(rng), usual, strict=True)]
        wide, tall, bend, edge, fall = mixed
        half, thick = lane * wide, height * tall
        sag = bend * thick
        u = (x - cx) / half
        v = (y - cy - sag * u * u) / thick
        band = np.exp(-(np.abs(u) ** edge)) * np.exp(-(np.abs(v) ** fall))
        dark += strength * rng.uniform(0.7, 1.1) * band.astype(np.float32)
    texture = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), rng.uniform(1.2, 4))
    texture /= texture.std() + 1e-6
    ground = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 15)
    ground /= ground.std() + 1e-6
    texture, ground = grain * texture, grain * ground
    out = rng.uniform(0.75, 0.93) - 0.03 * ground - 0.72 * (1 - np.exp(-1.6 * dark)) * (1 + 0.06 * texture)
    out += rng.uniform(0.004, 0.02) * texture + rng.uniform(0.003, 0.015) * grain * rng.standard_normal((height, width))
    return np.asarray(np.clip(out, 0, 1), np.float32)


def loading(rng: Rng, lanes: int, shape: int) -> Float:
    """Draw a strip as of a loading control: (nearly) black bands that are much the same, on a clean, even ground."""
    layout = rng.uniform(0.8, 2.5, lanes).astype(np.float32)
    strip = blot(rng, lanes, layout, float(rng.uniform(0.05, 0.4)), shape, float(rng.uniform(0, 0.25)))
    ground = float(np.median(strip))
    return np.asarray(np.clip(ground + rng.uniform(1, 3) * (strip - ground), 0, 1), np.float32)


def framed(strip: Float, rng: Rng) -> Float:
    """Return a strip with the thin dark outline that papers draw round it, or (two in five) without."""
    out = strip.copy()
    if rng.random() < 0.6:
        thick, level = int(rng.integers(1, 3)), float(rng.uniform(0, 0.4))
        out[:thick], out[-thick:], out[:, :thick], out[:, -thick:] = level, level, level, level
    return out


def soft(strip: Float, rng: Rng) -> Float:
    """Return a strip as a blurred, enlarged scan of few pixels: nearly no keypoints are left on it."""
    if rng.random() < 0.5:
        return _enlarged(strip, rng)
    _, width = strip.shape
    share = int(rng.integers(1, 4)) / max(1, round(width / 45))
    part = strip[:, : max(60, int(width * min(1.0, share)))]
    out = cv2.GaussianBlur(part, (0, 0), rng.uniform(2.0, 4.5))
    factor = rng.uniform(1.2, 2.2)
    out = cv2.resize(out, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(out, 0, 1), np.float32)


def _enlarged(strip: Float, rng: Rng) -> Float:
    """Return a few pixels of a strip, compressed and then enlarged many times: bands without fine detail."""
    height, width = strip.shape
    strip = cv2.GaussianBlur(strip, (0, 0), rng.uniform(1.0, 2.5))
    w, h = min(width, int(rng.integers(24, 90))), min(height, int(rng.integers(14, 45)))
    x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    part = m.jpeg(strip[y : y + h, x : x + w], rng, quality=int(rng.integers(55, 98))).image
    factor = min(10.0, rng.uniform(200, 430) / w)
    out = cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(out, 0, 1), np.float32)


def spots(rng: Rng, rows: int, columns: int, dilution: float) -> Float:
    """Draw a spot assay: rows of round colonies on dark agar, thinner from left to right."""
    pitch = int(rng.integers(34, 60))
    height, width = rows * pitch + 14, columns * pitch + 14
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    out = np.full((height, width), rng.uniform(0.1, 0.25), np.float32)
    for r in range(rows):
        for c in range(columns):
            cx, cy = 7 + (c + 0.5) * pitch + rng.normal(0, 1.5), 7 + (r + 0.5) * pitch + rng.normal(0, 1.5)
            far = np.hypot(x - cx, y - cy) / (pitch * rng.uniform(0.36, 0.42))
            grains = cv2.GaussianBlur((rng.random((height, width)) < 0.25 * dilution**c).astype(np.float32), (0, 0), 1)
            body = np.clip(grains * 6, 0, 1) if dilution**c < 0.6 else np.float32(1.0)
            out += (far < 1) * body * np.float32(rng.uniform(0.5, 0.65))
    out = cv2.GaussianBlur(out, (0, 0), 1.0) + np.float32(0.02) * rng.standard_normal((height, width), np.float32)
    return np.asarray(np.clip(out, 0, 1), np.float32)


def cells(rng: Rng) -> Float:
    """Draw one to three textured cells on a dark field, float32 (h, w)."""
    width = int(rng.integers(180, 420))
    height = int(width * rng.uniform(0.7, 1.1))
    out = np.zeros((height, width), np.float32)
    size = rng.uniform(0.06, 0.2) * width
    for _ in range(int(rng.integers(1, 4))):
        mask = np.zeros((height, width), np.float32)
        centre = int(rng.uniform(0.1, 0.9) * width), int(rng.uniform(0.1, 0.9) * height)
        axes = int(size * rng.uniform(0.8, 1.2)), int(size * rng.uniform(0.5, 1.0))
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, (1.0,), -1)
        mask = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(1, 4)))
        grain = cv2.GaussianBlur(
            rng.standard_normal((height, width), np.float32), (0, 0), float(rng.uniform(1, size / 3))
        )
        out = np.maximum(
            out, mask * np.clip(rng.uniform(0.4, 0.9) + 0.12 * grain / max(1e-6, float(grain.std())), 0, 1)
        )
    ground = rng.uniform(0.01, 0.1) + rng.uniform(0.002, 0.015) * rng.standard_normal((height, width), np.float32)
    return np.asarray(np.clip(out + ground, 0, 1), np.float32)
