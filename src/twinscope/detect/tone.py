"""The tone curve between two aligned pictures, told in words."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from twinscope.detect.features import Bools, Floats

LEVELS = 48
"""Bins of the tone curve."""
ENOUGH = 10_000
"""Of so many pixels and more, evenly taken, the curve is made."""
FINE = 65536
"""Steps of the table by which a curve is applied to a picture."""


class Tone(NamedTuple):
    """A tone curve a to b: `predicted` is b as a's tones foretell it (h, w) in [0, 1]; `steps` tell it in words."""

    predicted: Floats
    steps: tuple[str, ...]


FLAT = 0.05
"""A contrast below this is none: the tones of one picture do not follow those of the other, as under fog."""


def tone(a: Floats, b: Floats, mask: Bools, inverted: bool) -> Tone:
    """Fit b = curve(a) over a mask for aligned pictures (h, w) float32 in [0, 1].

    The curve is the running median of b over the levels of a, made monotone (falling when inverted), so that local
    edits do not bend it. The words come from the simplest of identity, linear and gamma that explains the curve.
    """
    fitted = _fitted(a, b, mask, inverted)
    if fitted is None:
        return Tone(a, ("inverted",) if inverted else ())
    levels, medians, weights = fitted
    return Tone(_applied(a, levels, medians), tuple(_words(levels, medians, weights, inverted)))


def predicted(a: Floats, b: Floats, mask: Bools, inverted: bool) -> Floats:
    """Return b as a's tones foretell it, (h, w) float32 in [0, 1], as `tone` does, without the words."""
    fitted = _fitted(a, b, mask, inverted)
    return a if fitted is None else _applied(a, fitted[0], fitted[1])


def _fitted(a: Floats, b: Floats, mask: Bools, inverted: bool) -> tuple[Floats, Floats, Floats] | None:
    """Return levels of a, what they become, and their weights; None where there are too few of them."""
    x = cv2.GaussianBlur(a, (0, 0), 1.0)
    y = cv2.GaussianBlur(b, (0, 0), 1.0)
    levels, medians, weights = _curve(*(z[mask][:: max(1, int(mask.sum()) // ENOUGH)] for z in (x, y)))
    if len(levels) < 3:
        return None
    monotone = _isotonic(-medians if inverted else medians, weights)
    return levels, -monotone if inverted else monotone, weights


def _applied(a: Floats, levels: Floats, medians: Floats) -> Floats:
    table = np.interp(np.linspace(0, 1, FINE + 1), *_extended(levels, medians)).astype(np.float32)
    return np.asarray(table[(a * np.float32(FINE) + np.float32(0.5)).astype(np.int32)], np.float32)


def _curve(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    if x.size < 200:
        return x[:0], x[:0], x[:0]
    order = np.argsort(x)
    x, y = x[order], y[order]
    places = np.linspace(0, x.size - 1, LEVELS + 1)
    low, share = places.astype(np.int64), places % 1
    edges = np.unique(x[low] + share * (x[np.minimum(low + 1, x.size - 1)] - x[low]))
    if len(edges) < 4:
        return x[:0], x[:0], x[:0]
    first = np.searchsorted(x, edges[:-1])  # a bin begins at its edge; the last one has its end, too
    counts = np.diff(np.append(first, x.size))
    apart = np.repeat(2.0 * np.arange(len(counts)), counts)
    y = np.sort(y + apart) - apart  # tones lie in [0, 1]: so moved, those of a bin stay together when sorted
    full = counts >= 5
    first, counts = first[full], counts[full]
    below, above = first + (counts - 1) // 2, first + counts // 2
    medians = ((z[below] + z[above]) / 2 for z in (x, y))
    levels, values = (np.asarray(z, np.float32) for z in medians)
    return levels, values, counts.astype(np.float32)


def _extended(levels: Floats, medians: Floats) -> tuple[Floats, Floats]:
    """Continue a curve straight to 0 and 1, so that its ends are not cut off."""
    few = min(4, len(levels) - 1)
    first = (medians[few] - medians[0]) / max(float(levels[few] - levels[0]), 1e-6)
    last = (medians[-1] - medians[-1 - few]) / max(float(levels[-1] - levels[-1 - few]), 1e-6)
    low, high = medians[0] - first * levels[0], medians[-1] + last * (1 - levels[-1])
    ends = np.clip([low, high], 0, 1)
    x = np.concatenate([[min(-1e-6, levels[0])], levels, [max(1 + 1e-6, levels[-1])]])
    return x.astype(np.float32), np.concatenate([ends[:1], medians, ends[1:]]).astype(np.float32)


def _isotonic(values: Floats, weights: Floats) -> Floats:
    """Return the nearest rising sequence (pool adjacent violators)."""
    blocks: list[list[float]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            high, low = blocks.pop(), blocks.pop()
            total = low[1] + high[1]
            blocks.append([(low[0] * low[1] + high[0] * high[1]) / total, total, low[2] + high[2]])
    return np.repeat([b[0] for b in blocks], [int(b[2]) for b in blocks]).astype(np.float32)


def _words(x: Floats, y: Floats, weights: Floats, inverted: bool) -> list[str]:
    out = ["inverted"] if inverted else []
    if inverted:
        y = 1 - y
    inner = (y > 0.012) & (y < 0.988) & (x > 0.004)
    if inner.sum() < 4 or np.ptp(x[inner]) < 0.03:
        return out
    x, y, weights = x[inner], y[inner], np.sqrt(weights[inner])
    if _error(x - y, weights) < 0.008:
        return out
    slope, offset = np.polyfit(x, y, 1, w=weights)
    linear = _error(slope * x + offset - y, weights)
    gamma, scale, missed = _gamma(x, y, weights)
    if missed < 0.8 * linear and missed < 0.03 and abs(np.log(gamma)) > 0.05:
        out.append(f"gamma {gamma:.2g}")
        if abs(scale - 1) > 0.04:
            out.append(f"brightness × {scale:.2f}")
    elif linear < 0.03 and slope > FLAT:
        middle = float(np.average(x, weights=weights))
        shift = slope * middle + offset - middle
        if abs(slope - 1) > 0.04:
            out.append(f"contrast × {slope:.2f}")
        if abs(shift) > 0.015:
            out.append(f"brightness {shift * 100:+.0f} %")
    else:
        out.append("tone curve changed")
    return out


def _gamma(x: Floats, y: Floats, weights: Floats) -> tuple[float, float, float]:
    """Return the gamma and the scale for which scale x^gamma is nearest to y, and how far it is from it."""
    gammas = np.geomspace(0.3, 3.4, 181)
    powers = x.astype(np.float64) ** gammas[:, None]
    w2 = (weights * weights).astype(np.float64)
    scales = (w2 * powers * y).sum(1) / np.maximum((w2 * powers * powers).sum(1), 1e-9)
    errors = np.sqrt(np.average((scales[:, None] * powers - y) ** 2, axis=1, weights=w2))
    best = int(errors.argmin())
    return float(gammas[best]), float(scales[best]), float(errors[best])


def _error(residual: Floats, weights: Floats) -> float:
    return float(np.sqrt(np.average(residual * residual, weights=weights * weights)))
