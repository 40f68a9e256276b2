"""The relation network of bharathi-2023 (section 5.1): a real and a generated picture in, whether the one was used.

Two backbones of one architecture make maps of the two pictures; the maps are put one behind the other and go through a
relation module of two blocks (convolution, batch normalisation, ReLU, max pooling) to a sigmoid. All of it is trained
end to end: a pair with a used picture is 1, with an unused one 0; above .5 is a match.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from twinscope.errors import UsageError
from twinscope.models.card import CARDS, WEIGHTS, read
from twinscope.train import loop, unfold
from twinscope.train.networks import Embedder

Bytes = NDArray[np.uint8]
Bools = NDArray[np.bool_]
BACKBONE = "embedder-1"
"""The embedder whose maps are the default backbone: the one that the published results were made with."""
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


class Plan(NamedTuple):
    """How a training goes: `steps` of `batch` pairs at a side of `side` px; the rate of the relation module, and that
    of the backbones as a share of it; whether both pictures go through one backbone.
    """

    steps: int = 40
    batch: int = 16
    side: int = 32
    rate: float = 1e-3
    backbone: float = 0.1
    shared: bool = False
    seed: int = 0
    threads: int = 1
    save_s: float = 60.0


class ResNetMaps(nn.Module):
    """Map (n, 1, s, s) grey in [0, 255] to the last maps of a torchvision ResNet, (n, c, s/32, s/32)."""

    def __init__(self, name: str, weights: Path | str | None) -> None:
        super().__init__()
        self.middle: Tensor
        self.spread: Tensor
        network = resnet(name, weights)
        self.wide = int(network.fc.in_features)
        self.body = nn.Sequential(*list(network.children())[:-2])
        self.register_buffer("middle", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
        self.register_buffer("spread", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)

    def forward(self, grey: Tensor) -> Tensor:
        out: Tensor = self.body((grey.expand(-1, 3, -1, -1) / 255 - self.middle) / self.spread)
        return out


class EmbedderMaps(nn.Module):
    """Map (n, 1, s, s) grey in [0, 255] to the last maps of the shipped embedder, (n, 256, s/16, s/16).

    Its batch normalisation is folded into the weights that ship, so that it stays as it is in training, too.
    """

    wide = 256

    def __init__(self) -> None:
        super().__init__()
        self.network = embedder()
        for part in (self.network.head, self.network.power):
            part.requires_grad_(False)  # what the maps do not need

    def train(self, mode: bool = True) -> EmbedderMaps:
        """Set the mode, but for the batch normalisation."""
        super().train(mode)
        for part in self.network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        return self

    def forward(self, grey: Tensor) -> Tensor:
        return self.network.maps(grey)[1]


class Relation(nn.Module):
    """Two backbones and the relation module: (n, 1, s, s) real and (n, 1, s, s) generated -> logits (n,)."""

    def __init__(self, backbone: nn.Module, wide: int, shared: bool = False, inner: int = 64) -> None:
        super().__init__()
        self.real = backbone
        self.made = backbone if shared else deepcopy(backbone)
        self.blocks = nn.Sequential(*_block(2 * wide, inner), *_block(inner, inner))
        self.score = nn.Linear(inner, 1)

    def forward(self, real: Tensor, made: Tensor) -> Tensor:
        return self.related(self.real(real), self.made(made))

    def related(self, real: Tensor, made: Tensor) -> Tensor:
        """Return the logits of pairs of maps (n, c, h, w)."""
        out: Tensor = self.score(self.blocks(torch.cat([real, made], 1)).mean((2, 3)))[:, 0]
        return out


def _block(wide_in: int, wide: int) -> list[nn.Module]:
    layers = [nn.Conv2d(wide_in, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU()]
    return [*layers, nn.MaxPool2d(2, ceil_mode=True)]


def resnet(name: str, weights: Path | str | None) -> torchvision.models.ResNet:
    """Return torchvision's ResNet of a name, with weights.

    weights: a file of its state_dict; "imagenet" for those of torchvision's weights API, if torch's folder of downloads
    holds them whole (nothing is fetched); None to begin with nothing learned. Raises UsageError for another name, and
    where the weights are not there or are of another network.
    """
    if name not in RESNETS:
        raise UsageError(f"{name} is no backbone; give {', '.join(RESNETS)}")
    network: torchvision.models.ResNet = torchvision.models.get_model(name, weights=None)
    if weights is None:
        return network
    path = _downloaded(name) if weights == "imagenet" else Path(weights)
    loop.weigh(network, path, name)
    return network


def _downloaded(name: str) -> Path:
    """Return the file of torchvision's default weights in torch's folder, checked by the hash that its name holds."""
    url = str(torchvision.models.get_model_weights(name).DEFAULT.url)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        raise UsageError(f"weights not present: nothing is fetched, so put {url} into {path.parent}, or give a file")
    if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(path.stem.rpartition("-")[2]):
        raise UsageError(f"{path} is not whole; fetch it again from {url}")
    return path


def embedder() -> Embedder:
    """Return `BACKBONE` as a torch network, its weights read from the graph."""
    network = Embedder()
    unfold.folded(network, unfold.shipped(WEIGHTS / read(CARDS / f"{BACKBONE}.json").file))
    return network


def maps_of(name: str = "embedder", weights: Path | str | None = None) -> EmbedderMaps | ResNetMaps:
    """Return a backbone: "embedder" for `BACKBONE`, or a ResNet of torchvision; raises as `resnet`."""
    return EmbedderMaps() if name == "embedder" else ResNetMaps(name, weights)


def seen(images: Bytes, side: int) -> Tensor:
    """Return grey pictures (n, h, w) uint8 as a backbone takes them: (n, 1, side, side) float32 in [0, 255]."""
    how = cv2.INTER_AREA if images.shape[1] >= side else cv2.INTER_CUBIC
    shown = [cv2.resize(one, (side, side), interpolation=how) for one in images]
    return torch.as_tensor(np.stack(shown)[:, None].astype(np.float32))


def train(
    real: Bytes, used: Bools, made: Bytes, plan: Plan, folder: Path, backbone: Callable[[], Any] = maps_of,
    tell: Callable[[int, float], None] | None = None,
) -> Relation:  # fmt: skip
    """Train on real pictures (n, h, w) of which is known whether they were used (n,), and generated ones (m, h, w).

    Goes on from `folder`/last.pt; step k draws its pairs, half of them used, from (seed, k) alone. Returns the network
    in evaluation mode. Raises UsageError where a kind is missing.
    """
    if used.all() or not used.any() or not len(made):
        raise UsageError("a relation network learns from used, unused and generated pictures; give some of each")
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    base = backbone()
    network = Relation(base, base.wide, plan.shared)
    head = [*network.blocks.parameters(), *network.score.parameters()]
    body = {id(p): p for side in (network.real, network.made) for p in side.parameters() if p.requires_grad}
    groups = [{"params": head, "lr": plan.rate}, {"params": list(body.values()), "lr": plan.rate * plan.backbone}]
    optimiser = torch.optim.Adam(groups)
    state: dict[str, Any] = {"step": 0, "seconds": 0.0, "loss": math.log(2)}
    if (folder / "last.pt").exists():
        saved = loop.load(folder / "last.pt")
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        state = saved["state"]
    pictures = seen(real, plan.side), seen(made, plan.side)
    began, saved_at = time.monotonic() - state["seconds"], time.monotonic()
    network.train()
    for step in range(int(state["step"]) + 1, plan.steps + 1):
        loss = _loss(network, pictures, used, plan, step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        value = float(loss.detach())
        state = {"step": step, "seconds": time.monotonic() - began, "loss": 0.9 * state["loss"] + 0.1 * value}
        if step == plan.steps or time.monotonic() - saved_at > plan.save_s:
            parts = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "state": state}
            loop.save(folder / "last.pt", parts)
            saved_at = time.monotonic()
        if tell is not None:
            tell(step, state["loss"])
    return network.eval()


def _loss(network: Relation, pictures: tuple[Tensor, Tensor], used: Bools, plan: Plan, step: int) -> Tensor:
    rng = np.random.default_rng([plan.seed, step])
    half = plan.batch // 2
    which = np.concatenate([rng.choice(np.flatnonzero(used == kind), half) for kind in (True, False)])
    logits = network(pictures[0][which], pictures[1][rng.integers(len(pictures[1]), size=2 * half)])
    return F.binary_cross_entropy_with_logits(logits, torch.as_tensor(used[which].astype(np.float32)))


@torch.inference_mode()
def scores(network: Relation, real: Bytes, made: Bytes, side: int = 32) -> NDArray[np.float64]:
    """Return the relation of each real picture to the generated ones: (n, h, w) and (m, h, w) -> (n, m) in [0, 1]."""
    network.eval()
    of_real = torch.cat([network.real(part) for part in torch.split(seen(real, side), 32)])
    of_made = torch.cat([network.made(part) for part in torch.split(seen(made, side), 32)])
    rows = [network.related(one[None].expand(len(of_made), -1, -1, -1), of_made) for one in of_real]
    return np.asarray(torch.sigmoid(torch.stack(rows)).numpy(), np.float64)


def fitted(network: Relation, real: Bytes, used: Bools, made: Bytes, side: int = 32) -> float:
    """Return how often the network is right on the pictures that it learned from, so that a failure to learn shows."""
    return float(((scores(network, real, made, side).mean(1) > 0.5) == used).mean())


@torch.inference_mode()
def pooled(backbone: nn.Module, images: Bytes, side: int = 224) -> NDArray[np.float64]:
    """Return the maps of pictures averaged over all places, as the paper takes them for its other methods: (n, c)."""
    parts = [backbone.eval()(part).mean((2, 3)) for part in torch.split(seen(images, side), 16)]
    return np.asarray(torch.cat(parts).numpy(), np.float64)
