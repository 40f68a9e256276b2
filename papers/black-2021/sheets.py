"""Draw what the methods of black-2021 show: heat-maps side by side (figures 5 and 9), and the worst cases (figure 10).

    python papers/black-2021/sheets.py -o .cache/papers/black-2021

heat-SET.png: a row a pair, its original, its query with what was edited outlined in yellow, and the heat-map of every
method. worst-METHOD.png: the pairs of test groups and of real edits that a method does worst on, which the README of a
tool should not hide. Both show data of ../shared, each under its own licence: what is drawn there is not part of the
repository. The same of drawn pictures (heat-drawn.png, worst-METHOD-drawn.png) goes to --keep, too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "benchmarks"), str(HERE.parents[1] / "src")]
mpl.use("Agg")

import icn_methods as im
from matplotlib import pyplot as plt
from PIL import Image

from twinscope.train import changes, changes_real, drawn, icn_scores
from twinscope.types import CLASSES

KEPT = "drawn"
"""The set whose pictures are ours to show."""
CUT = icn_scores.THRESHOLD


class Case(NamedTuple):
    """A pair, its set, what a method said of it and how bad that is: larger is worse."""

    name: str
    pair: im.Pair
    said: im.Said
    loss: float
    words: str


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--keep", type=Path, help="a folder for the sheets that show drawn pictures alone")
    parser.add_argument("--runs", type=Path, default=Path(".cache/train"), help="where trained networks lie")
    parser.add_argument("--pairs", type=int, default=200, help="simulated pairs of each kind that are looked through")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--sets", nargs="+", default=["drawn", "both", "blots", "copymove", "photos"])
    given = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    there, missing = im.methods(given.runs, given.side)
    for name, why in missing.items():
        print(f"{name}: {why}", flush=True)
    given.output.mkdir(parents=True, exist_ok=True)
    for path in given.output.glob("worst-*.png"):  # of methods that are judged no more
        path.unlink()
    wanted = im.Wanted(given.pairs, 0, given.side)
    shown = [one for one in there if set(im.EDITED) <= set(one.sets)]
    sets = {name: pairs(name, wanted) for name in given.sets}
    for name, found in sets.items():
        heat_sheet(shown, some(found), given.output / f"heat-{name}.png")
    for method in judges(there):
        for name in (KEPT, ""):
            looked = [one for one in sets if (one == KEPT) == (name == KEPT)]
            cases = [case for one in looked for case in judged(method, one, sets[one])]
            ending = f"-{KEPT}" if name else ""
            if cases:
                worst_sheet(cases, given.output / f"worst-{slug(method.name)}{ending}.png")
    if given.keep is not None:
        keep(given.output, given.keep, missing)
    return 0


def keep(folder: Path, into: Path, missing: Collection[str] = ()) -> None:
    """Write the sheets of drawn pictures, and no other, in the place of those that were there, of 128 colours.

    The worst cases of networks that are `missing` here, and cannot be drawn again, stay as they are.
    """
    into.mkdir(parents=True, exist_ok=True)
    left = {f"worst-{slug(name)}-{KEPT}.png" for name in missing}
    for path in into.glob(f"*-{KEPT}.png"):
        if path.name not in left:
            path.unlink()
    for path in sorted(folder.glob(f"*-{KEPT}.png")):
        with Image.open(path) as whole:
            small = whole.convert("RGB").reduce(2) if whole.width > 1600 else whole.convert("RGB")
        small.quantize(128).save(into / path.name, optimize=True)


def slug(name: str) -> str:
    """Return a method's name as file names have it."""
    return name.replace(" + ", "-").replace(" ", "-")


def judges(there: Sequence[im.Method]) -> list[im.Method]:
    """Return the methods whose failures are shown: the whole networks, or SSD aligned as long as none is trained."""
    whole = [one for one in there if one.name in ("full", im.DESK[True])]
    return whole or [one for one in there if one.name == "SSD + true alignment"]


def pairs(name: str, wanted: im.Wanted) -> list[im.Pair]:
    """Return the pairs of a set, or as many drawn ones."""
    return drawn_pairs(wanted.pairs, wanted.side, wanted.seed) if name == KEPT else im.pairs(name, wanted)


def drawn_pairs(count: int, side: int, seed: int) -> list[im.Pair]:
    """Return pairs of drawn pictures: of four, two are edited and worn, one is worn, one is of two pictures."""
    out: list[im.Pair] = []
    for number in range(count):
        family = drawn.family(np.random.default_rng([seed, number]), list(range(4)))
        windows = [np.repeat(one[..., None], 3, 2) for one in family]
        kind = ("both", "both", "benign", "distinct")[number % 4]
        out.append(changes.pair(windows[0], windows[1:], np.random.default_rng([seed, number, 1]), kind, side))
    return out


def some(found: Sequence[im.Pair], rows: int = 8) -> list[im.Pair]:
    """Return a few pairs, evenly taken from the edited ones."""
    edited = [one for one in found if one.label == changes.MANIPULATED]
    return [edited[k] for k in np.unique(np.linspace(0, len(edited) - 1, rows).astype(int))] if edited else []


