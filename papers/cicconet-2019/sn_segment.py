"""Fill the second table of cicconet-2019 (segmentation), and draw IoU against the number of annotated images.

    python papers/cicconet-2019/sn_segment.py --json papers/cicconet-2019/results/segmentation.json

Asked are a classical threshold (Otsu), the U-Net, and forests on the maps of SN, of SN[G] and of the shipped network.
Every finished part (a method, a task, a number of training images, a draw) is kept in --cache by the hash of weights,
settings and plan: stopped, it goes on where it stopped. What was not measured is not in the results. Training sets are
nested: draw d of n images is the first n of permutation d. Intervals: 95 %, a bootstrap over the test images.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parents[1] / name) for name in ("benchmarks", "examples", "src"))]

import cells
import common

from twinscope import metrics, models
from twinscope.detect import forest, maps, segment
from twinscope.settings import Segment
from twinscope.train import unet

SHARED = Path(os.environ.get("TWINSCOPE_SHARED", HERE.parents[2] / "shared")) / "data"
SIZES = (1, 2, 5, 10, 20, 74)
FORESTS = {"SN + RF": "maps-sn", "SN[G] + RF": "maps-sn-g", "shipped + RF": "maps-1"}
PLAIN = {"plain + RF": None, "shipped + plain + RF": "maps-1"}
"""Rows that the paper does not have: forests on simple channels alone, and beside the maps."""
METHODS = ("Otsu", "U-Net", *FORESTS, *PLAIN)
HELD = ("2a2032c4ed", "66236902b8", "c9f305be17")
"""Fields that the honest split tests on; the last is the only one that the feature networks never saw."""


class Task(NamedTuple):
    """Pictures (grey) and masks: those to learn from and those to test on, with the names of the latter."""

    name: str
    training: list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]
    test: list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]
    tested: list[str]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where to keep the results")
    parser.add_argument("--cache", type=Path, default=Path(".cache/cicconet-segment"), help="where parts are kept")
    parser.add_argument("--graphs", type=Path, default=Path(".cache/maps"), help="graphs of maps that are not shipped")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=list(SIZES), help="of the first task; others: 5 and all"
    )
    parser.add_argument("--draws", type=int, default=3, help="training sets of each size, for the forests")
    parser.add_argument("--unet-draws", type=int, default=1, help="the same for the U-Net")
    parser.add_argument("--steps", type=int, default=unet.Plan().steps, help="of a training of the U-Net")
    parser.add_argument("--figure", type=Path, help="where to draw the plot, a PNG")
    given = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    for name in given.tasks:
        task = TASKS[name]()
        for method in given.methods:
            for size in given.sizes if name == "nuclei" else (5, len(task.training)):
                measure(method, task, min(size, len(task.training)), given)
    out = results(given)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    if given.figure is not None:
        given.figure.parent.mkdir(parents=True, exist_ok=True)
        draw(out, given.figure)
    return 0


# --- tasks ------------------------------------------------------------------------------------------------------


def _rows() -> list[dict[str, str]]:
    with (SHARED / "nuclei" / "manifest.csv").open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["width"] == "360"]


def _read(row: Mapping[str, str]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    image = cv2.imread(str(SHARED / "nuclei" / "images" / f"{row['id']}.png"), cv2.IMREAD_GRAYSCALE)
    mask = cv2.imread(str(SHARED / "nuclei" / "masks" / f"{row['id']}.png"), cv2.IMREAD_UNCHANGED)
    return np.asarray(image, np.uint8), np.asarray(mask) > 0


def _split(name: str, tests: Sequence[bool], rows: Sequence[Mapping[str, str]]) -> Task:
    sides = [[row for row, test in zip(rows, tests, strict=True) if test == side] for side in (False, True)]
    return Task(name, *([_read(row) for row in side] for side in sides), [row["id"] for row in sides[1]])


def nuclei() -> Task:
    """Return the paper's task: nuclei, 360x360, split by image."""
    rows = _rows()
    return _split("nuclei", [row["paper_split"] == "test" for row in rows], rows)


def fields() -> Task:
    """Return the same pictures, split by field: no tile of a tested field is learned from."""
    rows = _rows()
    return _split("fields", [row["group"] in HELD for row in rows], rows)


def drawn() -> Task:
    """Return drawn pictures, 256x256, of another modality: cells that differ from the ground in texture alone."""
    made = [cells.draw(np.random.default_rng([5, k])) for k in range(74 + 40)]
    return Task("drawn", made[:74], made[74:], [f"drawn-{k}" for k in range(74, 114)])


