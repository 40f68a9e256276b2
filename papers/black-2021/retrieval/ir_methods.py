"""The methods of table 1 of black-2021: pictures in, numbers out, and how near two lots of numbers are.

A family looks at the pictures once (one network, one pass); its numbers are kept. A method makes vectors of them.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.distance import cdist

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "src")]

import common

from twinscope import models
from twinscope.detect import embed as desk
from twinscope.models.card import probe_input
from twinscope.train import export, hashing, icn, search, stock, triplets

Bytes = NDArray[np.uint8]
Numbers = NDArray[Any]
Floats = NDArray[np.float32]
NO_WEIGHTS = "weights not present (`--imagenet FILE`)"


class Family(NamedTuple):
    """One look at pictures (HxW or HxWx3 uint8): a row of numbers each. `key` changes with the weights."""

    name: str
    key: str
    look: Callable[[Sequence[Bytes]], Numbers]


class Method(NamedTuple):
    """`vectors` of a family's numbers; `nearness` of (q, d) and (n, d) vectors, (q, n), larger is nearer."""

    name: str
    family: Family
    about: str
    vectors: Callable[[Numbers], Floats]
    nearness: Callable[[Floats, Floats], Floats]


def methods(
    runs: Path, cache: Path, imagenet: Path | None, run: str = "search-small"
) -> tuple[list[Method], dict[str, str]]:
    """Return the methods that are at hand, and of each other one why it is not."""
    found: list[Method] = []
    missing: dict[str, str] = {}
    shipped = Family(search.START, models.load(search.START).card.sha256[:16], pooled)
    for name, made in (
        ("ours", _ours(runs / run / "best.pt", cache)),
        ("start", _start(runs / run / "start.pt", shipped)),
        (search.START, Method(search.START, shipped, "128 numbers, what ships", _desk, dot)),
        ("hashnet", _hash("hashnet", runs / "search-hashnet" / "best.pt", shipped)),
        ("csq", _hash("csq", runs / "search-csq" / "best.pt", shipped)),
        ("imagenet", _imagenet(imagenet)),
        ("SN", _sn(runs / "sn-v02" / "best.pt")),
        ("pHash", _phash()),
    ):
        if isinstance(made, str):
            missing[name] = made
        else:
            found.append(made)
    return found, missing


def dot(a: Floats, b: Floats) -> Floats:
    """Return inner products."""
    return np.asarray(a @ b.T, np.float32)


