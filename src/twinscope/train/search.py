"""The recipe of the paper's search network (black-2021, section 3.1): `python -m twinscope.train.search --name NAME`.

One seed, resumable. In `.cache/train/NAME`: curve.csv (a row a look), best.pt, last.pt, start.pt (the weights before
the first step), run.json (plan, seed, data hash, commit, wall time).

As in the paper: a trained backbone with a layer of 256 in the place of its last one; a buffer layer E_b behind it,
which the loss alone sees and search does not; contrast with several positives (equations 1 and 2); batches of 16
pictures and one edit of each, both worn twice (64 views); SGD from 1e-3 with steps down after 60 and 90 % of the run.
Not as in the paper: the backbone is by default that of `START` (small, grey, 96 px, trained on two cores), whose
linear layer is the first half of the new one. `--backbone resnet50` is theirs, `--weights` a file for it.
Momentum .9, tau .1 and E_b of 256 beginning as the identity are choices where the paper says nothing. Some of the
views are not worn, for the pictures that are searched are not. Some pictures of a batch are look-alikes of others.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from twinscope.detect.embed import MODEL
from twinscope.errors import UsageError
from twinscope.models.card import WEIGHTS
from twinscope.train import changes, comparator, data, icn, loop, protocol, stock, unfold
from twinscope.train.data import Batch, Bytes
from twinscope.train.embedder import commit, tensor
from twinscope.train.networks import Embedder
from twinscope.train.search_losses import several_positives
from twinscope.train.wear import drawn_wear, worn_down

SEED = 1
START = MODEL
"""The shipped embedder whose backbone and linear layer the small network begins with ..."""
BLOCKS = (6, 6)
"""... and its bottlenecks at 1/8 and at 1/16."""
DIMENSIONS = 256
SIDES = {"small": 96, "resnet50": 224}
"""The side in px of the views that each backbone sees."""
DRAWN_PX = 128
"""The side in px at which small views are made; they are shrunk to what the network sees."""
PLAIN = 0.45
"""The share of views that are not worn."""
VIEWS = 4
"""Views of each picture: two of it, two of an edited version of it."""
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pictures, by colour."""


class Search(nn.Module):
    """Map (n, 1, h, w) grey in [0, 255] to unit vectors (n, 256): what is searched.

    `buffered` gives what the loss sees: the buffer layer E_b's answer to the 256 numbers before they are normalised.
    """

    def __init__(self, backbone: str = "small", weights: Path | None = None) -> None:
        super().__init__()
        if backbone not in SIDES:
            raise UsageError(f"{backbone} is no backbone; give {' or '.join(SIDES)}")
        self.backbone = backbone
        self.trunk: Any
        if backbone == "small":
            self.trunk = Embedder(blocks=BLOCKS)
            self.trunk.head.requires_grad_(False)
            wide = self.trunk.head.in_features
        else:
            self.trunk = icn.backbone(backbone, weights)
            wide = self.trunk.fc.in_features
            self.trunk.fc = nn.Identity()
        self.layer = nn.Linear(wide, DIMENSIONS)
        self.buffer = nn.Linear(DIMENSIONS, DIMENSIONS)
        nn.init.eye_(self.buffer.weight)
        nn.init.zeros_(self.buffer.bias)

    def features(self, grey: Tensor) -> Tensor:
        """Return what the backbone says: (n, 640) of the small one, (n, 2048) of the other."""
        if isinstance(self.trunk, Embedder):
            return self.trunk.pooled(*self.trunk.maps(grey))
        middle, spread = (torch.tensor(part, device=grey.device)[:, None, None] for part in (MEAN, SPREAD))
        out: Tensor = self.trunk((grey / 255 - middle) / spread).float()
        return out

    def forward(self, grey: Tensor) -> Tensor:
        """Return the vectors that are searched, (n, 256) of length 1."""
        return F.normalize(self.layer(self.features(grey)), dim=1)

    def buffered(self, grey: Tensor) -> Tensor:
        """Return E_b of the vectors, (n, 256): what the loss compares."""
        out: Tensor = self.buffer(self.layer(self.features(grey)))
        return out


# ---------------------------------------------------------------------------------------------------- the beginning


