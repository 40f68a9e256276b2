"""Write a trained embedder as an ONNX graph with its card: `python -m twinscope.train.export RUN --id embedder-1`.

It goes into the package, or with `--into FOLDER` both files go there: a candidate, to be judged before it ships.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from twinscope import metrics
from twinscope.errors import ModelError
from twinscope.models.card import CARDS, WEIGHTS, Card, Probe, probe_input, write
from twinscope.train import loop, protocol
from twinscope.train.embedder import SIDE, embed
from twinscope.train.networks import Embedder

LIMITS = (
    "Sees 96x96 px of grey: small details of a large picture are lost, and aspect is not kept.",
    "Made for the whole picture against the whole picture: a small crop of a large panel lies outside the border.",
    "Learned from micrographs and drawn pictures; other kinds (blots, photographs) are further from their copies.",
    "Different fields of the same slide and near-empty pictures lie close together: a distance alone is no evidence.",
)
ATTRIBUTION = (
    "holo2bright_dataset (DeepTrackAI), CC BY 4.0",
    "NEUBIAS training-resources, CC BY 4.0",
    "BioImageAnalysisNotebooks (haesleinhuepf), CC BY 4.0 and CC0",
    "image-processing lesson data (datacarpentry), CC BY 4.0",
    "microscopy-images-qem (matbryan52), CC BY 4.0",
    "BCCD_Dataset (Shenggan), blood-cell-detection-dataset (draaslan), data_axondeepseg_sem (axondeepseg), MIT",
    "CellProfiler examples, pyImSegm (Borda), BSD-3-Clause",
    "GelGenie reference gels (mattaq31), Apache-2.0",
    "BBBC038 and BBBC039 (Broad Bioimage Benchmark Collection), OpenSlide and scikit-image samples, CC0",
    "US National Cancer Institute, Visuals Online, public domain",
)


OUTPUTS = ("points", "maps_8", "maps_16", "head_power", "head_weight", "head_bias", "head_radius")
"""What the graph gives: the points, and what `detect.explain` needs to say why two of them are far apart."""


class Graph(nn.Module):
    """The network as it ships: (n, 96, 96) uint8 grey in, `OUTPUTS` out.

    points: (n, 128). maps_8, maps_16: the maps at 1/8 and 1/16 that are pooled into the points, (n, 128, 12, 12) and
    (n, 256, 6, 6). head_*: what makes points of them, for every picture the same: the power of GeM (), the linear layer
    (128, 640) and (128,), the radius of the sphere (). All float32. Whoever asks for the points alone pays for no more.
    """

    def __init__(self, network: Embedder) -> None:
        super().__init__()
        self.network = network

    def forward(self, grey: Tensor) -> tuple[Tensor, ...]:
        net = self.network
        middle, last = net.maps(grey[:, None].float())
        head = (net.power, net.head.weight, net.head.bias, net.radius)
        return (net.place(middle, last) * net.radius, middle, last, *(number.clone() for number in head))


def main() -> None:
    """Export from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--id", default="embedder-1")
    parser.add_argument("--into", type=Path, help="a folder for graph and card instead of the package")
    parser.add_argument("--last", action="store_true", help="the averaged weights of last.pt instead of best.pt")
    arguments = parser.parse_args()
    saved = loop.load(arguments.run / "best.pt")
    if arguments.last:
        last = loop.load(arguments.run / "last.pt")
        saved = {"network": last["average"], "row": last["state"]}
    network = Embedder()
    network.load_state_dict(saved["network"])
    chosen = choose_border(network)
    path = (arguments.into or WEIGHTS) / f"{arguments.id}.onnx"
    save_graph(network, path)
    record = json.loads((arguments.run / "run.json").read_text())
    card = make_card(
        arguments.id, path, record | {"step": saved["row"]["step"], "train_s": saved["row"]["seconds"]}, chosen
    )
    write(card, (arguments.into or CARDS) / f"{arguments.id}.json")
    print(f"{path.name}: {path.stat().st_size / 2**20:.1f} MiB, sha256 {card.sha256}, {chosen}")