def unit(values: Numbers) -> Floats:
    """Return rows of length 1."""
    rows = np.asarray(values, np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def signs(bits: Numbers) -> Floats:
    """Return bits as -1 and 1: the inner product of two codes is the bits less twice those that differ."""
    return np.where(bits, 1, -1).astype(np.float32)


# ---------------------------------------------------------------------------------------------------- families


def pooled(pictures: Sequence[Bytes]) -> Numbers:
    """Return what the backbone of `search.START` says, (n, 640) float16: its maps pooled as its head sees them."""
    model = models.load(search.START, 1)
    batch = np.stack([desk.prepare(one) for one in pictures])
    middle, last, power = model.outputs(batch, ("maps_8", "maps_16", "head_power"))
    parts = [np.power(np.power(np.maximum(maps, 1e-4), power).mean((2, 3)), 1 / power) for maps in (middle, last)]
    return np.concatenate([*parts, last.mean((2, 3))], 1).astype(np.float16)


def _desk(numbers: Numbers) -> Floats:
    empty = np.zeros((1, desk.SIDE_PX, desk.SIDE_PX), np.uint8)
    weight, bias = models.load(search.START, 1).outputs(empty, ("head_weight", "head_bias"))
    return unit(numbers.astype(np.float32) @ weight.T + bias)


def _start(path: Path, family: Family) -> Method | str:
    if not path.exists():
        return "not trained yet (python -m twinscope.train.search --name search-small)"
    layer = search.open_network(path).layer
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    about = f"256 numbers of {search.START}'s backbone, the layer as training found it"
    return Method("start", family, about, lambda numbers: unit(numbers.astype(np.float32) @ weight.T + bias), dot)


def _hash(name: str, path: Path, family: Family) -> Method | str:
    if not path.exists():
        return f"not trained yet (python -m twinscope.train.hashing --kind {name})"
    head = hashing.open_head(path)
    about = f"{hashing.BITS} bits, a layer on {search.START}'s backbone"
    return Method(name, family, about, lambda numbers: signs(hashing.codes(head, numbers)), dot)


class _Graph(torch.nn.Module):
    def __init__(self, network: search.Search) -> None:
        super().__init__()
        self.network = network

    def forward(self, grey: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.network(grey[:, None].float()),)


def _ours(path: Path, cache: Path) -> Method | str:
    if not path.exists():
        return "not trained yet (python -m twinscope.train.search --name search-small)"
    key = common.digest([path])
    network = search.open_network(path)
    side = search.SIDES[network.backbone]
    graph = cache / f"search-{key}.onnx"
    if not graph.exists():
        cache.mkdir(parents=True, exist_ok=True)
        export.save(_Graph(network).eval(), graph, "grey", ("vector",), [probe_input((2, side, side), "uint8")],
                    {"grey": {0: torch.export.Dim("n")}})  # fmt: skip
    session = _session(graph)

    def look(pictures: Sequence[Bytes]) -> Numbers:
        batch = np.stack([stock.shrunk(one, side) for one in pictures])
        return np.asarray(session.run(None, {"grey": batch})[0], np.float16)

    return Method("ours", Family("ours", key, look), "256 numbers, searched exactly", unit, dot)


def _session(graph: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def _imagenet(weights: Path | None) -> Method | str:
    if weights is None or not weights.exists():
        return NO_WEIGHTS
    network = icn.backbone("resnet50", weights).eval()
    network.fc = torch.nn.Identity()
    middle, spread = np.array(search.MEAN, np.float32), np.array(search.SPREAD, np.float32)

    @torch.inference_mode()
    def look(pictures: Sequence[Bytes]) -> Numbers:
        rows = []
        for one in pictures:
            small = cv2.resize(one, (224, 224), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
            rows.append(((small if small.ndim == 3 else np.repeat(small[..., None], 3, 2)) - middle) / spread)
        given = torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2)
        return np.asarray(network(given).numpy(), np.float16)

    family = Family("imagenet", common.digest([weights]), look)
    return Method("imagenet", family, "2048 numbers, torchvision's ResNet-50", unit, dot)


def _sn(path: Path) -> Method | str:
    if not path.exists():
        return f"not trained here ({path.parent.name}/best.pt)"
    network = triplets.load(path)
    weights = network.alpha.detach().numpy().astype(np.float32)

    def look(pictures: Sequence[Bytes]) -> Numbers:
        return triplets.embed(network, np.stack([triplets.square(one) for one in pictures])).astype(np.float16)

    def near(a: Floats, b: Floats) -> Floats:
        return np.asarray(-cdist(a, b, "cityblock"), np.float32)

    family = Family("SN", common.digest([path]), look)
    return Method(
        "SN", family, "128 numbers, its own metric", lambda numbers: numbers.astype(np.float32) * weights, near
    )


def _phash() -> Method | str:
    if not importlib.util.find_spec("imagehash"):
        return "imagehash is not installed"
    import imagehash

    def look(pictures: Sequence[Bytes]) -> Numbers:
        grey = [one if one.ndim == 2 else cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in pictures]
        bits = np.stack([imagehash.phash(Image.fromarray(one)).hash.ravel() for one in grey])
        return np.packbits(bits, axis=1)

    about = "64 bits, imagehash.phash"
    return Method("pHash", Family("pHash", "1", look), about, lambda n: signs(np.unpackbits(n, axis=1)), dot)
