"""The training loop: batches in, checkpoints and a curve out; it can be stopped at any time and goes on later."""

from __future__ import annotations

import csv
import math
import pickle
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from twinscope.errors import UsageError
from twinscope.train.data import Batch
from twinscope.train.losses import Contrast

T = TypeVar("T")


class Plan(NamedTuple):
    """How a run goes: `steps` in all or `minutes` of wall time, whichever is over first; the peak learning rate, the
    decay of weights and of the averaged copy; `every` so many steps a look, every `save_s` seconds a checkpoint. The
    rate goes up over `warm` steps. `patience` looks without a better score end the run, too.
    """

    steps: int
    minutes: float = 90.0
    rate: float = 2e-3
    decay: float = 0.03
    average: float = 0.998
    every: int = 150
    save_s: float = 180.0
    threads: int = 1
    bf16: bool = True
    warm: int = 150
    patience: int | None = None


def bf16_is_quicker() -> bool:
    """Say whether this processor convolves faster in bf16 than in float32: some only emulate it, eight times slower."""
    x, layer = torch.ones(1, 32, 48, 48), nn.Conv2d(32, 32, 3, 1, 1)
    best = []
    for dtype in (torch.float32, torch.bfloat16):
        taken = []
        for _ in range(4):  # the first one warms up
            start = time.perf_counter()
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                layer(x)
            taken.append(time.perf_counter() - start)
        best.append(min(taken))
    return best[1] < best[0]


Tell = Callable[[int, dict[str, Any] | None], None]


def printed(step: int, row: dict[str, Any] | None) -> None:
    """Print the row of a look."""
    if row is not None:
        print(row, flush=True)


