"""The network that ships, as the tables of black-2021 ask it: the row of its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinscope import geometry
from twinscope.detect import align, candidates, coarse, compare, embed, evidence, features, heat, judge
from twinscope.settings import Settings

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "twinscope"
NAME = heat.MODEL
WEIGHTS = PACKAGE / "models" / "weights" / f"{NAME}.onnx"
SETTINGS = Settings(threads=1)
LETTERS = SETTINGS.compare.model_copy(update={"letters": True})
"""As the paper has it: text over one of the pictures is an editorial change."""
MISSED = 0.9
"""The least probability of "distinct" for two pictures that the desk cannot align; how much more, the network says."""


def desk(
    original: NDArray[np.uint8], query: NDArray[np.uint8], letters: bool = True
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what the desk says of two pictures, alignment included: heat (S, S) in [0, 1] and probabilities (3,).

    original, query: (S, S, 3) uint8 RGB. The heat, float32, lies in the original's frame and is 0 where nothing can be
    said; the classes are benign, manipulated and distinct. It is what `twinscope compare` does with two files, but for
    the least probability of a finding: here the best alignment speaks, however improbable. `letters`: text over one of
    them is an edit, as in the paper; on the desk it is none unless `compare.letters` is set.
    """
    images = [_grey(picture) for picture in (original, query)]
    views = [features.view(image, SETTINGS.features) for image in images]
    points = embed.embed(images, embed.MODEL, 1)
    found = candidates.candidates(views, SETTINGS, embed.distances(points, points))
    best = judge.judge(views[0], views[1], found[0], SETTINGS) if found else None
    if best is None or best.probability < SETTINGS.findings.probability:
        best = max((one for one in (best, coarse.judged(images, views, SETTINGS)) if one is not None),
                   key=lambda one: one.probability, default=None)  # fmt: skip
    if best is None:
        return np.zeros(original.shape[:2], np.float32), unaligned(views)
    shared = evidence.frame(views[0], views[1], best.alignment)
    asked = LETTERS if letters else SETTINGS.compare
    told = compare.compare(views[0], views[1], best.alignment, shared, asked)
    same = best.probability
    return told.heat_a, np.array([same * told.classes[0], same * told.classes[1], 1 - same], np.float32)


def unaligned(views: Sequence[features.View]) -> NDArray[np.float32]:
    """Return the probabilities (3,) of two pictures that the desk cannot align: those of the network where they lie
    over each other as they are, or mirrored if that is less distinct, brought to `MISSED` and more of "distinct".
    """
    a, b = views
    straight = geometry.scaling(b.shape[1] / a.shape[1], b.shape[0] / a.shape[0])
    asked = []
    for flip in (np.eye(3), geometry.mirror(a.shape[1])):
        none = np.zeros((0, 2))
        shared = evidence.frame(a, b, align.Alignment(straight @ flip, False, 0, none, none))
        asked.append(heat.given(shared.a, shared.b, shared.clean, False, judge.SEEN_PX))
    said = min((answer.classes for answer in heat.ask(asked, 1)), key=lambda classes: float(classes[2]))
    same = np.array([said[0], said[1], 0], np.float32) * np.float32(1 - MISSED)
    return np.asarray(same + np.array([0, 0, 1 - same.sum()], np.float32), np.float32)


def _grey(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture of equal channels as one channel, as its file would hold it."""
    flat = np.array_equal(picture[..., 0], picture[..., 1]) and np.array_equal(picture[..., 0], picture[..., 2])
    return np.ascontiguousarray(picture[..., 0]) if flat else picture


def parts() -> list[Path]:
    """Return what the desk's answer depends on: its networks, its code in `twinscope.detect`, and this file."""
    beside = [PACKAGE / "models" / "weights" / f"{name}.onnx" for name in (embed.MODEL, judge.MODEL)]
    return [WEIGHTS, *beside, Path(__file__), PACKAGE / "detect"]


def missing() -> str | None:
    """Return why the row cannot be filled, None where it can."""
    return None if WEIGHTS.exists() else f"not there yet (models/weights/{WEIGHTS.name})"
