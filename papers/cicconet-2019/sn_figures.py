"""Draw the figures of cicconet-2018 and cicconet-2019 from our data.

    python papers/cicconet-2019/sn_figures.py --network SN -o .cache/papers/cicconet-2019/SN
    python papers/cicconet-2019/sn_figures.py -o .cache/papers/cicconet-2019/shipped \\
        --keep papers/cicconet-2019/figures                                             # of the network that ships

deformations.png (figure 2 of both), training.png (2018, figure 3), likelihood-SET.png (2019, 3a real and 3b synthetic;
2018, 4, real), classes-SET.png (2019, 3c real and 3d synthetic), neighbours.png (2019, 3e), right.png and wrong.png
(2018, 5), pca.png (2018, 6) and pca.html, the same as a page to move in. SET is synthetic, blots, photos or copymove.

Most show data of ../shared, each under its own licence: what is drawn there is not part of the repository. Those that
show none (curves, likelihoods, matrices, components as points) go to --keep, too; of the others --keep gets what the
network makes of drawn pictures, which lies in the folder `drawn` of the output.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "benchmarks"), str(HERE.parents[1] / "src")]
mpl.use("Agg")

import rivals
import sn_accuracy
import sn_cloud
from matplotlib import pyplot as plt
from matplotlib.collections import PathCollection

from twinscope import manipulate as m
from twinscope.detect import embed
from twinscope.train import data, drawn, evaluate, protocol

Bytes = NDArray[np.uint8]
JUDGED = tuple(f"{what}-{name}.png" for what in ("likelihood", "classes") for name in ("synthetic", *evaluate.SETS))
KEPT = ("training.png", *JUDGED, "pca-points.png")
"""What is known of these figures tells nothing of how a picture looks."""
DRAWN = ("neighbours.png", "right.png", "wrong.png", "pca.png", "pca.html")
"""These show pictures, so that drawn ones are shown where the figures are kept."""
MOST_BYTES = 3 * 2**20
"""A page that is larger is not kept."""
RIGHT, WRONG = "#1a9641", "#d7191c"
CURVES = {"batch_accuracy": "batch", "val_accuracy": "validation", "test_accuracy": "test", "real_blots": "real: blots",
          "real_photos": "real: photographs", "real_copymove": "real: copy-move"}  # fmt: skip


class Seen(NamedTuple):
    """A network's view of the synthetic classes: all distances, and a description of every picture, classes first."""

    test: protocol.Classes
    found: protocol.Distances
    points: NDArray[np.float32]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default=embed.MODEL, choices=sn_accuracy.NAMES, help="default: %(default)s")
    parser.add_argument("--runs", type=Path, default=Path(".cache/train"), help="where trained networks lie")
    parser.add_argument("--classes", type=int, default=402)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--keep", type=Path, help="a folder for the figures that show no picture of ../shared")
    given = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    found, missing = rivals.methods([given.network], given.runs)
    if missing:
        print(f"{given.network}: {missing[given.network]}", file=sys.stderr)
        return 2
    given.output.mkdir(parents=True, exist_ok=True)
    sources = example_windows(6)
    deformations(sources, given.output / "deformations.png")
    if given.network in rivals.CHECKPOINTS:
        training(given.runs / rivals.CHECKPOINTS[given.network] / "curve.csv", given.output / "training.png")
    draw(found[0], protocol.classes("test", given.classes, 9, "v02", seed=3, per_image=4), given.output)
    if given.keep is not None:
        keep(found[0], given.output, given.keep, drawn_classes())
    return 0


def keep(method: rivals.Method, output: Path, folder: Path, test: protocol.Classes) -> None:
    """Copy what shows no picture of ../shared into `folder`, named by the network; draw what does of `test` instead.

    What is kept there of an embedder that shipped before goes when that of the shipped one comes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (output / "drawn").mkdir(exist_ok=True)
    show(look(method, test), method, output / "drawn")
    for name in (*KEPT, *DRAWN):
        source, target = output / name if name in KEPT else output / "drawn" / name, f"{slug(method.name)}-{name}"
        for old in folder.glob(f"embedder-*-{name}" if method.name == embed.MODEL else target):
            old.unlink()
        if source.exists() and source.stat().st_size <= MOST_BYTES:
            shutil.copyfile(source, folder / target)
    deformations(list(drawn.family(np.random.default_rng(2), [1]) + drawn.family(np.random.default_rng(7), [2])),
                 folder / "deformations.png")  # fmt: skip


def slug(network: str) -> str:
    """Return a network's name as file names have it: SN-G for SN[G], SN-faithful for SN, faithful."""
    return network.replace("[", "-").replace("]", "").replace(", ", "-")


