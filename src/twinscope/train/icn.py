"""The Image Comparator Network of black-2021, section 3.2: align, then tell what was edited.

Two modules. F_A, the aligner: a small RAFT says for each pixel of the original I where in the query q the same place
lies, and the query is resampled there (equations 4-5). F_P, the prediction: features of both pictures at 1/4
resolution, joined, through residual blocks to 256 numbers z; from z three classes and a 7x7 heat-map (equations 6-10).

The direction of the flow. The paper speaks of a field "from q to I" of "pixel coordinates in the query". Its bilinear
sampler S(M) however reads the query at M for each pixel that it writes, and what it writes, q' = F_A(q|I), is to lie
on I. So the field must live in the frame of I and point into q: q'(x, y) = q(x + dx, y + dy) shows the place that
I(x, y) shows. RAFT gives that field for (first image I, second image q), and so it is called here.

Pictures inside are (n, 3, S, S) float32 RGB in [-1, 1], S divisible by 8 and at least 128; flows (n, 2, S, S) in px,
dx first.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import ResNet, resnet18, resnet50
from torchvision.models.optical_flow import raft
from torchvision.models.resnet import BasicBlock

from twinscope.detect.heat import CLASSES
from twinscope.errors import UsageError
from twinscope.train import loop

GRID = 7
"""The side t of the heat-map that is learned."""


class Size(NamedTuple):
    """How large the flow network is; the encoders' widths are those of torchvision's FeatureEncoder."""

    features: tuple[int, int, int, int, int]
    context: int
    hidden: int
    levels: int
    radius: int
    updates: int


SIZES = {
    "tiny": Size((16, 16, 32, 48, 64), 32, 48, 4, 2, 4),
    "small": Size((24, 24, 48, 64, 96), 48, 64, 4, 3, 6),
    "raft": Size((32, 32, 64, 96, 128), 64, 96, 4, 3, 12),
}
"""Sizes by name; "raft" is torchvision's raft_small. Four levels of radius 3 see a whole picture of 224 px."""


class Design(NamedTuple):
    """What a network is made of, and what it learns from: a row of table 3.

    align: whether there is F_A. trunk: "fused" is F_P of the paper; "resnet50" or "resnet18" is f_R in its place.
    frozen: "", "align" or "predict", the module that does not learn (the heads always do). class_weight and
    heat_weight are w_c and w_t. photometric and flow weigh two terms that the paper does not have: the squared
    difference of q' and I, and the flow's own loss on known warps. pool: the side of the average pooling's grid
    before z; 1 is the ResNet's, more keeps the places of things.
    """

    align: bool = True
    trunk: str = "fused"
    frozen: str = ""
    class_weight: float = 0.5
    heat_weight: float = 0.5
    photometric: float = 0.0
    flow: float = 0.0
    size: str = "small"
    pool: int = 1


ABLATIONS = {
    "full": Design(),
    "no-align": Design(align=False),
    "no-predict": Design(trunk="resnet50"),
    "frozen-predict": Design(frozen="predict"),
    "frozen-align": Design(frozen="align"),
    "no-class-loss": Design(class_weight=0.0, heat_weight=1.0),
    "no-heat-loss": Design(class_weight=1.0, heat_weight=0.0),
    "photometric": Design(photometric=0.1),
}
"""The seven rows of table 3, in its order, and the photometric term of the authors' code."""


class Output(NamedTuple):
    """What the network says: `flows` one (n, 2, S, S) an update (none without F_A), the `aligned` query (n, 3, S, S),
    where it is `valid` (n, S, S) bool, `z` (n, 256), `classes` (n, 3) logits and `maps` (n, 7, 7), all float32.
    """

    flows: list[Tensor]
    aligned: Tensor
    valid: Tensor
    z: Tensor
    classes: Tensor
    maps: Tensor


# ---------------------------------------------------------------------------------------------------- F_A


class Correlation(raft.CorrBlock):  # type: ignore[misc]
    """RAFT's correlation pyramid, in float32 whatever the autocast."""

    def build_pyramid(self, fmap1: Tensor, fmap2: Tensor) -> None:
        """Correlate all places of two feature maps (n, c, h, w)."""
        with torch.autocast(fmap1.device.type, enabled=False):
            super().build_pyramid(fmap1.float(), fmap2.float())


