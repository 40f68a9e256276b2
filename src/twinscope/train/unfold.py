"""A shipped embedder or comparator as a network that learns: its graph's batch normalisation is undone.

In an exported graph batch normalisation is part of the convolutions. To train on, it has to be a layer again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from twinscope.errors import UsageError
from twinscope.train.networks import Embedder


def shipped(path: Path) -> dict[str, Tensor]:
    """Return the parameters of an exported `Embedder` (its ONNX graph) by their names in torch.

    Batch normalisation is part of the convolutions there: each has a bias, named NAME.weight_bias.
    Raises UsageError where it is the graph of another network.
    """
    held, found = _held(path)
    if "head.weight" not in found or "head_bias" not in held:
        raise UsageError(f"{path} is no graph of an embedder with its head; export it again")
    return {**found, "head.bias": held["head_bias"]}


def comparator(path: Path) -> dict[str, Tensor]:
    """Return the parameters of an exported `heat.Seer` (its ONNX graph) by their names in torch, as `shipped` does.

    What a search multiplies and adds are constants there, in the order in which it computes.
    Raises UsageError where it is the graph of another network.
    """
    held, found = _held(path)
    for count, name in enumerate(("join_16", "join_8", "join_4")):
        factor, nearness = (f"clamp_{count}" if count else "clamp"), f"unsqueeze_{2 * count + 1}"
        if factor not in held or nearness not in held or f"{name}.search.key.weight" not in found:
            raise UsageError(f"{path} is no graph of a comparator that a new torch has exported; export it again")
        found[f"{name}.search.scale"] = held[factor].log()
        found[f"{name}.search.nearness"] = held[nearness].flatten()
    return found


def _held(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the constants of a graph by their names, and those of the network by their names in torch."""
    held = {
        one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in onnx.load(str(path)).graph.initializer
    }
    return held, {name.removeprefix("network."): value for name, value in held.items() if name.startswith("network.")}


@torch.no_grad()
def folded(network: nn.Module, known: Mapping[str, Tensor]) -> list[Any]:
    """Give a network the parameters of its graph, in evaluation mode; return its normalisations (BatchNorm2d).

    What is part of the convolutions stays there: the normalisations are left with nothing but the offset. Blocks that
    the graph does not have change nothing yet. Raises UsageError where the two do not fit together.
    """
    own = network.state_dict()
    for name, value in known.items():
        if not name.endswith("_bias"):
            own[name].copy_(value)
    out = []
    for name, one in network.named_modules():
        if not isinstance(one, nn.Conv2d) or f"{name}.weight_bias" not in known:
            continue
        ahead, _, last = name.rpartition(".")
        after = f"{ahead}.{int(last) + 1}" if last.isdigit() else f"{ahead}.norm"
        if not isinstance(network.get_submodule(after), nn.BatchNorm2d):
            raise UsageError(f"{name} of the network is not followed by a normalisation")
        layer: Any = network.get_submodule(after)
        layer.running_mean.zero_()
        layer.running_var.fill_(1 - layer.eps)
        layer.weight.fill_(1)
        layer.bias.copy_(known[f"{name}.weight_bias"])
        out.append(layer)
    network.eval()
    return out


@torch.no_grad()
def begin(network: nn.Module, known: Mapping[str, Tensor], views: Tensor) -> None:
    """Give a network the parameters of `shipped` or `comparator`; the answer is that of the graph, up to a radius.

    Moments are taken of what comes out of each convolution on `views`, a batch as the network takes it, and weight
    and offset of the normalisation behind it are set so that nothing changes. Blocks that the graph does not have
    change nothing yet.
    """
    seen: dict[Any, tuple[Tensor, Tensor]] = {}
    hooks = [layer.register_forward_pre_hook(partial(_moments, seen)) for layer in folded(network, known)]
    if isinstance(network, Embedder):
        network.maps(views)
    else:
        network(views)
    for hook in hooks:
        hook.remove()
    for layer, (variance, mean) in seen.items():
        layer.bias.add_(mean)
        layer.weight.copy_(torch.sqrt(variance + layer.eps))
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)


def _moments(seen: dict[Any, tuple[Tensor, Tensor]], layer: nn.Module, given: tuple[Tensor]) -> None:
    """Note the variance and the mean, by channel, of what a layer is given."""
    seen[layer] = torch.var_mean(given[0], (0, 2, 3))