@torch.no_grad()
def begin(network: Search, known: Mapping[str, Tensor], views: Tensor) -> None:
    """Give the small backbone the parameters of a shipped graph, see `unfold`; the answer is that of the graph.

    The first half of the 256 numbers is the head's; the other half is drawn at random, at a quarter of its size.
    """
    if not isinstance(network.trunk, Embedder):
        raise UsageError("a ResNet begins with weights of its own (--weights)")
    unfold.begin(network.trunk, known, views)
    half = len(known["head.weight"])
    network.layer.weight[half:] *= known["head.weight"].std() / network.layer.weight.std() / 4
    network.layer.weight[:half].copy_(known["head.weight"])
    network.layer.bias.zero_()
    network.layer.bias[:half].copy_(known["head.bias"])


# ---------------------------------------------------------------------------------------------------- batches


class Worn(Dataset[Batch]):
    """Batch `step` of a run, from (seed, step) alone: of each of `pictures` fresh ones four views, one after the other.

    Two are of the picture, two of an edited version of it, each worn on its own; views (4 pictures, side, side) uint8.
    """

    def __init__(self, source: stock.Stock, seed: int, pictures: int, side: int, steps: int) -> None:
        self.fresh = stock.FreshBatches(source, seed, pictures, side, steps)
        self.seed, self.side, self.steps = seed, side, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        if step >= self.steps:
            raise IndexError(step)
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, step])
        parts, windows = self.fresh.draw(rng)
        same, unsure = data.relations(windows)
        views = []
        for k, part in enumerate(parts):
            others = data.strangers(k, parts, same, unsure, rng)
            views += four(part, others, rng, self.side)
        each = np.ones((VIEWS, VIEWS), np.bool_)
        return Batch(np.stack(views), np.kron(same, each), np.kron(unsure, each))


def four(window: Bytes, others: list[Bytes], rng: data.Rng, side: int) -> list[Bytes]:
    """Return two worn views of a window (256x256 RGB uint8) and two of an edited version: side x side grey uint8."""
    size = max(side, DRAWN_PX)
    image = changes.shown(window, size)
    edited, _, _ = changes.edited(image, [changes.shown(one, size) for one in others], rng)
    out = []
    for version in (image, image, edited, edited):
        view = version
        if rng.random() >= PLAIN:
            view = worn_down(version, drawn_wear(rng, size, version.ndim == 2), rng)
        out.append(stock.shrunk(np.rint(np.clip(view, 0, 1) * 255).astype(np.uint8), side))
    return out


def loss(network: nn.Module, batch: Batch, bf16: bool) -> Tensor:
    """Return the loss of a batch (equations 1 and 2), on the buffer layer's answers."""
    views, same, unsure = (torch.as_tensor(part) for part in batch[:3])
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        codes = network.buffered(tensor(views))  # type: ignore[operator]
    return several_positives(codes.float(), same, unsure)


# ---------------------------------------------------------------------------------------------------- the run


def stepped(plan: comparator.Plan, step: int, progress: float) -> float:
    """Return the learning rate: up over the first steps, a tenth after 60 % of the run, a hundredth after 90 %."""
    down = 1.0 if progress < 0.6 else (0.1 if progress < 0.9 else 0.01)
    return plan.rate * down * min(1.0, step / max(1, plan.warm))


