"""A small diffusion network (Ho et al. 2020): the generator whose training pictures are known, for bharathi-2023.

Noise goes by the cosine schedule (Nichol and Dhariwal 2021), the network says the velocity v = a e - s x (Salimans and
Ho 2022), where a picture x under noise e is seen as a x + s e; pictures are drawn by DDIM (Song et al. 2021).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from twinscope.errors import UsageError
from twinscope.train import loop

Bytes = NDArray[np.uint8]
FREQUENCIES = 16


class Plan(NamedTuple):
    """How a training goes: `steps` of `batch` pictures; the peak rate; `widths` of the network at 1/2, 1/4 ... of the
    side; the averaged copy's decay; `marks`, steps after which the averaged network is kept on its own.
    """

    steps: int = 5000
    batch: int = 16
    rate: float = 1e-3
    widths: tuple[int, ...] = (32, 64, 128)
    average: float = 0.995
    marks: tuple[int, ...] = ()
    seed: int = 0
    threads: int = 1
    save_s: float = 60.0


class Denoiser(nn.Module):
    """Map noisy pictures (n, 1, s, s), s a multiple of 2**len(widths), and times (n,) in [0, 1] to velocities."""

    def __init__(self, widths: Sequence[int] = (32, 64, 128)) -> None:
        super().__init__()
        inner = 2 * widths[0]
        self.clock = nn.Sequential(nn.Linear(2 * FREQUENCIES, inner), nn.SiLU(), nn.Linear(inner, inner))
        self.first = nn.Conv2d(4, widths[0], 3, padding=1)
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList([Block(widths[0], widths[0], inner), *(Block(a, b, inner) for a, b in pairs)])
        self.middle = Block(widths[-1], widths[-1], inner)
        self.look = Attention(widths[-1])
        self.up = nn.ModuleList(
            Block(a + b, b, inner) for a, b in zip((widths[-1], *widths[:0:-1]), widths[::-1], strict=True)
        )
        self.last = nn.Conv2d(widths[0], 4, 3, padding=1)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        when = self.clock(waves(times))
        x, kept = self.first(F.pixel_unshuffle(x, 2)), []
        for k, block in enumerate(self.down):
            x = block(x if k == 0 else F.avg_pool2d(x, 2), when)
            kept.append(x)
        x = self.look(self.middle(x, when))
        for k, block in enumerate(self.up):
            x = F.interpolate(x, scale_factor=2.0) if k else x
            x = block(torch.cat([x, kept.pop()], 1), when)
        return F.pixel_shuffle(self.last(F.silu(x)), 2)


class Block(nn.Module):
    """Two 3x3 convolutions with group normalisation, the time added between them, and a shortcut."""

    def __init__(self, wide_in: int, wide: int, inner: int) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.GroupNorm(8, wide_in), nn.SiLU(), nn.Conv2d(wide_in, wide, 3, padding=1))
        self.time = nn.Linear(inner, wide)
        self.two = nn.Sequential(nn.GroupNorm(8, wide), nn.SiLU(), nn.Conv2d(wide, wide, 3, padding=1))
        self.short = nn.Conv2d(wide_in, wide, 1) if wide_in != wide else nn.Identity()

    def forward(self, x: Tensor, when: Tensor) -> Tensor:
        out: Tensor = self.two(self.one(x) + self.time(when)[:, :, None, None]) + self.short(x)
        return out


class Attention(nn.Module):
    """Self-attention between all places of a small map, added to it."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.norm, self.ask, self.tell = nn.GroupNorm(8, wide), nn.Linear(wide, 3 * wide), nn.Linear(wide, wide)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        flat = self.norm(x).reshape(n, c, h * w).transpose(1, 2)
        query, key, value = self.ask(flat)[:, None].chunk(3, -1)
        seen = self.tell(F.scaled_dot_product_attention(query, key, value)[:, 0])
        out: Tensor = x + seen.transpose(1, 2).reshape(n, c, h, w)
        return out


def waves(times: Tensor) -> Tensor:
    """Return times (n,) in [0, 1] as sines and cosines (n, 32), from one to 1000 radians a unit."""
    speeds = torch.exp(torch.linspace(0, math.log(1000.0), FREQUENCIES))
    angles = times[:, None] * speeds
    return torch.cat([angles.sin(), angles.cos()], 1)


