"""Drawn charts, diagrams, strips and plates: what the kind classifier learns from beside micrographs.

All are drawn from random numbers; nothing is copied from a paper.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Ellipse, FancyArrowPatch, FancyBboxPatch, Polygon

Image = NDArray[np.uint8]
Rng = np.random.Generator

_WORDS = [
    "control",
    "WT",
    "time (h)",
    "dose",
    "cells",
    "5 min",
    "10 kDa",
    "GFP",
    "actin",
    "mean",
    "signal",
    "p < 0.05",
    "n = 12",
]
_MAPS = ["viridis", "magma", "jet", "hot", "coolwarm", "RdBu_r", "Blues", "Greens", "gray", "tab20"]


def chart(rng: Rng) -> Image:
    """Return one chart (HxWx3 RGB uint8) of a random type, size and style."""
    side = rng.uniform(1.2, 4.0)
    figure = plt.figure(figsize=(side * rng.uniform(0.8, 1.6), side), dpi=float(rng.uniform(90, 300)))
    try:
        draw = _CHARTS[int(rng.integers(len(_CHARTS)))]
        axes = figure.add_subplot(projection="3d" if draw is _surface else None)
        if rng.random() < 0.15 and draw is not _surface:
            axes.set_facecolor(tuple(rng.uniform(0.88, 0.96, 3)))
            axes.grid(True, color="white")
        draw(axes, rng)
        if rng.random() < 0.7:
            axes.set_xlabel(" ".join(rng.choice(_WORDS, 2)), fontsize=rng.uniform(6, 11))
            axes.set_ylabel(" ".join(rng.choice(_WORDS, 3)), fontsize=rng.uniform(6, 11))
        if rng.random() < 0.5 and draw is not _surface:
            axes.spines[["top", "right"]].set_visible(False)
        if rng.random() < 0.3:
            axes.set_title(" ".join(rng.choice(_WORDS, 2)), fontsize=rng.uniform(7, 12))
        return _pixels(figure)
    finally:
        plt.close(figure)


def _pixels(figure: Any) -> Image:
    figure.canvas.draw()
    return np.ascontiguousarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])


def _lines(axes: Any, rng: Rng) -> None:
    x = np.arange(rng.integers(4, 80))
    for _ in range(rng.integers(1, 6)):
        y = np.cumsum(rng.normal(0, 1, len(x)))
        colour = rng.uniform(0, 0.8, 3)
        axes.plot(x, y, color=colour, lw=rng.uniform(0.5, 2.5), marker=rng.choice(["", "o", "s", "^"]), ms=3)
        if rng.random() < 0.4:
            axes.fill_between(x, y - 1, y + 1, color=colour, alpha=0.25, lw=0)


def _bars(axes: Any, rng: Rng) -> None:
    n = int(rng.integers(2, 12))
    grey = rng.random() < 0.4
    colours = np.repeat(rng.uniform(0, 0.9, (n, 1)), 3, axis=1) if grey else rng.uniform(0, 1, (n, 3))
    edge = rng.choice(["black", "none"])
    axes.bar(range(n), rng.uniform(0.1, 1, n), yerr=rng.uniform(0, 0.2, n), color=colours, edgecolor=edge, capsize=2,
             width=rng.uniform(0.4, 1.0))  # fmt: skip


def _scatter(axes: Any, rng: Rng) -> None:
    for _ in range(rng.integers(1, 4)):
        n = int(np.exp(rng.uniform(np.log(10), np.log(9000))))
        x, y = rng.normal(rng.normal(), 1, n), rng.normal(rng.normal(), 1, n)
        axes.scatter(x, y, s=rng.uniform(0.3, 20), color=rng.uniform(0, 1, 3), alpha=rng.uniform(0.3, 1), lw=0)


def _heat(axes: Any, rng: Rng) -> None:
    rows, columns = (int(np.exp(rng.uniform(np.log(3), np.log(60)))) for _ in range(2))
    values = rng.normal(0, 1, (rows, columns)) + np.linspace(0, rng.uniform(0, 4), columns)
    shown = axes.imshow(values, aspect="auto", cmap=str(rng.choice(_MAPS)), interpolation="nearest")
    if rng.random() < 0.4:
        axes.figure.colorbar(shown, ax=axes)


def _contour(axes: Any, rng: Rng) -> None:
    y, x = np.mgrid[-2:2:60j, -2:2:60j]
    values = np.sin(x * rng.uniform(1, 3)) * np.cos(y * rng.uniform(1, 3)) + rng.uniform(-1, 1) * x
    (axes.contourf if rng.random() < 0.7 else axes.contour)(x, y, values, 12, cmap=str(rng.choice(_MAPS)))


def _boxes(axes: Any, rng: Rng) -> None:
    data = [rng.normal(rng.uniform(0, 3), 1, 40) for _ in range(rng.integers(2, 8))]
    if rng.random() < 0.5:
        parts = axes.boxplot(data, patch_artist=True)
        for patch in parts["boxes"]:
            patch.set_facecolor(rng.uniform(0.2, 1, 3))
    else:
        axes.violinplot(data)


def _histogram(axes: Any, rng: Rng) -> None:
    for _ in range(rng.integers(1, 3)):
        axes.hist(
            rng.normal(rng.normal(), 1, 500), bins=int(rng.integers(10, 80)), color=rng.uniform(0, 1, 3), alpha=0.7
        )


def _pie(axes: Any, rng: Rng) -> None:
    n = int(rng.integers(2, 8))
    axes.pie(rng.uniform(0.2, 1, n), labels=rng.choice(_WORDS, n), colors=rng.uniform(0.2, 1, (n, 3)))


def _surface(axes: Any, rng: Rng) -> None:
    y, x = np.mgrid[-2:2:30j, -2:2:30j]
    axes.plot_surface(x, y, np.exp(-(x**2) - y**2) * rng.uniform(-1, 1), cmap=str(rng.choice(_MAPS)))


_CHARTS: list[Callable[[Any, Rng], None]] = [
    _lines, _lines, _bars, _bars, _scatter, _scatter, _heat, _contour, _boxes, _boxes, _histogram, _pie, _surface,
]  # fmt: skip


def diagram(rng: Rng) -> Image:
    """Return one diagram (HxWx3 RGB uint8): boxes and arrows, a cartoon, a label image, or text."""
    return (_flow, _flow, _cartoon, _cartoon, labels, labels, _button, _text)[int(rng.integers(8))](rng)


def _blank(rng: Rng) -> tuple[Any, Any]:
    side = rng.uniform(0.8, 3.5)
    figure = plt.figure(figsize=(side * rng.uniform(0.7, 2.5), side), dpi=float(rng.uniform(90, 300)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    if rng.random() < 0.2:
        figure.set_facecolor(tuple(rng.uniform(0.75, 1, 3)))
    return figure, axes


def _flow(rng: Rng) -> Image:
    figure, axes = _blank(rng)
    try:
        spots = rng.uniform(0.1, 0.8, (rng.integers(3, 10), 2))
        for x, y in spots:
            style = str(rng.choice(["round,pad=0.02", "square,pad=0.02"]))
            axes.add_patch(FancyBboxPatch((x, y), 0.15, 0.06, boxstyle=style, fc=rng.uniform(0.3, 1, 3), ec="black"))
            axes.text(x, y, str(rng.choice(_WORDS)), fontsize=rng.uniform(5, 10))
        for a, b in pairwise(spots):
            axes.add_patch(FancyArrowPatch(a, b, arrowstyle="-|>", mutation_scale=10, color=rng.uniform(0, 0.6, 3)))
        return _pixels(figure)
    finally:
        plt.close(figure)


def _cartoon(rng: Rng) -> Image:
    figure, axes = _blank(rng)
    try:
        for _ in range(rng.integers(3, 14)):
            face, spot = rng.uniform(0.1, 1, 3), tuple(rng.uniform(0, 1, 2))
            if rng.random() < 0.6:
                axes.add_patch(Ellipse(spot, *rng.uniform(0.03, 0.5, 2), angle=rng.uniform(0, 90), fc=face,
                                       ec=face * 0.5, alpha=rng.uniform(0.4, 1)))  # fmt: skip
            else:
                corners = spot + rng.normal(0, 0.12, (rng.integers(3, 9), 2))
                axes.add_patch(Polygon(corners, fc=face if rng.random() < 0.6 else "none", ec="black"))
        if rng.random() < 0.3:
            ramp = np.linspace(0, 1, 64)[None]
            axes.imshow(ramp, extent=(0.1, 0.7, 0.1, 0.2), aspect="auto", cmap=str(rng.choice(_MAPS)))
            axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.text(*rng.uniform(0.1, 0.7, 2), " ".join(rng.choice(_WORDS, 2)), fontsize=rng.uniform(5, 12))
        return _pixels(figure)
    finally:
        plt.close(figure)


def labels(rng: Rng) -> Image:
    """Return a label image: cells in flat colours, on black or touching."""
    height, width = (int(v) for v in rng.integers(90, 420, 2))
    count = int(np.exp(rng.uniform(np.log(6), np.log(150))))
    seeds = rng.uniform(0, 1, (count, 2)) * (height, width)
    y, x = np.mgrid[:height, :width]
    squared = np.stack([(y - a) ** 2 + (x - b) ** 2 for a, b in seeds])
    owner = squared.argmin(axis=0)
    palette = rng.integers(0, 256, (count, 3))
    if rng.random() < 0.15:
        palette[:] = 255
    out = palette[owner].astype(np.uint8)
    if rng.random() < 0.8:
        radius = np.sqrt(height * width / count) * rng.uniform(0.3, 0.55)
        out[squared.min(axis=0) > radius**2] = 0
    step = int(rng.integers(1, 4))
    return np.ascontiguousarray(out.repeat(step, axis=0).repeat(step, axis=1))


def _button(rng: Rng) -> Image:
    """Return a fragment as the splitter meets it: a flat or shaded block, perhaps with a word on it."""
    height, width = int(rng.integers(20, 200)), int(rng.integers(20, 400))
    out = np.empty((height, width, 3), np.float32)
    out[:] = rng.uniform(0, 255, 3) if rng.random() < 0.7 else rng.uniform(0, 255)
    if rng.random() < 0.4:
        out += np.linspace(-1, 1, height, dtype=np.float32)[:, None, None] * rng.uniform(5, 50)
    image = np.clip(out, 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        ink = (0, 0, 0) if image.mean() > 120 else (255, 255, 255)
        cv2.putText(image, str(rng.choice(_WORDS)), (int(width * 0.1), int(height * 0.65)), cv2.FONT_HERSHEY_SIMPLEX,
                    height / 60, ink, max(1, height // 40), cv2.LINE_AA)  # fmt: skip
    if rng.random() < 0.5:
        cv2.rectangle(image, (0, 0), (width - 1, height - 1), (0, 0, 0), int(rng.integers(1, 4)))
    return image


def _text(rng: Rng) -> Image:
    figure, axes = _blank(rng)
    try:
        for row in range(int(rng.integers(2, 12))):
            axes.text(0.02, 1 - row / 10, " ".join(rng.choice(_WORDS, 8)), fontsize=rng.uniform(6, 12), va="top")
        return _pixels(figure)
    finally:
        plt.close(figure)


def strip(rng: Rng) -> Image:
    """Return a blot strip: soft dark bands in a row on a light ground, now and then inverted or framed."""
    height, width = int(rng.integers(30, 160)), int(rng.integers(120, 700))
    if rng.random() < 0.25:
        height = int(rng.integers(150, 400))
    ground = rng.uniform(140, 250)
    out = np.full((height, width), ground, np.float32)
    rough = cv2.resize(rng.normal(0, 1, (4, 8)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    plain = rng.random() < 0.25
    out += rough * (0 if plain else rng.uniform(0, 10))
    lanes = int(rng.integers(2, 14))
    pitch = width / lanes
    rows = 1 if height < 160 else int(rng.integers(2, 9))
    layer = np.zeros((height, width), np.float32)
    for row in range(rows):
        level = height * (row + rng.uniform(0.35, 0.65)) / rows
        for lane in range(lanes):
            if rng.random() < 0.15:
                continue
            spot = (int((lane + 0.5) * pitch), int(level + rng.normal(0, 2)))
            axes = (max(2, int(pitch * rng.uniform(0.25, 0.48))), max(1, int(rng.uniform(2, 0.2 * height / rows + 3))))
            cv2.ellipse(layer, spot, axes, rng.normal(0, 3), 0, 360, float(rng.uniform(0.1, 1.3)), -1)
    soft = float(rng.uniform(1, 5))
    layer = np.minimum(cv2.GaussianBlur(layer, (0, 0), soft * 1.4, sigmaY=soft), 1)
    out -= layer * (ground - rng.uniform(0, 60))
    out += rng.normal(0, rng.uniform(0.1, 0.6) if plain else rng.uniform(0.3, 6), out.shape)
    if rng.random() < 0.12:
        out = 255 - out
    if rng.random() < 0.4:
        side = int(rng.integers(30, max(31, height)))
        left = int(rng.integers(0, max(1, width - 2 * side)))
        part = np.ascontiguousarray(out[:, left : left + int(side * rng.uniform(1, 2))], np.float32)
        factor = float(rng.uniform(1.5, 5))
        out = cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        out += rng.normal(0, rng.uniform(0, 2), out.shape)
    image = np.clip(out, 0, 255).astype(np.uint8)
    if rng.random() < 0.35:
        corner = (image.shape[1] - 1, image.shape[0] - 1)
        cv2.rectangle(image, (0, 0), corner, (int(rng.integers(0, 80)),) * 3, int(rng.integers(1, 3)))
    return np.repeat(image[..., None], 3, axis=2)


def plate(rng: Rng) -> Image:
    """Return a spot assay: rows of pale colonies, thinning out, on a dark plate."""
    rows, columns, pitch = int(rng.integers(1, 7)), int(rng.integers(3, 8)), int(rng.integers(24, 70))
    height, width = rows * pitch + int(rng.integers(4, 20)), columns * pitch + int(rng.integers(4, 30))
    out = np.full((height, width), rng.uniform(10, 90), np.float32)
    for row in range(rows):
        dose = rng.uniform(0.1, 1)
        for column in range(columns):
            spot = (int((column + 0.5) * pitch + rng.normal(0, 1.5)), int((row + 0.5) * pitch + rng.normal(0, 1.5)))
            radius = pitch * rng.uniform(0.28, 0.42)
            if column < columns * dose:
                cv2.circle(out, spot, int(radius), float(rng.uniform(120, 250)), -1)
            for _ in range(int(rng.integers(0, 40))):
                at = rng.normal(0, radius / 2, 2)
                cv2.circle(out, (int(spot[0] + at[0]), int(spot[1] + at[1])), 1, float(rng.uniform(90, 240)), -1)
    out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.6, 1.6))) + rng.normal(0, rng.uniform(0.5, 6), out.shape)
    image = np.clip(out, 0, 255).astype(np.uint8)
    return np.repeat(image[..., None], 3, axis=2)
