"""Measure how well the map of `twinscope explain` points at planted local edits; print the table and keep it as JSON.

    python benchmarks/explanation.py [-o benchmarks/results/explanation.json] [--windows 120]

A picture is edited in one place, with an exact mask. Of what the map says makes the two differ, the share that lies
inside the mask, over the mask's share of the area, is the factor: 1 is chance. It is measured in the edited picture
and at the same place of the other one. The ways are compared on validation pictures; the one that is used is measured
once more on test pictures and on drawn ones. Intervals: 95 %, bootstrap over the groups that pictures come from.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import manipulate, models
from twinscope.detect import embed, explain
from twinscope.manipulate import Image, Manipulated, Rng
from twinscope.train import data, drawn

RESULTS = Path(__file__).resolve().parent / "results" / "explanation.json"
SEED = 5
USED = "gradient at its place, both sizes"

Fields = tuple[NDArray[np.float32], NDArray[np.float32]]
Way = Callable[[tuple[Any, Any], explain.Seen], Fields]


class Case(NamedTuple):
    """A picture, its edited copy, the mask of the edit, how it was made, and the group that the picture comes from."""

    a: NDArray[np.uint8]
    b: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    edit: str
    group: str


def edits(donor: Image) -> dict[str, Callable[[Image, Rng], Manipulated]]:
    """Return the local edits by name; `donor` gives what is spliced in."""
    return {
        "erased to black": manipulate.erase,
        "erased to the median": lambda image, rng: manipulate.erase(image, rng, value=float(np.median(image))),
        "cloned": lambda image, rng: manipulate.clone(image, rng, feather_px=2),
        "spliced": lambda image, rng: manipulate.splice(image, rng, donor, feather_px=2),
        "retouched": manipulate.retouch,
    }


def cases(pictures: Sequence[NDArray[np.uint8]], groups: Sequence[str], seed: int) -> list[Case]:
    """Edit each picture (HxW uint8, all of one size) in each way; the donor of a splice is another picture."""
    out = []
    for k, picture in enumerate(pictures):
        image, donor = (p.astype(np.float32) / 255 for p in (picture, pictures[(k + 7) % len(pictures)]))
        for number, (name, edit) in enumerate(edits(donor).items()):
            made = edit(image, np.random.default_rng([seed, k, number]))
            out.append(Case(picture, np.rint(made.image * 255).astype(np.uint8), made.mask, name, groups[k]))
    return out


def micrographs(split: str, count: int, seed: int) -> tuple[list[NDArray[np.uint8]], list[str]]:
    """Return 256 px grey windows of a split, one an image, and the group of each."""
    rng = np.random.default_rng(seed)
    rows = data.micrographs(split)
    windows, told = data.cut([rows[k] for k in rng.permutation(len(rows))[:count]], rng, 1, (384,))
    return [cv2.cvtColor(window, cv2.COLOR_RGB2GRAY) for window in windows], [str(one.group) for one in told]


def scenes(count: int, seed: int) -> tuple[list[NDArray[np.uint8]], list[str]]:
    """Return 256 px drawn pictures, each of a family of its own."""
    pictures = [drawn.family(np.random.default_rng([seed, k]), [k])[0] for k in range(count)]
    return pictures, [str(k) for k in range(count)]


def averaged(gradients: tuple[Any, Any], seen: explain.Seen) -> Fields:
    """Grad-CAM as it was published: each map is weighted by the mean of its gradient."""
    means = tuple(np.broadcast_to(part.mean((1, 2), keepdims=True), part.shape) for part in gradients)
    return explain.contributions((means[0], means[1]), seen)


def ways() -> dict[str, Way]:
    """Return the ways to make a map that are compared."""
    out: dict[str, Way] = {}
    for name, base in (("mean gradient (Grad-CAM)", averaged), ("gradient at its place", explain.contributions)):
        for sizes, keep in (("1/8", (1, 0)), ("1/16", (0, 1)), ("both sizes", (1, 1))):
            out[f"{name}, {sizes}"] = _kept(base, keep)
    return out


def _kept(base: Way, keep: tuple[int, int]) -> Way:
    def way(gradients: tuple[Any, Any], seen: explain.Seen) -> Fields:
        fine, coarse = base(gradients, seen)
        return fine * np.float32(keep[0]), coarse * np.float32(keep[1])

    return way


def factors(told: Sequence[Case], chosen: dict[str, Way]) -> dict[str, NDArray[np.float64]]:
    """Return the factor of each case in a and in b, (n, 2), for each way; NaN where the network sees no edit."""
    head = explain.head()
    seen = explain.look([picture for one in told for picture in (one.a, one.b)])
    out = {name: np.full((len(told), 2), np.nan) for name in chosen}
    for k, one in enumerate(told):
        pair = seen[2 * k], seen[2 * k + 1]
        for side in (0, 1):
            gradients = explain.gradients(pair[side], pair[1 - side], head)
            for name, way in chosen.items():
                differ = np.maximum(explain.placed(way(gradients, pair[side]), one.mask.shape), 0)
                if differ.sum() > 0:
                    out[name][k, side] = differ[one.mask].sum() / differ.sum() / one.mask.mean()
    return out


def summary(values: NDArray[np.float64], groups: Sequence[str], rounds: int = 2000) -> dict[str, Any]:
    """Return the mean factor with its interval, the median, and how often it is above chance."""
    good = np.isfinite(values)
    values, of = values[good], np.asarray(groups)[good]
    names = np.unique(of)
    total = np.array([values[of == name].sum() for name in names])
    number = np.array([(of == name).sum() for name in names])
    drawn_groups = np.random.default_rng(SEED).integers(0, len(names), (rounds, len(names)))
    means = total[drawn_groups].sum(1) / number[drawn_groups].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return {
        "factor": round(float(values.mean()), 2),
        "factor_95": [round(float(low), 2), round(float(high), 2)],
        "median": round(float(np.median(values)), 2),
        "above_chance": round(float(np.mean(values > 1)), 3),
        "pairs": len(values),
        "groups": len(names),
    }


def told_of(values: NDArray[np.float64], told: Sequence[Case]) -> dict[str, Any]:
    """Return the summaries of one way: of the edited picture and of the other one, and of each edit."""
    groups = [one.group for one in told]
    out: dict[str, Any] = {"edited": summary(values[:, 1], groups), "other": summary(values[:, 0], groups)}
    for name in dict.fromkeys(one.edit for one in told):
        mine = np.array([one.edit == name for one in told])
        out[name] = summary(values[mine, 1], [g for g, m in zip(groups, mine, strict=True) if m])
    return out


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", type=Path, default=RESULTS)
    parser.add_argument("--windows", type=int, default=120, help="pictures of each set")
    arguments = parser.parse_args()
    sets = {
        "validation": micrographs("val", arguments.windows, SEED),
        "test": micrographs("test", arguments.windows, SEED),
        "drawn": scenes(arguments.windows, SEED),
    }
    card = next(card for card in models.cards() if card.id == embed.MODEL)
    result: dict[str, Any] = {**common.circumstances(), "model": {card.id: card.sha256}, "used": USED, "sets": {}}
    for name, (pictures, groups) in sets.items():
        told = cases(pictures, groups, SEED)
        found = factors(told, ways() if name == "validation" else {USED: ways()[USED]})
        result["sets"][name] = {way: told_of(values, told) for way, values in found.items()}
        for way, rows in result["sets"][name].items():
            sides = (f"{rows[side]['factor']} {rows[side]['factor_95']}" for side in ("edited", "other"))
            print(f"{name:10} {way:40}", *sides)
    arguments.o.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