# ---------------------------------------------------------------------------------------------------- sheets


def heat_sheet(methods: Sequence[im.Method], found: Sequence[im.Pair], path: Path) -> None:
    """Draw pairs in rows: original, query, truth, and the heat-map of each method with its IoU at the threshold."""
    columns = 3 + len(methods)
    figure, axes = plt.subplots(len(found), columns, figsize=(1.5 * columns, 1.62 * len(found)), squeeze=False)
    for row, one in zip(axes, found, strict=True):
        picture(row[0], one.original, "original")
        picture(row[1], one.query, "query")
        picture(
            row[2], one.original, "edited (yellow)" if one.changed is not None else "edited: not noted", one.changed
        )
        for axis, method in zip(row[3:], methods, strict=True):
            said = method.ask(one) if one.flow is not None or "true" not in method.name else None
            if said is None:
                axis.axis("off")
                continue
            kind = 1 if said.probability is None else int(said.probability.argmax())
            shown = icn_scores.gated(icn_scores.normalised(said.heat), kind)
            told = "" if one.changed is None else f" {icn_scores.iou(shown, one.changed):.2f}"
            heat(axis, shown, one.changed, f"{method.name}{told}")
    save(figure, path)


def judged(method: im.Method, name: str, found: Sequence[im.Pair]) -> list[Case]:
    """Return what a method said of pairs, each with how bad that is.

    Above 1: the wrong class, by its probability. Else what the IoU lacks. Of a method without classes the edited pairs
    alone are looked at.
    """
    out = []
    for one in found:
        if one.flow is None and "true" in method.name:
            continue
        said = method.ask(one)
        if said.probability is None and one.changed is None:
            continue
        loss, words = _loss(one, said)
        if said.probability is not None or one.label == changes.MANIPULATED:
            out.append(Case(name, one, said, loss, words))
    return out


def _loss(one: im.Pair, said: im.Said) -> tuple[float, str]:
    kind = changes.MANIPULATED if said.probability is None else int(said.probability.argmax())
    if kind != one.label and said.probability is not None:
        return 1 + float(said.probability[kind]), f"{CLASSES[one.label]}, called {CLASSES[kind]}"
    if one.label != changes.MANIPULATED or one.changed is None:
        return 0.0, f"{CLASSES[one.label]}, right"
    overlap = icn_scores.iou(icn_scores.normalised(said.heat), one.changed)
    return 1 - overlap, f"IoU {overlap:.2f}"


def worst_sheet(cases: Sequence[Case], path: Path, columns: int = 4, rows: int = 6) -> None:
    """Draw the worst cases as figure 10: the wrong classes first, at most half of the sheet, then the lowest IoUs."""
    ordered = sorted(cases, key=lambda case: -case.loss)
    wrong = [case for case in ordered if case.loss > 1][: columns * rows // 2]
    low = [case for case in ordered if 0 < case.loss <= 1]
    chosen = [*wrong, *low][: columns * rows]
    figure = plt.figure(figsize=(3.6 * columns, 1.75 * rows))
    grid = figure.add_gridspec(rows, 3 * columns)
    for place, case in enumerate(chosen):
        row, column = divmod(place, columns)
        axes = [figure.add_subplot(grid[row, 3 * column + k]) for k in range(3)]
        steps = ", ".join(case.pair.how[:3] if case.name not in changes_real.SETS else case.pair.how[:1])
        picture(axes[0], case.pair.original, f"{case.name}: {case.words}"[:44], left=True)
        picture(axes[1], case.pair.query, "")
        heat(axes[2], icn_scores.normalised(case.said.heat), case.pair.changed, "")
        axes[1].set_xlabel(steps[:64], fontsize=5)
    save(figure, path)


def picture(
    axis: Any, pixels: NDArray[Any], title: str, mask: NDArray[np.bool_] | None = None, left: bool = False
) -> None:
    """Show a picture, with the outline of a mask in yellow."""
    axis.imshow(pixels)
    _outline(axis, mask)
    _bare(axis, title, left)


def heat(axis: Any, values: NDArray[Any], mask: NDArray[np.bool_] | None, title: str) -> None:
    """Show a heat-map in false colours, what is above the threshold outlined in white, the truth in yellow."""
    axis.imshow(values, vmin=0, vmax=1, cmap="inferno")
    if values.min() < CUT <= values.max():
        axis.contour(values >= CUT, levels=[0.5], colors="white", linewidths=0.6)
    _outline(axis, mask)
    _bare(axis, title, False)


def _outline(axis: Any, mask: NDArray[np.bool_] | None) -> None:
    if mask is not None and mask.any() and not mask.all():
        axis.contour(mask, levels=[0.5], colors="yellow", linewidths=0.9)


def _bare(axis: Any, title: str, left: bool) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title, fontsize=6, pad=2, loc="left" if left else "center")


def save(figure: Any, path: Path) -> None:
    """Write a figure and let it go."""
    figure.tight_layout(pad=0.4)
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
