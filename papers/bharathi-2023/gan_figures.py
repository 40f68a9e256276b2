"""Draw the dendrogram, for each generator what it made beside the nearest real pictures, and the curves of the losses.

The sheets show real pictures, and copies of them, so they stay beside the runs: they are no part of the project.

PYTHONPATH=src python papers/bharathi-2023/gan_figures.py [--shared ../shared] [--runs DIR] [-o figures]
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src")]

import matplotlib as mpl

mpl.use("Agg")
import cv2
import numpy as np
from gan_methods import pooled
from gan_pictures import EACH, SIDE, Bytes, Halves, halves
from gan_train import JOBS
from matplotlib import pyplot as plt
from scipy.cluster import hierarchy

from twinscope import pixels
from twinscope.detect import fingerprint, relatives
from twinscope.settings import Fingerprint

USED, UNUSED = "#12506d", "#c07a00"
COLUMNS = 16


def dendrogram(both: Halves, path: Path) -> float:
    """Draw the Ward clustering of the real pictures (paper, section 5.2), and return its cophenetic correlation."""
    features = relatives.agglomerated(pooled(np.concatenate([both.used, both.unused])))
    found = relatives.ward(features)
    figure, axes = plt.subplots(figsize=(11, 4.2), layout="constrained")
    tree = hierarchy.dendrogram(found.linkage, ax=axes, color_threshold=found.cut, above_threshold_color="#555d65",
                                no_labels=True)  # fmt: skip
    axes.axhline(found.cut, color="#555d65", linewidth=0.8, linestyle="--")
    for place, leaf in enumerate(tree["leaves"]):
        used = leaf < len(both.used)
        low = -0.025 if used else -0.055
        axes.plot(10 * place + 5, low, marker="o" if used else "x", color=USED if used else UNUSED, markersize=4,
                  clip_on=False, transform=axes.get_xaxis_transform())  # fmt: skip
    clusters = len(np.unique(found.members))
    axes.set_title(f"Ward's linkage on the embedder's pooled features: {len(features)} real pictures, cut into "
                   f"{clusters}; cophenetic correlation {found.cophenetic:.2f}", fontsize=10)  # fmt: skip
    axes.set_ylabel("height of the merge")
    axes.set_xticks([])
    axes.set_xlabel("● used   × unused: both kinds lie in every branch", labelpad=22)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return found.cophenetic


def nearest(made: Bytes, real: Bytes) -> list[int]:
    """Return the real picture nearest to each generated one, laid over each other."""
    seen = [one.astype(np.float32) / 255 for one in (real, made)]
    return [int(k) for k in fingerprint.pixel_distances(seen[0], seen[1], Fingerprint()).argmin(0)]


def sheet(parts: list[Bytes], real: Bytes, used: int, path: Path) -> None:
    """Draw what a generator made (a part a length), each above its nearest real picture; unused ones are framed."""
    rows = []
    for made in parts:
        first = made[:COLUMNS]
        below = []
        for k in nearest(first, real):
            one = real[k].copy()
            if k >= used:
                one[:2], one[-2:], one[:, :2], one[:, -2:] = 255, 255, 255, 255
            below.append(one)
        gap = np.full((6, COLUMNS * first.shape[1]), 255, np.uint8)
        rows += [np.hstack(list(first)), np.hstack(below), gap]
    whole = cv2.resize(np.vstack(rows[:-1]), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    pixels.write_png(path, np.asarray(whole, np.uint8))


def curves(runs: list[dict[str, Any]], folder: Path, path: Path) -> None:
    """Draw the losses of all runs over their steps."""
    figure, both = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    for axes, kind in zip(both, ("ddpm", "dcgan"), strict=True):
        for run in (one for one in runs if one["kind"] == kind):
            with (folder / run["name"] / "curve.csv").open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= run["lengths"][-1]]
            steps = [int(row["step"]) for row in rows]
            label = f"seed {run['seed']}"
            line = axes.plot(steps, [float(row["loss"]) for row in rows], label=label, linewidth=1.2)[0]
            if kind == "dcgan":
                axes.plot(steps, [float(row["critic"]) for row in rows], color=line.get_color(), linewidth=0.8,
                          linestyle=":")  # fmt: skip
        axes.set_title({"ddpm": "DDPM: squared error of the velocity",
                        "dcgan": "DCGAN: generator (solid), critic (dotted)"}[kind], fontsize=10)  # fmt: skip
        axes.set_xlabel("steps")
        if axes.lines:
            axes.legend(fontsize=8, frameon=False)
    both[0].set_ylim(0, 0.2)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    """Parse the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared")
    parser.add_argument("--runs", type=Path, default=Path(".cache/bharathi-2023"))
    parser.add_argument("--output", "-o", type=Path, default=HERE / "figures")
    parser.add_argument("--each", type=int, default=EACH)
    parser.add_argument("--side", type=int, default=SIDE)
    told = parser.parse_args()
    told.output.mkdir(parents=True, exist_ok=True)
    dendrogram(halves(told.shared, 1, told.each, told.side), told.output / "dendrogram.png")
    records = [told.runs / job.name / "run.json" for job in JOBS]
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in records if path.is_file()]
    for run in runs:
        one = halves(told.shared, run["seed"], told.each, told.side)
        real = np.concatenate([one.used, one.unused])
        parts = [np.load(told.runs / run["name"] / f"drawn-{steps}.npy") for steps in run["lengths"]]
        sheet(parts, real, told.each, told.runs / run["name"] / "sheet.png")
    curves(runs, told.runs, told.output / "curves.png")


if __name__ == "__main__":
    main()