class Aligner(nn.Module):
    """F_A: a small RAFT of torchvision's blocks. It follows what it has learned to: see `Size` for its reach."""

    def __init__(self, size: Size = SIZES["small"]) -> None:
        super().__init__()
        self.updates = size.updates
        correlation = Correlation(num_levels=size.levels, radius=size.radius)
        motion = raft.MotionEncoder(
            in_channels_corr=correlation.out_channels,
            corr_layers=(size.hidden,),
            flow_layers=(max(16, 2 * size.hidden // 3), max(8, size.hidden // 3)),
            out_channels=size.hidden - 14,
        )
        update = raft.UpdateBlock(
            motion_encoder=motion,
            recurrent_block=raft.RecurrentBlock(
                input_size=motion.out_channels + size.context, hidden_size=size.hidden, kernel_size=(3,), padding=(1,)
            ),
            flow_head=raft.FlowHead(in_channels=size.hidden, hidden_size=4 * size.hidden // 3),
        )
        block = raft.BottleneckBlock
        widths = (*size.features[:4], size.hidden + size.context)
        self.raft = raft.RAFT(
            feature_encoder=raft.FeatureEncoder(block=block, layers=size.features, norm_layer=nn.InstanceNorm2d),
            context_encoder=raft.FeatureEncoder(block=block, layers=widths, norm_layer=None),
            corr_block=correlation,
            update_block=update,
        )

    def forward(self, original: Tensor, query: Tensor, updates: int | None = None) -> list[Tensor]:
        """Return the flow after each update, (n, 2, S, S) float32 px in the original's frame, pointing into the query.

        original, query: (n, 3, S, S) in [-1, 1], S >= 128 and divisible by 8 (ValueError otherwise).
        """
        flows: list[Tensor] = self.raft(original, query, num_flow_updates=updates or self.updates)
        self.raft.corr_block.corr_pyramid = []  # it is large, and would hinder a copy of the network
        return [flow.float() for flow in flows]


def dewarp(query: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Resample the query where the flow points (equations 4-5): out[y, x] = query[y + dy, x + dx], bilinear.

    query: (n, c, H, W). flow: (n, 2, H, W) px, dx first. Returns (n, c, H, W) float32, zero outside, and (n, H, W)
    bool, whether the place lies on the query, [0, W - 1] x [0, H - 1]. Differentiable in both.
    """
    height, width = flow.shape[-2:]
    with torch.autocast(flow.device.type, enabled=False):
        flow = flow.float()
        x = torch.arange(width, device=flow.device) + flow[:, 0]
        y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
        slack = 1e-3  # rounding must not put the last row outside
        valid = (x >= -slack) & (x <= width - 1 + slack) & (y >= -slack) & (y <= height - 1 + slack)
        grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
        out = F.grid_sample(query.float(), grid, padding_mode="zeros", align_corners=True)
        return out * valid[:, None], valid


# ---------------------------------------------------------------------------------------------------- F_P


class Fused(nn.Module):
    """F_P without its heads: f_E of both pictures, joined, then f_S to z (equations 6-7).

    f_E: three 3x3 convolutions with ReLU, batch normalisation and 2x2 max pooling between them, 128 channels at 1/4.
    f_S: four residual blocks (ResNet's basic one; the first three halve), average pooling, a linear layer to 256.
    """

    def __init__(self, pool: int = 1, wide: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        widths = (3, wide // 4, wide // 2, wide)
        for k, (a, b) in enumerate(pairwise(widths)):
            between = [nn.ReLU(), nn.BatchNorm2d(b), nn.MaxPool2d(2)] if k < 2 else []
            layers += [nn.Conv2d(a, b, 3, 1, 1), *between]
        self.extract = nn.Sequential(*layers)
        steps = ((2 * wide, wide, 2), (wide, wide, 2), (wide, 2 * wide, 2), (2 * wide, 2 * wide, 1))
        self.blocks = nn.Sequential(*(_block(a, b, stride) for a, b, stride in steps))
        self.pool = nn.AdaptiveAvgPool2d(pool)
        self.out = nn.Linear(2 * wide * pool**2, 256)

    def forward(self, original: Tensor, query: Tensor) -> Tensor:
        """Return z, (n, 256), of the original and the aligned query, (n, 3, S, S) in [-1, 1]."""
        both = self.extract(torch.cat([query, original]))
        joined = torch.cat(both.chunk(2), 1)
        z: Tensor = self.out(self.pool(self.blocks(joined)).flatten(1))
        return z


class Differences(nn.Module):
    """f_R in the place of F_P: z = f_R(q') - f_R(I), f_R a ResNet whose last layer gives 256 numbers (section 4.5.3).

    weights: a file of ImageNet weights of torchvision's resnet18 or resnet50; without, it begins with nothing learned.
    Raises UsageError where the file is absent or of another network.
    """

    def __init__(self, name: str = "resnet50", weights: Path | None = None) -> None:
        super().__init__()
        self.middle: Tensor
        self.spread: Tensor
        self.trunk = backbone(name, weights)
        self.trunk.fc = nn.Linear(self.trunk.fc.in_features, 256)
        self.register_buffer("middle", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
        self.register_buffer("spread", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)

    def forward(self, original: Tensor, query: Tensor) -> Tensor:
        """Return z, (n, 256), of the original and the aligned query, (n, 3, S, S) in [-1, 1]."""
        both = (torch.cat([query, original]) / 2 + 0.5 - self.middle) / self.spread
        of_query, of_original = self.trunk(both).chunk(2)
        z: Tensor = of_query - of_original
        return z


def backbone(name: str, weights: Path | None) -> ResNet:
    """Return torchvision's "resnet18" or "resnet50", with the weights of a file (its state_dict) where one is given.

    Raises UsageError where the name is another, and where the file is absent or of another network.
    """
    networks = {"resnet18": resnet18, "resnet50": resnet50}
    if name not in networks:
        raise UsageError(f"{name} is no trunk; give fused, {' or '.join(networks)}")
    network = networks[name](weights=None)
    if weights is not None:
        loop.weigh(network, weights, name)
    return network


def _block(wide_in: int, wide: int, stride: int) -> BasicBlock:
    short = None
    if stride != 1 or wide_in != wide:
        short = nn.Sequential(nn.Conv2d(wide_in, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))
    return BasicBlock(wide_in, wide, stride, short)


# ---------------------------------------------------------------------------------------------------- both


class Comparator(nn.Module):
    """The whole network of a design: original and query in, classes and heat-map out.

    weights: a file for the trunk of a design without F_P. A frozen module gets no gradient, and its batch
    normalisation stays as it is, in training, too.
    """

    def __init__(self, design: Design = ABLATIONS["full"], weights: Path | None = None) -> None:
        super().__init__()
        self.design = design
        self.align = Aligner(SIZES[design.size]) if design.align else None
        fused = design.trunk == "fused"
        self.predict: nn.Module = Fused(design.pool) if fused else Differences(design.trunk, weights)
        self.classes = nn.Linear(256, len(CLASSES))
        self.heat = nn.Linear(256, GRID**2)
        for part in self.still():
            part.requires_grad_(False)

    def still(self) -> list[nn.Module]:
        """Return the modules that do not learn."""
        part = {"align": self.align, "predict": self.predict}.get(self.design.frozen)
        return [] if part is None else [part]

    def train(self, mode: bool = True) -> Comparator:
        """Set the mode of all that learns."""
        super().train(mode)
        for part in self.still():
            part.eval()
        return self

    def forward(self, original: Tensor, query: Tensor) -> Output:
        """Compare (n, 3, S, S) pictures in [-1, 1]."""
        flows: list[Tensor] = []
        aligned, valid = query, torch.ones_like(query[:, 0], dtype=torch.bool)
        if self.align is not None:
            flows = self.align(original, query)
            aligned, valid = dewarp(query, flows[-1])
        z = self.predict(original, aligned).float()
        maps = self.heat(z).float().view(-1, GRID, GRID)
        return Output(flows, aligned, valid, z, self.classes(z).float(), maps)
