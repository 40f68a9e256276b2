"""Draw the example manuscript: a paper whose pictures, data and authors are all drawn by this program.

    python examples/make.py OUT.pdf [EARLIER.pdf]

writes OUT.pdf and OUT.json, the truth: where every panel lies, which pairs show the same source and how one was turned
into the other, and which sets only look alike. EARLIER.pdf is a short paper that "was published before", one of whose
panels stands again in the manuscript. The same program gives the same bytes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

import charts
import cv2
import draw
import numpy as np
import paper as pdf
import prose
from layout import Cell, Figure, Placed, Style, article
from numpy.typing import NDArray

from twinscope import manipulate

Rng = np.random.Generator
Matrix = NDArray[np.float64]
SEED = 2026
TITLE = "Serum withdrawal widens nuclear spacing and loosens fibre alignment in cultured monolayers"
ABSTRACT = (
    "Confluent monolayers keep a regular distance between nuclei. We ask how this order depends on serum and on the "
    "alignment of the fibres below. Cells were kept with and without serum for up to 48 h, stained, and counted in "
    "fields chosen at random; signalling was followed by western blotting. Spacing rose within a day and fibres lost "
    "their common direction, while the amount of actin did not change. This manuscript is an example: its pictures, "
    "numbers and authors are drawn by a program, and some of its pictures are re-used on purpose."
)


class View(NamedTuple):
    """A panel's look at a drawn field: centre (x, y) px, field px per panel px, rotation, mirror, then tone steps."""

    field: str
    centre: tuple[float, float]
    step: float = 1.0
    turn: float = 0.0
    mirror: bool = False
    steps: tuple[manipulate.Step, ...] = ()
    kind: str = "micrograph"


class Planted(NamedTuple):
    """Two panels that show the same source: names, what was done, whether local content was edited."""

    a: str
    b: str
    category: str
    edited: bool = False


def fields(rng: Rng) -> dict[str, NDArray[np.float32]]:
    """Draw the fields that the panels look at."""
    same = rng.uniform(0.3, 1.0, (1, 7))
    return {
        "nuclei": draw.nuclei(rng, (640, 1040), 15, 0.3),
        "late": draw.nuclei(rng, (560, 600), 17, 0.18),
        "fibres": draw.fibres(rng, (560, 900)),
        "knocked": draw.fibres(rng, (500, 520), 160),
        "cells": draw.cells(rng, (560, 600)),
        "phase": draw.phase(rng, (560, 600)),
        "tissue": draw.tissue(rng, (760, 1300)),
        "electron": draw.electron(rng, (760, 800)),
        "pAkt": draw.blot(rng, (150, 640), 7, 1, same),
        "Akt": draw.blot(rng, (150, 640), 7, 1, rng.uniform(0.7, 0.95, (1, 7))),
        "Actin": draw.blot(rng, (150, 640), 7, 1, rng.uniform(0.55, 0.95, (1, 7))),
        "pErk": draw.blot(rng, (150, 640), 7, 1, same),
        "Erk": draw.blot(rng, (150, 640), 7, 1, rng.uniform(0.7, 0.95, (1, 7))),
        "blank": draw.blank(rng, (500, 520), 0.05),
        "empty": draw.blank(rng, (500, 520), 0.05),
    }


def views() -> dict[str, View]:
    """Return what each panel shows, by name: figure number and letter."""
    blot = "blot"
    return {
        "1A": View("nuclei", (235, 240)),
        "1B": View("nuclei", (800, 400)),
        "1C": View("late", (300, 280)),
        "1D": View("phase", (300, 280)),
        "1E": View("fibres", (250, 280)),
        "1F": View("fibres", (470, 310)),
        "1G": View("cells", (300, 280)),
        "2A": View("tissue", (330, 380), 1.3),
        "2B": View("tissue", (1000, 380), 1.3),
        "2C": View("tissue", (350, 390), 0.95, turn=90),
        "2D": View("electron", (400, 380), 1.25),
        "2E": View("electron", (410, 370), 0.95, turn=37, steps=(_gamma(1.3), _jpeg(45))),
        "3A": View("pAkt", (320, 75), 1.12, kind=blot),
        "3B": View("Akt", (320, 75), 1.12, kind=blot),
        "3C": View("Actin", (320, 75), 1.12, kind=blot),
        "3D": View("pErk", (320, 75), 1.12, kind=blot),
        "3E": View("Erk", (320, 75), 1.12, kind=blot),
        "3F": View("Actin", (318, 74), 1.09, mirror=True, steps=(_gamma(1.6), _contrast(1.3), _noise(0.01)), kind=blot),
        "4A": View("nuclei", (240, 238), 0.97, steps=(_brightness(1.35),)),
        "4B": View("late", (300, 280), steps=(_erase_nucleus,)),
        "4C": View("cells", (300, 280), steps=(_green,)),
        "4D": View("phase", (296, 283), mirror=True),
        "4E": View("nuclei", (790, 395), steps=(manipulate.invert,)),
        "4F": View("knocked", (260, 250)),
        "4G": View("blank", (260, 250)),
        "4H": View("empty", (260, 250)),
    }


