"""A small DCGAN (Radford et al. 2016): the other generator whose training pictures are known, for bharathi-2023.

The paper's layers and rates (transposed convolutions, batch normalisation, Adam at 2e-4 with beta 0.5), fewer channels.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twinscope.train import loop
from twinscope.train.diffusion import Bytes, scaled, side_checked, unscaled


class Plan(NamedTuple):
    """How a training goes: `steps` of `batch` pictures; the rate; `wide` channels before the last layer; numbers that
    a picture is made from; `marks`, steps after which the generator is kept on its own.
    """

    steps: int = 5000
    batch: int = 20
    rate: float = 2e-4
    wide: int = 32
    numbers: int = 64
    marks: tuple[int, ...] = ()
    seed: int = 0
    threads: int = 1
    save_s: float = 60.0


class Generator(nn.Module):
    """Map numbers (n, k) to pictures (n, 1, s, s) in [-1, 1]; s is a power of two, 16 or more."""

    def __init__(self, numbers: int, wide: int, side: int) -> None:
        super().__init__()
        self.numbers = numbers
        widths = [wide * 2**k for k in reversed(range(halvings(side)))]
        self.first = nn.Sequential(nn.ConvTranspose2d(numbers, widths[0], 4, 1, 0, bias=False), *_shaped(widths[0]))
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), *_shaped(b)]
        self.rest = nn.Sequential(*layers, nn.ConvTranspose2d(wide, 1, 4, 2, 1), nn.Tanh())

    def forward(self, numbers: Tensor) -> Tensor:
        out: Tensor = self.rest(self.first(numbers[:, :, None, None]))
        return out


class Critic(nn.Module):
    """Map pictures (n, 1, s, s) to logits (n,): large where a picture is taken for real."""

    def __init__(self, wide: int, side: int) -> None:
        super().__init__()
        widths = [wide * 2**k for k in range(halvings(side))]
        layers: list[nn.Module] = [nn.Conv2d(1, wide, 4, 2, 1), nn.LeakyReLU(0.2)]
        for a, b in itertools.pairwise(widths):
            layers += [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 0))

    def forward(self, pictures: Tensor) -> Tensor:
        out: Tensor = self.layers(pictures)[:, 0, 0, 0]
        return out


def halvings(side: int) -> int:
    """Return how often a side is halved until it is 4: 32 -> 3."""
    return int(math.log2(side)) - 2


def _shaped(wide: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(wide), nn.ReLU()


def _parts(plan: Plan, side: int) -> tuple[Generator, Critic]:
    torch.manual_seed(plan.seed)
    maker, critic = Generator(plan.numbers, plan.wide, side), Critic(plan.wide, side)
    for layer in (*maker.modules(), *critic.modules()):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
    return maker, critic


def train(
    images: Bytes,
    plan: Plan,
    folder: Path,
    tell: Callable[[int, float], None] | None = None,
    until: int | None = None,
) -> dict[str, Any]:
    """Train on grey pictures (n, s, s), s a power of two, to the end of the plan; as `diffusion.train`.

    The state holds the losses of both, each a running mean. Raises UsageError for pictures of another shape.
    """
    side = images.shape[-1]
    side_checked(images, 2 ** max(4, int(math.log2(max(side, 1)))))
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(plan.threads)
    maker, critic = _parts(plan, side)
    adam = [torch.optim.Adam(part.parameters(), plan.rate, betas=(0.5, 0.999)) for part in (maker, critic)]
    state: dict[str, Any] = {"step": 0, "seconds": 0.0, "loss": 0.7, "critic": 0.7}
    if (folder / "last.pt").exists():
        saved = loop.load(folder / "last.pt")
        maker.load_state_dict(saved["maker"])
        critic.load_state_dict(saved["critic"])
        for one, name in zip(adam, ("adam0", "adam1"), strict=True):
            one.load_state_dict(saved[name])
        state = saved["state"]
    loop.drop_rows(folder / "curve.csv", state["step"])
    pictures = scaled(images)
    began, saved_at = time.monotonic() - state["seconds"], time.monotonic()
    last = plan.steps if until is None else min(until, plan.steps)
    for step in range(int(state["step"]) + 1, last + 1):
        lost = _step(maker, critic, adam, pictures, plan, step)
        means = {k: 0.98 * state[k] + 0.02 * v for k, v in zip(("loss", "critic"), lost, strict=True)}
        state = {"step": step, "seconds": time.monotonic() - began, **means}
        if step in plan.marks or step == last:
            about = {"plan": {**plan._asdict(), "marks": list(plan.marks)}, "side": side, "state": state}
            loop.save(folder / f"at-{step}.pt", {"network": maker.state_dict(), **about})
        if step % 50 == 0 or step == last:
            loop.write_row(folder / "curve.csv", {k: round(v, 5) for k, v in state.items()})
        if step == last or time.monotonic() - saved_at > plan.save_s:
            parts = {"maker": maker.state_dict(), "critic": critic.state_dict(), "state": state}
            loop.save(folder / "last.pt", {**parts, "adam0": adam[0].state_dict(), "adam1": adam[1].state_dict()})
            saved_at = time.monotonic()
        if tell is not None:
            tell(step, state["loss"])
    return dict(state)


def _step(
    maker: Generator, critic: Critic, adam: list[torch.optim.Adam], pictures: Tensor, plan: Plan, step: int
) -> tuple[float, float]:
    """Take a step of both networks; return the losses of the generator and of the critic."""
    draw = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
    real = pictures[torch.randint(len(pictures), (plan.batch,), generator=draw)]
    made = maker(torch.randn((plan.batch, plan.numbers), generator=draw))
    right = F.softplus(-critic(real)).mean() + F.softplus(critic(made.detach())).mean()
    judged = loop.descend(critic, adam[1], right / 2, plan.rate, 100.0)
    fooled = loop.descend(maker, adam[0], F.softplus(-critic(made)).mean(), plan.rate, 100.0)
    return fooled, judged


def load(path: Path) -> Generator:
    """Return the generator of a kept checkpoint, in evaluation mode. Raises UsageError where it is damaged."""
    saved = loop.load(path)
    maker = Generator(saved["plan"]["numbers"], saved["plan"]["wide"], saved["side"])
    maker.load_state_dict(saved["network"])
    return maker.eval()


@torch.inference_mode()
def sample(maker: Generator, count: int, seed: int) -> Bytes:
    """Return `count` pictures (count, s, s) uint8."""
    draw = torch.Generator().manual_seed(seed * 1_000_003)
    numbers = torch.randn((count, maker.numbers), generator=draw)
    return np.concatenate([unscaled(maker(part)) for part in torch.split(numbers, 100)])
