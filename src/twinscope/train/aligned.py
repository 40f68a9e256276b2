"""The recipe of comparator-2: `python -m twinscope.train.aligned --name heat-2`. One seed, resumable.

Pairs of `changes` are aligned as the desk does it: by the homography nearest to the true flow, off by a little, so that
what no homography follows stays, and shown to the network as `detect.heat.planes` shows them. The flow is known, so
nothing of the desk's search runs here. In `.cache/train/NAME`: curve.csv, best.pt, last.pt, run.json, as
`train.comparator` leaves them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from twinscope import metrics
from twinscope.detect import heat as desk
from twinscope.train import changes, comparator, loop, stock, unfold, wear
from twinscope.train.changes import Pair
from twinscope.train.data import Bytes, Rng
from twinscope.train.embedder import commit
from twinscope.train.heat import Seer

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]

SIZES = (128, 160, 192, 224)
"""Sides of the pictures, px, in turn from step to step; batches are such that each holds about as many pixels."""
MISFITS = ((0.4, 0.6), (1.2, 0.25), (3.0, 0.15))
"""How far corners of the alignment are off (deviation, px at 224), and how often."""
LOOK_SIDE = 192


class Aligned(NamedTuple):
    """A batch: `given` (n, 7, S, S) float32 of `detect.heat.planes`, `changed` (n, S/2, S/2) float32, the share of each
    cell that was edited, `seen` (n, S/2, S/2) bool, `label` (n,) int64.
    """

    given: Float
    changed: Float
    seen: Mask
    label: NDArray[np.int64]


def homography(pair: Pair, rng: Rng) -> NDArray[np.float64]:
    """Return the 3x3 map of the original's px to the query's that is nearest to the true flow where it is seen.

    Of a distinct pair, or where next to nothing is seen, it is drawn: what chance agreement leads to.
    """
    found = wear.nearest(pair.flow, pair.seen, rng)
    if found is not None:
        return found
    side = pair.seen.shape[0]
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    off = corners + rng.normal(0, 0.08 * side, (4, 2)).astype(np.float32)
    turned = np.roll(off, int(rng.integers(4)), 0)
    return np.asarray(cv2.getPerspectiveTransform(corners, turned[:: rng.choice((1, -1))].copy()), np.float64)


def misfit(side: int, rng: Rng) -> NDArray[np.float64]:
    """Return a small homography, as an alignment may be off."""
    widths, odds = zip(*MISFITS, strict=True)
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    off = rng.normal(0, float(rng.choice(widths, p=odds)) * side / 224, (4, 2)).astype(np.float32)
    return np.asarray(cv2.getPerspectiveTransform(corners, corners + off), np.float64)


def plane(picture: Bytes, channel: int) -> Float:
    """Return one channel (0-2) or the luma (3) of (S, S, 3) uint8 as float32 in [0, 1]."""
    one = picture[..., channel] if channel < 3 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return np.asarray(one, np.float32) / np.float32(255)


def aligned(pair: Pair, rng: Rng, train: bool = True) -> tuple[Float, Float, Mask]:
    """Return the planes (7, S, S) of a pair brought to the original's frame, what was edited (S, S) float, and where
    both are seen.

    In training the two change sides, turn together, differ more in tone, and are hidden in places as by annotations.
    """
    side = pair.seen.shape[0]
    colour = not np.array_equal(pair.original[..., 0], pair.original[..., 1])
    channel = int(rng.integers(3)) if colour and train and rng.random() < 0.3 else 3
    a, b = plane(pair.original, channel), plane(pair.query, channel)
    back = homography(pair, rng) @ misfit(side, rng)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpPerspective(b, back, (side, side), flags=flags, borderValue=-9.0)
    seen = np.asarray(moved >= -1e-3, np.bool_)
    b = np.clip(moved, 0, 1)
    changed = pair.changed.astype(np.float32) * seen * float(pair.label != changes.DISTINCT)
    inverted = False
    if train:
        if rng.random() < 0.3:
            b = np.clip(b, 0, 1) ** np.float32(np.exp(rng.uniform(-0.8, 0.8)))
        if rng.random() < 0.1:
            b, inverted = 1 - b, True
        seen = seen & ~_hidden(side, rng)
        changed = changed * seen
        if rng.random() < 0.5:
            a, b = b, a
        turns, flip = int(rng.integers(4)), rng.random() < 0.5
        a, b, seen, changed = (
            np.ascontiguousarray(np.rot90(part[:, ::-1] if flip else part, turns)) for part in (a, b, seen, changed)
        )
    return desk.planes(a, b, seen, inverted), np.asarray(changed, np.float32), seen


def _hidden(side: int, rng: Rng) -> Mask:
    """Return places that annotations cover: in a quarter of the pairs one to three boxes."""
    out = np.zeros((side, side), np.bool_)
    for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.25 else 0):
        y, x = rng.integers(0, side, 2)
        out[y : y + int(rng.integers(4, side // 5)), x : x + int(rng.integers(4, side // 3))] = True
    return out


def stacked(pairs: Sequence[Pair], rng: Rng, train: bool = True) -> Aligned:
    """Return pairs of one size as a batch; a cell counts as seen where all of it is."""
    rows = [aligned(pair, rng, train) for pair in pairs]
    half = pairs[0].seen.shape[0] // 2

    def halved(part: NDArray[np.generic]) -> Float:
        return np.asarray(cv2.resize(part.astype(np.float32), (half, half), interpolation=cv2.INTER_AREA), np.float32)

    return Aligned(
        np.stack([row[0] for row in rows]),
        np.stack([halved(row[1]) for row in rows]),
        np.stack([halved(row[2]) > 0.99 for row in rows]),
        np.array([pair.label for pair in pairs], np.int64),
    )


class Batches(Dataset[Aligned]):
    """Batch `step` of a run, from (seed, step) alone; the sizes of `SIZES` take turns."""

    def __init__(self, source: stock.Stock, seed: int, pairs: int, steps: int) -> None:
        self.steps, self.seed = steps, seed
        self.parts = [
            changes.Batches(source, seed, max(3, round(pairs * (160 / size) ** 2)), size, steps, True) for size in SIZES
        ]

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Aligned:
        batch = self.parts[step % len(SIZES)][step]
        pairs = [Pair(*row) for row in zip(*batch, strict=True)]
        return stacked(pairs, np.random.default_rng([self.seed, step, 7]))


# ---------------------------------------------------------------------------------------------------- loss


def loss(network: nn.Module, batch: Aligned, bf16: bool) -> Tensor:
    """Return half the cross-entropy of the classes and half the heat-map's: binary cross-entropy and 1 - IoU.

    Distinct pairs have no heat-map. The second is the soft intersection over union of the manipulated ones.
    """
    given, changed, seen, label = (torch.as_tensor(part) for part in batch)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        heat, classes = network(given.contiguous(memory_format=torch.channels_last))
    heat = heat[:, 0].float()
    counts = seen.float() * (label != changes.DISTINCT).float()[:, None, None]
    cross = F.binary_cross_entropy_with_logits(heat, changed, reduction="none")
    cross = (cross * counts).sum() / counts.sum().clamp(min=1)
    guess = heat.sigmoid() * counts
    edited = (changed * counts).sum((1, 2)) > 0.5
    common = (guess * changed).sum((1, 2))
    whole = (guess + changed * counts).sum((1, 2)) - common
    soft = (1 - common / whole.clamp(min=1e-3))[edited]
    apart = soft.mean() if len(soft) else cross.new_zeros(())
    return 0.5 * F.cross_entropy(classes.float(), label) + 0.5 * (3 * cross + apart)


# ---------------------------------------------------------------------------------------------------- looks


def held(each: int, batch: int = 8) -> list[Aligned]:
    """Return batches of validation pairs, the same ones always; see `comparator.HELD`."""
    pairs: list[Pair] = []
    for kind, share in comparator.HELD.items():
        pairs += list(changes.evaluation("val", max(1, round(share * each)), kind, comparator.SEED, LOOK_SIDE))
    rng = np.random.default_rng(comparator.SEED)
    return [stacked(pairs[k : k + batch], rng, False) for k in range(0, len(pairs), batch)]


@torch.inference_mode()
def look(network: nn.Module, batches: Sequence[Aligned]) -> dict[str, float]:
    """Judge a network: average precision of each class, IoU at .5 over the manipulated pairs, and false change, the
    share of benign pairs of which more than a thousandth is called edited. "score" is the mean of AP and IoU.
    """
    network.eval()
    probability, label, found, false = [], [], [], []
    for batch in batches:
        heat, classes = network(torch.as_tensor(batch.given).contiguous(memory_format=torch.channels_last))
        probability.append(classes.float().softmax(1).numpy())
        label.append(batch.label)
        for hot, changed, seen, kind in zip(heat[:, 0].float().numpy(), *batch[1:], strict=True):
            spot = (hot > 0) & seen
            if kind == changes.MANIPULATED:
                found.append(metrics.iou(spot, (changed > 0.5) & seen))
            elif kind == changes.BENIGN:
                false.append(float(spot.mean()) > 0.001)
    guess, truth = np.concatenate(probability), np.concatenate(label)
    out = {f"ap_{name}": metrics.average_precision(guess[:, k], truth == k) for k, name in enumerate(desk.CLASSES)}
    ap = float(np.mean(list(out.values())))
    out |= {"accuracy": float(np.mean(guess.argmax(1) == truth)), "iou": float(np.mean(found))}
    out |= {"false": float(np.mean(false)), "score": (ap + out["iou"]) / 2}
    return {name: round(value, 5) for name, value in out.items()}


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("--runs", type=Path, default=Path(".cache/train"))
    parser.add_argument("--steps", type=int, default=40000)
    parser.add_argument("--minutes", type=float, default=90.0)
    parser.add_argument("--batch", type=int, default=12, help="pairs in a batch of 160 px")
    parser.add_argument("--rate", type=float, default=1e-3, help="the peak learning rate")
    parser.add_argument("--every", type=int, default=250, help="steps from look to look")
    parser.add_argument("--looks", type=int, default=60, help="validation pairs of each class in a look")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=comparator.SEED, help="of the pairs; the stock has its own")
    parser.add_argument("--start", type=Path, help="begin with the weights of this checkpoint or exported graph")
    given = parser.parse_args()
    started = time.monotonic()
    cv2.setNumThreads(1)  # before its first use: OpenCV's threads do not survive the fork of the loader's worker
    torch.manual_seed(given.seed)
    network = Seer()
    source = stock.stock(given.runs, comparator.SEED)
    batches = Batches(source, given.seed, given.batch, given.steps)
    if given.start is not None and given.start.suffix == ".onnx":
        unfold.begin(network, unfold.comparator(given.start), torch.as_tensor(batches[0].given))
    elif given.start is not None:
        comparator.begin(network, given.start)
    plan = comparator.Plan("heat", given.steps, given.minutes, given.rate, every=given.every, threads=given.threads,
                           bf16=loop.bf16_is_quicker())  # fmt: skip
    out: Path = given.runs / given.name
    record = {"recipe": "twinscope.train.aligned", "seed": given.seed, "batch": given.batch, "sizes": SIZES,
              "plan": plan._asdict(), "commit": commit(), "data_sha256": source.sha256,
              "start": comparator.sha256(given.start), "parameters": sum(p.numel() for p in network.parameters()),
              "torch": torch.__version__}  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "run.json").write_text(json.dumps(record, indent=1))
    judged = held(given.looks)
    comparator.train(network, batches, plan, out, lambda net: look(net, judged), loss)
    record["wall_s"] = round(time.monotonic() - started)
    (out / "run.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