PLANTED = (
    Planted("1A", "4A", "exact copy, brighter"),
    Planted("1D", "4D", "mirrored"),
    Planted("2A", "2C", "rotated by 90 degrees and cropped"),
    Planted("1E", "1F", "two crops that overlap"),
    Planted("3C", "3F", "blot strip mirrored, with other contrast"),
    Planted("1B", "4E", "inverted"),
    Planted("1C", "4B", "a nucleus erased and one cloned", edited=True),
    Planted("1G", "4C", "one channel of a merge"),
    Planted("2D", "2E", "rotated by 37 degrees, enlarged, darker, compressed"),
)
LOOKALIKES = (
    ("two fields of one slide", ("1A", "1B")),
    ("two fields of one section", ("2A", "2B")),
    ("blots with the same lanes", ("3A", "3D")),
    ("charts with the same axes", ("3G", "3H")),
    ("charts with the same axes", ("5A", "5B")),
    ("blank panels", ("4G", "4H")),
)


def _gamma(exponent: float) -> manipulate.Step:
    return lambda image, rng: manipulate.gamma(image, rng, exponent)


def _contrast(factor: float) -> manipulate.Step:
    return lambda image, rng: manipulate.contrast(image, rng, factor)


def _brightness(factor: float) -> manipulate.Step:
    return lambda image, rng: manipulate.brightness(image, rng, factor)


def _noise(sigma: float) -> manipulate.Step:
    return lambda image, rng: manipulate.noise(image, rng, sigma)


def _jpeg(quality: int) -> manipulate.Step:
    return lambda image, rng: manipulate.jpeg(image, rng, quality)


def _green(image: NDArray[np.float32], rng: Rng) -> manipulate.Manipulated:
    return manipulate.one_channel(image, rng, 1)


def _erase_nucleus(image: NDArray[np.float32], rng: Rng) -> manipulate.Manipulated:
    """Paint ground over the brightest nucleus and copy another to an empty place."""
    smooth = cv2.GaussianBlur(image, (0, 0), 9)
    ground = float(np.quantile(image, 0.3))
    inner = smooth[40:-40, 40:-40]
    y, x = (int(v) + 40 for v in np.unravel_index(int(inner.argmax()), inner.shape))
    erased = manipulate.erase(image, rng, (x, y), 24, 6, ground)
    grain = 0.02 * rng.standard_normal(image.shape).astype(np.float32)
    filled = np.where(erased.mask, np.clip(erased.image + grain, 0, 1), erased.image).astype(np.float32)
    inner = cv2.GaussianBlur(filled, (0, 0), 9)[40:-40, 40:-40]
    from_y, from_x = (int(v) + 40 for v in np.unravel_index(int(inner.argmax()), inner.shape))
    calm = cv2.GaussianBlur(filled, (0, 0), 22)[30:-90, 30:-90]
    to_y, to_x = (int(v) + 30 for v in np.unravel_index(int(calm.argmin()), calm.shape))
    box = (from_x - 24, from_y - 24, from_x + 24, from_y + 24)
    cloned = manipulate.clone(filled, rng, box, (to_x, to_y), 6)
    return manipulate.Manipulated(cloned.image, np.eye(3), erased.mask | cloned.mask)


def place(view: View, size: tuple[int, int]) -> Matrix:
    """Return field px -> panel px of a view at a size (height, width)."""
    angle = np.radians(view.turn)
    linear = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / view.step
    if view.mirror:
        linear = linear @ np.diag([-1.0, 1.0])
    out = np.eye(3)
    out[:2, :2] = linear
    out[:2, 2] = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2]) - linear @ np.array(view.centre)
    return out