def descent(parameters: list[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """Return SGD with momentum .9."""
    return torch.optim.SGD(parameters, rate, momentum=0.9, weight_decay=1e-4)


class Held:
    """Validation pictures and their queries: `originals` (n, side, side) uint8, `queries` by kind, `near` (n, n) bool:
    originals that are one, or may share content.
    """

    def __init__(self, count: int, side: int) -> None:
        self.queries: dict[str, Bytes] = {}
        self.originals = np.zeros((0, side, side), np.uint8)
        for kind in ("benign", "manipulated", "both"):
            pairs = list(changes.evaluation("val", count, kind, SEED, max(side, DRAWN_PX)))
            self.originals = np.stack([stock.shrunk(one.original, side) for one in pairs])
            self.queries[kind] = np.stack([stock.shrunk(one.query, side) for one in pairs])
        self.near = changes.near("val", count, SEED)


def look(network: nn.Module, held: Held) -> dict[str, float]:
    """Return IR@1 of validation queries of each kind among the originals; "score" is their mean less
    what the right answers lack: half the mean distance of a right pair relative to that of the nearest wrong one.
    """
    points = embed(network, held.originals)
    out, ratios = {}, []
    for kind, views in held.queries.items():
        far = np.sqrt(np.clip(2 - 2 * embed(network, views) @ points.T, 1e-9, None))
        own = np.diagonal(far)
        wrong = np.where(held.near, np.inf, far).min(1)
        out[f"ir1_{kind}"] = float((own < wrong).mean())
        ratios.append(float((own / wrong).mean()))
    mean = float(np.mean(list(out.values())))
    return protocol.rounded(
        {**out, "ir1": mean, "ratio": float(np.mean(ratios)), "score": mean - 0.1 * np.mean(ratios)}
    )


@torch.inference_mode()
def embed(network: nn.Module, views: Bytes, size: int = 64) -> NDArray[np.float32]:
    """Return the unit vectors (n, 256) of views (n, side, side) uint8."""
    network.eval()
    parts = [network(tensor(views[k : k + size])) for k in range(0, len(views), size)]
    return np.asarray(torch.cat(parts).float().numpy(), np.float32)


def open_network(path: Path) -> Search:
    """Return the network of a checkpoint, in evaluation mode. Raises UsageError if it is none."""
    if not path.exists():
        raise UsageError(f"{path} is no file; run python -m twinscope.train.search first")
    saved = loop.load(path)
    if saved.get("stage") not in STAGES:
        raise UsageError(f"{path} is no checkpoint of a search network")
    network = Search(STAGES[saved["stage"]])
    network.load_state_dict(saved["network"])
    return network.eval()


STAGES = {f"search-{backbone}": backbone for backbone in SIDES}


def main() -> None:
    """Train from the command line."""
    given = _arguments()
    started = time.monotonic()
    cv2.setNumThreads(1)  # before its first use: OpenCV's threads do not survive the fork of the loader's worker
    torch.set_num_threads(given.threads)
    torch.manual_seed(SEED)
    side, stage = SIDES[given.backbone], f"search-{given.backbone}"
    network = Search(given.backbone, given.weights)
    source = stock.stock(given.runs, SEED)
    batches = Worn(source, SEED, given.pictures, side, given.steps)
    out: Path = given.runs / given.name
    out.mkdir(parents=True, exist_ok=True)
    if given.backbone == "small" and not given.scratch:
        views = np.concatenate([Worn(source, SEED + 1, given.pictures, side, 8)[k].views for k in range(8)])
        begin(network, unfold.shipped(WEIGHTS / f"{START}.onnx"), tensor(views))
    if not (out / "start.pt").exists():
        loop.save(out / "start.pt", {"stage": stage, "network": network.state_dict(), "row": {"step": 0, "seconds": 0}})
    plan = comparator.Plan(stage, given.steps, given.minutes, given.rate, warm=50, every=given.every,
                           threads=given.threads, bf16=loop.bf16_is_quicker(), clip=5.0)  # fmt: skip
    record = {"recipe": "twinscope.train.search", "seed": SEED, "pictures": given.pictures,
              "views": VIEWS * given.pictures, "side": side,
              "start": None if given.scratch or given.backbone != "small" else START,
              "weights": comparator.sha256(given.weights), "plan": plan._asdict(), "commit": commit(),
              "data_sha256": source.sha256, "parameters": sum(p.numel() for p in network.parameters()),
              "torch": torch.__version__}  # fmt: skip
    (out / "run.json").write_text(json.dumps(record, indent=1))
    held = Held(given.looks, side)
    print({"step": 0, **look(network, held)}, flush=True)
    comparator.train(network, batches, plan, out, lambda net: look(net, held), loss, descent, stepped)
    record["wall_s"] = round(time.monotonic() - started)
    (out / "run.json").write_text(json.dumps(record, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("--runs", type=Path, default=Path(".cache/train"))
    parser.add_argument("--backbone", choices=tuple(SIDES), default="small")
    parser.add_argument("--weights", type=Path, help="a file of torchvision's weights for --backbone resnet50")
    parser.add_argument("--scratch", action="store_true", help=f"begin at random, not with {START}")
    parser.add_argument("--steps", type=int, default=100000)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--pictures", type=int, default=16, help="in a batch; four views of each")
    parser.add_argument("--rate", type=float, default=1e-3, help="the learning rate at first")
    parser.add_argument("--every", type=int, default=100, help="steps from look to look")
    parser.add_argument("--looks", type=int, default=300, help="validation pictures of a look")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