TASKS = {"nuclei": nuclei, "fields": fields, "drawn": drawn}


# --- parts ------------------------------------------------------------------------------------------------------


def measure(method: str, task: Task, size: int, given: argparse.Namespace) -> None:
    """Measure what is not in the cache yet: a method that learned from `size` pictures, on the tested ones."""
    for number in range(draws(method, size, len(task.training), given)):
        path = part(method, task.name, size, number, given)
        if path is None or path.exists():
            continue
        order = np.random.default_rng([17, number]).permutation(len(task.training))[:size]
        chosen = [task.training[k] for k in order]
        begun = time.process_time()
        if method == "Otsu":
            masks, took = [otsu(image) for image, _ in task.test], 0.0
        elif method == "U-Net":
            checkpoint = path.with_suffix(".pt")
            took = unet.train([a for a, _ in chosen], [b for _, b in chosen], plan(given), checkpoint)["seconds"]
            network = unet.load(checkpoint)
            begun = time.process_time()
            masks = [unet.probability(network, image) > 0.5 for image, _ in task.test]
        else:
            masks, took = forested(method, chosen, task, number, given)
            begun += took
        spent = (time.process_time() - begun) / len(task.test)
        row = {"iou": [metrics.iou(a, b) for a, (_, b) in zip(masks, task.test, strict=True)],
               "pa": [float((a == b).mean()) for a, (_, b) in zip(masks, task.test, strict=True)],
               "train_s": round(took, 1), "apply_s": round(spent, 3)}  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(row), encoding="utf-8")
        print(task.name, method, size, number, f"IoU {np.mean(row['iou']):.4f}, {took:.0f} s", flush=True)


