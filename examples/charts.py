"""Draw charts and diagrams as line drawings.

Every chart is a function `(rng, width, height, data=None)` in points. `rng` decides the axes and the style; `data`,
where given, decides the values, so two charts can have the same axes and other data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from paper import BLACK, Colour, Drawing, Label, Shape

Rng = np.random.Generator
PALETTES: tuple[tuple[Colour, ...], ...] = (
    ((0.12, 0.47, 0.71), (1.0, 0.5, 0.05), (0.17, 0.63, 0.17), (0.84, 0.15, 0.16)),
    ((0.2, 0.2, 0.2), (0.55, 0.55, 0.55), (0.8, 0.8, 0.8), (0.35, 0.35, 0.35)),
    ((0.27, 0.0, 0.33), (0.19, 0.41, 0.56), (0.21, 0.72, 0.47), (0.85, 0.8, 0.15)),
    ((0.0, 0.45, 0.7), (0.84, 0.37, 0.0), (0.0, 0.62, 0.45), (0.8, 0.47, 0.65)),
)
GROUPS = ("Control", "Vehicle", "siRNA", "Low", "High", "Mock", "WT", "KO", "+/-", "Day 1", "Day 3", "Day 7")
UNITS = (
    "Nuclei per field",
    "Mean intensity (a.u.)",
    "Relative density",
    "Area (µm²)",
    "Speed (µm/h)",
    "Fold change",
    "Viability (%)",
    "Count",
    "Normalised signal",
)
ACROSS = ("Time (h)", "Dose (µM)", "Distance (µm)", "Day", "Passage", "Cycle")


def axes(width: float, height: float, y_max: float, x_ticks: list[str], y_label: str, x_label: str) -> list[Any]:
    """Return the frame of a chart; the plot area is (26, 8) to (width - 6, height - 24)."""
    x0, y0, x1, y1 = 26.0, 8.0, width - 6, height - 24
    out: list[Any] = [Shape(((x0, y0), (x0, y1), (x1, y1)), width=0.7)]
    for step in range(5):
        y = y1 - (y1 - y0) * step / 4
        out.append(Shape(((x0 - 2.5, y), (x0, y)), width=0.6))
        out.append(Label(x0 - 4, y + 1.8, f"{y_max * step / 4:.3g}", 5.2, 1.0))
    for index, tick in enumerate(x_ticks):
        x = x0 + (x1 - x0) * (index + 0.5) / len(x_ticks)
        out.append(Shape(((x, y1), (x, y1 + 2.5)), width=0.6))
        out.append(Label(x, y1 + 8.5, tick, 5.2, 0.5))
    out.append(Label(8.5, (y0 + y1) / 2, y_label, 6.0, 0.5, upright=True))
    out.append(Label((x0 + x1) / 2, height - 4, x_label, 6.0, 0.5))
    return out


def _area(width: float, height: float) -> tuple[float, float, float, float]:
    return 26.0, 8.0, width - 6, height - 24


def bars(rng: Rng, width: float, height: float, data: Rng | None = None) -> Drawing:
    """Return a bar chart with error bars and perhaps a significance bracket."""
    data = rng if data is None else data
    count, palette = int(rng.integers(2, 7)), PALETTES[rng.integers(len(PALETTES))]
    ticks = (
        [str(t) for t in rng.choice(GROUPS, count, replace=False)] if count < 5 else [str(i + 1) for i in range(count)]
    )
    out = axes(width, height, float(rng.choice([1, 5, 10, 40, 100])), ticks, str(rng.choice(UNITS)), "")
    x0, y0, x1, y1 = _area(width, height)
    one = bool(rng.random() < 0.5)
    for index in range(count):
        left = x0 + (x1 - x0) * (index + 0.22) / count
        right = x0 + (x1 - x0) * (index + 0.78) / count
        top = y1 - (y1 - y0) * data.uniform(0.15, 0.85)
        colour = palette[0 if one else index % 4]
        out.append(Shape(((left, y1), (left, top), (right, top), (right, y1)), BLACK, colour, 0.5))
        error, mid = (y1 - y0) * data.uniform(0.02, 0.1), (left + right) / 2
        out.append(Shape(((mid, top - error), (mid, top + error)), width=0.6))
        out.append(Shape(((mid - 2, top - error), (mid + 2, top - error)), width=0.6))
    if count >= 2 and rng.random() < 0.5:
        a, b = (x0 + (x1 - x0) * (i + 0.5) / count for i in (0, count - 1))
        out.append(Shape(((a, y0 + 3), (a, y0), (b, y0), (b, y0 + 3)), width=0.5))
        out.append(Label((a + b) / 2, y0 - 0.5, str(rng.choice(["*", "**", "***", "n.s."])), 6.0, 0.5))
    return out


def lines(rng: Rng, width: float, height: float, data: Rng | None = None) -> Drawing:
    """Return a line chart of 1-4 series with markers and a legend."""
    data = rng if data is None else data
    points, palette = int(rng.integers(5, 13)), PALETTES[rng.integers(len(PALETTES))]
    pace = int(rng.integers(1, 5))
    ticks = [str(i * pace) for i in range(min(points, 6))]
    out = axes(
        width, height, float(rng.choice([1, 2, 8, 50, 100])), ticks, str(rng.choice(UNITS)), str(rng.choice(ACROSS))
    )
    x0, y0, x1, y1 = _area(width, height)
    at = np.linspace(0.04, 0.96, points)
    for index in range(int(rng.integers(1, 5))):
        rise = data.uniform(-1.5, 4)
        level = 0.5 * data.uniform(0.1, 0.5) + data.uniform(0.2, 0.6) / (
            1 + np.exp(-rise * (at - data.uniform(0.2, 0.8)) * 4)
        )
        level = np.clip(level + data.normal(0, 0.02, points), 0.02, 0.97)
        spots = tuple((float(x0 + (x1 - x0) * a), float(y1 - (y1 - y0) * b)) for a, b in zip(at, level, strict=True))
        colour = palette[index]
        out.append(Shape(spots, colour, None, 0.9))
        for x, y in spots:
            out.append(_dot(x, y, 1.4, colour))
        out.append(Shape(((x1 - 30, y0 + 6 + 7 * index), (x1 - 22, y0 + 6 + 7 * index)), colour, None, 1.0))
        out.append(Label(x1 - 20, y0 + 8 + 7 * index, str(rng.choice(GROUPS)), 4.8))
    return out


def scatter(rng: Rng, width: float, height: float, data: Rng | None = None) -> Drawing:
    """Return a scatter plot with a fitted line."""
    data = rng if data is None else data
    out = axes(
        width,
        height,
        float(rng.choice([1, 10, 60])),
        ["0", "20", "40", "60", "80"],
        str(rng.choice(UNITS)),
        str(rng.choice(UNITS)),
    )
    x0, y0, x1, y1 = _area(width, height)
    slope, colour = data.uniform(-0.8, 0.8), PALETTES[rng.integers(len(PALETTES))][0]
    for _ in range(int(rng.integers(25, 90))):
        a = data.uniform(0.03, 0.97)
        b = float(np.clip(0.5 + slope * (a - 0.5) + data.normal(0, 0.12), 0.02, 0.98))
        out.append(_dot(x0 + (x1 - x0) * a, y1 - (y1 - y0) * b, 1.2, colour))
    ends = [float(np.clip(0.5 + slope * (a - 0.5), 0, 1)) for a in (0.0, 1.0)]
    out.append(Shape(((x0, y1 - (y1 - y0) * ends[0]), (x1, y1 - (y1 - y0) * ends[1])), (0.8, 0.1, 0.1), None, 0.8))
    out.append(Label(x0 + 6, y0 + 6, f"r = {slope:.2f}", 5.2))
    return out


def boxes(rng: Rng, width: float, height: float, data: Rng | None = None) -> Drawing:
    """Return a box plot with the single values."""
    data = rng if data is None else data
    count, palette = int(rng.integers(2, 6)), PALETTES[rng.integers(len(PALETTES))]
    ticks = [str(t) for t in rng.choice(GROUPS, count, replace=False)]
    out = axes(width, height, float(rng.choice([2, 10, 400])), ticks, str(rng.choice(UNITS)), "")
    x0, y0, x1, y1 = _area(width, height)
    for index in range(count):
        mid = x0 + (x1 - x0) * (index + 0.5) / count
        half = (x1 - x0) * 0.26 / count
        values = np.clip(data.normal(data.uniform(0.3, 0.7), 0.1, 18), 0.02, 0.98)
        low, first, middle, third, high = (
            y1 - (y1 - y0) * float(q) for q in np.quantile(values, (0.02, 0.25, 0.5, 0.75, 0.98))
        )
        out.append(Shape(((mid, low), (mid, high)), width=0.6))
        out.append(
            Shape(
                ((mid - half, first), (mid - half, third), (mid + half, third), (mid + half, first)),
                BLACK,
                palette[index % 4],
                0.6,
            )
        )
        out.append(Shape(((mid - half, middle), (mid + half, middle)), width=1.0))
        for value in values:
            out.append(
                _dot(mid + float(data.uniform(-half, half)), y1 - (y1 - y0) * float(value), 0.8, (0.25, 0.25, 0.25))
            )
    return out


def survival(rng: Rng, width: float, height: float, data: Rng | None = None) -> Drawing:
    """Return two or three falling step curves."""
    data = rng if data is None else data
    out = axes(width, height, 100, ["0", "10", "20", "30", "40"], "Survival (%)", "Time (weeks)")
    x0, y0, x1, y1 = _area(width, height)
    for index in range(int(rng.integers(2, 4))):
        times, level, spots = np.sort(data.uniform(0, 1, int(rng.integers(6, 14)))), 1.0, [(x0, y0)]
        for time in times:
            x = float(x0 + (x1 - x0) * time)
            spots.append((x, y1 - (y1 - y0) * level))
            level = max(0.05, level - data.uniform(0.02, 0.12))
            spots.append((x, y1 - (y1 - y0) * level))
        out.append(Shape((*spots, (x1, y1 - (y1 - y0) * level)), PALETTES[3][index], None, 1.0))
    out.append(Label(x0 + 8, y1 - 6, f"P = {data.uniform(0.001, 0.2):.3f}", 5.2))
    return out


def histogram(rng: Rng, width: float, height: float, data: Rng | None = None) -> Drawing:
    """Return a histogram."""
    data = rng if data is None else data
    out = axes(width, height, 60, ["0", "50", "100", "150", "200", "250"], "Count", "Intensity (a.u.)")
    x0, y0, x1, y1 = _area(width, height)
    count, colour = int(rng.integers(12, 30)), PALETTES[rng.integers(len(PALETTES))][int(rng.integers(4))]
    centre, spread = data.uniform(0.25, 0.7), data.uniform(0.08, 0.22)
    for index in range(count):
        a = (index + 0.5) / count
        top = y1 - (y1 - y0) * float(
            np.clip(np.exp(-((a - centre) ** 2) / 2 / spread**2) * data.uniform(0.75, 0.95), 0.005, 1)
        )
        left, right = x0 + (x1 - x0) * index / count, x0 + (x1 - x0) * (index + 1) / count
        out.append(Shape(((left, y1), (left, top), (right, top), (right, y1)), (1, 1, 1), colour, 0.3))
    return out


def heatmap(rng: Rng, width: float, height: float, data: Rng | None = None) -> Drawing:
    """Return a table of coloured squares with names."""
    data = rng if data is None else data
    rows, columns, out = int(rng.integers(4, 9)), int(rng.integers(4, 9)), []
    x0, y0, x1, y1 = 30.0, 8.0, width - 6, height - 20
    for r in range(rows):
        for c in range(columns):
            v = float(data.uniform())
            colour = (min(1.0, 2 * v), 1 - abs(2 * v - 1), min(1.0, 2 - 2 * v))
            a, b = x0 + (x1 - x0) * c / columns, y0 + (y1 - y0) * r / rows
            d, e = x0 + (x1 - x0) * (c + 1) / columns, y0 + (y1 - y0) * (r + 1) / rows
            out.append(Shape(((a, b), (d, b), (d, e), (a, e)), None, colour, 0.0))
        out.append(Label(x0 - 3, y0 + (y1 - y0) * (r + 0.5) / rows + 2, f"Gene{int(rng.integers(1, 99))}", 5.0, 1.0))
    for c in range(columns):
        out.append(Label(x0 + (x1 - x0) * (c + 0.5) / columns, y1 + 7, f"S{c + 1}", 5.0, 0.5))
    return out


def diagram(rng: Rng, width: float, height: float, data: Rng | None = None) -> Drawing:
    """Return a scheme of boxes and arrows."""
    steps = [
        str(s) for s in rng.permutation(["Seed", "Treat", "Fix", "Stain", "Image", "Segment", "Count", "Lyse", "Blot"])
    ]
    count, out = int(rng.integers(3, 6 if width > 150 else 4)), []
    for index in range(count):
        mid, half = width * (index + 0.5) / count, width * 0.36 / count
        y = height * (0.35 if index % 2 else 0.6)
        fill = tuple(float(v) for v in rng.uniform(0.75, 1, 3))
        out.append(
            Shape(
                ((mid - half, y - 9), (mid + half, y - 9), (mid + half, y + 9), (mid - half, y + 9)), BLACK, fill, 0.7
            )
        )
        out.append(Label(mid, y + 2, steps[index], 6.0, 0.5))
        if index + 1 < count:
            ahead = height * (0.6 if index % 2 else 0.35)
            tip = (width * (index + 1.5) / count - half, ahead)
            out.append(Shape(((mid + half, y), tip), width=0.8))
            out.append(Shape((tip, (tip[0] - 4, tip[1] - 2), (tip[0] - 4, tip[1] + 2)), BLACK, BLACK, 0.3))
    return out


CHARTS: tuple[Callable[[Rng, float, float], Drawing], ...] = (bars, lines, scatter, boxes, survival, histogram, heatmap)


def _dot(x: float, y: float, radius: float, colour: Colour) -> Shape:
    turn = np.linspace(0, 2 * np.pi, 9)[:-1]
    return Shape(tuple((float(x + radius * np.cos(t)), float(y + radius * np.sin(t))) for t in turn), None, colour, 0.0)
