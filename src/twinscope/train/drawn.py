"""Drawn pictures for training: textures, cells, fibres, bands, tissue, dots and scenes.

They come in families: the members of a family share every parameter and differ only in the draw, so that they look
alike without being the same picture: the negatives that matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]
Rng = np.random.Generator

SIDE = 256


def family(style: Rng, seeds: list[int]) -> list[NDArray[np.uint8]]:
    """Draw one picture (256x256 grey uint8) for each seed, all in the one style that `style` decides."""
    kinds: list[Callable[[Rng], Callable[[Rng], Grey]]] = [_field, _cells, _fibres, _bands, _tissue, _dots, _scene]
    kind = kinds[int(style.choice(len(kinds), p=[0.15, 0.2, 0.12, 0.2, 0.13, 0.08, 0.12]))]
    draw, finish = kind(style), _finish(style)
    return [finish(draw(rng), rng) for rng in map(np.random.default_rng, seeds)]


def _unit(image: NDArray[Any]) -> Grey:
    low, high = float(image.min()), float(image.max())
    return np.asarray((image - low) / max(1e-6, high - low), np.float32)


def _smooth_noise(rng: Rng, sigma_x: float, sigma_y: float | None = None) -> Grey:
    """Return unit-variance noise smoothed by a Gaussian, drawn coarse where it is very smooth."""
    sigma_y = sigma_x if sigma_y is None else sigma_y
    step = max(1, int(min(sigma_x, sigma_y) / 2))
    side = SIDE // step + 2
    out = cv2.GaussianBlur(rng.standard_normal((side, side), np.float32), (0, 0), sigma_x / step, sigmaY=sigma_y / step)
    out = cv2.resize(out, (side * step, side * step), interpolation=cv2.INTER_CUBIC)[:SIDE, :SIDE]
    return np.asarray(out / max(1e-6, float(out.std())), np.float32)


def _field(style: Rng) -> Callable[[Rng], Grey]:
    sigmas = np.exp(style.uniform(np.log(0.7), np.log(40), int(style.integers(1, 5))))
    weights = style.uniform(0.2, 1, len(sigmas))
    stretch, ridge = np.exp(style.uniform(-1, 1)), style.random()

    def draw(rng: Rng) -> Grey:
        out = sum(w * _smooth_noise(rng, s * stretch, s / stretch) for w, s in zip(weights, sigmas, strict=True))
        if ridge < 0.25:
            out = -np.abs(np.asarray(out))
        elif ridge < 0.45:
            out = 1 / (1 + np.exp(-4 * np.asarray(out)))
        return _unit(np.asarray(out))

    return draw


def _cells(style: Rng) -> Callable[[Rng], Grey]:
    radius, spread = np.exp(style.uniform(np.log(5), np.log(34))), style.uniform(0.05, 0.45)
    count = int(min(160, style.uniform(0.1, 0.9) * SIDE**2 / (np.pi * radius**2) + 2))
    squash, soft, grain = style.uniform(0.55, 1), style.uniform(0.5, 3), style.uniform(0, 0.5)
    rim, core, lobes = style.uniform(-0.5, 0.8), style.uniform(0, 0.8), style.random() < 0.3
    grain_px = style.uniform(1, max(1.5, radius / 3))

    def draw(rng: Rng) -> Grey:
        out = np.zeros((SIDE, SIDE), np.float32)
        for _ in range(max(1, int(count * rng.uniform(0.7, 1.3)))):
            size = radius * np.exp(rng.normal(0, spread))
            layer = np.zeros((SIDE, SIDE), np.uint8)
            centre = rng.uniform(0, SIDE, 2)
            for _ in range(int(rng.integers(1, 4)) if lobes else 1):
                spot = tuple(int(v) for v in centre + rng.normal(0, size / 2 if lobes else 0.1, 2))
                axes = (max(1, round(size)), max(1, round(size * squash * rng.uniform(0.8, 1.1))))
                cv2.ellipse(layer, spot, axes, rng.uniform(0, 180), 0, 360, (255, 255, 255), -1, cv2.LINE_AA)
            x0, y0 = (np.clip(centre - 3 * size - 4, 0, SIDE - 1)).astype(int)
            x1, y1 = (np.clip(centre + 3 * size + 5, 1, SIDE)).astype(int)
            cover = layer[y0:y1, x0:x1].astype(np.float32) / 255
            inner = cv2.erode(cover, np.ones((3, 3), np.uint8), iterations=max(1, round(size / 5)))
            value = rng.uniform(0.5, 1) * cover + rim * (cover - inner)
            if core > 0.4:
                cv2.circle(value, tuple(int(v) for v in centre - (x0, y0) + rng.normal(0, size / 5, 2)),
                           max(1, round(size * 0.35)), float(rng.uniform(0, 1.4)), -1)  # fmt: skip
            out[y0:y1, x0:x1] = np.where(cover > 0.5, value, np.maximum(out[y0:y1, x0:x1], value))
        out = cv2.GaussianBlur(out, (0, 0), soft)
        return _unit(out * (1 + grain * _smooth_noise(rng, grain_px)))

    return draw


def _fibres(style: Rng) -> Callable[[Rng], Grey]:
    count, width = int(style.integers(8, 120)), int(style.integers(1, 6))
    heading, spread = style.uniform(0, np.pi), style.uniform(0.05, 1.6)
    curl, soft, beads = style.uniform(0.005, 0.12), style.uniform(0.4, 2.5), style.random() < 0.3

    def draw(rng: Rng) -> Grey:
        out = np.zeros((SIDE, SIDE), np.float32)
        for _ in range(count):
            turn = np.cumsum(rng.normal(0, curl, 60)) + heading + rng.normal(0, spread)
            path = rng.uniform(-40, SIDE + 40, 2) + np.cumsum(4 * np.stack([np.cos(turn), np.sin(turn)], 1), 0)
            layer = np.zeros((SIDE, SIDE), np.uint8)
            cv2.polylines(layer, [np.rint(path * 8).astype(np.int32)], False, (255, 255, 255),
                          max(1, round(width * rng.uniform(0.5, 1.5))), cv2.LINE_AA, 3)  # fmt: skip
            if beads:
                for spot in path[:: int(rng.integers(6, 20))]:
                    cv2.circle(layer, (int(spot[0]), int(spot[1])), width + 1, (255, 255, 255), -1, cv2.LINE_AA)
            out = np.maximum(out, layer * np.float32(rng.uniform(0.3, 1) / 255)) + layer * np.float32(0.1 / 255)
        return _unit(cv2.GaussianBlur(out, (0, 0), soft))

    return draw


def _bands(style: Rng) -> Callable[[Rng], Grey]:
    lanes, rows = int(style.integers(2, 13)), int(style.integers(1, 8))
    levels = np.sort(style.uniform(0.08, 0.92, rows))
    tall, soft, smear = style.uniform(2, 16), style.uniform(1, 5), style.uniform(0, 0.4)
    smile, missing, gain = style.uniform(-8, 8), style.uniform(0, 0.5), style.uniform(0.2, 1)
    haze, zoom = style.uniform(0, 0.3), style.uniform(1, 2.5)

    def draw(rng: Rng) -> Grey:
        out = np.zeros((SIDE, SIDE), np.float32)
        pitch = SIDE / lanes * (1 if zoom < 1.8 else 1.4)
        for lane in range(lanes):
            x = (lane + 0.5 + rng.normal(0, 0.04)) * pitch
            for row in range(rows):
                if rng.random() < missing:
                    continue
                y = levels[row] * SIDE + rng.normal(0, 2) + smile * np.cos(np.pi * x / SIDE)
                half, thick = pitch * rng.uniform(0.28, 0.45), tall * np.exp(rng.normal(0, 0.35))
                layer = np.zeros((SIDE, SIDE), np.float32)
                cv2.ellipse(layer, (int(x), int(y)), (max(2, int(half)), max(1, int(thick / 2))), rng.normal(0, 3),
                            0, 360, 1.0, -1)  # fmt: skip
                out += np.float32(rng.uniform(1 - gain, 1)) * layer
            lane_box = slice(max(0, int(x - pitch * 0.4)), max(0, int(x + pitch * 0.4)))
            out[:, lane_box] += smear * rng.random() * np.linspace(0, 1, SIDE, dtype=np.float32)[:, None]
        out = cv2.GaussianBlur(out, (0, 0), soft * 1.3, sigmaY=soft)
        out = np.tanh(1.5 * out) + haze * _smooth_noise(rng, 18) + 0.02 * _smooth_noise(rng, 1.2)
        return 1 - _unit(out)

    return draw


def _tissue(style: Rng) -> Callable[[Rng], Grey]:
    count, wall = int(np.exp(style.uniform(np.log(15), np.log(400)))), style.uniform(0.5, 4)
    filled, jitter, stained = style.random() < 0.5, style.uniform(0.1, 1), style.uniform(0, 0.6)

    def draw(rng: Rng) -> Grey:
        side = int(np.ceil(np.sqrt(count)))
        grid = (np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2) + 0.5) * SIDE / side
        points = np.clip(grid + rng.normal(0, jitter * SIDE / side / 2, grid.shape), 0, SIDE - 1).astype(int)
        seeds = np.full((SIDE, SIDE), 255, np.uint8)
        seeds[points[:, 1], points[:, 0]] = 0
        far, label = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP)
        values = rng.uniform(0.4, 1, int(label.max()) + 1).astype(np.float32)
        borders = cv2.morphologyEx(label.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        lines = cv2.GaussianBlur(borders.astype(np.float32), (0, 0), wall)
        out = (values[label] if filled else np.float32(0.3)) - 1.2 * lines / max(1e-6, float(lines.max()))
        if stained > 0.25:
            out = out - stained * (far < SIDE / side * 0.22)
        return _unit(cv2.GaussianBlur(np.asarray(out, np.float32), (0, 0), 0.8) + 0.05 * _smooth_noise(rng, 3))

    return draw


def _dots(style: Rng) -> Callable[[Rng], Grey]:
    count, sigma = int(np.exp(style.uniform(np.log(10), np.log(900)))), np.exp(style.uniform(np.log(0.8), np.log(5)))
    ring, tail, background = style.random() < 0.3, style.uniform(0.2, 1.5), style.uniform(0, 0.3)

    def draw(rng: Rng) -> Grey:
        out = np.zeros((SIDE, SIDE), np.float32)
        spots = rng.integers(0, SIDE, (count, 2))
        np.add.at(out, (spots[:, 1], spots[:, 0]), np.exp(rng.normal(0, tail, count)).astype(np.float32))
        near = cv2.GaussianBlur(out, (0, 0), sigma)
        out = near - 0.9 * cv2.GaussianBlur(out, (0, 0), sigma * 1.6) if ring else near
        return _unit(_unit(out) + background * _smooth_noise(rng, 25) * 0.3)

    return draw


def _scene(style: Rng) -> Callable[[Rng], Grey]:
    count, grain, soft = int(style.integers(5, 60)), style.uniform(0, 0.15), style.uniform(0.4, 2)
    size, round_share = style.uniform(15, 90), style.random()

    def draw(rng: Rng) -> Grey:
        out = 0.5 + 0.2 * _smooth_noise(rng, 50)
        for _ in range(count):
            centre, reach = rng.uniform(0, SIDE, 2), size * np.exp(rng.normal(0, 0.5))
            corners = int(rng.integers(3, 7)) if rng.random() > round_share else 24
            angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
            far = reach * (rng.uniform(0.5, 1, corners) if corners < 24 else rng.uniform(0.9, 1))
            outline = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * np.reshape(far, (-1, 1))
            layer = np.zeros((SIDE, SIDE), np.uint8)
            cv2.fillPoly(layer, [np.rint(outline * 8).astype(np.int32)], (255, 255, 255), cv2.LINE_AA, 3)
            value = rng.uniform(0, 1) + rng.normal(0, 0.1) * (np.arange(SIDE, dtype=np.float32) / SIDE - 0.5)[:, None]
            if rng.random() < 0.4:
                value = value + 0.1 * _smooth_noise(rng, float(np.exp(rng.uniform(0, 2.5))))
            out = out + layer.astype(np.float32) / 255 * (value - out)
        return _unit(cv2.GaussianBlur(np.asarray(out, np.float32), (0, 0), soft) + grain * _smooth_noise(rng, 1))

    return draw


def _finish(style: Rng) -> Callable[[Grey, Rng], NDArray[np.uint8]]:
    """Return the family's optics: uneven light, blur, tone, range and noise of the camera."""
    light, exponent = style.uniform(0, 0.5), np.exp(style.uniform(-0.7, 0.7))
    low, high = style.uniform(0, 0.35), style.uniform(0.45, 1)
    noise, negative, blur = style.uniform(0, 0.06) * (style.random() < 0.7), style.random() < 0.35, style.uniform(0, 1)

    def finish(image: Grey, rng: Rng) -> NDArray[np.uint8]:
        y, x = (np.mgrid[:SIDE, :SIDE] / SIDE - 0.5).astype(np.float32)
        angle = rng.uniform(0, 2 * np.pi)
        out = np.power(np.clip(image, 0, 1), exponent) * (1 + light * (np.cos(angle) * x + np.sin(angle) * y))
        out = 1 - out if negative else out
        if blur > 0.4:
            out = cv2.GaussianBlur(out, (0, 0), float(blur))
        out = low + (high - low) * np.clip(out, 0, 1) + noise * rng.standard_normal(out.shape, np.float32)
        return np.asarray(np.rint(np.clip(out, 0, 1) * 255), np.uint8)

    return finish
