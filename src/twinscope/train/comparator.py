"""The recipe of the paper's comparator (black-2021): `python -m twinscope.train.comparator --stage flow --name flow`.

One seed, resumable. In `.cache/train/NAME`: curve.csv (a row a look), best.pt, last.pt, run.json (plan, design, seed,
data hash, commit, wall time). Two stages, for want of RAFT's KITTI weights:

1. `--stage flow`: the aligner alone, on known warps, by RAFT's own loss: plain ones for the first `--plain` steps
   (see `icn_warps`), then benign and manipulated pairs, with plain ones in the place of the distinct;
2. `--stage joint --start RUN/best.pt`: the whole network end to end from there, by equation 9 and 10 at .5 each. No
   flow is told any more. `--ablation NAME` is a row of table 3; "frozen-predict" leaves f_E and f_S as they begin
   (drawn at random, or those of a joint checkpoint that `--start` names), and the heads and F_A learn.

As in the paper: Adam, batches of 8 pairs of three classes, rate 1e-4 in the joint stage, loss weights, 7x7 targets.
Not as in the paper, for two cores: 128 px by default (`--side 224` is theirs), a smaller RAFT (`--size raft` is
torchvision's small one, theirs the large), a rate that comes down with a cosine, gradients cut at norm 1 (as RAFT's
recipe does), bf16 but for the correlation and the sampling, and as many steps as there is time for.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from twinscope.errors import UsageError
from twinscope.train import icn_losses, icn_warps, loop, stock
from twinscope.train.embedder import commit
from twinscope.train.icn import ABLATIONS, SIZES, Aligner, Comparator, Design
from twinscope.train.icn_scores import Judged, summary

SEED = 1
RATES = {"flow": 4e-4, "joint": 1e-4}
"""The peak rates: of RAFT's recipe, and of the paper."""
ERRORS_EACH = 2000
"""How many places of a pair are measured for the end-point error."""


class Plan(NamedTuple):
    """How a run goes: `steps` in all or `minutes` of wall time, whichever is over first; the peak `rate` after `warm`
    steps; a look `every` so many steps, a checkpoint every `save_s` seconds; `clip` is the largest norm of a gradient.
    """

    stage: str
    steps: int
    minutes: float = 120.0
    rate: float = 1e-4
    warm: int = 100
    every: int = 200
    save_s: float = 180.0
    threads: int = 1
    bf16: bool = True
    clip: float = 1.0


Look = Callable[[nn.Module], dict[str, float]]
Loss = Callable[[nn.Module, Any, bool], Tensor]
Rate = Callable[[Plan, int, float], float]
Optimiser = Callable[[list[nn.Parameter], float], torch.optim.Optimizer]


def train(
    network: nn.Module,
    batches: Dataset[Any],
    plan: Plan,
    folder: Path,
    look: Look,
    loss: Loss | None = None,
    optimiser_of: Optimiser = torch.optim.Adam,
    rate_of: Rate | None = None,
) -> Path:
    """Train to the end of the plan, going on from `folder`/last.pt where there is one; return the best checkpoint.

    network: an Aligner in the stage "flow", a Comparator in "joint". batches: at each step what `icn_losses.pairs`
    takes, or what `loss` does, if given: (network, batch, bf16) -> loss. rate_of: the learning rate of (plan, step,
    progress), `rate` if none is given. Every `plan.every` steps `look` judges (a dict
    with "score", the larger the better), a row is added to curve.csv, and last.pt, and best.pt if it is the best, are
    written. Raises FloatingPointError where the loss is no number any more, UsageError where last.pt is of another
    plan.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(plan.threads)
    network.to(memory_format=torch.channels_last)
    learning = [p for p in network.parameters() if p.requires_grad]
    optimiser = optimiser_of(learning, plan.rate)
    state: dict[str, Any] = {"step": 0, "best": -math.inf, "seconds": 0.0, "loss": 0.0}
    if (folder / "last.pt").exists():
        state |= _resume(folder / "last.pt", network, optimiser, plan)
    loop.drop_rows(folder / "curve.csv", state["step"])
    todo = Subset(batches, range(state["step"], plan.steps))
    loader = loop.ahead(todo)
    start, saved_at = time.monotonic() - state["seconds"], time.monotonic()
    share = max(0.02, 1 / plan.every)
    for step, batch in enumerate(loader, state["step"] + 1):
        progress = min(1.0, max(step / plan.steps, (time.monotonic() - start) / (60 * plan.minutes)))
        network.train()
        lost = loss(network, batch, plan.bf16) if loss else objective(network, icn_losses.pairs(batch), plan.bf16)
        value = loop.descend(network, optimiser, lost, (rate_of or rate)(plan, step, progress), plan.clip)
        state["loss"] = value if state["loss"] == 0 else (1 - share) * state["loss"] + share * value
        state |= {"step": step, "seconds": time.monotonic() - start}
        looked = step % plan.every == 0 or progress == 1
        if looked:
            seen = look(network.eval())
            state["seconds"] = time.monotonic() - start
            row = {"step": step, "seconds": round(state["seconds"]), "loss": round(state["loss"], 4), **seen}
            print(row, flush=True)
            loop.write_row(folder / "curve.csv", row)
            if seen["score"] >= state["best"]:
                state["best"] = seen["score"]
                loop.save(folder / "best.pt", {"stage": plan.stage, "network": network.state_dict(), "row": row,
                                               "built": built(network)})  # fmt: skip
        if looked or time.monotonic() - saved_at > plan.save_s:
            parts = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "state": state}
            loop.save(folder / "last.pt", {**parts, "stage": plan.stage, "built": built(network)})
            saved_at = time.monotonic()
        if progress == 1:
            break
    return folder / "best.pt"


def _resume(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, plan: Plan) -> dict[str, Any]:
    saved = loop.load(path)
    if saved["stage"] != plan.stage or saved["built"] != built(network):
        raise UsageError(f"{path} is of another stage or design; name a new run")
    network.load_state_dict(saved["network"])
    optimiser.load_state_dict(saved["optimiser"])
    state: dict[str, Any] = saved["state"]
    return state


def built(network: nn.Module) -> dict[str, Any]:
    """Return what a network was built from: its design, or the aligner's updates."""
    if isinstance(network, Comparator):
        return network.design._asdict()
    return {"updates": getattr(network, "updates", 0), "parameters": sum(p.numel() for p in network.parameters())}


