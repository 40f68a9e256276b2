"""Plots as SVG files that hold all they need.

Of distances: the ROC curve on a logarithmic axis, and the histogram. Of a training: its curve.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinscope import metrics

Distances = NDArray[np.floating[Any]]

WIDTH, HEIGHT = 640, 420
LEFT, TOP, RIGHT, BOTTOM = 70, 44, 24, 62
GREEN, RED, INK, FAINT = "#1a7f37", "#c62828", "#1f2328", "#d0d7de"
BLUE, OCHRE = "#0550ae", "#9a6700"
BINS = 60


def write_roc(same: Distances, different: Distances, path: Path, border: float = 1.0) -> None:
    """Write the ROC curve of `distance <= border` as SVG; the false-positive rate runs from one pair's share to 1.

    Rates of 0 cannot stand on a logarithmic axis: the curve begins at the left edge with what is found before the first
    false positive. A dot marks the border. Raises ValueError where there is no same or no different pair.
    """
    false, true = metrics.roc(same, different)
    decades = max(1, int(np.ceil(np.log10(len(different)))))
    least = 10.0**-decades
    x = 1 + np.log10(np.maximum(false, least)) / decades
    marks = [(1 - k / decades, f"1e-{k}" if k else "1") for k in range(decades, -1, -1)]
    corners = [f"{_x(x[0]):.0f},{_y(true[0]):.0f}"]
    for k in range(1, len(x)):  # across, then up; what lies within a pixel is drawn once
        corners += [f"{_x(x[k]):.0f},{_y(true[k - 1]):.0f}", f"{_x(x[k]):.0f},{_y(true[k]):.0f}"]
    line = " ".join(dict.fromkeys(corners))
    at = float(np.mean(different <= border)), float(np.mean(same <= border))
    dot = _x(1 + np.log10(max(at[0], least)) / decades), _y(at[1])
    chance = " ".join(f"{_x(u):.1f},{_y(10 ** (decades * (u - 1))):.1f}" for u in np.linspace(0, 1, 101))
    body = (
        f'<polyline points="{chance}" fill="none" stroke="{FAINT}" stroke-width="1.5" stroke-dasharray="5 4"/>',
        f'<polyline points="{line}" fill="none" stroke="{GREEN}" stroke-width="2"/>',
        f'<circle cx="{dot[0]:.1f}" cy="{dot[1]:.1f}" r="5" fill="{INK}"/>',
        f'<circle cx="{LEFT + 20}" cy="{HEIGHT - BOTTOM - 34}" r="5" fill="{INK}"/>',
        _text(LEFT + 32, HEIGHT - BOTTOM - 30, f"border {border:g}: TPR {at[1]:.3f}, FPR {at[0]:.2g}"),
    )
    title = f"ROC: AUC {metrics.auc(same, different):.4f}; {len(same)} same and {len(different)} different pairs"
    _write(path, title, "false-positive rate (logarithmic)", "true-positive rate", marks, body)


def write_histogram(same: Distances, different: Distances, path: Path, border: float = 1.0) -> None:
    """Write the histogram of distances as SVG: same pairs green, different ones red, the border as a line.

    Each kind is a share of its own pairs. Raises ValueError where there is no same or no different pair.
    """
    if not (len(same) and len(different)):
        raise ValueError("a histogram of same and different pairs needs at least one of each")
    top = max(2 * border, float(np.max(different)), float(np.max(same))) * 1.02
    edges = np.linspace(0, top, BINS + 1)
    shares = [np.histogram(one, edges)[0] / len(one) for one in (different, same)]
    most = _ceiling(max(float(share.max()) for share in shares))
    places = (edges / top).tolist()
    body = []
    for share, color, opacity in zip(shares, (RED, GREEN), (0.45, 0.55), strict=True):
        outline = [(0.0, 0.0)]
        for left, right, height in zip(places, places[1:], (share / most).tolist(), strict=False):
            outline += [(left, height), (right, height)]
        line = " ".join(f"{_x(px):.1f},{_y(py):.1f}" for px, py in [*outline, (1.0, 0.0)])
        body.append(f'<polygon points="{line}" fill="{color}" fill-opacity="{opacity}" stroke="{color}"/>')
    at = _x(border / top)
    body += [
        f'<line x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{HEIGHT - BOTTOM}" stroke="{INK}" stroke-dasharray="6 4"/>',
        _text(at + 6, TOP + 14, f"border {border:g}"),
        *_legend(((GREEN, f"same ({len(same)})"), (RED, f"different ({len(different)})"))),
    ]
    step = next(s for s in (0.25, 0.5, 1, 2, 5, 10, 100, top) if top / s <= 10)
    marks = [(value / top, f"{value:g}") for value in np.arange(0, top, step).tolist()]
    _write(path, "Distances of same and of different pairs", "distance", "share of its kind", marks, body, most)


def write_training(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Write the curve of a training as SVG: by epoch the training loss, and accuracy, IR@1 and TPR on validation.

    rows: one an epoch, in order, each with loss, best_accuracy, ir1 and tpr_1e-3 (shares). The loss is drawn as a share
    of a round number that the legend names. Raises ValueError where there is no row.
    """
    if not rows:
        raise ValueError("the curve of a training needs at least one epoch")
    full = _ceiling(max(max(row["loss"] for row in rows), 1e-6))
    lines = {
        "loss": (RED, f"training loss (1 = {full:g})", 1 / full),
        "best_accuracy": (GREEN, "accuracy, best border", 1.0),
        "ir1": (BLUE, "IR@1", 1.0),
        "tpr_1e-3": (OCHRE, "TPR at FPR 1e-3", 1.0),
    }
    body = []
    places = [(k + 0.5) / len(rows) for k in range(len(rows))]
    for name, (color, _, scale) in lines.items():
        points = " ".join(f"{_x(x):.1f},{_y(row[name] * scale):.1f}" for x, row in zip(places, rows, strict=True))
        body.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        last = _x(places[-1]), _y(rows[-1][name] * scale)
        body.append(f'<circle cx="{last[0]:.1f}" cy="{last[1]:.1f}" r="3" fill="{color}"/>')
    for number, (color, words, _) in enumerate(lines.values()):  # in a row below, where no line is hidden
        x = LEFT + number * (WIDTH - LEFT - RIGHT) / len(lines)
        body.append(f'<rect x="{x - 16:.1f}" y="{HEIGHT - 14}" width="12" height="10" fill="{color}"/>')
        body.append(_text(x, HEIGHT - 4, words, more=' font-size="12"'))
    step = next(s * 10**k for k in range(9) for s in (1, 2, 5) if len(rows) / (s * 10**k) <= 10)
    marks = [(places[epoch - 1], str(epoch)) for epoch in range(step, len(rows) + 1, step)]
    _write(path, "Training: the loss, and what validation says", "epoch", "share", marks, body)


