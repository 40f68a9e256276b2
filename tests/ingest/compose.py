"""Draw compound figures whose panels are known: the ground truth of the splitting tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Rng = np.random.Generator
Source = Callable[[Rng, str, int, int], Image]
"""(rng, kind, height, width) -> HxWx3 RGB: where the pictures of a figure come from."""


class Panel(NamedTuple):
    kind: str
    box: tuple[int, int, int, int]


class Composed(NamedTuple):
    image: Image
    panels: list[Panel]


def noise(rng: Rng, height: int, width: int, sigma: float) -> NDArray[np.float32]:
    """Return unit-variance smooth noise."""
    step = max(1, int(sigma / 2))
    small = rng.normal(0, 1, (height // step + 3, width // step + 3)).astype(np.float32)
    small = cv2.GaussianBlur(small, (0, 0), sigma / step)
    out = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return (out - out.mean()) / max(1e-6, out.std())


def picture(rng: Rng, kind: str, height: int, width: int) -> Image:
    """Draw a micrograph, blot or photo."""
    if kind == "blot":
        return _blot(rng, height, width)
    style = int(rng.integers(5))
    grain = rng.normal(0, rng.uniform(1.5, 5), (height, width))
    if style <= 1:
        out = np.full((height, width), rng.uniform(4, 25), np.float32)
        layer = np.zeros((height, width), np.float32)
        for _ in range(int(rng.integers(8, 40))):
            radius = rng.uniform(0.03, 0.09) * min(height, width) + 3
            spot = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
            axes = (int(radius), int(radius * rng.uniform(0.6, 1)))
            cv2.ellipse(layer, spot, axes, rng.uniform(0, 180), 0, 360, float(rng.uniform(80, 230)), -1)
        out += cv2.GaussianBlur(layer, (0, 0), rng.uniform(1.5, 3)) * (1 + 0.15 * noise(rng, height, width, 3))
        grey = np.clip(out + grain, 0, 255)
        if style == 1:
            tint = np.array([[1, 0.05, 0.05], [0.05, 1, 0.1], [0.1, 0.2, 1]][int(rng.integers(3))])
            return (grey[..., None] * tint).astype(np.uint8)
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if style == 2:
        base = np.array([rng.uniform(190, 235), rng.uniform(120, 180), rng.uniform(180, 220)])
        stain = noise(rng, height, width, 4) * 22 + noise(rng, height, width, 15) * 14
        return np.clip(base + stain[..., None] * [0.8, 1.2, 0.6] + grain[..., None], 0, 255).astype(np.uint8)
    field = noise(rng, height, width, rng.uniform(2, 8)) * 22 + noise(rng, height, width, 30) * 10
    return np.repeat(np.clip(rng.uniform(70, 180) + field + grain, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _blot(rng: Rng, height: int, width: int) -> Image:
    ground = rng.uniform(165, 235)
    layer = np.zeros((height, width), np.float32)
    lanes = int(rng.integers(3, 9))
    for lane in range(lanes):
        if rng.random() < 0.15:
            continue
        spot = (int((lane + 0.5) * width / lanes), int(height * rng.uniform(0.42, 0.58)))
        axes = (int(width / lanes * rng.uniform(0.3, 0.44)), max(2, int(height * rng.uniform(0.06, 0.2))))
        cv2.ellipse(layer, spot, axes, rng.normal(0, 3), 0, 360, float(rng.uniform(0.2, 1.2)), -1)
    layer = np.minimum(cv2.GaussianBlur(layer, (0, 0), 2.5), 1)
    out = ground - layer * (ground - 20) + 4 * noise(rng, height, width, 25) + rng.normal(0, 2, (height, width))
    return np.repeat(np.clip(out, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def chart(rng: Rng, height: int, width: int) -> Image:
    """Draw a bar or line chart on white, with axis text, that fills the given size."""
    out = np.full((height, width, 3), 255, np.uint8)
    left, bottom = 46, height - 34
    cv2.line(out, (left, 8), (left, bottom), (0, 0, 0), 2)
    cv2.line(out, (left, bottom), (width - 4, bottom), (0, 0, 0), 2)
    for i in range(5):
        y = int(bottom - (bottom - 14) * i / 4)
        cv2.line(out, (left - 5, y), (left, y), (0, 0, 0), 1)
        text(out, f"{i * 0.25:.2f}"[:4], 2, y + 4, 10)
    n = int(rng.integers(3, 7))
    pitch = (width - left - 12) / n
    points = []
    lines = rng.random() < 0.5
    for i in range(n):
        x, y = int(left + 8 + pitch * i), int(bottom - rng.uniform(0.2, 0.95) * (bottom - 14))
        points.append((int(x + pitch / 3), y))
        if not lines:
            colour = tuple(int(v) for v in rng.integers(0, 220, 3))
            cv2.rectangle(out, (x, y), (int(x + pitch * 0.7), bottom), colour, -1)
        text(out, "WT" if i % 2 else "KO", x, bottom + 16, 10)
    if lines:
        cv2.polylines(out, [np.array(points)], False, (200, 30, 30), 2, cv2.LINE_AA)
    text(out, "Time (min)", (left + width) // 2 - 40, height - 4, 10)
    return out


def text(image: Image, words: str, x: int, y: int, height: int, colour: Any = (0, 0, 0)) -> None:
    """Write words with their base line at (x, y), capitals `height` px tall."""
    weight = max(1, round(height / 9))
    cv2.putText(image, words, (x, y), cv2.FONT_HERSHEY_SIMPLEX, height / 22, colour, weight, cv2.LINE_AA)


def grid(
    rng: Rng, source: Source = picture, gutter: int = 6, colour: tuple[int, int, int] = (255, 255, 255),
    rows: int = 2, columns: int = 3, margin: int = 12, letters: str = "", equal: bool = False, kind: str = "micrograph",
) -> Composed:  # fmt: skip
    """Draw rows of pictures with gutters of one width and colour; letters '' (none), 'in' or 'out'."""
    head = 34 if letters == "out" else 0
    height = int(rng.integers(110, 240))
    widths = rng.integers(110, 280, columns)
    heights = [height if equal else int(rng.integers(110, 240)) for _ in range(rows)]
    if equal:
        widths[:] = height
    width = int(widths.sum()) + gutter * (columns - 1) + 2 * margin
    total = sum(heights) + (gutter + head) * (rows - 1) + head + 2 * margin
    out = np.full((total, width, 3), colour, np.uint8)
    ink = (0, 0, 0) if sum(colour) > 380 else (255, 255, 255)
    panels: list[Panel] = []
    y = margin
    for row in range(rows):
        y += head
        order = widths if equal else rng.permutation(widths)
        x = margin
        for column in range(columns):
            h, w = heights[row], int(order[column])
            part = source(rng, kind, h, w)
            if letters == "in":
                light = part[:40, :40].mean() < 128
                text(part, chr(65 + row * columns + column), 8, 30, 20, (255, 255, 255) if light else (0, 0, 0))
            out[y : y + h, x : x + w] = part
            if letters == "out":
                text(out, chr(65 + row * columns + column), x + 2, y - 8, 18, ink)
            panels.append(Panel(kind, (x, y, x + w, y + h)))
            x += w + gutter
        y += heights[row] + gutter
    return Composed(out, panels)


def strips(rng: Rng, source: Source = picture, gutter: int = 4, framed: bool = False, count: int = 4) -> Composed:
    """Draw a stack of blot strips with lane labels above and names beside."""
    width, left = int(rng.integers(300, 560)), 90
    heights = rng.integers(40, 80, count)
    out = np.full((60 + int(heights.sum()) + gutter * count + 20, left + width + 100, 3), 255, np.uint8)
    for lane in range(5):
        text(out, f"{lane * 5}", left + int((lane + 0.4) * width / 5), 40, 13)
    text(out, "Time (min)", 2, 40, 11)
    panels: list[Panel] = []
    y = 54
    for index in range(count):
        h = int(heights[index])
        out[y : y + h, left : left + width] = source(rng, "blot", h, width)
        if framed:
            cv2.rectangle(out, (left, y), (left + width - 1, y + h - 1), (0, 0, 0), 1)
        text(out, ["HA", "Actin", "GFP", "Myc"][index % 4], left + width + 10, y + h // 2 + 6, 13)
        panels.append(Panel("blot", (left, y, left + width, y + h)))
        y += h + gutter
    return Composed(out, panels)


def mixed(rng: Rng, source: Source = picture, gutter: int = 24) -> Composed:
    """Draw a row of pictures over a row of charts, with letters."""
    top = grid(rng, source, gutter, rows=1, columns=int(rng.integers(2, 5)), margin=40, equal=True, letters="out")
    height, width = top.image.shape[:2]
    below = int(rng.integers(180, 260))
    out = np.full((height + below + 70, width, 3), 255, np.uint8)
    out[:height] = top.image
    panels = list(top.panels)
    count = max(1, width // 340)
    each = (width - 60) // count - 50
    for index in range(count):
        x, y = 40 + index * (each + 60), height + 30
        out[y : y + below, x : x + each] = chart(rng, below, each)
        text(out, "EFGH"[index], max(2, x - 36), y - 4, 18)
        panels.append(Panel("graph", (x, y, x + each, y + below)))
    return Composed(out, panels)


def jpeg(image: Image, quality: int) -> Image:
    """Return what JPEG leaves of an RGB image."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def scaled(figure: Composed, factor: float) -> Composed:
    """Resize a figure with its boxes: soft gutters."""
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    image = cv2.resize(figure.image, None, fx=factor, fy=factor, interpolation=how)
    panels = [Panel(p.kind, tuple(round(v * factor) for v in p.box)) for p in figure.panels]
    return Composed(image, panels)


def iou(a: Any, b: Any) -> float:
    """Return the intersection over union of two boxes."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, w) * max(0.0, h)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def matched(panels: list[Panel], boxes: list[Any], least: float) -> int:
    """Return how many panels have a box of their own at an IoU of at least `least`."""
    left, count = list(boxes), 0
    for panel in panels:
        best = max(left, key=lambda box: iou(panel.box, box), default=None)
        if best is not None and iou(panel.box, best) >= least:
            left.remove(best)
            count += 1
    return count
