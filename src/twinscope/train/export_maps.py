"""Write what `twinscope segment` looks through: the convolution maps of a network, as a graph and its card.

    python -m twinscope.train.export_maps embedder-1              # maps-1: those of the shipped network
    python -m twinscope.train.export_maps RUN/best.pt --id maps-sn  # those of a network of cicconet-2019

With `--into FOLDER` both files go there instead of the package. A graph takes planes (n, c, h, w) float32, h and w
multiples of 16 (see `detect.maps.planes`), and gives features (n, k, h/2, w/2): the maps of its last three sizes,
brought to half the size of the picture by linear interpolation and put one behind the other.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from twinscope.models.card import CARDS, WEIGHTS, Card, probe_input, read, write
from twinscope.train import export, loop, triplets
from twinscope.train.papers_sn import SN

PROBE_PX = 64
TAKEN = ("relu", "relu_2", "maps_8")
"""In the graph of embedder-1: the maps at 1/2 (32 channels), 1/4 (64) and 1/8 (128)."""
TONES = "div_2"
"""In the graph of embedder-1: the four standardised tones."""


class Maps(nn.Module):
    """The maps of the last three blocks of SN (32 at 1/4, 64 at 1/8, 128 at 1/16) at half size: (n, 224, h/2, w/2)."""

    def __init__(self, network: SN) -> None:
        super().__init__()
        self.blocks = network.blocks

    def forward(self, planes: Tensor) -> tuple[Tensor]:
        """Return the maps of planes (n, 1, h, w): grey, standardised over the picture (running moments, one branch)."""
        x, out = planes, []
        for step, block in enumerate(self.blocks):
            x = block(x, 0)
            if step:
                out.append(F.interpolate(x, scale_factor=float(2**step), mode="bilinear", align_corners=False))
        return (torch.cat(out, 1),)


def main(arguments: list[str] | None = None) -> None:
    """Export from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="the id of a shipped embedder, or a checkpoint of twinscope.train.triplets")
    parser.add_argument("--id", default="maps-1")
    parser.add_argument("--into", type=Path, help="a folder for graph and card instead of the package")
    given = parser.parse_args(arguments)
    graph = (given.into or WEIGHTS) / f"{given.id}.onnx"
    graph.parent.mkdir(parents=True, exist_ok=True)
    about = of_sn(Path(given.source), graph) if given.source.endswith(".pt") else of_embedder(given.source, graph)
    write(card(given.id, graph, about), (given.into or CARDS) / f"{given.id}.json")
    print(export.told(graph))


def of_sn(path: Path, graph: Path) -> dict[str, Any]:
    """Write the graph of a checkpoint of SN; return what its card says of the training."""
    network = triplets.load(path)
    example = probe_input((2, 1, PROBE_PX, PROBE_PX), "float32")
    sides = {2: 16 * torch.export.Dim("rows", max=4096), 3: 16 * torch.export.Dim("columns", max=4096)}
    export.save(Maps(network).eval(), graph, "planes", ["features"], [example, example[:1, :, :32]],
                {"planes": {0: torch.export.Dim("n"), **sides}})  # fmt: skip
    run = json.loads((path.parent / "run.json").read_text(encoding="utf-8"))
    row = loop.load(path)["row"]
    return {"data": "micrographs (train split)", **run, "step": row["step"], "train_s": row["seconds"]}


def of_embedder(id: str, graph: Path) -> dict[str, Any]:
    """Write the graph of a shipped embedder's maps; return what its card says of the training.

    A strided layer has its value k at pixel k times the stride, so that the maps are interpolated from there
    (ONNX: asymmetric), and not from the middle of the stride.
    """
    source = read(CARDS / f"{id}.json")
    whole = onnx.load(str(WEIGHTS / source.file))
    nodes, needed = [], set(TAKEN)
    for node in reversed(whole.graph.node):
        if needed & set(node.output) and TONES not in node.output:
            nodes.append(node)
            needed |= set(node.input)
    nodes.reverse()
    kept = [one for one in whole.graph.initializer if one.name in needed]
    for step, name in enumerate(TAKEN[1:], 1):
        kept.append(numpy_helper.from_array(_scales(2**step), f"scales_{step}"))
        nodes.append(
            helper.make_node(
                "Resize",
                [name, "", f"scales_{step}"],
                [f"half_{step}"],
                mode="linear",
                coordinate_transformation_mode="asymmetric",
            )
        )
    nodes.append(helper.make_node("Concat", [TAKEN[0], "half_1", "half_2"], ["features"], axis=1))
    planes = helper.make_tensor_value_info(TONES, onnx.TensorProto.FLOAT, ["n", 4, "16*rows", "16*columns"])
    features = helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["n", 224, "8*rows", "8*columns"])
    made = helper.make_model(helper.make_graph(nodes, "maps", [planes], [features], kept),
                             opset_imports=whole.opset_import, ir_version=whole.ir_version)  # fmt: skip
    onnx.checker.check_model(made)
    onnx.save(made, str(graph))
    export.strip(graph)
    return {
        "network": id,
        "sha256": source.sha256,
        "data": source.training["data"],
        "commit": source.training["commit"],
    }


def _scales(factor: int) -> Any:
    return np.array([1, 1, factor, factor], np.float32)


def card(id: str, graph: Path, about: dict[str, Any]) -> Card:
    """Return the card of a graph of maps."""
    own = "network" in about
    given = onnx.load(str(graph)).graph.input[0]
    channels = given.type.tensor_type.shape.dim[1].dim_value
    tones = "four tones of the grey picture (detect.maps.tones)" if own else "the grey picture"
    return Card(
        id=id,
        **export.identity(graph, given.name, (1, channels, PROBE_PX, PROBE_PX), "float32"),
        task="feature maps of a picture, for segmentation",
        input=f"{given.name}: (n, {channels}, 16 rows, 16 columns) float32",
        preprocessing=f"outside: {tones}, each standardised over the whole picture; made longer to multiples of 16",
        output="features: (n, 224, 8 rows, 8 columns) float32: the maps at "
        + ("1/2, 1/4 and 1/8" if own else "1/4, 1/8 and 1/16")
        + " of the size, interpolated to 1/2",
        training=about,
        limits=("The maps were learned to tell copies, not cells: a forest on labelled places makes them useful.",
                "What is smaller than some 4 px is not seen."),
        licence="Apache-2.0; the sources of attribution ask to be named with the weights",
        attribution=export.ATTRIBUTION,
    )  # fmt: skip


if __name__ == "__main__":
    main()