def show(view: View, field: NDArray[np.float32], size: tuple[int, int], rng: Rng) -> manipulate.Manipulated:
    """Return a panel's pixels and the mask of its local edits."""
    seen = manipulate.warp(field, place(view, size), size, None)
    return manipulate.chain(seen.image, rng, view.steps)


class Slot(NamedTuple):
    """A place in a figure: panel name, box in points, and a chart where the panel is one."""

    name: str
    box: tuple[float, float, float, float]
    chart: Callable[[float, float], pdf.Drawing] | None = None


def row(names: Sequence[str], y: float, size: tuple[float, float], gap: float, x: float = 0.0) -> list[Slot]:
    """Return equal slots in a row; size is (width, height) pt."""
    width, height = size
    return [Slot(n, (x + i * (width + gap), y, x + i * (width + gap) + width, y + height)) for i, n in enumerate(names)]


def chart(
    make: Callable[..., pdf.Drawing], seed: int, data: int | None = None
) -> Callable[[float, float], pdf.Drawing]:
    """Return a chart of this style (`seed`) with these values (`data`)."""
    values = seed if data is None else data
    return lambda width, height: make(np.random.default_rng(seed), width, height, np.random.default_rng(values))


def _figure_1() -> tuple[list[Slot], list[Any], dict[str, Any]]:
    slots = row(["1A", "1B", "1C", "1D"], 13, (120, 104), 6) + row(["1E", "1F", "1G"], 133, (120, 104), 6)
    slots.append(Slot("1H", (378, 131, 499, 240), chart(charts.bars, 38)))
    return slots, [], {"mode": "compound", "dpi": 220.0, "quality": 92}


def _figure_2() -> tuple[list[Slot], list[Any], dict[str, Any]]:
    slots = row(["2A", "2B", "2C"], 13, (160, 130), 9) + row(["2D", "2E"], 160, (160, 130), 9)
    slots.append(Slot("2F", (340, 158, 499, 292), chart(charts.lines, 136)))
    return slots, [], {"mode": "separate", "dpi": 190.0, "quality": 88, "vector_charts": True}


def _figure_3() -> tuple[list[Slot], list[Any], dict[str, Any]]:
    slots, labels = [], []
    for side, (names, words) in enumerate(((("3A", "3B", "3C"), ("p-Akt", "Akt", "Actin")),
                                           (("3D", "3E", "3F"), ("p-Erk", "Erk", "Actin")))):  # fmt: skip
        x = 34.0 + side * 252
        for index, (name, word) in enumerate(zip(names, words, strict=True)):
            y = 26.0 + index * 50
            slots.append(Slot(name, (x, y, x + 205, y + 44)))
            labels.append(pdf.Label(x - 4, y + 25, word, 7.5, 1.0))
        for lane in range(7):
            labels.append(pdf.Label(x + 205 * (lane + 0.5) / 7, 22, "0 4 8 24 48 +S C".split()[lane], 6.5, 0.5))
    same = chart(charts.bars, 3, 1), chart(charts.bars, 3, 2)
    slots += [
        Slot(n, (34 + i * 252, 190, 239 + i * 252, 300), c)
        for i, (n, c) in enumerate(zip(("3G", "3H"), same, strict=True))
    ]
    return slots, labels, {"mode": "compound", "dpi": 200.0, "quality": None}


def _figure_4() -> tuple[list[Slot], list[Any], dict[str, Any]]:
    slots = row(["4A", "4B", "4C", "4D"], 2, (122, 106), 2.5, 2) + row(
        ["4E", "4F", "4G", "4H"], 110.5, (122, 106), 2.5, 2
    )
    return slots, [], {"mode": "compound", "dpi": 240.0, "quality": 90, "ground": 0}


def _figure_5() -> tuple[list[Slot], list[Any], dict[str, Any]]:
    makers = (
        chart(charts.scatter, 3, 1),
        chart(charts.scatter, 3, 2),
        chart(charts.survival, 3),
        chart(charts.diagram, 8),
    )
    slots = []
    for index, (name, make) in enumerate(zip(("5A", "5B", "5C", "5D"), makers, strict=True)):
        x, y = index % 2 * 120, 13 + index // 2 * 104
        slots.append(Slot(name, (x, y, x + 112, y + 86), make))
    return slots, [], {"mode": "separate", "dpi": 200.0, "vector_charts": True, "span": False}