def noised(pictures: Tensor, noise: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Return pictures (n, 1, s, s) in [-1, 1] under noise at times (n,), and the velocities to be told.

    With a = cos(pi t / 2), s = sin(pi t / 2): a x + s e and a e - s x.
    """
    angle = (times * math.pi / 2)[:, None, None, None]
    a, s = angle.cos(), angle.sin()
    return a * pictures + s * noise, a * noise - s * pictures


def train(
    images: Bytes,
    plan: Plan,
    folder: Path,
    tell: Callable[[int, float], None] | None = None,
    until: int | None = None,
) -> dict[str, Any]:
    """Train on grey pictures (n, s, s) to the end of the plan, going on from `folder`/last.pt; return what it took.

    Step k draws its pictures, times and noise from (seed, k) alone, so that a run that was stopped ends as one that was
    not. The averaged network of each mark lies in `folder`/at-<step>.pt, the loss in curve.csv. `tell` hears of each
    step and its loss; `until` ends the run earlier. Raises UsageError for pictures of another shape and for a broken
    checkpoint.
    """
    side_checked(images, 2 ** len(plan.widths))
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    network, average = Denoiser(plan.widths), Denoiser(plan.widths)
    average.load_state_dict(network.state_dict())
    optimiser = torch.optim.Adam(network.parameters(), plan.rate)
    state: dict[str, Any] = {"step": 0, "seconds": 0.0, "loss": 1.0}
    if (folder / "last.pt").exists():
        saved = loop.load(folder / "last.pt")
        network.load_state_dict(saved["network"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        state = saved["state"]
    loop.drop_rows(folder / "curve.csv", state["step"])
    pictures = scaled(images)
    began, saved_at = time.monotonic() - state["seconds"], time.monotonic()
    last = plan.steps if until is None else min(until, plan.steps)
    for step in range(int(state["step"]) + 1, last + 1):
        rate = plan.rate * min(step / 50, 0.55 + 0.45 * math.cos(math.pi * step / plan.steps))
        value = loop.descend(network, optimiser, _loss(network, pictures, plan, step), rate, 1.0)
        _follow(average, network, min(plan.average, step / (step + 10)))
        state = {"step": step, "seconds": time.monotonic() - began, "loss": 0.98 * state["loss"] + 0.02 * value}
        if step in plan.marks or step == last:
            loop.save(folder / f"at-{step}.pt", {"network": average.state_dict(), "plan": _plain(plan), "state": state})
        if step % 50 == 0 or step == last:
            loop.write_row(folder / "curve.csv", {k: round(v, 5) for k, v in state.items()})
        if step == last or time.monotonic() - saved_at > plan.save_s:
            parts = {"network": network.state_dict(), "average": average.state_dict()}
            loop.save(folder / "last.pt", {**parts, "optimiser": optimiser.state_dict(), "state": state})
            saved_at = time.monotonic()
        if tell is not None:
            tell(step, state["loss"])
    return dict(state)


def _loss(network: nn.Module, pictures: Tensor, plan: Plan, step: int) -> Tensor:
    draw = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
    which = torch.randint(len(pictures), (plan.batch,), generator=draw)
    times = (torch.rand(1, generator=draw) + torch.arange(plan.batch) / plan.batch) % 1  # spread over all noise
    noise = torch.randn((plan.batch, *pictures.shape[1:]), generator=draw)
    seen, velocity = noised(pictures[which], noise, times)
    return F.mse_loss(network(seen, times), velocity)


def _follow(average: nn.Module, network: nn.Module, share: float) -> None:
    with torch.no_grad():
        for slow, quick in zip(average.parameters(), network.parameters(), strict=True):
            slow.lerp_(quick, 1 - share)


def load(path: Path) -> Denoiser:
    """Return the network of a kept checkpoint, in evaluation mode. Raises UsageError where it is damaged."""
    saved = loop.load(path)
    network = Denoiser(tuple(saved["plan"]["widths"]))
    network.load_state_dict(saved["network"])
    return network.eval()


@torch.inference_mode()
def sample(network: nn.Module, count: int, side: int, seed: int, steps: int = 25, batch: int = 50) -> Bytes:
    """Return `count` pictures (count, side, side) uint8, each by `steps` steps of DDIM from its own noise."""
    out = []
    for start in range(0, count, batch):
        draw = torch.Generator().manual_seed(seed * 1_000_003 + start)
        x = torch.randn((min(batch, count - start), 1, side, side), generator=draw)
        for k in range(steps):
            now, then = 1 - k / steps, 1 - (k + 1) / steps
            velocity = network(x, torch.full((len(x),), now))
            a, s = math.cos(now * math.pi / 2), math.sin(now * math.pi / 2)
            clean, noise = (a * x - s * velocity).clamp(-1, 1), s * x + a * velocity
            x = math.cos(then * math.pi / 2) * clean + math.sin(then * math.pi / 2) * noise
        out.append(unscaled(x))
    return np.concatenate(out)


def side_checked(images: Bytes, step: int) -> None:
    """Raise UsageError unless images are (n, s, s) uint8, n >= 1, s a multiple of `step`."""
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1] != images.shape[2] or not images.size:
        raise UsageError(f"a generator learns from (n, s, s) uint8 pictures, got {images.dtype} {images.shape}")
    if images.shape[1] % step:
        raise UsageError(f"the side of {images.shape[1]} px is no multiple of {step}; resize the pictures")


def scaled(images: Bytes) -> Tensor:
    """Return pictures (n, s, s) uint8 as (n, 1, s, s) float32 in [-1, 1]."""
    return torch.as_tensor(images[:, None].astype(np.float32) / 127.5 - 1)


def unscaled(values: Tensor) -> Bytes:
    """Return values (n, 1, s, s) in [-1, 1] as pictures (n, s, s) uint8."""
    return np.asarray(((values[:, 0].clamp(-1, 1) + 1) * 127.5).round().numpy(), np.uint8)


def _plain(plan: Plan) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in plan._asdict().items()}
