"""Compose one manuscript: plan its figures, fill them, write the PDF and its truth."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

import charts
import draw
import lookalikes as alike
import paper as pdf
import plan as planning
import plant
import prose
import sources
from layout import Cell, Figure, Style, article

Rng = np.random.Generator
Picture = NDArray[np.float32]


class Order(NamedTuple):
    """What a manuscript shall hold."""

    name: str
    kind: str
    panels: int
    categories: tuple[str, ...]
    split: str
    seed: int


class Filling(NamedTuple):
    """The content of one slot: a picture (uint8) or a drawing, and what the truth says of it."""

    picture: NDArray[np.uint8] | None
    drawing: pdf.Drawing | None
    truth: dict[str, Any]


class Stock(NamedTuple):
    """What a manuscript may draw from; a group or host is used once unless a pair or a set shares it."""

    groups: dict[str, list[sources.Source]]
    hosts: dict[str, list[sources.Patch]]
    used: set[str]


def compose(order: Order, folder: Path) -> dict[str, Any]:
    """Write `<name>.pdf`, `<name>.json` and the panels' pixels into a folder; return the truth."""
    rng = np.random.default_rng([order.seed, *order.name.encode()])
    stock = Stock(sources.micrographs(order.split), sources.blots(order.split), set())
    plans = planning.figures(rng, _counts(order, rng))
    slots = [s for p in plans for s in p.slots]
    filled: dict[int, Filling] = {}
    pairs = _plant_pairs(order, slots, filled, stock, rng)
    if order.kind == "hard":
        _fill_lookalikes(slots, filled, stock, rng)
    _fill_rest(slots, filled, stock, rng)
    return _write(order, folder, plans, slots, filled, pairs, rng)


