"""The recipe of the papers' networks: `python -m twinscope.train.triplets --version v02`. One seed, resumable.

`--version v01` is the network of 2018, `v02` that of 2019; `--manipulations geometric` gives SN[G]. `--faithful`
follows the papers: momentum .9 and a rate of 1e-5 on the summed loss, their batch and looks (`PAPERS`), different
pictures plain (cluttered, as all are), the minimum subtracted from the deformed alone, the second term between branches
1 and 2, alpha free. The default is what their code does, mended (see `papers_sn`): different pictures are deformed too,
the minimum is subtracted from all, Adam on the mean loss with a rate that goes down. SN[G] is deformed by geometry
alone: there the minimum is subtracted from none, faithful or not.

Leaves in `.cache/train/NAME`: curve.csv, best.pt (the lowest validation loss), last.pt, run.json. `--watch` adds the
papers' other curves to curve.csv, accuracy on test groups and on real edits; nothing is chosen by them. A run goes on
with or without it as it began, and only as what it began (`FIRM`).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Subset

from twinscope import manipulate
from twinscope.errors import UsageError
from twinscope.train import data, evaluate, loop, protocol
from twinscope.train.embedder import commit
from twinscope.train.papers_sn import SN, Version, triplet_loss

Manipulations = Literal["v01", "v02", "geometric"]
SEED = 0
SIDE = 128
PAPERS = {"v01": {"batch": 256, "every": 10}, "v02": {"batch": 128, "every": 10}}
"""Triplets of a step as the papers have them, and the steps from look to look of their code."""
FIRM = ("version", "manipulations", "faithful", "batch")
"""What of a plan a run cannot change when it goes on."""


class Plan(NamedTuple):
    """How a run goes: `steps` or `minutes`, whichever is over first; `batch` triplets, `every` so many steps a
    look at as many `fixed` ones of validation.
    """

    version: Version = "v02"
    manipulations: Manipulations = "v02"
    faithful: bool = False
    steps: int = 20000
    minutes: float = 60.0
    batch: int = 128
    fixed: int = 250
    every: int = 50
    threads: int = 1
    bf16: bool = True

    @property
    def rate(self) -> float:
        """The learning rate: on the summed loss if faithful, else the peak on the mean."""
        return 1e-5 if self.faithful else 1e-3


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", help="default: sn-VERSION, sn-g-VERSION, with -faithful")
    parser.add_argument("--runs", type=Path, default=Path(".cache/train"))
    parser.add_argument("--version", choices=get_args(Version), default="v02")
    parser.add_argument("--manipulations", choices=get_args(Manipulations), help="default: those of the version")
    parser.add_argument("--faithful", action="store_true")
    for key in ("steps", "threads"):
        parser.add_argument(f"--{key}", type=int, default=Plan._field_defaults[key])
    for key in ("batch", "every"):
        theirs = " and ".join(f"{numbers[key]} ({version})" for version, numbers in PAPERS.items())
        parser.add_argument(f"--{key}", type=int, help=f"default: {Plan._field_defaults[key]}; faithful: {theirs}")
    parser.add_argument("--minutes", type=float, default=Plan._field_defaults["minutes"])
    parser.add_argument("--watch", action="store_true", help="look at test groups and real edits too")
    a = parser.parse_args()
    default = PAPERS[a.version] if a.faithful else Plan._field_defaults
    batch, every = (default[key] if getattr(a, key) is None else getattr(a, key) for key in ("batch", "every"))
    plan = Plan(a.version, a.manipulations or a.version, a.faithful, a.steps, a.minutes, batch, every=every,
                threads=a.threads, bf16=loop.bf16_is_quicker())  # fmt: skip
    name = f"sn-{'g-' if plan.manipulations == 'geometric' else ''}{plan.version}{'-faithful' if a.faithful else ''}"
    folder: Path = a.runs / (a.name or name)
    try:
        check(plan, folder)  # before minutes go into reading pictures
        rng = np.random.default_rng(SEED)
        training, validation = (grey_windows(split, rng, many) for split, many in (("train", 12), ("val", 4)))
        train(training, validation, plan, folder, watcher(plan) if a.watch else None)
    except UsageError as error:
        parser.exit(2, f"error: {error}\n")


def check(plan: Plan, folder: Path) -> None:
    """Raise UsageError where a folder holds a run of a plan that differs in what is `FIRM`."""
    if not (folder / "last.pt").exists():
        return
    path = folder / "run.json"
    try:
        began = json.loads(path.read_text(encoding="utf-8"))["plan"]
        other = [f"{key} {began[key]}, not {value}" for key in FIRM if began[key] != (value := getattr(plan, key))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} does not say what run last.pt beside it is of; give another --name") from error
    if other:
        raise UsageError(
            f"the run in {folder} began with another plan ({'; '.join(other)}); give another --name, "
            "or the options that it began with"
        )


def grey_windows(split: str, rng: data.Rng, per_image: int) -> data.Bytes:
    """Return the 256 px windows (n, 256, 256) grey uint8 of a split, without overlap, none blank."""
    pixels, _ = data.cut(data.micrographs(split), rng, per_image, levels=(256,))
    return np.stack([cv2.cvtColor(part, cv2.COLOR_RGB2GRAY) for part in pixels])


class Triplets(Dataset[data.Bytes]):
    """Batch `step` of a run, from (seed, step) alone: (n, 3, 128, 128) uint8 of anchor, same and different.

    Each pass goes through a new permutation: anchor and same are picture j of it, different is picture -j-1.
    """

    def __init__(self, pictures: data.Bytes, plan: Plan, seed: int) -> None:
        self.pictures, self.plan, self.seed = pictures, plan, seed

    def __len__(self) -> int:
        return self.plan.steps

    def __getitem__(self, step: int) -> data.Bytes:
        cv2.setNumThreads(1)
        if step >= len(self):
            raise IndexError(step)
        rng = np.random.default_rng([self.seed, step])
        out = np.empty((self.plan.batch, 3, SIDE, SIDE), np.uint8)
        for k in range(self.plan.batch):
            turn, j = divmod(step * self.plan.batch + k, len(self.pictures))
            order = np.random.default_rng([self.seed, 10**9 + turn]).permutation(len(self.pictures))
            one, other = self.pictures[order[j]], self.pictures[order[-j - 1]]
            if order[j] == order[-j - 1]:  # the middle of an odd number of pictures is not its own opposite
                other = self.pictures[order[j - 1]]
            out[k] = triplet(one, other, rng, self.plan)
        return out


def triplet(one: data.Bytes, other: data.Bytes, rng: data.Rng, plan: Plan) -> data.Bytes:
    """Return anchor, same (both of `one`) and different (of `other`), (3, 128, 128) uint8."""
    parts = []
    for picture, deformed in ((one, False), (one, True), (other, not plan.faithful)):
        source = picture.astype(np.float32) / np.float32(255)
        if plan.faithful and not deformed:  # only what is deformed has its minimum subtracted
            first = (SIDE // 2, SIDE // 2, SIDE // 2 + SIDE, SIDE // 2 + SIDE)
            image = manipulate.clutter(manipulate.crop(source, rng, box=first).image, rng).image
        elif plan.manipulations == "geometric":
            image = manipulate.clutter(manipulate.geometric(source, rng, deformed=deformed).image, rng).image
        else:
            preset = manipulate.v01 if plan.manipulations == "v01" else manipulate.v02
            image = preset(source, rng, deformed=deformed).image
        parts.append(np.rint(image * 255).astype(np.uint8))
    return np.stack(parts)


Watch = Callable[[SN], dict[str, float]]


def train(training: data.Bytes, validation: data.Bytes, plan: Plan, folder: Path, watch: Watch | None = None) -> Path:
    """Train to the end of the plan, going on from `folder`/last.pt where there is one; return the best checkpoint.

    What `watch` sees in the network, at every look, stands in curve.csv and decides nothing. Raises UsageError where
    that run began with another plan.
    """
    check(plan, folder)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    torch.set_num_threads(plan.threads)
    network = SN(plan.version, plan.faithful).to(memory_format=torch.channels_last)
    optimiser: torch.optim.Optimizer = torch.optim.Adam(network.parameters(), plan.rate)
    if plan.faithful:
        optimiser = torch.optim.SGD(network.parameters(), plan.rate, momentum=0.9)
    state: dict[str, Any] = {"step": 0, "best": math.inf, "seconds": 0.0}
    if (folder / "last.pt").exists():
        saved = loop.load(folder / "last.pt")
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        state = saved["state"]
    record = {"recipe": "twinscope.train.triplets", "seed": SEED, "commit": commit(), "plan": plan._asdict(),
              "windows": len(training), "torch": torch.__version__}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record, indent=1))
    fixed = Triplets(validation, plan._replace(batch=plan.fixed), SEED + 1)[0]
    loop.drop_rows(folder / "curve.csv", state["step"])
    over = state["seconds"] >= 60 * plan.minutes
    todo = Subset(Triplets(training, plan, SEED), range(plan.steps if over else state["step"], plan.steps))
    start = time.monotonic() - state["seconds"]
    for step, batch in enumerate(loop.ahead(todo), state["step"] + 1):
        progress = min(1.0, max(step / plan.steps, (time.monotonic() - start) / (60 * plan.minutes)))
        rate = plan.rate if plan.faithful else plan.rate * min(step / 50, 0.5 + 0.5 * math.cos(math.pi * progress))
        numbers = _step(network, optimiser, torch.as_tensor(batch), rate, plan)
        if step % plan.every == 0 or progress == 1:
            row = {"step": step, "seconds": round(time.monotonic() - start)}
            seen = {} if watch is None else watch(network)
            row |= protocol.rounded({**numbers, **judge(network, fixed), **seen})
            better = row["val_loss"] <= state["best"]
            state = {"step": step, "best": min(state["best"], row["val_loss"]), "seconds": time.monotonic() - start}
            loop.write_row(folder / "curve.csv", row)
            print(row, flush=True)
            if better:  # before last.pt, which says that this look is done
                loop.save(folder / "best.pt", {"network": network.state_dict(), "plan": plan._asdict(), "row": row})
            parts = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "state": state}
            loop.save(folder / "last.pt", parts)
        if progress == 1:
            break
    return folder / "best.pt"


def _step(network: SN, optimiser: torch.optim.Optimizer, batch: Tensor, rate: float, plan: Plan) -> dict[str, float]:
    network.train()
    for group in optimiser.param_groups:
        group["lr"] = rate
    with torch.autocast("cpu", torch.bfloat16, enabled=plan.bf16):
        value, far = triplet_loss(network, batch.float())
    optimiser.zero_grad(set_to_none=True)
    (value if plan.faithful else value / len(batch)).backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return {"loss": float(value.detach()) / len(batch), "batch_accuracy": accuracy(far.detach().numpy())}


@torch.inference_mode()
def judge(network: SN, fixed: data.Bytes) -> dict[str, float]:
    """Return loss (a triplet) and accuracy on fixed triplets, by running moments."""
    network.eval()
    parts = [triplet_loss(network, torch.as_tensor(part).float()) for part in np.array_split(fixed, 5)]
    far = torch.cat([part[1] for part in parts]).numpy()
    return {"val_loss": float(sum(part[0] for part in parts)) / len(fixed), "val_accuracy": accuracy(far)}


def watcher(plan: Plan) -> Watch:
    """Return a watch: accuracy on fixed triplets of test groups, and on the real edits of each evaluation-only set."""
    windows = grey_windows("test", np.random.default_rng(SEED), 4)
    test = Triplets(windows, plan._replace(batch=plan.fixed), SEED + 2)[0]
    sets = {name: _squares(evaluate.real_pairs(name)) for name in evaluate.SETS}

    def watch(network: SN) -> dict[str, float]:
        seen = {"test_accuracy": judge(network, test)["val_accuracy"]}
        weights = network.alpha.detach().numpy().astype(np.float64)
        for name, (a, b, groups) in sets.items():
            far = protocol.city(embed(network, a), embed(network, b), weights)
            seen[f"real_{name}"] = float(evaluate.right(evaluate.paired(far, groups)).mean())
        return seen

    return watch


def _squares(pairs: evaluate.Pairs) -> tuple[data.Bytes, data.Bytes, list[int]]:
    a, b = (np.stack([square(image) for image in side]) for side in (pairs.a, pairs.b))
    return a, b, pairs.groups


def square(image: data.Bytes) -> data.Bytes:
    """Return a picture (HxW or HxWx3 RGB uint8) as the network sees it: 128x128 grey uint8, its aspect given up."""
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    how = cv2.INTER_AREA if grey.size >= SIDE**2 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=how), np.uint8)


def accuracy(far: NDArray[np.float32]) -> float:
    """Return the share of right answers of (n, 2) distances: same below 1, different above."""
    return float(np.mean([(far[:, 0] < 1).mean(), (far[:, 1] > 1).mean()]))


def load(path: Path) -> SN:
    """Return the network of a checkpoint that `train` wrote, in evaluation mode."""
    saved = loop.load(path)
    network = SN(saved["plan"]["version"], saved["plan"]["faithful"])
    network.load_state_dict(saved["network"])
    return network.eval()


@torch.inference_mode()
def embed(network: SN, views: data.Bytes, size: int = 50) -> protocol.Points:
    """Return the points of (n, 128, 128) uint8 pictures; f is their distance weighed by `network.alpha`."""
    network.eval()
    parts = [network(torch.as_tensor(views[k : k + size])[:, None].float()) for k in range(0, len(views), size)]
    return np.asarray(torch.cat(parts).numpy(), np.float32)


if __name__ == "__main__":
    main()