CAPTIONS = (
    "Figure 1. Nuclear spacing and fibre alignment in monolayers. Nuclei (A) with serum, (B) after 24 h and (C) 48 h "
    "without; (D) phase contrast. Fibres (E) with and (F) without serum. (G) Merge of nuclei, bodies and granules. "
    "(H) Nuclei in a field; mean and standard deviation. Scale bars, 20 µm.",
    "Figure 2. Tissue and ultrastructure. Sections on (A) day 0, (B) day 3 and (C) day 7; (D, E) vesicles below the "
    "membrane in two animals; (F) the course over time. Scale bars, 50 µm (A-C) and 200 nm (D, E).",
    "Figure 3. Signalling after serum withdrawal. (A-C) First and (D-F) second experiment, lanes in hours after "
    "withdrawal, +S serum given back, C control. (G, H) Densities of the upper strips.",
    "Figure 4. Knock-down. (A) Control nuclei, (B) nuclei after knock-down, (C) cell bodies, (D) phase contrast, "
    "(E) nuclei shown as a negative, (F) fibres, (G, H) without first antibody. Scale bars, 20 µm.",
    "Figure 5. Quantities. (A, B) Spacing against alignment in two experiments, (C) survival, (D) scheme of the work.",
)


def build(path: Path) -> dict[str, Any]:
    """Write the PDF and the truth beside it (same name, .json); return the truth."""
    rng = np.random.default_rng(SEED)
    drawn, looks = fields(rng), views()
    shapes: dict[str, tuple[int, int]] = {}
    masks: dict[str, NDArray[np.bool_]] = {}
    figures = []
    for number, plan in enumerate((_figure_1, _figure_2, _figure_3, _figure_4, _figure_5), 1):
        slots, labels, look = plan()
        cells = []
        for slot in slots:
            cell, mask = _cell(slot, looks.get(slot.name), drawn, look["dpi"], rng)
            cells.append(cell)
            if cell.picture is not None:
                shapes[slot.name], masks[slot.name] = (cell.picture.shape[0], cell.picture.shape[1]), mask
            if number != 4:
                labels.append(
                    pdf.Label(cell.box[0] - (22 if number == 3 else 0), cell.box[1] - 4, cell.letter, 10, bold=True)
                )
        width, height = max(s.box[2] for s in slots) + 2, max(s.box[3] for s in slots) + 2
        figures.append(Figure(width, height, cells, labels, caption=CAPTIONS[number - 1], **look))
    book, words = pdf.Paper(), np.random.default_rng(SEED + 1)
    style = Style(header="Example manuscript, drawn by a program: no picture in it shows anything real")
    head = (TITLE, "Anna Berg, Omar Okafor, Mei Tanaka, Ines Silva, Tomas Novak", ABSTRACT)
    placed = article(book, style, lambda: prose.paragraph(words, len(figures)), head, figures)
    path.parent.mkdir(parents=True, exist_ok=True)
    pdf.save(book, path, TITLE)
    pairs = []
    pairs = []
    for a, b, category, edited in PLANTED:
        move = place(looks[b], shapes[b]) @ np.linalg.inv(place(looks[a], shapes[a]))
        pairs.append({"a": a, "b": b, "category": category, "edited": edited, "transform": np.round(move, 6).tolist(),
                      "changes": _boxes(masks[b])})  # fmt: skip
    truth = {
        "kind": "planted", "pages": len(book.sheets), "panels_truth": _panels(placed), "pairs": pairs,
        "lookalikes": [{"what": what, "panels": list(names)} for what, names in LOOKALIKES],
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(truth, indent=1) + "\n")
    return truth


EARLIER = {
    "1A": View("cells", (300, 280)),
    "1B": View("knocked", (256, 254), 0.97, mirror=True, steps=(_gamma(0.8), _jpeg(70))),
    "1C": View("phase", (300, 280)),
}
AGAIN = ("1B", "4F")
"""The panel of the earlier paper, and the panel of the manuscript that shows the same source."""


