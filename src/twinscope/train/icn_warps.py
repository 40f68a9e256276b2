"""Plain known warps, with which the flow network begins: a turn, a scale, an aspect and a shift, and nothing else.

They show it what its correlation is for. After 300 steps of the "tiny" one (128 px, rate 1e-3, 24 validation pairs)
the end-point error was 4.04 px on worn pairs alone, which is no flow at all (4.03), and 2.19 px with plain ones first.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

Bytes = NDArray[np.uint8]
Rng = np.random.Generator

TURN_DEG = 15.0
SHIFT = 0.1
"""The largest turn, and the largest shift as a share of the side: the paper's rotations and paddings."""


class Plain(Dataset[tuple[Any, ...]]):
    """Batches whose distinct pairs are plain warps of their original instead; of the first `first` steps all pairs are.

    batches: (original, query, flow, seen, changed, label, ...) of arrays at each step. A batch comes from (seed, step)
    alone where theirs does.
    """

    def __init__(self, batches: Dataset[Any], seed: int, first: int, steps: int) -> None:
        self.batches, self.seed, self.first, self.steps = batches, seed, first, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[Any, ...]:
        rng = np.random.default_rng([self.seed, step, 17])
        batch = tuple(np.array(part) for part in self.batches[step][:6])
        original, query, flow, seen, changed, label = batch
        for k in range(len(label)):
            if step < self.first or label[k] == 2:
                query[k], flow[k], seen[k] = warped(original[k], rng)
                changed[k], label[k] = False, 0
        return batch


def warped(picture: Bytes, rng: Rng) -> tuple[Bytes, NDArray[np.float32], NDArray[np.bool_]]:
    """Return a picture (S, S, 3) warped, the flow (S, S, 2) px from it into the warped one, and where that lies inside.

    Outside of the picture the warped one has one colour, drawn at random. Bilinear.
    """
    side = len(picture)
    turn, scale, aspect = np.deg2rad(rng.uniform(-TURN_DEG, TURN_DEG)), rng.normal(0, 0.06), rng.normal(0, 0.03)
    stretch = np.diag(np.exp([scale + aspect, scale - aspect]))
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ stretch
    middle = np.full(2, (side - 1) / 2)
    shift = middle - matrix @ middle + rng.uniform(-SHIFT, SHIFT, 2) * side
    fill = [float(v) for v in rng.integers(0, 256, 3)]
    whole = np.column_stack([matrix, shift])
    query = cv2.warpAffine(picture, whole, (side, side), flags=cv2.INTER_LINEAR, borderValue=fill)
    at = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).astype(np.float64)
    there = at @ matrix.T + shift
    seen = ((there >= 0) & (there <= side - 1)).all(-1)
    return np.asarray(query, np.uint8), (there - at).astype(np.float32), seen
