"""Losses of the Image Comparator Network (black-2021, equations 9-10), and of its flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from twinscope.train.icn import GRID, Design, Output

GAMMA = 0.8
BENIGN, MANIPULATED, DISTINCT = range(3)


class Pairs(NamedTuple):
    """A batch of pairs as tensors: `original` and `query` (n, 3, S, S) float32 RGB in [-1, 1]; `flow` (n, 2, S, S) px
    from the original into the query, `seen` (n, S, S) bool where that lies on the query and the pair is of one scene;
    `changed` (n, S, S) bool in the original's frame; `label` (n,) int64, 0 benign, 1 manipulated, 2 distinct.
    """

    original: Tensor
    query: Tensor
    flow: Tensor
    seen: Tensor
    changed: Tensor
    label: Tensor


def pairs(batch: Sequence[Any]) -> Pairs:
    """Return a batch of arrays (original, query, flow, seen, changed, label; pictures uint8, channels last) as Pairs.

    What a batch holds beyond these six is left. Nothing is seen of distinct pairs, whatever the batch says.
    """
    original, query, flow, seen, changed, label = (torch.as_tensor(part) for part in batch[:6])
    seen = seen.bool() & (label != DISTINCT)[:, None, None]
    flow = flow.float().movedim(-1, 1).contiguous()
    return Pairs(picture(original), picture(query), flow, seen, changed.bool(), label.long())


def picture(pixels: Tensor) -> Tensor:
    """Return (n, S, S, 3) uint8 as (n, 3, S, S) float32 in [-1, 1]."""
    return pixels.movedim(-1, 1).float().div(127.5).sub(1).contiguous()


def targets(changed: Tensor, label: Tensor, grid: int = GRID) -> Tensor:
    """Return the ground-truth heat-maps T (section 3.2): (n, 7, 7) float32 in [0, 1].

    Zeros for a benign pair, ones for a distinct one; for a manipulated pair the share of each cell that was changed.
    changed: (n, S, S) bool or in [0, 1]. Where S is no multiple of 7, a cell takes every pixel that it touches.
    """
    share = F.adaptive_avg_pool2d(changed.float()[:, None], grid)[:, 0]
    kind = label[:, None, None]
    return torch.where(kind == MANIPULATED, share, (kind == DISTINCT).float())


def flow_loss(flows: list[Tensor], truth: Tensor, seen: Tensor, gamma: float = GAMMA) -> Tensor:
    """Return RAFT's loss: the sum over updates of gamma^(updates to come) times the mean |flow - truth| where seen.

    flows: each (n, 2, S, S); truth the same; seen (n, S, S) bool. The mean is over seen pixels and both components.
    It is zero, with a zero gradient, where nothing is seen.
    """
    mask = seen[:, None].float()
    count = (2 * mask.sum()).clamp(min=1)
    truth = truth.where(seen[:, None], torch.zeros_like(truth))  # what is not seen may be no number
    later = range(len(flows) - 1, -1, -1)
    parts = [gamma**k * ((flow - truth).abs() * mask).sum() / count for k, flow in zip(later, flows, strict=True)]
    return torch.stack(parts).sum()


def heat_loss(maps: Tensor, truth: Tensor) -> Tensor:
    """Return the mean of 1 - cos(E_t(z), T) (equation 10).

    maps, truth: (n, 7, 7). Equation 10 has no value where T is zero (a benign pair). Such a pair counts 0 and gives no
    gradient, but stays in the mean: that is the gradient of PyTorch's cosine_similarity, which leaves it the constant
    1. So what the map shows of a benign pair is not learned, and the paper blanks it by the class (section 4.3).
    """
    a, b = maps.flatten(1), truth.flatten(1)
    some = b.square().sum(1) > 0
    return torch.where(some, 1 - F.cosine_similarity(a, b, eps=1e-6), torch.zeros_like(a[:, 0])).mean()


def photometric_loss(output: Output, batch: Pairs) -> Tensor:
    """Return the mean squared difference of the aligned query and the original where valid, but for distinct pairs.

    It is not in the paper, but in its authors' code. Pictures are in [-1, 1]; zero where nothing is valid.
    """
    mask = (output.valid & (batch.label != DISTINCT)[:, None, None])[:, None].float()
    gap = (output.aligned - batch.original).square() * mask
    return gap.sum() / (gap.shape[1] * mask.sum()).clamp(min=1)


def total(output: Output, batch: Pairs, design: Design) -> tuple[Tensor, dict[str, float]]:
    """Return w_c L_C + w_t L_T and what a design adds to it, and the value of each part that weighs something."""
    parts = {
        "class": (design.class_weight, F.cross_entropy(output.classes, batch.label)),
        "heat": (design.heat_weight, heat_loss(output.maps, targets(batch.changed, batch.label))),
    }
    if design.photometric:
        parts["photometric"] = (design.photometric, photometric_loss(output, batch))
    if design.flow and output.flows:
        parts["flow"] = (design.flow, flow_loss(output.flows, batch.flow, batch.seen))
    used = {name: (weight, value) for name, (weight, value) in parts.items() if weight}
    value = torch.stack([weight * value for weight, value in used.values()]).sum()
    return value, {name: float(value.detach()) for name, (_, value) in used.items()}
