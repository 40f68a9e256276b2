"""What the comparator sees of two aligned panels, and what it says: a heat-map of change and three classes."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from twinscope import models
from twinscope.detect import evidence
from twinscope.detect.features import Bools, Floats

MODEL = "comparator-1"
"""The shipped comparator; see its card."""
CLASSES = ("benign", "manipulated", "distinct")
"""The classes in the order of the network's answer: the same picture, the same but edited in places, another one."""
SIDE_PX = 224
"""Longest side at which pictures are shown to the network."""
STEP_PX = 16
"""Sides are filled up to a multiple of this."""
WINDOW_PX = 8.0
"""Gaussian window of the local normalisation, px of what the network sees."""
MOST = 4.0
"""Tones and normalised tones are cut at so many spreads."""


class Heat(NamedTuple):
    """What the network says: `heat` float32 (h, w) in [0, 1], the probability that a place was edited, and
    `classes` float32 (3,) in the order of CLASSES, which add to 1.
    """

    heat: Floats
    classes: Floats


def planes(a: Floats, b: Floats, clean: Bools, inverted: bool) -> Floats:
    """Return the network's input (5, h, w) float32 of two aligned pictures (h, w) in [0, 1].

    The tones of a, a locally normalised, the same of b, and where both are seen and unannotated; 0 elsewhere. The one
    of more tones has been given those of the other, and both are standardised together.
    """
    if not clean.any():
        return np.zeros((5, *clean.shape), np.float32)
    a, b = evidence.toned(a, b, clean, inverted)
    both = np.concatenate([a[clean], b[clean]])
    mean, spread = float(both.mean()), float(both.std()) + 0.02
    weight = clean.astype(np.float32)
    rows = []
    for own in (a, b):
        rows.append(np.clip((own - mean) / spread, -MOST, MOST) * weight)
        rows.append(np.clip(evidence.normalised(own, clean, 0.8, WINDOW_PX)[0], -MOST, MOST))
    return np.stack([*rows, weight]).astype(np.float32)


def seen(a: Floats, b: Floats, clean: Bools, inverted: bool, threads: int = 2) -> Heat:
    """Ask the network about two aligned pictures (h, w) float32 in [0, 1]; `clean` is where both say something."""
    height, width = clean.shape
    scale = min(1.0, SIDE_PX / max(height, width))
    size = max(STEP_PX, round(width * scale)), max(STEP_PX, round(height * scale))
    small_a, small_b, share = (
        np.asarray(cv2.resize(z, size, interpolation=cv2.INTER_AREA), np.float32)
        for z in (a, b, clean.astype(np.float32))
    )
    given = planes(small_a, small_b, share > 0.99, inverted)
    below, right = (-given.shape[1]) % STEP_PX, (-given.shape[2]) % STEP_PX
    given = np.pad(given, ((0, 0), (0, below), (0, right)))
    heat, classes = models.load(MODEL, threads).outputs(given[None], ("heat", "classes"))
    whole = cv2.resize(heat[0, 0], (given.shape[2], given.shape[1]), interpolation=cv2.INTER_LINEAR)
    whole = cv2.resize(whole[: size[1], : size[0]], (width, height), interpolation=cv2.INTER_LINEAR)
    return Heat(np.asarray(whole * clean, np.float32), np.asarray(classes[0], np.float32))