def drawn_classes(families: int = 50, members: int = 4, versions: int = 5) -> protocol.Classes:
    """Return classes of drawn pictures, always the same; the members of a family look alike and are of other classes.

    None is blank. Five versions, so that all of the five nearest can be of a picture's own class.
    """
    pixels: list[Bytes] = []
    windows: list[data.Window] = []
    for k in range(families):
        pictures = drawn.family(np.random.default_rng([21, k]), list(range(2 * members)))
        shown = [rgb for p in pictures if not data.blank(rgb := np.repeat(p[..., None], 3, axis=2))][:members]
        windows += [data.Window(len(pixels) + i, k, 0, "drawn", "drawn", (0, 0, 1, 1)) for i in range(len(shown))]
        pixels += shown
    return protocol.classes_of(np.stack(pixels), windows, len(windows), versions, "v02", np.random.default_rng(22))


def draw(method: rivals.Method, test: protocol.Classes, out: Path, sets: Sequence[str] = tuple(evaluate.SETS)) -> None:
    """Draw every figure that shows what a network makes of the classes, and of the real edits."""
    seen = look(method, test)
    kinds = [w.modality for w in seen.test.windows]
    likelihoods(seen.found, f"{method.name}, synthetic", out / "likelihood-synthetic.png")
    matrix(seen.found, kinds, f"{method.name}, synthetic", out / "classes-synthetic.png")
    show(seen, method, out)
    for name in sets:
        far, groups = by_group(*sn_accuracy.real(method, name))
        likelihoods(far, f"{method.name}, {name}", out / f"likelihood-{name}.png")
        labels = [f"{'host' if name == 'blots' else 'original'} {g + 1}" for g in groups]
        matrix(far, labels, f"{method.name}, {name}", out / f"classes-{name}.png")


def look(method: rivals.Method, test: protocol.Classes) -> Seen:
    """Return what a network makes of classes, those of a group and of a modality side by side."""
    order = np.lexsort([[w.group for w in test.windows], [w.modality for w in test.windows]])
    test = protocol.Classes(test.views[order], [test.windows[k] for k in order])
    found = rivals.cross(method, test, 0, np.random.default_rng(0))
    points = np.asarray(method.describe(list(test.views.reshape(-1, *test.views.shape[2:]))), np.float32)
    return Seen(test, found, points.reshape(*test.views.shape[:2], -1))


def show(seen: Seen, method: rivals.Method, out: Path) -> None:
    """Draw the figures that show the pictures: the nearest ones, the right and the wrong pairs, the components."""
    neighbours(seen, method, out / "neighbours.png")
    for name, right in (("right", True), ("wrong", False)):
        sheet(seen, right, out / f"{name}.png")
    sn_cloud.draw(seen.points, seen.test, method.name, out)


def by_group(found: protocol.Distances, groups: list[int]) -> tuple[protocol.Distances, list[int]]:
    """Return distances with the classes of a group side by side, and the groups in that order."""
    order = np.argsort(groups, kind="stable")
    both = np.ix_(order, order)
    return protocol.Distances(found.cross[both], found.unsure[both]), [groups[k] for k in order]


def likelihood(far: Any) -> NDArray[np.float64]:
    """Return 100 sigmoid(1 - f), equations 2 and 3: above 50 is the same."""
    return np.asarray(100 / (1 + np.exp(np.asarray(far, np.float64) - 1)))


def example_windows(count: int, seed: int = 4) -> list[Bytes]:
    """Return grey 256 px windows of test groups, one of each of as many sources."""
    rows = data.micrographs("test")
    rng = np.random.default_rng(seed)
    chosen = [next(r for r in rows if r["source"] == s and int(r["height"]) > 255) for s in _sources(rows)[:count]]
    pixels, windows = data.cut(chosen, rng, 1, levels=(256,))
    firsts = {w.source: k for k, w in reversed(list(enumerate(windows)))}
    return [np.asarray(cv2.cvtColor(pixels[k], cv2.COLOR_RGB2GRAY)) for k in firsts.values()]


