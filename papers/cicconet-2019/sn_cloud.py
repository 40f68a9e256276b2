"""The principal components of embeddings, as a picture and as one page to move in (no request leaves it)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from twinscope.train import protocol

TEMPLATE = Path(__file__).resolve().parent / "sn_cloud.html"
COUNT, THUMB, ACROSS = 1024, 32, 32
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866", "#44bb99", "#bbbbbb", "#dddddd")


def draw(points: NDArray[np.float32], test: protocol.Classes, name: str, out: Path) -> None:
    """Write pca.png, pca-points.png and pca.html of 1,024 pictures of the classes, whole ones.

    points: (classes, 1 + versions, d).
    """
    classes = max(1, min(len(points), COUNT // points.shape[1] + 1))
    chosen = np.sort(np.random.default_rng(10).permutation(len(points))[:classes])
    each = points.shape[1]
    flat = points[chosen].reshape(classes * each, -1)[:COUNT]
    thumbs = [cv2.resize(v, (THUMB, THUMB), interpolation=cv2.INTER_AREA) for k in chosen for v in test.views[k]]
    kinds = [test.windows[k].modality for k in chosen for _ in range(each)][:COUNT]
    places, share = components(flat, 3)
    picture(places, thumbs[:COUNT], kinds, name, out / "pca.png")
    dots(places, kinds, name, out / "pca-points.png")
    label = np.repeat(np.arange(classes), each)[:COUNT]
    (out / "pca.html").write_text(page(places, share, thumbs[:COUNT], kinds, label, name), encoding="utf-8")


def components(points: NDArray[Any], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first principal components of (n, d) points as (n, count), and the share of the variance of each."""
    centred = np.asarray(points, np.float64) - np.mean(points, axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, :count] * sizes[:count], (sizes**2 / (sizes**2).sum())[:count]


def picture(
    places: NDArray[np.float64], thumbs: list[NDArray[np.uint8]], kinds: list[str], name: str, path: Path
) -> None:
    """Draw the thumbnails at their first two components, framed in the colour of their modality."""
    figure, axis = plt.subplots(figsize=(11, 9))
    colours = dict(zip(sorted(set(kinds)), COLOURS, strict=False))
    for place, thumb, kind in zip(places, thumbs, kinds, strict=True):
        image = OffsetImage(thumb, cmap="gray", zoom=0.55, norm=plt.Normalize(0, 255))
        frame = {"edgecolor": colours[kind], "linewidth": 1.2}
        axis.add_artist(AnnotationBbox(image, place[:2], pad=0.02, bboxprops=frame))
    for kind, colour in colours.items():
        axis.scatter([], [], marker="s", color=colour, label=kind.replace("_", " "))
    low, high = places[:, :2].min(0), places[:, :2].max(0)
    room = 0.05 * (high - low) + 1e-6
    axis.set(xlim=(low[0] - room[0], high[0] + room[0]), ylim=(low[1] - room[1], high[1] + room[1]))
    axis.set(xlabel="first component", ylabel="second component")
    axis.set_title(f"{len(thumbs):,} embeddings by {name}", fontsize=10)
    axis.legend(fontsize=8, loc="best")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def dots(places: NDArray[np.float64], kinds: list[str], name: str, path: Path) -> None:
    """Draw the pictures as points in the colour of their modality, at their first two components."""
    figure, axis = plt.subplots(figsize=(7.6, 6.4))
    modality = np.array(kinds)
    for kind, colour in zip(sorted(set(kinds)), COLOURS, strict=False):
        mine = places[modality == kind]
        axis.scatter(mine[:, 0], mine[:, 1], s=9, color=colour, linewidths=0, label=kind.replace("_", " "))
    axis.set(xlabel="first component", ylabel="second component")
    axis.set_title(f"{len(places):,} embeddings by {name}", fontsize=10)
    axis.legend(fontsize=8, loc="best", markerscale=2)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def page(
    places: NDArray[np.float64], share: NDArray[np.float64], thumbs: list[NDArray[np.uint8]], kinds: list[str],
    label: NDArray[np.int64], name: str,
) -> str:  # fmt: skip
    """Return the page: the template with the points, the thumbnails as one picture, and the modalities."""
    tall = -(-len(thumbs) // ACROSS)
    sprite = np.zeros((tall * THUMB, ACROSS * THUMB), np.uint8)
    for k, thumb in enumerate(thumbs):
        y, x = k // ACROSS * THUMB, k % ACROSS * THUMB
        sprite[y : y + THUMB, x : x + THUMB] = thumb
    names = sorted(set(kinds))
    reach = float(np.abs(places).max()) or 1.0
    given = {
        "name": name, "thumb": THUMB, "across": ACROSS, "share": [round(float(s), 4) for s in share],
        "kinds": [kind.replace("_", " ") for kind in names], "colours": COLOURS[: len(names)],
        "points": [[*(round(float(v) / reach, 4) for v in place), names.index(kind), int(own)]
                   for place, kind, own in zip(places, kinds, label, strict=True)],
        "sprite": "data:image/png;base64," + base64.b64encode(cv2.imencode(".png", sprite)[1].tobytes()).decode(),
    }  # fmt: skip
    text = json.dumps(given).replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace("/*DATA*/null", text)
