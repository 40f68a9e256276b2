"""Plan the figures of a manuscript: rows of equal cells, each of a size in pixels that its content is made for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Rng = np.random.Generator
Kind = Literal["picture", "blot", "chart"]
MOST_PX = 430


@dataclass
class Slot:
    """A place for a panel: kind, (height, width) px, box in points of its figure, letter."""

    figure: int
    kind: Kind
    size: tuple[int, int]
    box: tuple[float, float, float, float]
    letter: str


@dataclass
class Plan:
    """A figure without its content."""

    width: float
    height: float
    mode: Literal["compound", "separate"]
    dpi: float
    quality: int | None
    ground: int
    span: bool
    letters: Literal["above", "inside", "page"]
    gutter: float
    vector_charts: bool
    bars: bool
    slots: list[Slot] = field(default_factory=list)
    row_labels: list[tuple[float, float, str]] = field(default_factory=list)


def figures(rng: Rng, wanted: dict[Kind, int]) -> list[Plan]:
    """Return plans whose slots hold exactly the wanted number of pictures, blots and charts."""
    left = dict(wanted)
    out: list[Plan] = []
    while any(left.values()):
        out.append(_figure(rng, left, len(out)))
    return out


def _figure(rng: Rng, left: dict[Kind, int], index: int) -> Plan:
    span = bool(rng.random() < 0.7)
    width = float(rng.uniform(430, 498) if span else rng.uniform(222, 238))
    style = rng.choice(["white", "black", "hair"], p=[0.65, 0.13, 0.22])
    letters = "inside" if style == "hair" else str(rng.choice(["above", "inside", "page"], p=[0.5, 0.3, 0.2]))
    dark = style == "black" and left["chart"] < sum(left.values())
    plan = Plan(
        width=width, height=0.0, mode="compound" if rng.random() < 0.55 else "separate",
        dpi=float(rng.uniform(150, 300)), quality=None if rng.random() < 0.3 else int(rng.integers(80, 96)),
        ground=0 if dark else 255, span=span, letters="inside" if dark else letters,  # type: ignore[arg-type]
        gutter=float(rng.uniform(0.5, 1.0) if style == "hair" else rng.uniform(3, 9)),
        vector_charts=bool(rng.random() < 0.6), bars=bool(rng.random() < 0.5),
    )  # fmt: skip
    aspect = float(rng.choice([1.0, 1.0, 0.75, 0.85, 1.15]))
    y, limit = 0.0, float(rng.uniform(190, 560))
    pitch: dict[Kind, float] = {}
    while any(left.values()):
        kinds = [k for k in left if left[k] and not (dark and k == "chart")]
        if not kinds:
            break
        kind = kinds[int(rng.choice(len(kinds), p=np.array([left[k] for k in kinds]) / sum(left[k] for k in kinds)))]
        row = _row(rng, plan, kind, min(left[kind], 6), aspect, y, pitch, index)
        if plan.slots and row[1] > limit:
            break
        slots, y = row
        plan.slots += slots
        left[kind] -= len(slots)
        if kind == "blot":
            plan.row_labels.append((slots[0].box[0] - 3, (slots[0].box[1] + slots[0].box[3]) / 2 + 2, _antibody(rng)))
        y += max(plan.gutter, 8.0) if kind == "chart" else plan.gutter
    plan.width, plan.height = max(s.box[2] for s in plan.slots) + 2, max(s.box[3] for s in plan.slots) + 2
    widest = max(s.box[2] - s.box[0] for s in plan.slots if s.kind != "chart") if _pictures(plan) else 200.0
    plan.dpi = float(np.clip(plan.dpi, 150, max(150, min(300, MOST_PX * 72 / widest))))
    for number, slot in enumerate(plan.slots):
        slot.letter = chr(65 + number) if number < 26 else ""
        dpi = plan.dpi
        if plan.mode == "separate" and slot.kind != "chart":
            dpi = float(rng.uniform(150, min(300, max(151, MOST_PX * 72 / (slot.box[2] - slot.box[0])))))
        slot.size = (
            max(24, round((slot.box[3] - slot.box[1]) * dpi / 72)),
            max(24, round((slot.box[2] - slot.box[0]) * dpi / 72)),
        )
    return plan


def _pictures(plan: Plan) -> bool:
    return any(s.kind != "chart" for s in plan.slots)


def _row(
    rng: Rng, plan: Plan, kind: Kind, most: int, aspect: float, y: float, pitch: dict[Kind, float], figure: int
) -> tuple[list[Slot], float]:
    """Return the slots of one row and the y below it."""
    low, high = {"picture": (3, 6), "blot": (2, 3), "chart": (2, 4)}[kind]
    if not plan.span:
        low, high = {"picture": (2, 3), "blot": (1, 2), "chart": (1, 2)}[kind]
    start = 34.0 if kind == "blot" else 0.0
    gutter = max(plan.gutter, 8.0) if kind == "chart" else plan.gutter
    usual = pitch.setdefault(kind, int(rng.integers(low, high + 1)))
    count = min(most, int(usual))
    width = (plan.width - start - gutter * (usual - 1)) / usual
    width = min(width, 205.0)
    shape = {"picture": aspect, "blot": float(rng.uniform(0.28, 0.62)), "chart": 0.74}[kind]
    height = width * shape
    head = 13.0 if (plan.letters in ("above", "page") or kind == "chart") else 0.0
    slots = []
    for column in range(count):
        x = start + column * (width + gutter)
        slots.append(Slot(figure, kind, (0, 0), (x, y + head, x + width, y + head + height), ""))
    return slots, y + head + height


def _antibody(rng: Rng) -> str:
    return str(rng.choice(["Actin", "GAPDH", "pAkt", "Akt", "Tub.", "Myc", "Flag", "p53", "HA", "Erk", "pErk", "IgG"]))