def _sources(rows: list[dict[str, str]]) -> list[str]:
    large = [r["source"] for r in rows if int(r["height"]) > 255]
    return list(dict.fromkeys(large))


def deformations(sources: list[Bytes], path: Path) -> None:
    """Draw the sheet of deformations: one row a picture, one column a step of the simulation, V02's strengths."""
    names = ("original", "rotation", "translation", "clutter", "perspective", "histogram", "erase", "combined")
    size = (1.5 * len(names), 1.5 * len(sources) + 0.3)
    figure, axes = plt.subplots(len(sources), len(names), figsize=size, squeeze=False)
    rng = np.random.default_rng(11)
    for row, source in zip(axes, sources, strict=True):
        image = source.astype(np.float32) / np.float32(255)
        shown = [
            image,
            m.similarity(image, rng, factor=1.0, shift=(0, 0), angle=float(rng.uniform(15, 45)), fill=0.0).image,
            m.similarity(image, rng, angle=0.0, factor=1.0, shift=(20, -20), fill=0.0).image,
            m.perspective(image, rng, shift=20 / 256, fill=0.0).image,
        ]
        plain, turned, moved, slanted = (part[64:192, 64:192] for part in shown)
        written = m.outline(m.letters(plain, rng, height_px=16, value=1.0).image, rng, value=1.0).image
        toned = m.gamma(m.local_contrast(plain, rng).image, rng).image
        erased = m.erase(plain, rng, radius_px=20).image
        centres = [plain, turned, moved, written, slanted, toned, erased, m.v02(image, rng).image]
        for axis, part, name in zip(row, centres, names, strict=True):
            _picture(axis, part)
            axis.set_title(name if axis in axes[0] else "", fontsize=9)
    _save(figure, path)


def training(curve: Path, path: Path) -> None:
    """Draw accuracy during training: on the batch, on validation, and what `--watch` saw of test and real edits."""
    with curve.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure, axis = plt.subplots(figsize=(7, 4))
    steps = [int(row["step"]) for row in rows]
    for key, label in CURVES.items():
        if key in rows[0]:
            style = "--" if key.startswith("real") else "-"
            mark = "o" if len(rows) == 1 else None
            axis.plot(steps, [float(row[key]) for row in rows], style, label=label, linewidth=1.3, marker=mark)
    axis.set(xlabel="step", ylabel="accuracy", ylim=(0.4, 1.01))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, ncols=2, loc="lower right")
    _save(figure, path)


def likelihoods(found: protocol.Distances, title: str, path: Path) -> None:
    """Draw one run: squares are same pairs, circles different ones; green is right, red is wrong, 50 the line."""
    near, far = one_run(found, np.random.default_rng(8))
    figure, axis = plt.subplots(figsize=(11, 3.6))
    place = np.arange(len(near))
    for values, marker, right, name in ((near, "s", near <= 1, "same"), (far, "o", far > 1, "different")):
        for held, colour, word in ((right, RIGHT, "right"), (~right, WRONG, "wrong")):
            dots: PathCollection = axis.scatter(
                place[held], likelihood(values[held]), s=14, marker=marker, facecolors="none", edgecolors=colour,
                linewidths=0.9, label=f"{name}, {word}: {int(held.sum())}",
            )  # fmt: skip
            dots.set_clip_on(False)
    axis.axhline(50, color="black", linewidth=0.8)
    accurate = np.concatenate([near <= 1, far > 1]).mean()
    axis.set(xlabel="class", ylabel="100 σ(1 − f)", ylim=(-2, 100), xlim=(-1, len(near)))
    axis.xaxis.set_major_locator(plt.MaxNLocator(integer=True))
    axis.set_title(f"{title}: {accurate:.3f} right in one run", fontsize=10)
    axis.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
    _save(figure, path)