def _ceiling(value: float) -> float:
    """Return the least number above `value` whose fifths read well."""
    scale = 10.0 ** np.floor(np.log10(value))
    return float(scale * next(top for top in (1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10) if top * scale >= value * 1.02))


def _legend(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    for number, (color, words) in enumerate(rows):
        y = TOP + 8 + 20 * number
        yield f'<rect x="{WIDTH - RIGHT - 150}" y="{y}" width="14" height="12" fill="{color}" fill-opacity="0.55"/>'
        yield _text(WIDTH - RIGHT - 130, y + 11, words)


def _x(part: float) -> float:
    return LEFT + part * (WIDTH - LEFT - RIGHT)


def _y(part: float) -> float:
    return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)


def _text(x: float, y: float, words: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{words}</text>'


def _write(
    path: Path, title: str, under: str, beside: str, marks: Sequence[tuple[float, str]], body: Sequence[str],
    height: float = 1.0,
) -> None:  # fmt: skip
    """Write a plot with its axes; all words are our own, so that nothing is to be escaped."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="13" fill="{INK}" role="img">',
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 26, title, more=' font-size="15"'),
    ]
    for part, words in marks:
        lines.append(
            f'<line x1="{_x(part):.1f}" y1="{TOP}" x2="{_x(part):.1f}" y2="{HEIGHT - BOTTOM}" stroke="{FAINT}"/>'
        )
        lines.append(_text(_x(part), HEIGHT - BOTTOM + 18, words, "middle"))
    for k in range(6):
        y = _y(k / 5)
        lines.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="{FAINT}"/>')
        lines.append(_text(LEFT - 8, y + 4, f"{k / 5 * height:.2g}", "end"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    lines += [
        *body,
        _text(_x(0.5), HEIGHT - 18, under, "middle"),
        _text(20, middle, beside, "middle", f' transform="rotate(-90 20 {middle:.1f})"'),
        "</svg>",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
