"""Hashing heads on a frozen backbone: `python -m twinscope.train.hashing --kind csq --start RUN/start.pt`.

What table 1 of black-2021 sets its search against: HashNet (Cao et al. 2017) and CSQ (Yuan et al. 2020) with the same
backbone and the same views, 128 bits. Theirs train the whole network; here a linear layer learns on the features of the
backbone, which are taken once and kept beside the runs. A code is the signs of its numbers. To both every picture, with
its edits, is a class of its own, as nothing else is known of it. It leaves best.pt, run.json and curve.csv.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from twinscope.errors import UsageError
from twinscope.train import loop, search, stock
from twinscope.train.comparator import sha256
from twinscope.train.embedder import commit, tensor
from twinscope.train.search_losses import central, hash_centres, hashnet

Kind = Literal["hashnet", "csq"]
BITS = 128
FASTER = 0.005
"""How beta of HashNet grows: the root of 1 + .005 of the steps done, as its code has it."""


class Head(nn.Module):
    """Map features (n, d) to numbers (n, 128) whose signs are the code; the features' moments are part of it."""

    def __init__(self, wide: int, bits: int = BITS) -> None:
        super().__init__()
        self.moments = nn.BatchNorm1d(wide, affine=False)
        self.layer = nn.Linear(wide, bits)

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.layer(self.moments(features))
        return out


class Views(NamedTuple):
    """Features (n, d) float32 of training views, the picture (n,) that each is of, and its batch (n,).

    Pictures of one batch are surely different but where `unsure` (batches, views, views) says otherwise.
    """

    features: NDArray[np.float32]
    unsure: NDArray[np.bool_]


def views(network: search.Search, batches: search.Worn, path: Path) -> Views:
    """Return the features of batches of training views, from `path` where they were taken before."""
    if not path.exists():
        features, unsure = [], []
        network.eval()
        for step in range(len(batches)):
            batch = batches[step]
            with torch.inference_mode():
                features.append(network.features(tensor(batch.views)).numpy())
            unsure.append(batch.unsure)
        part = path.with_suffix(".part.npz")
        np.savez(part, features=np.stack(features), unsure=np.stack(unsure))
        part.replace(path)
    with np.load(path) as held:
        return Views(held["features"], held["unsure"])


def train(kind: Kind, known: Views, steps: int, seed: int, folder: Path, rate: float = 1e-3) -> Head:
    """Train a head on batches of views (batches, views, d), four views a picture one after the other; return it."""
    torch.manual_seed(seed)
    count, size, wide = known.features.shape
    head = Head(wide)
    optimiser = torch.optim.Adam(head.parameters(), rate)
    rng = np.random.default_rng([seed, 9])
    own = torch.arange(size) // search.VIEWS
    same = own[:, None] == own
    centres = torch.from_numpy(hash_centres(count * size // search.VIEWS, BITS, seed))
    running = 0.0
    for step in range(1, steps + 1):
        k = int(rng.integers(count))
        head.train()
        raw = head(torch.from_numpy(known.features[k]))
        if kind == "hashnet":
            value = hashnet(raw, same, torch.from_numpy(known.unsure[k]), float(np.sqrt(1 + FASTER * step)))
        else:
            value = central(raw, centres[own + k * size // search.VIEWS])
        lost = loop.descend(head, optimiser, value, rate, 5.0)
        running = lost if step == 1 else 0.99 * running + 0.01 * lost
        if step % max(1, steps // 10) == 0:
            loop.write_row(folder / "curve.csv", {"step": step, "loss": round(running, 5)})
    return head.eval()


@torch.inference_mode()
def codes(head: Head, features: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Return the codes of features (n, d): (n, 128) bool."""
    return np.asarray((head(torch.from_numpy(np.asarray(features, np.float32))) > 0).numpy())


def open_head(path: Path) -> Head:
    """Return the head of a run, in evaluation mode. Raises UsageError where it is none."""
    if not path.exists():
        raise UsageError(f"{path} is no file; run python -m twinscope.train.hashing first")
    saved = loop.load(path)
    if saved.get("stage") not in get_args(Kind):
        raise UsageError(f"{path} is no hashing head")
    head = Head(saved["network"]["layer.weight"].shape[1], len(saved["network"]["layer.weight"]))
    head.load_state_dict(saved["network"])
    return head.eval()


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=get_args(Kind), required=True)
    parser.add_argument("--start", type=Path, required=True, help="a checkpoint of the search network: the backbone")
    parser.add_argument("--name", help="default: search-KIND")
    parser.add_argument("--runs", type=Path, default=Path(".cache/train"))
    parser.add_argument("--batches", type=int, default=120, help="batches of 64 views that it learns from")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    started = time.monotonic()
    cv2.setNumThreads(1)
    torch.set_num_threads(given.threads)
    network = search.open_network(given.start)
    source = stock.stock(given.runs, search.SEED)
    out: Path = given.runs / (given.name or f"search-{given.kind}")
    out.mkdir(parents=True, exist_ok=True)
    batches = search.Worn(source, search.SEED, 16, search.SIDES[network.backbone], given.batches)
    key = sha256(given.start)
    kept = given.runs / f"search-features-{str(key)[:16]}-{given.batches}.npz"
    known = views(network, batches, kept)
    (out / "curve.csv").unlink(missing_ok=True)
    head = train(given.kind, known, given.steps, search.SEED, out)
    row = {"step": given.steps, "seconds": round(time.monotonic() - started)}
    loop.save(out / "best.pt", {"stage": given.kind, "network": head.state_dict(), "row": row})
    record = {"recipe": "twinscope.train.hashing", "kind": given.kind, "seed": search.SEED, "start": key, "bits": BITS,
              "batches": given.batches, "steps": given.steps, "commit": commit(), "data_sha256": source.sha256,
              "wall_s": row["seconds"], "torch": torch.__version__}  # fmt: skip
    (out / "run.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