def one_run(found: protocol.Distances, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return f to a random version of the same class, and to one of a random other class: (classes,) each."""
    classes, _, versions = found.cross.shape
    own, sure = np.arange(classes), found.sure()
    other = np.array([rng.choice(np.flatnonzero(row)) for row in sure])
    near, far = (found.cross[own, who, rng.integers(0, versions, classes)] for who in (own, other))
    return near, far


def matrix(found: protocol.Distances, labels: list[str], title: str, path: Path) -> None:
    """Draw 100 sigmoid(1 - f) of one version of every class with the fixed picture of every class, in their order."""
    values = likelihood(found.cross[:, :, 0])
    figure, axis = plt.subplots(figsize=(7.6, 6.4))
    image = axis.imshow(values, vmin=0, vmax=100 * 1 / (1 + np.exp(-1)), cmap="magma", interpolation="nearest")
    starts = [k for k, label in enumerate(labels) if k == 0 or label != labels[k - 1]]
    middles = (np.array(starts) + np.array([*starts[1:], len(labels)]) - 1) / 2
    wide = np.diff([*starts, len(labels)]) >= 0.02 * len(labels)
    axis.set_yticks(middles[wide], [labels[starts[k]].replace("_", " ") for k in np.flatnonzero(wide)], fontsize=8)
    axis.set_xticks([])
    axis.set_xlabel("another version of each class")
    for start in starts[1:]:
        axis.axhline(start - 0.5, color="white", linewidth=0.4)
        axis.axvline(start - 0.5, color="white", linewidth=0.4)
    axis.set_title(title, fontsize=10)
    figure.colorbar(image, label="100 σ(1 − f)", shrink=0.8)
    _save(figure, path)


def neighbours(seen: Seen, method: rivals.Method, path: Path, columns: int = 20) -> None:
    """Draw random fixed pictures, and below each the five nearest of all other pictures; a frame tells its class."""
    count, each = seen.points.shape[:2]
    chosen = np.sort(np.random.default_rng(6).permutation(count)[:columns])
    everything = seen.points.reshape(count * each, -1)
    far = method.between(seen.points[chosen, 0], everything, None)
    far[np.arange(len(chosen)), chosen * each] = np.inf
    figure, axes = plt.subplots(6, len(chosen), figsize=(0.8 * len(chosen), 5.1), squeeze=False)
    for column, k in enumerate(chosen):
        _picture(axes[0, column], seen.test.views[k, 0], "black")
        for row, index in enumerate(np.argsort(far[column], kind="stable")[:5], 1):
            own = int(index) // each == k
            _picture(axes[row, column], seen.test.views.reshape(-1, 128, 128)[index], RIGHT if own else WRONG)
    figure.suptitle("fixed pictures (top) and their five nearest: green = of its class, red = of another", fontsize=9)
    _save(figure, path)


def sheet(seen: Seen, right: bool, path: Path, columns: int = 8, rows: int = 3) -> None:
    """Draw pairs that a network gets right, or wrong: same pairs above, different ones below, each with its f."""
    count, _, versions = seen.found.cross.shape
    rng, cross = np.random.default_rng(9), seen.found.cross
    own, sure = (k[..., None].repeat(versions, 2) for k in (np.eye(count, dtype=np.bool_), seen.found.sure()))
    lots = [np.argwhere(own & ((cross <= 1) == right)), np.argwhere(sure & ((cross > 1) == right))]
    figure = plt.figure(figsize=(1.7 * columns, 2.1 * rows))
    for lot, (pairs, name) in enumerate(zip(lots, ("same", "different"), strict=True)):
        for place, (i, j, v) in enumerate(rng.permutation(pairs)[: rows * columns]):
            row, column = divmod(place, columns)
            axis = figure.add_subplot(2 * rows, columns, (lot * rows + row) * columns + column + 1)
            gap = np.full((128, 6), 255, np.uint8)
            _picture(axis, np.hstack([seen.test.views[i, 0], gap, seen.test.views[j, 1 + v]]))
            axis.set_title(f"{name}, f = {cross[i, j, v]:.2f}", fontsize=7, pad=2, color=RIGHT if right else WRONG)
    _save(figure, path)


def _picture(axis: Any, picture: NDArray[Any], frame: str | None = None) -> None:
    axis.imshow(picture, cmap="gray", vmin=0, vmax=255 if picture.dtype == np.uint8 else 1)
    axis.set_xticks([])
    axis.set_yticks([])
    for side in axis.spines.values():
        side.set_visible(frame is not None)
        side.set_color(frame)
        side.set_linewidth(2)


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout(pad=0.5)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
