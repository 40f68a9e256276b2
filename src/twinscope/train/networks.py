"""The embedding network: grey picture in, a point in 128 dimensions out, where the same lies within distance 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TONES = 4


class Residual(nn.Module):
    """Two 3x3 convolutions with batch normalisation and a shortcut; the first one may halve the resolution."""

    def __init__(self, wide_in: int, wide: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(wide_in, wide, 3, stride, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, 1, 1, bias=False),
            nn.BatchNorm2d(wide),
        )
        self.short = nn.Sequential(nn.Conv2d(wide_in, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.branch(x) + self.short(x))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 ones at half the width, added to its input: reach at a fifth of the cost."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        inner = wide // 2
        last = nn.BatchNorm2d(wide)
        nn.init.zeros_(last.weight)  # a new block changes nothing until it has learned to
        self.branch = nn.Sequential(
            nn.Conv2d(wide, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, 1, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, wide, 1, bias=False),
            last,
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.branch(x) + x)


class Embedder(nn.Module):
    """Map (n, 1, h, w) grey in [0, 255] to (n, 128) points.

    Inside: four tones of the picture (as it is, shadows spread, lights spread, relative to what is near), each
    standardised over the picture; a trunk of 5x5 stem and residual blocks down to 1/16, with `blocks` bottlenecks
    more at 1/8 and at 1/16, so that every place has seen the whole picture; GeM pooling (learned power) of the last
    two sizes beside the mean of the last; a linear layer; points on a sphere whose radius puts the border between same
    and different at 1.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (32, 64, 128, 256),
        dimensions: int = 128,
        blocks: tuple[int, int] = (0, 4),
    ) -> None:
        super().__init__()
        self.radius: Tensor
        stem, *wide = widths
        self.stem = nn.Sequential(nn.Conv2d(TONES, stem, 5, 2, 2, bias=False), nn.BatchNorm2d(stem), nn.ReLU())
        self.trunk = nn.Sequential(
            *(Residual(a, b, 2) for a, b in zip(widths[:-2], wide[:-1], strict=True)),
            *(Bottleneck(widths[-2]) for _ in range(blocks[0])),
        )
        self.top = nn.Sequential(
            Residual(widths[-2], widths[-1], 2), *(Bottleneck(widths[-1]) for _ in range(blocks[1]))
        )
        self.power = nn.Parameter(torch.tensor(3.0))
        self.head = nn.Linear(widths[-2] + 2 * widths[-1], dimensions)
        self.register_buffer("radius", torch.tensor(1.0))

    def forward(self, grey: Tensor) -> Tensor:
        """Return the points: (n, 128), Euclidean distance <= 1 means the same picture."""
        return self.directions(grey) * self.radius

    def directions(self, grey: Tensor) -> Tensor:
        """Return the points on the unit sphere."""
        return self.place(*self.maps(grey))

    def maps(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps at 1/8 and at 1/16 that are pooled: (n, 128, h/8, w/8) and (n, 256, h/16, w/16)."""
        middle = self.trunk(self.stem(tones(grey)))
        return middle.float(), self.top(middle).float()

    def place(self, middle: Tensor, last: Tensor) -> Tensor:
        """Return the points on the unit sphere that pooled maps stand for."""
        return F.normalize(self.head(self.pooled(middle, last)), dim=1)

    def pooled(self, middle: Tensor, last: Tensor) -> Tensor:
        """Return the pooled maps, (n, 640): what the linear layer sees."""
        return torch.cat([self._gem(middle), self._gem(last), last.mean((2, 3))], 1)

    def _gem(self, maps: Tensor) -> Tensor:
        spread = (self.power * maps.clamp(min=1e-4).log()).exp()  # a power, whose own gradient costs a sixth of a step
        return spread.mean((2, 3)).pow(1 / self.power)


def tones(grey: Tensor) -> Tensor:
    """Return (n, 4, h, w): grey in [0, 1], its shadows and its lights spread, and grey relative to what is near.

    Each has mean 0 and deviation 1. What is near a dim cell is dim, whatever bright letter lies elsewhere.
    """
    x = grey / 255
    four = torch.cat([x, torch.log(x + 0.02), torch.log(1.02 - x), relative(x)], 1)
    centred = four - four.mean((2, 3), keepdim=True)
    return centred / torch.sqrt(centred.square().mean((2, 3), keepdim=True) + 1e-4)


def relative(x: Tensor) -> Tensor:
    """Return grey in [0, 1] less the mean of some 20 px around, by the deviation there (of three grey values more)."""
    centred = x - _around(x)
    return centred / torch.sqrt(_around(centred.square()) + (3 / 255) ** 2)


def _around(x: Tensor) -> Tensor:
    small = F.avg_pool2d(F.avg_pool2d(x, 4), 5, 1, 2, count_include_pad=False)
    return F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False)