def rate(plan: Plan, step: int, progress: float) -> float:
    """Return the learning rate: up over the first steps, then half a cosine down over the progress (0 to 1)."""
    return plan.rate * max(1e-3, min(step / max(1, plan.warm), 0.5 + 0.5 * math.cos(math.pi * progress)))


def objective(network: nn.Module, batch: icn_losses.Pairs, bf16: bool) -> Tensor:
    """Return the loss of a batch: RAFT's for an Aligner, the paper's for a Comparator.

    An Aligner is shown those pairs alone of which something is seen: the distinct ones would cost a third, for nothing.
    """
    told = batch.seen.flatten(1).any(1)
    if not isinstance(network, Comparator) and told.any():
        batch = icn_losses.Pairs(*(part[told] for part in batch))
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        said = network(*_wide(batch))
    if isinstance(network, Comparator):
        return icn_losses.total(said, batch, network.design)[0]
    return icn_losses.flow_loss(said, batch.flow, batch.seen)


def _wide(batch: icn_losses.Pairs) -> tuple[Tensor, Tensor]:
    last = torch.channels_last
    return batch.original.contiguous(memory_format=last), batch.query.contiguous(memory_format=last)


# ---------------------------------------------------------------------------------------------------- looks


@torch.inference_mode()
def judge(network: nn.Module, batches: Sequence[Any], bf16: bool = False) -> Judged:
    """Return what a network in evaluation mode says of batches, and what was true.

    The end-point errors are of up to `ERRORS_EACH` seen places of each batch's pairs, evenly taken. An Aligner says
    nothing of classes: its probabilities are all a third, and its maps zero.
    """
    network.eval()
    probability, maps, label, changed = [], [], [], []
    errors, moved = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    for raw in batches:
        batch = icn_losses.pairs(raw)
        count = len(batch.label)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            said = network(*_wide(batch))
        flows = said.flows if isinstance(network, Comparator) else said
        if flows:
            each = slice(None, None, max(1, int(batch.seen.sum()) // (ERRORS_EACH * count)))
            errors.append((flows[-1] - batch.flow).norm(dim=1)[batch.seen][each].numpy())
            moved.append(batch.flow.norm(dim=1)[batch.seen][each].numpy())
        whole = isinstance(network, Comparator)
        probability.append(said.classes.softmax(1).numpy() if whole else np.full((count, 3), 1 / 3, np.float32))
        maps.append(said.maps.numpy() if whole else np.zeros((count, 7, 7), np.float32))
        label.append(batch.label.numpy())
        changed.append(batch.changed.numpy())
    return Judged(
        np.concatenate(probability),
        np.concatenate(maps),
        np.concatenate(errors),
        np.concatenate(moved),
        np.concatenate(label),
        np.concatenate(changed),
    )


def look(network: nn.Module, batches: Sequence[Any]) -> dict[str, float]:
    """Judge a network on validation batches; "score" is the mean of AP and IoU, or minus the end-point error in px."""
    numbers = summary(judge(network, batches))
    if isinstance(network, Comparator):
        out = numbers | {"score": float(np.mean([numbers["ap"], numbers.get("iou", 0.0)]))}
    else:
        out = {name: value for name, value in numbers.items() if name[:3] == "epe"} | {"score": -numbers["epe"]}
    return {name: round(value, 5) for name, value in out.items()}


# ---------------------------------------------------------------------------------------------------- runs


def begin(network: nn.Module, path: Path) -> None:
    """Give a network the weights of a checkpoint: of the flow stage its aligner, of the joint stage all.

    Raises UsageError where the file is absent or damaged, or its network another.
    """
    if not path.exists():
        raise UsageError(f"{path} is no file; train --stage flow first")
    saved = loop.load(path)
    part: Any = network
    if saved.get("stage") == "flow" and isinstance(network, Comparator):
        part = network.align
    try:
        if part is not None:
            part.load_state_dict(saved["network"])
    except (RuntimeError, KeyError) as error:
        raise UsageError(f"{path} does not fit: give the same --size, --pool and trunk") from error


def open_network(path: Path) -> Comparator:
    """Return the comparator of a checkpoint of the joint stage, in evaluation mode. Raises UsageError if it is none."""
    if not path.exists():
        raise UsageError(f"{path} is no file; train --stage joint first")
    saved = loop.load(path)
    if saved.get("stage") != "joint":
        raise UsageError(f"{path} is no checkpoint of the joint stage")
    network = Comparator(Design(**saved["built"]))
    network.load_state_dict(saved["network"])
    return network.eval()


HELD = {"benign": 1.0, "manipulated": 0.3, "both": 0.7, "distinct": 1.0}
"""How many validation pairs of each kind there are, of as many a class."""


def held(changes: Any, each: int, side: int, flips: bool, batch: int = 8) -> list[Any]:
    """Return batches of about `each` validation pairs a class, from the module of the pairs; always the same ones."""
    pairs = []
    for kind, share in HELD.items():
        count = max(1, round(share * each))
        pairs += list(changes.evaluation("val", count, kind, SEED, side, flips=flips))
    return [changes.stacked(pairs[k : k + batch]) for k in range(0, len(pairs), batch)]


def main() -> None:
    """Train from the command line."""
    given = _arguments()
    started = time.monotonic()
    torch.manual_seed(SEED)
    design = _design(given)
    if given.stage == "joint" and design.align and given.start is None:
        raise UsageError("the joint stage needs --start, the checkpoint of a flow stage")
    network = Aligner(SIZES[design.size]) if given.stage == "flow" else Comparator(design, given.weights)
    if given.start is not None:
        begin(network, given.start)
    changes = importlib.import_module("twinscope.train.changes")
    source = stock.stock(given.runs, SEED)
    batches = changes.Batches(source, SEED, given.batch, given.side, given.steps, given.flips)
    if given.stage == "flow":
        batches = icn_warps.Plain(batches, SEED, given.plain, given.steps)
    judged = held(changes, given.looks, given.side, given.flips)
    peak = given.rate or RATES[given.stage]
    plan = Plan(given.stage, given.steps, given.minutes, peak, every=given.every, threads=given.threads,
                bf16=not given.fp32 and loop.bf16_is_quicker())  # fmt: skip
    out: Path = given.runs / given.name
    record = {"recipe": "twinscope.train.comparator", "seed": SEED, "batch": given.batch, "side": given.side,
              "flips": given.flips, "plain": given.plain, "ablation": given.ablation, "design": design._asdict(),
              "flow_network": SIZES[design.size]._asdict(), "plan": plan._asdict(), "commit": commit(),
              "data_sha256": source.sha256, "start": sha256(given.start), "weights": sha256(given.weights),
              "parameters": sum(p.numel() for p in network.parameters()), "torch": torch.__version__}  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "run.json").write_text(json.dumps(record, indent=1))
    train(network, batches, plan, out, lambda net: look(net, judged))
    record["wall_s"] = round(time.monotonic() - started)
    (out / "run.json").write_text(json.dumps(record, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=("flow", "joint"), required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--runs", type=Path, default=Path(".cache/train"))
    parser.add_argument("--ablation", choices=tuple(ABLATIONS), default="full", help="a row of table 3")
    parser.add_argument("--start", type=Path, help="begin with the weights of this checkpoint")
    parser.add_argument("--weights", type=Path, help="ImageNet weights (a file) for the ResNet of no-predict")
    parser.add_argument("--resnet", choices=("resnet18", "resnet50"), default="resnet50", help="f_R of no-predict")
    parser.add_argument("--size", choices=tuple(SIZES), default="small", help="of the flow network")
    parser.add_argument("--pool", type=int, default=1, help="the side of the pooling grid before z (1: the paper)")
    parser.add_argument("--photometric", type=float, help="the weight of the photometric term")
    parser.add_argument("--flow", type=float, default=0.0, help="the weight of the flow's loss in the joint stage")
    parser.add_argument("--plain", type=int, default=500, help="so many first steps of the flow stage see plain warps")
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=128, help="of the pictures, px (224: the paper)")
    parser.add_argument("--flips", action="store_true", help="benign changes mirror, too")
    parser.add_argument("--rate", type=float, help="the peak learning rate (4e-4 in the flow stage, else 1e-4)")
    parser.add_argument("--every", type=int, default=200, help="steps from look to look")
    parser.add_argument("--looks", type=int, default=40, help="validation pairs of each class in a look")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fp32", action="store_true", help="no bf16, though it may be quicker here")
    return parser.parse_args()


def _design(given: argparse.Namespace) -> Design:
    design = ABLATIONS[given.ablation]._replace(size=given.size, pool=given.pool, flow=given.flow)
    if design.trunk != "fused":
        design = design._replace(trunk=given.resnet)
    return design if given.photometric is None else design._replace(photometric=given.photometric)


def sha256(path: Path | None) -> str | None:
    """Return the hash of a file as hex, None of no file."""
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