def build_earlier(path: Path) -> dict[str, Any]:
    """Write the PDF of the earlier paper and the truth beside it (same name, .json); return the truth."""
    rng = np.random.default_rng(SEED + 2)
    drawn = {**fields(rng), "knocked": fields(np.random.default_rng(SEED))["knocked"]}
    slots = row(list(EARLIER), 13, (160, 136), 9)
    cells = [_cell(slot, EARLIER[slot.name], drawn, 220.0, rng)[0] for slot in slots]
    labels = [pdf.Label(cell.box[0], cell.box[1] - 4, cell.letter, 10, bold=True) for cell in cells]
    caption = (
        "Figure 1. Fibres on soft ground. (A) Merge of nuclei, bodies and granules, (B) fibres, (C) phase contrast. "
        "Scale bars, 20 µm."
    )
    figure = Figure(slots[-1].box[2] + 2, slots[-1].box[3] + 2, cells, labels, dpi=220.0, quality=92, caption=caption)
    book, words = pdf.Paper(), np.random.default_rng(SEED + 3)
    title = "Fibres keep their order on soft ground"
    style = Style(header="Example of an earlier paper, drawn by a program: no picture in it shows anything real")
    head = (
        title,
        "Lena Vogel, Paul Adeyemi",
        "An example, drawn by a program. One of its pictures is used again later.",
    )
    placed = article(book, style, lambda: prose.paragraph(words, 1), head, [figure])
    path.parent.mkdir(parents=True, exist_ok=True)
    pdf.save(book, path, title)
    truth = {"kind": "earlier", "pages": len(book.sheets), "panels_truth": _panels(placed), "again": list(AGAIN)}
    path.with_suffix(".json").write_text(json.dumps(truth, indent=1) + "\n")
    return truth


def _panels(placed: Sequence[Placed]) -> list[dict[str, Any]]:
    return [
        {
            "id": p.cell.truth["name"], "page": p.page, "box_pt": [round(v, 2) for v in p.box_pt], "kind": p.cell.kind,
            "figure": p.figure, "letter": p.cell.letter, "size": list(p.pixels.shape[:2]),
        }
        for p in placed
    ]  # fmt: skip


def _cell(
    slot: Slot, view: View | None, drawn: dict[str, NDArray[np.float32]], dpi: float, rng: Rng
) -> tuple[Cell, NDArray[np.bool_]]:
    x0, y0, x1, y1 = slot.box
    letter = slot.name[1:]
    if slot.chart is not None:
        kind = "diagram" if slot.name == "5D" else "graph"
        return Cell(slot.box, None, slot.chart(x1 - x0, y1 - y0), kind, letter, {"name": slot.name}), np.zeros(
            (1, 1), bool
        )
    assert view is not None
    size = round((y1 - y0) * dpi / 72), round((x1 - x0) * dpi / 72)
    seen = show(view, drawn[view.field], size, rng)
    picture = np.rint(255 * seen.image).astype(np.uint8)
    if view.kind != "blot":
        _scale_bar(picture)
    if slot.name.startswith("4"):
        value = 255 if picture.mean() < 150 else 0
        pdf.stamp(picture, letter, (8, 4), 34, value)
    return Cell(slot.box, picture, None, view.kind, letter, {"name": slot.name}), seen.mask


def _scale_bar(picture: NDArray[np.uint8]) -> None:
    height, width = picture.shape[:2]
    value = 255 if picture[-40:, -110:].mean() < 140 else 0
    cv2.rectangle(picture, (width - 86, height - 18), (width - 15, height - 13), (value,) * 3, -1)


def _boxes(mask: NDArray[np.bool_]) -> list[list[int]]:
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return [[int(x), int(y), int(x + w), int(y + h)] for x, y, w, h, _ in stats[1:count]]


def main(arguments: list[str]) -> int:
    """Write the manuscript, and the earlier paper where it is named; return the exit code."""
    if len(arguments) not in (1, 2) or not all(name.endswith(".pdf") for name in arguments):
        print("usage: python examples/make.py OUT.pdf [EARLIER.pdf]", file=sys.stderr)
        return 2
    if len(arguments) == 2:
        told = build_earlier(Path(arguments[1]))
        print(f"{arguments[1]}: a paper published before, {len(told['panels_truth'])} panels, one of them used again")
    truth = build(Path(arguments[0]))
    print(
        f"{arguments[0]}: {truth['pages']} pages, {len(truth['panels_truth'])} panels, "
        f"{len(truth['pairs'])} planted pairs; the truth is beside it"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