def _counts(order: Order, rng: Rng) -> dict[planning.Kind, int]:
    blots = 2 * sum(c == "blot" for c in order.categories)
    pictures = 2 * (len(order.categories) - blots // 2)
    spare = max(0, order.panels - blots - pictures)
    most = 11 if order.kind == "hard" else 5
    more_blots = min(int(rng.integers(0, most)), spare // 3, 20 - min(20, blots))
    shown = max(1, round((spare - more_blots) * rng.uniform(0.25, 0.6))) if spare else 0
    return {"picture": pictures + spare - more_blots - shown, "blot": blots + more_blots, "chart": shown}


def _plant_pairs(
    order: Order, slots: list[planning.Slot], filled: dict[int, Filling], stock: Stock, rng: Rng
) -> list[dict[str, Any]]:
    out = []
    for category in order.categories:
        kind = "blot" if category == "blot" else "picture"
        found = None
        for _ in range(40):
            free = [i for i, s in enumerate(slots) if s.kind == kind and i not in filled]
            if len(free) < 2:
                break
            i, j = (int(v) for v in rng.choice(free, 2, replace=False))
            twins = [k for k in free if k != i and slots[k].size == slots[i].size]
            j = int(rng.choice(twins)) if twins and rng.random() < 0.5 else j
            found = _pair(category, (slots[i].size, slots[j].size), stock, rng)
            if found is not None:
                break
        if found is None:
            continue
        pair, truth = found
        filled[i] = Filling(_bytes(pair.a), None, truth)
        filled[j] = Filling(_bytes(pair.b), None, truth)
        out.append(
            {
                "a": i, "b": j, "category": category, "edited": pair.edited, "shared": round(pair.shared, 3),
                "transform": np.round(pair.transform, 6).tolist(), "changes": pair.changes, "detail": pair.detail,
            }
        )  # fmt: skip
    return out


def _pair(
    category: str, sizes: tuple[tuple[int, int], tuple[int, int]], stock: Stock, rng: Rng
) -> tuple[plant.Pair, dict[str, Any]] | None:
    if category == "blot":
        return _blot_pair(sizes, stock, rng)
    for name in _fresh(stock, rng)[:25]:
        source = stock.groups[name][int(rng.integers(len(stock.groups[name])))]
        image = sources.pixels(source.file)
        other = None
        if category == "channel":
            if image.ndim == 2 and source.modality != "fluorescence":
                continue
            if image.ndim == 3 and np.abs(image - image.mean(2, keepdims=True)).mean() < 0.02:
                continue
            other = _second(stock, name, rng) if image.ndim == 2 else None
        image = np.minimum(image / alike.stretch_limit(image, rng), 1).astype(np.float32)
        if image.ndim == 2 and category not in ("channel", "inversion") and rng.random() < 0.15:
            image = plant.m.false_colour(image, rng).image
        pair = plant.make(category, image, sizes, rng, other)
        if pair is not None:
            stock.used.add(name)
            return pair, {"kind": "micrograph", "source": source.file}
    return None


def _fresh(stock: Stock, rng: Rng) -> list[str]:
    """Return the groups not yet used in random order; a crowded kind of image is drawn less often than its share."""
    names = [n for n in stock.groups if n not in stock.used]
    kinds = {n: (stock.groups[n][0].origin, stock.groups[n][0].modality) for n in names}
    crowd = Counter(kinds.values())
    weight = np.array([crowd[kinds[n]] ** -0.5 for n in names])
    return [str(n) for n in rng.choice(names, len(names), replace=False, p=weight / weight.sum())] if names else []


def _second(stock: Stock, name: str, rng: Rng) -> Picture | None:
    names = [
        n for n, g in stock.groups.items() if n not in stock.used and n != name and g[0].modality == "fluorescence"
    ]
    if not names:
        return None
    chosen = str(rng.choice(names))
    stock.used.add(chosen)
    image = sources.pixels(stock.groups[chosen][0].file)
    return np.minimum(image / max(0.08, float(np.quantile(image, 0.999))), 1).astype(np.float32)


def _blot_pair(
    sizes: tuple[tuple[int, int], tuple[int, int]], stock: Stock, rng: Rng
) -> tuple[plant.Pair, dict[str, Any]] | None:
    hosts = [h for h in stock.hosts if h not in stock.used]
    for host in rng.permutation(hosts)[:10]:
        patch = stock.hosts[str(host)][int(rng.integers(len(stock.hosts[str(host)])))]
        boxes = sources.clean_boxes(patch, rng)
        if not boxes:
            continue
        x0, y0, x1, y1 = boxes[0]
        pair = plant.make("blot", sources.patch_pixels(patch)[0][y0:y1, x0:x1], sizes, rng)
        if pair is not None and plant.has_bands(pair.a) and plant.has_bands(pair.b):
            stock.used.add(str(host))
            return pair, {"kind": "blot", "source": f"blots/{patch.host}/{patch.number}"}
    return None


def _fill_lookalikes(slots: list[planning.Slot], filled: dict[int, Filling], stock: Stock, rng: Rng) -> None:
    number = 0
    for kind, share in (("chart", 1.0), ("picture", 0.8), ("blot", 1.0)):
        free = [i for i, s in enumerate(slots) if s.kind == kind and i not in filled]
        rng.shuffle(free)
        free = free[: max(2, round(share * len(free)))]
        while len(free) >= 2:
            take = [free.pop() for _ in range(min(len(free), int(rng.integers(2, 5))))]
            name, made = _lookalike(kind, [slots[i] for i in take], stock, rng)
            for i, filling in zip(take, made, strict=False):
                filled[i] = filling._replace(truth={**filling.truth, "lookalike": name, "set": number})
            number += 1


def _lookalike(kind: str, slots: list[planning.Slot], stock: Stock, rng: Rng) -> tuple[str, list[Filling]]:
    sizes = [s.size for s in slots]
    if kind == "chart":
        drawings = alike.same_axes(len(slots), [(s.box[2] - s.box[0], s.box[3] - s.box[1]) for s in slots], rng)
        return "same-axes", [Filling(None, d, {"kind": "graph", "source": "drawn"}) for d in drawings]
    if kind == "blot":
        real = alike.blot_patches(stock.hosts, sizes, stock.used, rng) if rng.random() < 0.7 else []
        name = "blot-same-host" if real else "blot-drawn"
        made = real or alike.drawn_blots(sizes, rng)
        return name, [Filling(_bytes(p), None, {"kind": "blot", "source": name}) for p in made]
    name = str(rng.choice(alike.PICTURE_SETS, p=[0.34, 0.22, 0.12, 0.14, 0.18]))
    truth = {"kind": "micrograph", "source": name}
    if name == "labels":
        parts = [_single(s, stock, rng) for s in slots]
        pictures = [p.picture.copy() for p in parts if p.picture is not None]
        alike.mark(pictures, rng)
        return name, [Filling(p, None, part.truth) for p, part in zip(pictures, parts, strict=True)]
    if name == "same-slide":
        shown = alike.same_slide(stock.groups, sizes, stock.used, rng)
    elif name == "neighbours":
        shown = alike.neighbours(stock.groups, sizes, stock.used, rng)
    else:
        shown = alike.blank(sizes, rng) if name == "blank" else alike.periodic(sizes, rng)
    return name, [Filling(_bytes(p), None, truth) for p in shown]


def _fill_rest(slots: list[planning.Slot], filled: dict[int, Filling], stock: Stock, rng: Rng) -> None:
    for index, slot in enumerate(slots):
        if index in filled:
            continue
        if slot.kind == "chart":
            size = slot.box[2] - slot.box[0], slot.box[3] - slot.box[1]
            scheme = rng.random() < 0.08
            make = charts.diagram if scheme else charts.CHARTS[int(rng.integers(len(charts.CHARTS)))]
            kind = "diagram" if scheme else "graph"
            filled[index] = Filling(None, make(rng, *size), {"kind": kind, "source": "drawn"})
        elif slot.kind == "blot":
            filled[index] = _single_blot(slot, stock, rng)
        else:
            filled[index] = _single(slot, stock, rng)


def _single(slot: planning.Slot, stock: Stock, rng: Rng) -> Filling:
    """Return a picture of a group that nothing else in the manuscript shows."""
    for name in _fresh(stock, rng):
        source = stock.groups[name][int(rng.integers(len(stock.groups[name])))]
        if min(source.size[0] / slot.size[0], source.size[1] / slot.size[1]) < 0.5:
            continue
        image = sources.pixels(source.file)
        image = np.minimum(image / alike.stretch_limit(image, rng), 1).astype(np.float32)
        if image.ndim == 2 and source.modality == "fluorescence" and rng.random() < 0.25:
            image = plant.m.false_colour(image, rng).image
        stock.used.add(name)
        shown = alike.fit_window(image, slot.size, rng)
        return Filling(_bytes(shown), None, {"kind": "micrograph", "source": source.file})
    make = (draw.nuclei, draw.fibres, draw.cells, draw.tissue, draw.phase, draw.electron)[int(rng.integers(6))]
    return Filling(_bytes(make(rng, slot.size)), None, {"kind": "micrograph", "source": f"drawn/{make.__name__}"})


def _single_blot(slot: planning.Slot, stock: Stock, rng: Rng) -> Filling:
    for host in rng.permutation([h for h in stock.hosts if h not in stock.used]):
        patch = stock.hosts[str(host)][int(rng.integers(len(stock.hosts[str(host)])))]
        crop = alike.blot_crop(patch, slot.size, rng)
        if crop is not None:
            stock.used.add(str(host))
            return Filling(_bytes(crop), None, {"kind": "blot", "source": f"blots/{host}/{patch.number}"})
    made = draw.blot(rng, slot.size, int(rng.integers(3, 9)), int(rng.integers(1, 3)))
    return Filling(_bytes(made), None, {"kind": "blot", "source": "drawn/blot"})


def _write(
    order: Order, folder: Path, plans: list[planning.Plan], slots: list[planning.Slot], filled: dict[int, Filling],
    pairs: list[dict[str, Any]], rng: Rng,
) -> dict[str, Any]:  # fmt: skip
    paper, built, index = pdf.Paper(), [], 0
    for number, plan in enumerate(plans, 1):
        cells = []
        for slot in plan.slots:
            cells.append(_cell(plan, slot, filled[index], index, rng))
            index += 1
        built.append(_as_figure(plan, cells, number, rng))
    style = Style(
        size=(595.0, 842.0) if rng.random() < 0.5 else (612.0, 792.0),
        font=str(rng.choice(["Times-Roman", "Times-Roman", "Helvetica"])),
        body=float(rng.uniform(8.6, 9.6)), header=f"Benchmark manuscript {order.name}",
    )  # fmt: skip
    head = prose.title(rng), prose.authors(rng), prose.paragraph(rng, len(plans))
    placed = article(paper, style, lambda: prose.paragraph(rng, len(plans)), head, built)
    folder.mkdir(parents=True, exist_ok=True)
    pdf.save(paper, folder / f"{order.name}.pdf", head[0])
    pictures = folder / "panels" / order.name
    pictures.mkdir(parents=True, exist_ok=True)
    panels: list[dict[str, Any]] = []
    for item in sorted(placed, key=lambda q: q.cell.truth["index"]):
        name = f"p{item.cell.truth['index']:02d}"
        flat = item.pixels if item.pixels.ndim == 2 else item.pixels[..., ::-1]
        cv2.imwrite(str(pictures / f"{name}.png"), flat)
        keep = {k: v for k, v in item.cell.truth.items() if k != "index"}
        panels.append(
            {
                "id": name, "page": item.page, "box_pt": [round(v, 2) for v in item.box_pt], "kind": item.cell.kind,
                "figure": item.figure, "letter": item.cell.letter, "size": list(item.pixels.shape[:2]), **keep,
            }
        )  # fmt: skip
    for pair in pairs:
        pair["a"], pair["b"] = f"p{pair['a']:02d}", f"p{pair['b']:02d}"
    truth = {**order._asdict(), "pages": len(paper.sheets), "panels_truth": panels, "pairs": pairs}
    written = json.dumps(truth, indent=1)
    (folder / f"{order.name}.json").write_text(written)
    return dict(json.loads(written))


def _cell(plan: planning.Plan, slot: planning.Slot, filling: Filling, index: int, rng: Rng) -> Cell:
    picture = filling.picture
    if picture is not None:
        picture = picture.copy()
        value = 255 if picture[:30, :30].mean() < 128 else 0
        if plan.letters == "inside" and slot.kind == "picture":
            pdf.stamp(picture, slot.letter, (5, 2), max(14.0, 0.09 * picture.shape[0]), value)
        if plan.bars and slot.kind == "picture":
            height, width = picture.shape[:2]
            ground = picture[-height // 8 :, -width // 3 :].mean()
            long, thick = int(width * 0.18), max(2, height // 70)
            colour = (255 if ground < 128 else 0,) * 3
            corner = (width - 8 - long, height - 8 - thick)
            cv2.rectangle(picture, corner, (corner[0] + long, corner[1] + thick), colour, -1)
    kind = str(filling.truth["kind"])
    return Cell(slot.box, picture, filling.drawing, kind, slot.letter, {**filling.truth, "index": index})


def _as_figure(plan: planning.Plan, cells: list[Cell], number: int, rng: Rng) -> Figure:
    labels: list[Any] = []
    for cell in cells:
        over = plan.letters in ("above", "page") or cell.drawing is not None
        if over and cell.letter:
            labels.append(pdf.Label(cell.box[0], cell.box[1] - 3, cell.letter, 9.5, bold=True))
    for x, y, text in plan.row_labels:
        labels.append(pdf.Label(x, y, text, 7.0, 1.0, colour=pdf.BLACK if plan.ground > 127 else pdf.WHITE))
    letters = "".join(c.letter for c in cells)
    return Figure(
        plan.width, plan.height, cells, labels, plan.mode, plan.dpi, plan.quality, plan.ground, plan.span,
        plan.vector_charts, prose.caption(rng, number, letters),
    )  # fmt: skip


def _bytes(picture: Picture) -> NDArray[np.uint8]:
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