def otsu(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return what is above Otsu's threshold."""
    return np.asarray(cv2.threshold(image, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1]) > 0


def forested(
    method: str, chosen: Sequence[tuple[NDArray[np.uint8], NDArray[np.bool_]]], task: Task, number: int,
    given: argparse.Namespace,
) -> tuple[list[NDArray[np.bool_]], float]:  # fmt: skip
    """Return the masks of the tested pictures by a forest, and the seconds of its training."""
    stage, network = stage_of(method), graph(method, given)
    begun = time.process_time()
    places = []
    for k, (image, mask) in enumerate(chosen):
        rng = np.random.default_rng([number, k])
        seen, most = look(image, network, stage), -(-stage.most // len(chosen))
        places.append(segment.drawn(seen, segment.labelled(mask, False), stage, most, rng))
    values, told = (np.concatenate([getattr(one, name) for one in places]) for name in ("values", "objects"))
    grown = forest.grow(values, told, stage.trees, segment.leaf(stage, len(told)), number)
    took = time.process_time() - begun
    out = []
    for image, _ in task.test:
        small = forest.vote(grown, look(image, network, stage))
        out.append(segment.guided(segment.enlarged(small, image.shape[:2]), image, stage) > 0.5)
    return out, took


def look(image: NDArray[np.uint8], network: str | None, stage: Segment) -> NDArray[np.float32]:
    """Return the features of a picture: the maps of a network, or the plain channels alone."""
    return maps.plain(image) if network is None else maps.features(image, network, stage, 1)


def stage_of(method: str) -> Segment:
    """Return the settings of a row: plain channels only where its name says so."""
    return Segment(plain=method in PLAIN)


def graph(method: str, given: argparse.Namespace) -> str | None:
    """Return what the network of a row is loaded by, None for no network."""
    name = {**FORESTS, **PLAIN}[method]
    if name is None or name in {card.id for card in models.cards()}:
        return name
    return str(given.graphs / f"{name}.onnx")


def plan(given: argparse.Namespace) -> unet.Plan:
    """Return how a U-Net is trained."""
    return unet.Plan(steps=given.steps)


def draws(method: str, size: int, whole: int, given: argparse.Namespace) -> int:
    """Return how many training sets of a size are drawn: one where there is but one, or nothing is learned."""
    if method == "Otsu" or size == whole:
        return 1
    return int(given.unet_draws if method == "U-Net" else given.draws)


def part(method: str, task: str, size: int, number: int, given: argparse.Namespace) -> Path | None:
    """Return where a part is kept, None where the network of its row is not here."""
    about: list[Any] = [method, task, 0 if method == "Otsu" else size, number]
    if method == "U-Net":
        about += [plan(given)._asdict()]
    elif method != "Otsu":
        network = graph(method, given)
        if network is not None and network.endswith(".onnx") and not Path(network).exists():
            return None
        about += [stage_of(method).model_dump(), network and models.load(network, 1).card.sha256]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    plain = "".join(c if c.isalnum() else "-" for c in method)
    return Path(given.cache) / f"{task}-{plain}-{about[2]}-{number}-{digest}.json"


# --- results ----------------------------------------------------------------------------------------------------


def results(given: argparse.Namespace) -> dict[str, Any]:
    """Return what is in the cache, the circumstances, and what the networks saw of the tested pictures."""
    forests = Segment().model_dump(include={"trees", "leaf", "share", "most", "edge_px", "edge"})
    out: dict[str, Any] = {"circumstances": common.circumstances(), "unet": plan(given)._asdict(), "forest": forests}
    out["tasks"] = {}
    for name, make in TASKS.items():
        task = make()
        rows: dict[str, dict[str, Any]] = {}
        for method in METHODS:
            for size in (*SIZES, len(task.training)):
                found = gathered(method, name, size, len(task.training), given)
                if found is not None:
                    rows.setdefault(method, {})[str(size)] = found
        out["tasks"][name] = {"training": len(task.training), "test": len(task.test), "seen": seen(task), "rows": rows}
    networks = {method: graph(method, given) for method in FORESTS}
    out["networks"] = {
        method: models.load(network, 1).card.training
        for method, network in networks.items() if network is not None and part(method, "nuclei", 1, 0, given)
    }  # fmt: skip
    return out


def gathered(method: str, task: str, size: int, whole: int, given: argparse.Namespace) -> dict[str, Any] | None:
    """Return IoU and pixel accuracy of a row at a size: the mean over the draws that are here, and its interval."""
    paths = [part(method, task, size, k, given) for k in range(draws(method, size, whole, given))]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path is not None and path.exists()]
    if not found:
        return None
    out: dict[str, Any] = {"draws": len(found)}
    for name in ("iou", "pa"):
        images = np.mean([one[name] for one in found], axis=0)
        near = metrics.bootstrap(len(images), lambda k, v=images: float(v[k].mean()), np.random.default_rng(3))
        out[name] = {"mean": round(float(images.mean()), 4), "interval": [round(near.low, 4), round(near.high, 4)]}
    out["spread"] = round(float(np.std([np.mean(one["iou"]) for one in found])), 4)
    return out | {name: round(float(np.mean([one[name] for one in found])), 3) for name in ("train_s", "apply_s")}


def seen(task: Task) -> dict[str, int]:
    """Return how many tested pictures the feature networks learned from, and how many lie in a field that they saw."""
    if task.name == "drawn":
        return {"pictures": 0, "fields": 0}
    with (SHARED / "micrographs" / "manifest.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "dsb2018"]
    split = {Path(row["file"]).stem: row["split"] for row in rows}
    group = {Path(row["file"]).stem: row["group"] for row in rows}
    learned = {row["group"] for row in rows if row["split"] == "train"}
    names = [next(stem for stem in split if name.startswith(stem)) for name in task.tested]
    return {"pictures": sum(split[name] == "train" for name in names),
            "fields": sum(group[name] in learned for name in names)}  # fmt: skip


def draw(out: Mapping[str, Any], path: Path) -> None:
    """Draw IoU against the number of annotated images, a line a method, as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), dpi=110)
    for k, (method, row) in enumerate(out["tasks"]["nuclei"]["rows"].items()):
        colour = f"C{k}"
        sizes = sorted(int(size) for size in row)
        if method == "Otsu":
            axes.axhline(row[str(sizes[0])]["iou"]["mean"], color="0.5", ls="--", label="Otsu (learns nothing)")
            continue
        means = [row[str(size)]["iou"]["mean"] for size in sizes]
        low, high = zip(*(row[str(size)]["iou"]["interval"] for size in sizes), strict=True)
        axes.plot(sizes, means, "o-", color=colour, label=method, ms=4)
        axes.fill_between(sizes, low, high, color=colour, alpha=0.1, lw=0)
    axes.set(xscale="log", xlabel="annotated images", ylabel="IoU on the test images")
    axes.set_xticks(SIZES, [str(size) for size in SIZES])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