def choose_border(network: Embedder) -> dict[str, float]:
    """Set the sphere's radius so that the best border on validation classes is distance 1; return the numbers there."""
    return set_border(network, [protocol.classes("val", 200, 4, how, seed=2) for how in ("v02", "strong", "figure")])


def set_border(network: Embedder, tests: Sequence[protocol.Classes], slack: float = 0.0) -> dict[str, float]:
    """Set the sphere's radius so that the best border on these classes is distance 1; return the numbers there.

    The pair that the border goes through lies at 1 - `slack`: with some, rounding does not put it outside.
    """
    network.eval()
    network.radius.fill_(1.0)
    found = [protocol.distances(lambda x: embed(network, x), test) for test in tests]
    same = np.concatenate([part.same().ravel() for part in found])
    different = np.concatenate([part.different() for part in found])
    border, accuracy = metrics.best_border(same, different)
    network.radius.fill_((1 - slack) / border)
    numbers = {"accuracy": accuracy, "fpr": float(np.mean(different <= border)), "unit_border": border}
    return protocol.rounded(numbers)


def save_graph(network: Embedder, path: Path) -> None:
    """Write the ONNX graph, the weights inside, and check it against torch on the probe."""
    graph, example = Graph(network).eval(), torch.as_tensor(probe_input((2, SIDE, SIDE), "uint8"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with quiet():
        torch.onnx.export(
            graph, (example,), str(path), input_names=["grey"], output_names=list(OUTPUTS), opset_version=18,
            verbose=False, dynamo=True, external_data=False, dynamic_shapes={"grey": {0: torch.export.Dim("n")}},
        )  # fmt: skip
    strip(path)
    with torch.inference_mode():
        expected = [out.numpy() for out in graph(example)]
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    given = session.run(list(OUTPUTS), {"grey": example.numpy()})
    difference = max(float(np.abs(a - b).max()) for a, b in zip(given, expected, strict=True))
    if difference > 1e-3:
        raise ModelError(f"the exported graph differs from the network by {difference:.2g}; report torch's version")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the log of the exporter from whoever exports; its errors are raised as ever."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def strip(path: Path) -> None:
    """Take out of a graph what tells where it was made: stack traces, module names, notes."""
    model = onnx.load(str(path))
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    model.doc_string = model.graph.doc_string = ""
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    onnx.save(model, str(path))


def make_card(id: str, path: Path, record: dict[str, Any], chosen: dict[str, float]) -> Card:
    """Return the card of an exported graph; test metrics are added by `python -m twinscope.train.evaluate ID`."""
    return described(
        id,
        path,
        border_chosen="the best accuracy (same and different pairs weigh alike) on windows of the validation groups, "
        f"v02, strong and figure manipulations: {chosen['accuracy']}, with {chosen['fpr']} of different pairs inside",
        training={"data": "micrographs (train split) and drawn pictures", **record},
        limits=LIMITS,
        licence="Apache-2.0; the sources of attribution ask to be named with the weights",
        attribution=ATTRIBUTION,
    )


def described(id: str, path: Path, **own: Any) -> Card:
    """Return the card of an exported graph, hash and probe with it; `own` are the fields that differ by network."""
    graph = path.read_bytes()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    probe = session.run(None, {"grey": probe_input((2, SIDE, SIDE), "uint8")})[0].ravel()[:16]
    return Card(
        id=id,
        file=path.name,
        sha256=hashlib.sha256(graph).hexdigest(),
        task="embed pictures: two views of one picture lie within distance 1",
        input="grey: (n, 96, 96) uint8",
        preprocessing="outside: luma, resized to 96x96 (area filter when shrinking, bicubic when growing); "
        "inside the graph: four tones, each standardised over the picture",
        output="points: (n, 128) float32, on a sphere; Euclidean distance. To explain it: maps_8, maps_16 and head_*",
        border=1.0,
        probe=Probe(shape=(2, SIDE, SIDE), dtype="uint8", first=tuple(round(float(v), 6) for v in probe), atol=2e-3),
        **own,
    )


if __name__ == "__main__":
    main()
