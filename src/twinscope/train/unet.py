"""The U-Net that cicconet-2019 compares with: trained on labelled pictures, each drawn anew forty times.

Ronneberger et al. 2015, with padding (what comes out has the size of what goes in), batch normalisation and fewer
channels. The paper states the number of down-sampling layers (3 at 360 px) and the augmentation (x40: rotations,
reflections, thin-plate splines); channels, rate and steps are ours. One seed, resumable.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from twinscope.manipulate import fields
from twinscope.train import loop

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]
Rng = np.random.Generator


class Plan(NamedTuple):
    """How a training goes: `steps` of `batch` windows of `side` px, from `copies` versions of each picture."""

    steps: int = 150
    batch: int = 4
    side: int = 176
    copies: int = 40
    channels: int = 16
    depth: int = 3
    rate: float = 3e-3
    threads: int = 1
    seed: int = 0
    save_s: float = 60.0


class UNet(nn.Module):
    """Map (n, 1, h, w) grey, standardised, h and w multiples of 2**depth, to logits of an object (n, 1, h, w)."""

    def __init__(self, channels: int = 16, depth: int = 3) -> None:
        super().__init__()
        wide = [channels * 2**k for k in range(depth + 1)]
        self.down = nn.ModuleList(_block(a, b) for a, b in zip([1, *wide[:-1]], wide, strict=True))
        self.up = nn.ModuleList(_block(a + b, b) for a, b in zip(wide[:0:-1], wide[-2::-1], strict=True))
        self.last = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for k, block in enumerate(self.down):
            x = block(x if k == 0 else F.max_pool2d(x, 2))
            kept.append(x)
        kept.pop()
        for block in self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = block(torch.cat([x, kept.pop()], 1))
        out: Tensor = self.last(x)
        return out


def _block(wide_in: int, wide: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a in (wide_in, wide):
        layers += [nn.Conv2d(a, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
    return nn.Sequential(*layers)


def thin_plate(corners: Floats, moves: Floats, at: Floats) -> Floats:
    """Return how far a thin-plate spline moves points `at` (n, 2), given how far it moves `corners` (k, 2): (n, 2).

    f(p) = a + B p + sum_i w_i U(|p - c_i|) with U(r) = r^2 log r, the least bent surface through the given moves
    (Bookstein 1989); sum_i w_i = 0 and sum_i w_i c_i = 0, so that an affine move is met with w = 0.
    """
    c, k = corners.astype(np.float64), len(corners)
    sides = np.c_[np.ones(k), c]
    system = np.zeros((k + 3, k + 3))
    system[:k, :k], system[:k, k:], system[k:, :k] = _bending(c, c), sides, sides.T
    solved = np.linalg.solve(system, np.r_[moves.astype(np.float64), np.zeros((3, 2))])
    p = at.astype(np.float64)
    out = _bending(p, c) @ solved[:k] + np.c_[np.ones(len(p)), p] @ solved[k:]
    return np.asarray(out, np.float32)


def _bending(p: NDArray[np.float64], c: NDArray[np.float64]) -> NDArray[np.float64]:
    squared = ((p[:, None] - c[None]) ** 2).sum(2)
    return np.asarray(0.5 * squared * np.log(np.maximum(squared, 1e-300)))


def augmented(image: Bytes, mask: Mask, rng: Rng, side: int, reach: float = 0.05) -> tuple[Bytes, Mask]:
    """Return a window (side x side) of a picture and its mask, turned, mirrored and bent, both alike.

    Any rotation and a reflection (p .5) about the window's middle, which is drawn; a thin-plate spline on a 4x4 grid of
    corners moved by N(0, reach x side). What lies beyond the picture is the picture mirrored.
    """
    height, width = image.shape
    half = side / 2
    centre = [rng.uniform(min(half, s / 2), max(s - half, s / 2)) for s in (width, height)]
    angle, mirror = rng.uniform(0, 2 * math.pi), 1 - 2 * float(rng.integers(2))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) @ np.diag([mirror, 1])
    knots = np.stack(np.meshgrid(*[np.linspace(0, side - 1, 4)] * 2), -1).reshape(-1, 2).astype(np.float32)
    coarse = np.stack(np.meshgrid(*[np.linspace(0, side - 1, 16)] * 2), -1).reshape(-1, 2).astype(np.float32)
    bent = thin_plate(knots, rng.normal(0, reach * side, knots.shape).astype(np.float32), coarse)
    moved = cv2.resize(bent.reshape(16, 16, 2), (side, side), interpolation=cv2.INTER_CUBIC)
    points = fields.grid((side, side)) + moved - (side - 1) / 2
    where = np.asarray(points @ turn.T + np.asarray(centre), np.float32)
    x, y = np.ascontiguousarray(where[..., 0]), np.ascontiguousarray(where[..., 1])
    out = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    front = cv2.remap(mask.astype(np.uint8), x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(out, np.uint8), front.astype(np.bool_)


def standardised(image: Bytes) -> Floats:
    """Return a grey picture with mean 0 and deviation 1."""
    values = image.astype(np.float32)
    return np.asarray((values - values.mean()) / (values.std() + 1.0), np.float32)


def batch(images: Sequence[Bytes], masks: Sequence[Mask], plan: Plan, step: int) -> tuple[Tensor, Tensor]:
    """Return batch `step` of a run, from (seed, step) alone: windows (n, 1, side, side) and their masks.

    Each draw is one of `copies` versions of a picture, so that there are copies x pictures in all. Grey is standardised
    over the whole picture.
    """
    rng = np.random.default_rng([plan.seed, step])
    parts = []
    for _ in range(plan.batch):
        which, copy = int(rng.integers(len(images))), int(rng.integers(plan.copies))
        own = np.random.default_rng([plan.seed, 10**6 + which, copy])
        image, mask = augmented(images[which], masks[which], own, plan.side)
        mean, spread = float(images[which].mean()), float(images[which].std()) + 1.0
        parts.append(((image.astype(np.float32) - mean) / spread, mask))
    x, y = (np.stack([part[k] for part in parts])[:, None].astype(np.float32) for k in (0, 1))
    return torch.as_tensor(x), torch.as_tensor(y)


def train(images: Sequence[Bytes], masks: Sequence[Mask], plan: Plan, path: Path) -> dict[str, Any]:
    """Train on grey pictures and masks to the end of the plan, going on from `path`; return what it took.

    Adam, half a cosine down; the loss is cross-entropy plus one minus the soft Dice of the batch.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    network = UNet(plan.channels, plan.depth)
    optimiser = torch.optim.Adam(network.parameters(), plan.rate)
    state = {"step": 0, "seconds": 0.0, "loss": 0.0}
    if path.exists():
        saved = loop.load(path)
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        state = saved["state"]
    network.train()
    begun, saved_at = time.process_time() - state["seconds"], time.monotonic()
    for step in range(int(state["step"]), plan.steps):
        x, y = batch(images, masks, plan, step)
        rate = plan.rate * min((step + 1) / 20, 0.5 + 0.5 * math.cos(math.pi * step / plan.steps)) + 1e-6
        value = loop.descend(network, optimiser, loss(network(x), y), rate, 5.0)
        state = {"step": step + 1, "seconds": time.process_time() - begun, "loss": 0.95 * state["loss"] + 0.05 * value}
        if step + 1 == plan.steps or time.monotonic() - saved_at > plan.save_s:
            parts = {"network": network.state_dict(), "optimiser": optimiser.state_dict()}
            loop.save(path, {**parts, "state": state, "plan": plan._asdict()})
            saved_at = time.monotonic()
    return dict(state)


def loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Return cross-entropy plus one minus the soft Dice of a batch of logits and masks in {0, 1}."""
    probable = torch.sigmoid(logits)
    dice = (2 * (probable * truth).sum() + 1) / (probable.sum() + truth.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, truth) + 1 - dice


def load(path: Path) -> UNet:
    """Return the network of a checkpoint, in evaluation mode."""
    saved = loop.load(path)
    network = UNet(saved["plan"]["channels"], saved["plan"]["depth"])
    network.load_state_dict(saved["network"])
    return network.eval()


@torch.inference_mode()
def probability(network: UNet, image: Bytes) -> Floats:
    """Return how probable an object is at each pixel of a grey picture of any size: (H, W) in [0, 1]."""
    network.eval()
    step = 2 ** len(network.up)
    height, width = image.shape
    even = np.pad(standardised(image), ((0, -height % step), (0, -width % step)), "symmetric")
    out = torch.sigmoid(network(torch.as_tensor(even)[None, None]))[0, 0, :height, :width]
    return np.asarray(out.numpy(), np.float32)
