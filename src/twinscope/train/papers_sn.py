"""The networks and the loss of cicconet-2018 (V01) and cicconet-2019 (V02): a triplet network with its own metric.

`faithful` is what the papers state, and their public code where they say nothing. The default mends what goes wrong
there: alpha is not negative, so that f >= 0; all pictures of a step share one batch's moments, and those of
the first block come from what it normalises; tests use running moments.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Version = Literal["v01", "v02"]
CHANNELS = (16, 32, 64, 128)
EPSILON = 1e-6


class Moments(nn.Module):
    """Batch normalisation with one scale and offset for all branches and, if `branches` is 3, moments for each.

    The running moments follow with .9. `raw`, where given, is what the moments are taken of (the papers' first block).
    """

    def __init__(self, wide: int, branches: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(wide)), nn.Parameter(torch.zeros(wide))
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(branches, wide))
        self.register_buffer("variance", torch.ones(branches, wide))

    def forward(self, x: Tensor, branch: int, raw: Tensor | None = None) -> Tensor:
        branch = min(branch, len(self.mean) - 1)
        if self.training:
            source = x if raw is None else raw
            axes = [0, *range(2, x.ndim)]
            variance, mean = torch.var_mean(source.float(), axes, correction=0)
            with torch.no_grad():
                self.mean[branch].lerp_(mean.float(), 0.1)
                self.variance[branch].lerp_(variance.float(), 0.1)
        else:
            mean, variance = self.mean[branch], self.variance[branch]
        scale = self.weight * torch.rsqrt(variance + EPSILON)
        shape = (1, -1, *(1 for _ in range(x.ndim - 2)))
        return x * scale.view(shape) + (self.bias - mean * scale).view(shape)


class Block(nn.Module):
    """Normalise, (V01, but for the first block: LRN and a 1x1 layer,) two 3x3 layers, (V02: shortcut,) halve."""

    def __init__(self, wide_in: int, wide: int, version: Version, branches: int) -> None:
        super().__init__()
        self.moments = Moments(wide_in, branches)
        self.inner = nn.Conv2d(wide_in, wide_in, 1, bias=False) if version == "v01" and wide_in > 1 else None
        self.first = nn.Conv2d(wide_in, wide, 3, padding=1, bias=False)
        self.second = nn.Conv2d(wide, wide, 3, padding=1)
        self.short = nn.Conv2d(wide_in, wide, 1, bias=False) if version == "v02" else None

    def forward(self, x: Tensor, branch: int, raw: Tensor | None = None) -> Tensor:
        x = self.moments(x, branch, raw)
        out = x if self.inner is None else F.relu(self.inner(local_response(x)))
        out = F.relu(self.second(F.relu(self.first(out))))
        return F.max_pool2d(out if self.short is None else out + self.short(x), 2)


class SN(nn.Module):
    """Map (n, 1, 128, 128) grey in [0, 255] to (n, 128); `alpha` weighs the L1 distance of two such points (eq. 1)."""

    def __init__(self, version: Version = "v02", faithful: bool = False) -> None:
        super().__init__()
        branches, self.faithful = (3 if faithful else 1), faithful
        wide = (1, *CHANNELS)
        self.blocks = nn.ModuleList(Block(a, b, version, branches) for a, b in pairwise(wide))
        last = CHANNELS[-1]
        self.moments = Moments(last, branches)
        self.inner = nn.Conv2d(last, last, 1, bias=False) if version == "v01" else None
        self.first = nn.Linear(last * 8 * 8, 1024)
        self.between = Moments(1024, branches)
        self.second = nn.Linear(1024, 128)
        self.raw_alpha = nn.Parameter(torch.empty(128))
        self._start()

    def _start(self) -> None:
        for name, value in self.named_parameters():
            if name.endswith("bias") and "moments" not in name and "between" not in name:
                nn.init.constant_(value, 0.01)
            elif value.ndim > 1 or name == "raw_alpha":
                nn.init.trunc_normal_(value, 0, 0.01, -0.02, 0.02)

    @property
    def alpha(self) -> Tensor:
        """The weights of the metric, (128,): free if faithful, else not negative."""
        return self.raw_alpha if self.faithful else self.raw_alpha.abs()

    def forward(self, grey: Tensor, branch: int = 0) -> Tensor:
        """Return the representations C of pictures that go through a branch (0 anchor, 1 same, 2 different)."""
        x = self.maps(grey, branch)[-1]
        x = self.moments(x, branch)
        if self.inner is not None:
            x = F.relu(self.inner(local_response(x)))
        out: Tensor = self.second(self.between(self.first(x.flatten(1)), branch))
        return out

    def maps(self, grey: Tensor, branch: int = 0) -> list[Tensor]:
        """Return the maps of the four blocks after pooling: 16 at 1/2, 32 at 1/4, 64 at 1/8, 128 at 1/16."""
        raw = grey / 255
        centred = raw - raw.mean((2, 3), keepdim=True)
        x = centred / torch.sqrt(centred.square().mean((2, 3), keepdim=True) + EPSILON)
        out = []
        for k, block in enumerate(self.blocks):
            x = block(x, branch, raw if k == 0 and self.faithful else None)
            out.append(x)
        return out


def local_response(x: Tensor) -> Tensor:
    """Return x / sqrt(1 + the sum of squares of the channels within 5): V01's normalisation."""
    return F.local_response_norm(x, 11, alpha=11.0, beta=0.5, k=1.0)


def metric(alpha: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return f (eq. 1) of points (n, 128) pair by pair: sum over k of alpha_k |x_k - y_k|; the same iff f < 1."""
    return ((x - y).abs() * alpha).sum(1)


def triplet_loss(network: SN, views: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of (n, 3, h, w) anchors, same and different ones, summed over triplets (eq. 4), and f (n, 2).

    The second term is 1 - sigmoid(1 - f): f of branches 1 and 2 (equation 3) if faithful, else of anchor and different.
    """
    if network.faithful:
        anchor, same, different = (network(views[:, k : k + 1], k) for k in range(3))
    else:
        count = len(views)
        points = network(views.transpose(0, 1).reshape(3 * count, 1, *views.shape[2:]))
        anchor, same, different = points.float().split(count)
    near = metric(network.alpha, anchor.float(), same.float())
    far = metric(network.alpha, (same if network.faithful else anchor).float(), different.float())
    value = F.softplus(near - 1) + F.softplus(1 - far)
    return value.sum(), torch.stack([near, far], 1)