def train(
    network: nn.Module,
    loss: Contrast,
    batches: Dataset[Batch],
    plan: Plan,
    folder: Path,
    look: Callable[[nn.Module], Any],
    tell: Tell = printed,
) -> Path:
    """Train to the end of the plan, going on from `folder`/last.pt where there is one; return the best checkpoint.

    Every `plan.every` steps the averaged weights are judged by `look` (a dict with "score", the larger the better),
    a row is added to curve.csv, and last.pt, and best.pt if it is the best, are written. `tell` hears of every step,
    and of the row where there was a look. Raises FloatingPointError where the loss is no number any more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(plan.threads)
    network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW([*_groups(network, plan.decay), {"params": loss.parameters(), "weight_decay": 0.0}])
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    state: dict[str, Any] = {"step": 0, "best": -math.inf, "seconds": 0.0, "loss": 0.0, "stale": 0}
    if (folder / "last.pt").exists():
        saved = load(folder / "last.pt")
        network.load_state_dict(saved["network"])
        loss.load_state_dict(saved["loss"])
        optimiser.load_state_dict(saved["optimiser"])
        average, state = saved["average"], state | saved["state"]
    drop_rows(folder / "curve.csv", state["step"])
    over = plan.patience is not None and state["stale"] >= plan.patience
    over = over or state["seconds"] >= 60 * plan.minutes
    todo = Subset(batches, range(plan.steps if over else state["step"], plan.steps))
    loader = ahead(todo)
    start, running, saved_at = time.monotonic() - state["seconds"], state["loss"], time.monotonic()
    share = max(0.02, 1 / plan.every)
    for step, batch in enumerate(loader, state["step"] + 1):
        progress = min(1.0, max(step / plan.steps, (time.monotonic() - start) / (60 * plan.minutes)))
        value = _step(network, loss, optimiser, batch, plan, _rate(plan, step, progress))
        _follow(average, network, min(plan.average, step / (step + 10)))
        running = value if running == 0 else (1 - share) * running + share * value
        row: dict[str, Any] | None = None
        if step % plan.every == 0 or progress == 1:
            seen = look(_copy(network, average))
            state["stale"] = 0 if seen["score"] > state["best"] else state["stale"] + 1
            state |= {"best": max(state["best"], seen["score"]), "seconds": time.monotonic() - start}
            over = plan.patience is not None and state["stale"] >= plan.patience
            row = {"step": step, "seconds": round(state["seconds"]), "loss": round(running, 4), **seen}
            row |= {"slope": float(loss.log_slope.detach().exp()), "border": float(loss.border.detach())}
            write_row(folder / "curve.csv", row)
            if seen["score"] >= state["best"]:
                save(folder / "best.pt", {"network": average, "radius": loss.radius(), "row": row})
        if row is not None or time.monotonic() - saved_at > plan.save_s:
            state |= {"step": step, "seconds": time.monotonic() - start, "loss": running}
            parts = {"network": network.state_dict(), "loss": loss.state_dict(), "optimiser": optimiser.state_dict()}
            save(folder / "last.pt", {**parts, "average": average, "state": state})
            saved_at = time.monotonic()
        tell(step, row)
        if progress == 1 or over:
            break
    return folder / "best.pt"


def ahead(batches: Dataset[T]) -> DataLoader[T]:
    """Return a loader that makes batches ahead of their use, in a process of its own.

    OpenCV's threads are ended first: they do not survive the fork, and the worker would wait for them for ever.
    """
    cv2.setNumThreads(1)
    return DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4)


def _rate(plan: Plan, step: int, progress: float) -> float:
    """Return the learning rate: up over the first steps, then half a cosine down over the progress (0 to 1)."""
    return plan.rate * min(step / plan.warm, 0.5 + 0.5 * math.cos(math.pi * progress)) + 1e-6


def _step(
    network: nn.Module, loss: Contrast, optimiser: torch.optim.Optimizer, batch: Batch, plan: Plan, rate: float
) -> float:
    network.train()
    views, same, unsure = (torch.as_tensor(part) for part in batch[:3])
    places = None if batch.places is None else torch.as_tensor(batch.places)
    grey = views[:, None].float().contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=plan.bf16):
        points = network.directions(grey)  # type: ignore[operator]
    return descend(network, optimiser, loss(points.float(), same, unsure, places), rate, 5.0)


def descend(network: nn.Module, optimiser: torch.optim.Optimizer, value: Tensor, rate: float, clip: float) -> float:
    """Take one step down a loss at a learning rate, the gradient's norm at most `clip`; return the loss.

    Raises FloatingPointError where it is no number any more.
    """
    if not torch.isfinite(value):
        raise FloatingPointError("the loss is no number any more")
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    value.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), clip)
    optimiser.step()
    return float(value.detach())


def _groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    matrices = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def _follow(average: dict[str, Tensor], network: nn.Module, share: float) -> None:
    for name, value in network.state_dict().items():
        if value.dtype.is_floating_point:
            average[name].lerp_(value.detach(), 1 - share)
        else:
            average[name].copy_(value)


def _copy(network: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    twin = deepcopy(network)
    twin.load_state_dict(weights)
    return twin.eval()


def write_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a table of a run, under the head that the first row gave it."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


def drop_rows(path: Path, step: int) -> None:
    """Drop the rows of a table of a run that lie after a step: they come again."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if int(row["step"]) <= step]
    if not rows:
        path.unlink()
        return
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, reader.fieldnames or ())
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint; what was there stays whole until the new one is."""
    part = path.with_suffix(".part")
    torch.save(content, part)
    part.replace(path)


def load(path: Path) -> dict[str, Any]:
    """Return a checkpoint. Raises UsageError where it is damaged."""
    try:
        content: dict[str, Any] = torch.load(path, weights_only=True)
    except (RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise UsageError(f"{path} is no whole checkpoint; delete it to begin anew, or bring it back") from error
    return content


def weigh(network: nn.Module, path: Path, name: str) -> None:
    """Give a network of torchvision the weights of a file, its state_dict.

    Raises UsageError where the file is absent, damaged or of another network.
    """
    if not path.is_file():
        raise UsageError(f"weights not present: {path} is no file; give torchvision's weights of {name}")
    try:
        network.load_state_dict(load(path))
    except RuntimeError as error:
        raise UsageError(f"{path} does not hold the weights of torchvision's {name}") from error
