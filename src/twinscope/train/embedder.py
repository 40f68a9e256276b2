"""The recipe of `embedder-3`: `python -m twinscope.train.embedder --name embedder-3`. One seed, resumable.

What ships went on from `embedder-2`, the graph that such runs had given before: `--start embedder-2.onnx --seed 2
--blocks 6 6 --rate 1e-3`, with the look-alikes that the network found. It is no longer in the package; it stands in
the history: `git show 9e8af32:src/twinscope/models/weights/embedder-2.onnx > embedder-2.onnx`.

It builds the stock (train split of the micrographs, drawn families), trains, and leaves in `.cache/train/NAME`:
curve.csv, best.pt, last.pt and run.json (plan, seed, data hash, commit, wall time). `--minutes` of loop time or
`--until HH:MM` of the wall clock end it, with the learning rate's cosine. Then `python -m twinscope.train.export RUN`
writes the graph and its card.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from twinscope.train import changes, data, loop, protocol, stock, unfold
from twinscope.train.losses import Contrast
from twinscope.train.networks import Embedder
from twinscope.train.wear import drawn_wear, worn_down

SEED = 1
WINDOWS = 54
SIDE = 96
"""The side in px of the views it sees, in training and in use: half the cost of 128 px, and no worse."""
WORN_PX = 128
"""The side in px at which views are edited and worn."""


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="embedder-3")
    parser.add_argument("--runs", type=Path, default=Path(".cache/train"))
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--until", help="end at this wall clock time (HH:MM) instead of after --minutes")
    parser.add_argument("--seed", type=int, default=SEED, help="of the windows and their views; the stock has its own")
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rate", type=float, default=2e-3, help="the peak learning rate")
    parser.add_argument("--blocks", type=int, nargs=2, default=(0, 4), help="bottlenecks at 1/8 and at 1/16")
    parser.add_argument("--memory", type=int, default=0, help="points of earlier batches that are negatives too")
    parser.add_argument("--blended", type=float, default=0.0, help="the share of real pictures blended with others")
    parser.add_argument("--worn", type=float, default=0.0, help="the share of views that are worn as in the search")
    parser.add_argument("--start", type=Path, help="begin with the weights of this checkpoint or exported graph, and "
                                                   "learn from what it takes for look-alikes")  # fmt: skip
    arguments = parser.parse_args()
    started = time.monotonic()
    torch.manual_seed(arguments.seed)
    out: Path = arguments.runs / arguments.name
    source = stock.stock(arguments.runs, SEED)
    network, alike = Embedder(blocks=tuple(arguments.blocks)), None
    if arguments.start is not None:
        views = stock.FreshBatches(source, SEED, 200, SIDE, 1)[0].views
        begin(network, arguments.start, tensor(views))
        alike = stock.lookalikes(source, lambda views: embed(network, views), SEED)
    given = (arguments.seed, arguments.windows, SIDE, arguments.steps, alike, arguments.blended)
    batches = Views(source, *given, worn=arguments.worn)
    minutes = arguments.minutes if arguments.until is None else minutes_until(arguments.until, out)
    plan = loop.Plan(arguments.steps, minutes, arguments.rate, threads=arguments.threads, bf16=loop.bf16_is_quicker())
    record = {"recipe": "twinscope.train.embedder", "seed": arguments.seed, "windows": arguments.windows,
              "memory": arguments.memory, "blended": arguments.blended,
              "worn": arguments.worn, "commit": commit(),
              "data_sha256": source.sha256, "pictures": len(source.pictures), "drawn": source.drawn.shape[:2],
              "start": None if arguments.start is None else beginning(arguments.start),
              "plan": plan._asdict(), "blocks": list(arguments.blocks),
              "parameters": sum(p.numel() for p in network.parameters()), "torch": torch.__version__}  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "run.json").write_text(json.dumps(record, indent=1))
    looks = [protocol.classes("val", 140, 3, how, seed=1) for how in ("v02", "strong")]
    loop.train(network, Contrast(memory=arguments.memory), batches, plan, out, lambda net: look(net, looks))
    record["wall_s"] = round(time.monotonic() - started)
    (out / "run.json").write_text(json.dumps(record, indent=1))


class Views(stock.FreshBatches):
    """Batches of `stock.FreshBatches` in which a share `worn` of the views is edited and worn as `search` has it."""

    def __init__(self, *given: Any, worn: float) -> None:
        super().__init__(*given)
        self.worn = worn

    def __getitem__(self, step: int) -> data.Batch:
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, step])
        parts, windows = self.draw(rng)
        batch = stock.viewed(parts, windows, rng, self.side)
        same, unsure = data.relations(windows)
        for number in np.flatnonzero(rng.random(len(batch.views)) < self.worn):
            k = int(number) % len(parts)
            others = data.strangers(k, parts, same, unsure, rng)
            batch.views[number] = worn_view(parts[k], others, rng, self.side)
        return batch


def worn_view(window: data.Bytes, others: list[data.Bytes], rng: data.Rng, side: int) -> data.Bytes:
    """Return a view (side x side grey uint8) of a window (256x256 RGB uint8): half of them edited, all of them worn."""
    image = changes.shown(window, WORN_PX)
    if rng.random() < 0.5:
        image, _, _ = changes.edited(image, [changes.shown(one, WORN_PX) for one in others], rng)
    worn = worn_down(image, drawn_wear(rng, WORN_PX, image.ndim == 2), rng)
    return stock.shrunk(np.rint(np.clip(worn, 0, 1) * 255).astype(np.uint8), side)


def beginning(start: Path) -> dict[str, Any]:
    """Return what is known of what a run begins with: its hash, and of a checkpoint its step and the run it is of."""
    known: dict[str, Any] = {"sha256": hashlib.sha256(start.read_bytes()).hexdigest()}
    if start.suffix == ".onnx":
        return known | {"graph": start.name}
    row = loop.load(start)["row"]
    if (start.parent / "run.json").exists():
        known |= json.loads((start.parent / "run.json").read_text())
    return known | {"step": row["step"], "train_s": row["seconds"]}


def begin(network: Embedder, start: Path, views: torch.Tensor) -> None:
    """Give a network the weights of a checkpoint, or of an exported graph (.onnx) whose normalisation is undone on
    `views`, (n, 1, h, w).

    It may have more tones and more blocks: new tones weigh nothing and new blocks change nothing, so that it begins as
    good as the other was.
    """
    if start.suffix == ".onnx":
        unfold.begin(network, unfold.shipped(start), views)
        return
    own = network.state_dict()
    for name, value in loop.load(start)["network"].items():
        if own[name].shape != value.shape:
            own[name].zero_()
            own[name][:, : value.shape[1]] = value
        else:
            own[name].copy_(value)


def minutes_until(clock: str, run: Path) -> float:
    """Return the minutes of loop time at which the clock will show HH:MM, those of an interrupted run included."""
    hour, minute = (int(part) for part in clock.split(":"))
    now = datetime.now().astimezone()
    left = (now.replace(hour=hour, minute=minute, second=0, microsecond=0) - now) % timedelta(days=1)
    done = loop.load(run / "last.pt")["state"]["seconds"] if (run / "last.pt").exists() else 0.0
    return float(left.total_seconds() + done) / 60


def look(network: nn.Module, looks: list[protocol.Classes]) -> dict[str, float]:
    """Judge a network on validation classes; "score" is the mean of what is to be selected by."""
    network.radius.fill_(1.0)  # type: ignore[operator]
    v02, strong = (protocol.summary(protocol.distances(lambda x: embed(network, x), test)) for test in looks)
    keys = ("best_accuracy", "ir1", "tpr_1e-3")
    out = {
        **{f"v02_{key}": v02[key] for key in (*keys, "best_border")},
        **{f"strong_{key}": strong[key] for key in keys},
    }
    out["score"] = float(np.mean([v02[key] for key in keys] + [strong[key] for key in keys]))
    return protocol.rounded(out)


def tensor(views: NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
    """Return (n, h, w) uint8 as the network takes it: (n, 1, h, w) float32."""
    return torch.as_tensor(views)[:, None].float().contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def embed(network: nn.Module, views: NDArray[np.uint8], size: int = 100) -> NDArray[np.float32]:
    """Return the points of (n, h, w) uint8 pictures, resized to what the network sees, in evaluation mode."""
    network.eval()
    views = np.stack([cv2.resize(view, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for view in views])
    parts = [network(tensor(views[k : k + size])) for k in range(0, len(views), size)]
    return np.asarray(torch.cat(parts).numpy(), np.float32)


def commit() -> str:
    """Return the commit of the working tree, or "unknown" outside a checkout."""
    answer: Any = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
