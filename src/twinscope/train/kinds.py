"""Grow the forest that tells kinds of panels apart: `python -m twinscope.train.kinds`.

It learns from the train split of the micrographs and from drawn charts, diagrams, strips and plates, each seen as a
panel may come: cropped, resized, with another tone, JPEG-compressed. Chosen and measured on the val split.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from sklearn.ensemble import RandomForestClassifier

from twinscope.ingest import kinds
from twinscope.models import card, runtime
from twinscope.models.card import CARDS, WEIGHTS
from twinscope.train import charts
from twinscope.train.data import micrographs, read_rgb

Image = NDArray[np.uint8]
Rng = np.random.Generator
Sample = tuple[NDArray[np.float32], int]

_TINTS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0]], np.uint8)
_PHOTO = frozenset({"photo", "mri"})
_ID = "kinds-2"
"""A forest with other answers is another model."""
_PALE_SHARE = 0.15
"""Pale panels for each micrograph and view."""


def as_panel(image: Image, rng: Rng) -> Image:
    """Return the image as a panel of a figure may show it: resized, JPEG-compressed or neither."""
    factor = float(np.exp(rng.uniform(np.log(0.4), np.log(2.0))))
    size = (max(16, round(image.shape[1] * factor)), max(16, round(image.shape[0] * factor)))
    if rng.random() < 0.6 and max(size) <= 1600:
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)
    if rng.random() < 0.6:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 97))])
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return image


def window(image: Image, rng: Rng) -> Image:
    """Return a random part of a picture, at least 64 px a side where it has them."""
    height, width = image.shape[:2]
    h = int(rng.integers(min(64, height), height + 1))
    w = int(np.clip(h * np.exp(rng.normal(0, 0.4)), min(64, width), width))
    top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    return np.ascontiguousarray(image[top : top + h, left : left + w])


def toned(image: Image, other: Image, rng: Rng) -> Image:
    """Return a picture as papers show them: clipped, tinted, merged with `other`, in relief, or with another gamma."""
    how = rng.random()
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)
    if how < 0.3:
        low, high = np.percentile(grey, [rng.uniform(0, 92), rng.uniform(93, 99.9)])
        image = np.clip((image - low) * (255 / max(4.0, high - low)), 0, 255).astype(np.uint8)
    elif how < 0.4:
        soft = cv2.GaussianBlur(grey, (0, 0), float(rng.uniform(1, 3)))
        relief = cv2.Sobel(soft, cv2.CV_32F, 1, 0) + cv2.Sobel(soft, cv2.CV_32F, 0, 1)
        relief *= rng.uniform(20, 60) / max(1.0, float(np.percentile(np.abs(relief), 97)))
        level = rng.uniform(90, 180) + relief + rng.normal(0, rng.uniform(0.2, 3), grey.shape)
        return np.repeat(np.clip(level, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    elif how < 0.7:
        table = np.clip(255 * (np.arange(256) / 255) ** np.exp(rng.normal(0, 0.4)) * rng.uniform(0.5, 1.6), 0, 255)
        image = table.astype(np.uint8)[image]
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    look = rng.random()
    if look < 0.2:
        return np.asarray(grey[..., None] * rng.choice(_TINTS), np.uint8)
    if look < 0.4:
        second = np.asarray(cv2.cvtColor(other, cv2.COLOR_RGB2GRAY), np.uint8)
        second = np.asarray(cv2.resize(second, (grey.shape[1], grey.shape[0])), np.uint8)
        pair = grey[..., None] * rng.choice(_TINTS).astype(np.uint16) + second[..., None] * rng.choice(_TINTS)
        return np.asarray(np.minimum(pair, 255), np.uint8)
    return np.repeat(grey[..., None], 3, axis=2) if look < 0.55 else image


def pale(image: Image, rng: Rng) -> Image:
    """Return a picture dark on a ground that is nearly white or clipped to it, with a letter and a bar now and then."""
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)
    out = image.astype(np.float32)
    if float(np.median(grey)) < float(grey.mean()):
        out, grey = 255 - out, 255 - grey
    if rng.random() < 0.5:
        out = np.repeat(grey[..., None], 3, axis=2)
    ground, dark = np.percentile(grey, [rng.uniform(35, 80), rng.uniform(0.1, 3)])
    white = rng.uniform(244, 262)
    out = white + (out - ground) * (white - rng.uniform(0, 90)) / max(6.0, float(ground - dark))
    panel = np.clip(out, 0, 255).astype(np.uint8)
    return labelled(panel, rng) if rng.random() < 0.6 else panel


def labelled(image: Image, rng: Rng) -> Image:
    """Return a picture with a letter in its corner, a scale bar, or both: black on light, white on dark."""
    panel = np.ascontiguousarray(image)
    height, width = panel.shape[:2]
    if min(height, width) < 48:
        return panel
    ink = (0, 0, 0) if panel.mean() > 128 else (255, 255, 255)
    if rng.random() < 0.8:
        size = max(12, int(rng.uniform(0.06, 0.14) * height))
        at = (int(rng.uniform(3, 9)), size + int(rng.uniform(3, 9)))
        letter = chr(65 + int(rng.integers(26)))
        cv2.putText(panel, letter, at, cv2.FONT_HERSHEY_SIMPLEX, size / 22, ink, max(1, size // 9), cv2.LINE_AA)
    if rng.random() < 0.5:
        long, thick = int(width * rng.uniform(0.12, 0.3)), max(2, height // 70)
        x, y = width - 8 - long, height - 8 - thick
        cv2.rectangle(panel, (x, y), (x + long, y + thick), ink, -1)
    return panel


def pictures(split: str, rng: Rng, views: int) -> list[Sample]:
    """Return features and kinds of `views` panels from each micrograph of a split."""
    found: list[Sample] = []
    image = np.zeros((64, 64, 3), np.uint8)
    for row in micrographs(split):
        previous, image = image, read_rgb(row["path"])
        kind = "blot" if row["modality"] == "gel" else "photo" if row["modality"] in _PHOTO else "micrograph"
        repeat = views if kind == "micrograph" else 6 * views
        for _ in range(repeat):
            panel = window(image, rng) if rng.random() < 0.7 else image
            panel = as_panel(toned(panel, previous, rng) if kind == "micrograph" and rng.random() < 0.6 else panel, rng)
            if np.ptp(panel) >= 6:
                found.append((kinds.features(panel), kinds.KINDS.index(kind)))
        if kind == "micrograph" and rng.random() < _PALE_SHARE * views:
            panel = as_panel(pale(window(image, rng), rng), rng)
            if shows(panel):
                found.append((kinds.features(panel), kinds.KINDS.index(kind)))
    return found


def shows(panel: Image) -> bool:
    """Tell whether a panel shows something: what is blank teaches nothing."""
    return float(cv2.meanStdDev(cv2.cvtColor(panel, cv2.COLOR_RGB2GRAY))[1][0, 0]) >= 4


def drawn(rng: Rng, count: int) -> list[Sample]:
    """Return features and kinds of `count` drawn panels of each sort."""
    sorts: list[tuple[Callable[[Rng], Image], str]] = [
        (charts.chart, "graph"), (charts.diagram, "diagram"), (charts.strip, "blot"), (charts.plate, "photo"),
    ]  # fmt: skip
    found: list[Sample] = []
    for draw, kind in sorts:
        for _ in range(count if draw is not charts.plate else count // 4):
            image = draw(rng)
            panels = [image]
            if kind != "photo" and rng.random() < 0.4:
                panels.append(window(image, rng))
            if kind == "blot" and rng.random() < 0.7:
                panels.append(pale(window(image, rng), rng))
            for panel in panels:
                if np.ptp(panel) >= 6:
                    found.append((kinds.features(as_panel(panel, rng)), kinds.KINDS.index(kind)))
    return found


def grow(samples: list[Sample], seed: int, trees: int = 80) -> kinds.Forest:
    """Fit the forest; rare kinds weigh more, by the root of their number."""
    x = np.stack([sample[0] for sample in samples])
    y = np.array([sample[1] for sample in samples])
    model = RandomForestClassifier(
        trees, max_depth=14, min_samples_leaf=3, max_features=0.35, random_state=seed, n_jobs=1
    ).fit(x, y, sample_weight=np.bincount(y, minlength=len(kinds.KINDS))[y] ** -0.5)
    most = max(tree.tree_.node_count for tree in model.estimators_)
    shape = (trees, most)
    feature, left, right = (np.full(shape, -1, np.int16) for _ in range(3))
    threshold, share = np.zeros(shape, np.float32), np.zeros((*shape, len(kinds.KINDS)), np.float32)
    for index, estimator in enumerate(model.estimators_):
        tree = estimator.tree_
        n = tree.node_count
        feature[index, :n] = np.maximum(tree.feature, -1)
        threshold[index, :n] = tree.threshold
        left[index, :n], right[index, :n] = tree.children_left, tree.children_right
        values = tree.value[:, 0, :]
        share[index, :n, model.classes_] = (values / values.sum(axis=1, keepdims=True)).T
    return kinds.Forest(feature, threshold, left, right, share)


def measure(samples: list[Sample], trees: kinds.Forest) -> dict[str, float]:
    """Return the accuracy of each kind, and how often drawn and taken are confused."""
    guesses = np.array([int(np.argmax(kinds.vote(trees, sample[0]))) for sample in samples])
    truth = np.array([sample[1] for sample in samples])
    result = {f"{kind}_right": float((guesses[truth == i] == i).mean()) for i, kind in enumerate(kinds.KINDS)}
    result["taken_called_drawn"] = float((guesses[truth < 3] >= 3).mean())
    result["drawn_called_taken"] = float((guesses[truth >= 3] < 3).mean())
    return {name: round(value, 4) for name, value in result.items()}


def main() -> None:
    """Grow, measure and write the forest and its card."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--drawn", type=int, default=700, help="drawn panels of each sort")
    parser.add_argument("--views", type=int, default=3, help="panels from each micrograph")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    samples = pictures("train", rng, options.views) + drawn(rng, options.drawn)
    trees = grow(samples, options.seed)
    held_out = pictures("val", rng, options.views) + drawn(rng, options.drawn // 4)
    path = WEIGHTS / f"{_ID}.safetensors"
    save_file(trees._asdict(), path)
    path.chmod(0o644)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    training = {**vars(options), "samples": len(samples), "samples_sha256": _digest(samples)}
    training["commit"] = commit.stdout.strip()
    result = {"held_out": len(held_out), "held_out_sha256": _digest(held_out), **measure(held_out, trees)}
    made = make_card(path, training, result)
    card.write(made, CARDS / f"{_ID}.json")
    print(json.dumps(result, indent=1))
    print(path.name, made.sha256, path.stat().st_size)


def _digest(samples: list[Sample]) -> str:
    """Return the hash of samples: of their features and kinds, in order."""
    digest = hashlib.sha256()
    for values, kind in samples:
        digest.update(values.tobytes() + bytes([kind]))
    return digest.hexdigest()


def make_card(path: Path, training: dict[str, Any], result: dict[str, Any]) -> card.Card:
    """Return the card of the forest in a file."""
    weights = path.read_bytes()
    length = len(kinds.features(np.zeros((16, 16, 3), np.uint8)))
    probe = runtime.forest_shares(weights, card.probe_input((length,), "float32"))
    return card.Card(
        id=_ID,
        file=path.name,
        sha256=hashlib.sha256(weights).hexdigest(),
        task="tell the kind of a panel: " + ", ".join(kinds.KINDS),
        input=f"{length} hand-made features of a panel (ingest/kinds.py, features)",
        preprocessing="outside: the panel at most 400 px a side, by dropping rows and columns",
        output="share of each kind, adding up to 1; taken (the first three) against drawn at one half",
        training={
            "data": "micrographs (train split), toned, windowed, resized, JPEG-compressed, some dark on nearly white "
            "with a letter and a bar; drawn charts, diagrams, strips and plates",
            **training,
        },
        metrics={**result, "results": "validation split of the micrographs and fresh drawings; printed by the recipe"},
        probe=card.Probe(shape=(length,), dtype="float32", first=tuple(round(float(v), 6) for v in probe), atol=1e-4),
        limits=(
            "a blank or saturated panel is of no kind",
            "about one drawing in twenty is called a picture, and is then compared; heat maps and 3D plots most often",
            "photographs are few in the training data: they are often called micrographs",
        ),
        licence="Apache-2.0; the sources of attribution ask to be named with the weights",
        attribution=card.read(CARDS / "embedder-0.json").attribution,
    )


if __name__ == "__main__":
    main()
