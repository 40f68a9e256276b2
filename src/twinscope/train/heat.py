"""The network of comparator-2: two aligned pictures in, a heat-map of change at 1/2 resolution and three classes out.

The desk aligns by keypoints, or by correlation, which leaves what no homography follows: some px of a smooth warp. So
the network looks for each place of a in the surroundings of the same place in b, coarse to fine (a cost volume, as in
PWC-Net, whose softmax carries b's features over), and judges what it finds there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (24, 48, 64, 96)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the pictures."""
RADII = (2, 2, 2)
"""How far is looked at 1/4, 1/8 and 1/16, in cells."""
HEADS = 16
"""Channels by which places are compared."""


def _conv(into: int, out: int, side: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(into, out, side, stride, side // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, width, h, w) to the same."""
        out: Tensor = F.relu(x + self.norm(self.second(self.first(x))))
        return out


class Search(nn.Module):
    """For each place of a, where in b's surroundings it is found, and what b is there.

    forward: features of a and b (n, c, h, w) -> the costs (n, (2 radius + 1)^2, h, w) and b's features carried over
    (n, c, h, w).
    """

    def __init__(self, width: int, radius: int) -> None:
        super().__init__()
        self.radius = radius
        self.key = nn.Conv2d(width, HEADS, 1)
        self.scale = nn.Parameter(torch.tensor(4.0))
        side = 2 * radius + 1
        self.nearness = nn.Parameter(-torch.tensor([float((k // side - radius) ** 2 + (k % side - radius) ** 2) / 4
                                                    for k in range(side * side)]))  # fmt: skip

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        r, (height, width) = self.radius, a.shape[-2:]
        p, q = F.normalize(self.key(a), dim=1), F.normalize(self.key(b), dim=1)
        q, far = F.pad(q, (r, r, r, r)), F.pad(b, (r, r, r, r))
        shifts = [(y, x) for y in range(2 * r + 1) for x in range(2 * r + 1)]
        costs = torch.stack([(p * q[..., y : y + height, x : x + width]).sum(1) for y, x in shifts], 1)
        weights = (self.scale.exp().clamp(max=100) * costs + self.nearness[:, None, None]).softmax(1)
        carried = torch.zeros_like(b)
        for k, (y, x) in enumerate(shifts):
            carried = carried + weights[:, k : k + 1] * far[..., y : y + height, x : x + width]
        return costs, carried


class Joined(nn.Module):
    """One level of the way back up: a's and b's features, what was found in b, and what the coarser level says."""

    def __init__(self, width: int, radius: int, coarser: int, blocks: int) -> None:
        super().__init__()
        self.search = Search(width, radius)
        self.mix = _conv(4 * width + (2 * radius + 1) ** 2 + coarser + 1, width, 1)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))

    def forward(self, a: Tensor, b: Tensor, seen: Tensor, coarser: Tensor | None) -> Tensor:
        """Features (n, c, h, w) of a and b, `seen` (n, 1, h, w) and the coarser level's, if any, to (n, c, h, w)."""
        costs, found = self.search(a, b)
        parts = [a, found, (a - found).abs(), (a - b).abs(), costs, seen]
        if coarser is not None:
            parts.append(F.interpolate(coarser, scale_factor=2.0, mode="bilinear", align_corners=False))
        out: Tensor = self.blocks(self.mix(torch.cat(parts, 1)))
        return out


class Seer(nn.Module):
    """(n, 7, H, W) of `detect.heat.planes`, sides multiples of 16, to heat logits (n, 1, H/2, W/2), classes (n, 3)."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth, last = WIDTHS
        self.stem = nn.Sequential(_conv(4, half, 3, 2), _conv(half, quarter, 3, 2), Block(quarter), Block(quarter))
        self.eighth = nn.Sequential(_conv(quarter, eighth, 3, 2), Block(eighth))
        self.last = nn.Sequential(_conv(eighth, last, 3, 2), Block(last))
        self.join_16 = Joined(last, RADII[2], 0, 2)
        self.join_8 = Joined(eighth, RADII[1], last, 1)
        self.join_4 = Joined(quarter, RADII[0], eighth, 2)
        self.fine = nn.Conv2d(quarter, 4, 3, 1, 1)
        self.classes = nn.Sequential(nn.Linear(2 * (last + quarter) + 3, 96), nn.ReLU(inplace=True), nn.Linear(96, 3))

    def forward(self, given: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        seen = given[:, 6:7]
        both = torch.cat([torch.cat([given[:, :3], seen], 1), torch.cat([given[:, 3:6], seen], 1)])
        quarter = self.stem(both)
        eighth = self.eighth(quarter)
        last = self.last(eighth)
        (a4, b4), (a8, b8), (a16, b16) = (part.chunk(2) for part in (quarter, eighth, last))
        masks = [F.avg_pool2d(seen, size) for size in (4, 8, 16)]
        x16 = self.join_16(a16, b16, masks[2], None)
        x8 = self.join_8(a8, b8, masks[1], x16)
        x4 = self.join_4(a4, b4, masks[0], x8)
        heat = F.pixel_shuffle(self.fine(x4), 2)
        shown = heat.float().sigmoid() * F.avg_pool2d(seen, 2)
        share = masks[0].mean((2, 3)).clamp(min=1e-3)
        pooled = [
            *(part for x, mask in ((x16, masks[2]), (x4, masks[0])) for part in _pooled(x, mask)),
            shown.amax((2, 3)), shown.mean((2, 3)) / share, share,
        ]  # fmt: skip
        return heat, self.classes(torch.cat([part.float() for part in pooled], 1))


def _pooled(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the largest of (n, c, h, w) where a mask (n, 1, h, w) is: (n, c) each."""
    x = x * mask
    return x.sum((2, 3)) / mask.sum((2, 3)).clamp(min=1e-3), x.amax((2, 3))


class Graph(nn.Module):
    """The network as it ships: `heat` (n, 1, H/2, W/2) in [0, 1] and `classes` (n, 3), which add to 1."""

    def __init__(self, network: Seer) -> None:
        super().__init__()
        self.network = network

    def forward(self, given: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        heat, classes = self.network(given)
        return heat.sigmoid(), classes.softmax(1)
