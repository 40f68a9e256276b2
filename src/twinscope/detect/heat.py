"""What the comparator sees of two aligned panels, and what it says: a heat-map of change and three classes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np

from twinscope import models, types
from twinscope.detect import evidence
from twinscope.detect.features import Bools, Floats

MODEL = "comparator-2"
"""The shipped comparator; see its card."""
CLASSES = types.CLASSES
"""The classes in the order of the network's answer: the same picture, the same but edited in places, another one."""
SIDE_PX = 224
"""Longest side at which pictures are shown to the network."""
STEP_PX = 16
"""Sides are filled up to a multiple of this."""
WINDOW_PX = 8.0
"""Gaussian window of the local normalisation, px of what the network sees."""
PLANES = 7
"""Planes that the network is given."""
MOST = 4.0
"""Tones and normalised tones are cut at so many spreads."""


class Heat(NamedTuple):
    """What the network says: `heat` float32 (h, w) in [0, 1], the probability that a place was edited, and
    `classes` float32 (3,) in the order of CLASSES, which add to 1.
    """

    heat: Floats
    classes: Floats


def planes(a: Floats, b: Floats, clean: Bools, inverted: bool) -> Floats:
    """Return the network's input (PLANES, h, w) float32 of two aligned pictures (h, w) in [0, 1].

    Three planes of a, three of b, and where both are seen and unannotated; 0 elsewhere. The three are the tones,
    standardised; the tones locally normalised (both turned round where `inverted`); and the tones, standardised as
    those of b, after the picture of more tones has been given those of the other: noise and fog spoil that curve, which
    is why the first two do without it.
    """
    if not clean.any():
        return np.zeros((PLANES, *clean.shape), np.float32)
    weight = clean.astype(np.float32)
    toned = evidence.toned(a, b, clean, inverted)
    both = np.concatenate([one[clean] for one in toned])
    mean, spread = float(both.mean()), float(both.std()) + 0.02
    own = a, 1 - b if inverted else b
    local = evidence.all_normalised(own, clean, 0.8, WINDOW_PX)
    rows = []
    for whole, alike, (fine, _) in zip(own, toned, local, strict=True):
        inside = whole[clean]
        rows.append(_cut((whole - inside.mean()) / (inside.std() + 0.02)) * weight)
        rows.append(_cut(fine))
        rows.append(_cut((alike - mean) / spread) * weight)
    return np.stack([*rows, weight]).astype(np.float32)


def _cut(values: Floats) -> Floats:
    return np.clip(values, -MOST, MOST)


def given(a: Floats, b: Floats, clean: Bools, inverted: bool, side: int = SIDE_PX) -> Floats:
    """Return what the network is given of two aligned pictures (h, w) float32 in [0, 1]: `planes` at a size for it.

    (PLANES, h', w'), both multiples of STEP_PX, filled up with 0; `clean` is where both pictures say something. The
    longer side of what is shown has `side` px at most.
    """
    size = _size(clean.shape, side)
    small_a, small_b, share = (
        np.asarray(cv2.resize(z, size, interpolation=cv2.INTER_AREA), np.float32)
        for z in (a, b, clean.astype(np.float32))
    )
    made = planes(small_a, small_b, share > 0.99, inverted)
    return np.pad(made, ((0, 0), (0, (-size[1]) % STEP_PX), (0, (-size[0]) % STEP_PX)))


def _size(shape: Sequence[int], side: int = SIDE_PX) -> tuple[int, int]:
    """Return (width, height) at which a frame of (height, width) is shown to the network."""
    scale = min(1.0, side / max(shape))
    return max(8, round(shape[1] * scale)), max(8, round(shape[0] * scale))


def ask(pairs: Sequence[Floats], threads: int = 2) -> list[Heat]:
    """Ask the network about pairs as `given` makes them; each heat-map is at half the size of what was given.

    Each pair is answered by one thread, and so the answer is the same whatever their number.
    """
    model = models.load(MODEL, 1)

    def answer(one: Floats) -> Heat:
        heat, classes = model.outputs(one[None], ("heat", "classes"))
        return Heat(np.asarray(heat[0, 0], np.float32), np.asarray(classes[0], np.float32))

    if min(threads, len(pairs)) < 2:
        return [answer(one) for one in pairs]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(answer, pairs))


def at_size(answer: Heat, clean: Bools) -> Floats:
    """Return the heat-map of an answer at the size of the frame (h, w) that was asked about, 0 where not clean."""
    height, width = clean.shape
    size = _size(clean.shape)
    whole = cv2.resize(
        answer.heat, (2 * answer.heat.shape[1], 2 * answer.heat.shape[0]), interpolation=cv2.INTER_LINEAR
    )
    whole = cv2.resize(whole[: size[1], : size[0]], (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(whole * clean, np.float32)
