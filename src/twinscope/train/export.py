"""Write a trained embedder as an ONNX graph with its card: `python -m twinscope.train.export RUN --id embedder-3`.

It goes into the package, or with `--into FOLDER` both files go there: a candidate, to be judged before it ships.
The weights of best.pt ship, or with `--last` the averaged ones of last.pt.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
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


INSIDE = 0.01
"""The share of validation classes' different pairs within the border. The best accuracy lets two or three times as many
in, which of kinds that were never learned from (blots) become one in six: they lie closer together."""
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
    given = arguments(__doc__, "embedder-3")
    saved = loop.load(given.run / "best.pt")
    if given.last:
        last = loop.load(given.run / "last.pt")
        saved = {"network": last["average"], "row": last["state"]}
    trained = record(given.run, saved["row"])
    network = Embedder(blocks=tuple(trained.get("blocks", (0, 4))))
    network.load_state_dict(saved["network"])
    chosen = choose_border(network)
    save_graph(network, given.graph)
    write(make_card(given.id, given.graph, trained, chosen), given.card)
    print(f"{told(given.graph)}, {chosen}")


def arguments(about: str | None, id: str) -> argparse.Namespace:
    """Return what the command line of an export says: run, id, last, and where `graph` and `card` go."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("run", type=Path)
    parser.add_argument("--id", default=id)
    parser.add_argument("--into", type=Path, help="a folder for graph and card instead of the package")
    parser.add_argument("--last", action="store_true", help="the weights of last.pt instead of best.pt")
    given = parser.parse_args()
    given.graph = (given.into or WEIGHTS) / f"{given.id}.onnx"
    given.card = (given.into or CARDS) / f"{given.id}.json"
    return given


def record(run: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a card says of a training: the record of the run, and at which row of it the weights were taken."""
    whole: dict[str, Any] = json.loads((run / "run.json").read_text())
    return whole | {"step": row["step"], "train_s": row["seconds"]}


def told(path: Path) -> str:
    """Return the name, size and hash of a graph's file in words."""
    graph = path.read_bytes()
    return f"{path.name}: {len(graph) / 2**20:.1f} MiB, sha256 {hashlib.sha256(graph).hexdigest()}"


def choose_border(network: Embedder) -> dict[str, float]:
    """Set the sphere's radius so that of validation classes' different pairs the share `INSIDE` lies within distance 1;
    return the numbers there.
    """
    tests = [protocol.classes("val", 200, 4, how, seed=2) for how in ("v02", "strong", "figure")]
    return set_border(network, tests, inside=INSIDE)


def set_border(
    network: Embedder, tests: Sequence[protocol.Classes], slack: float = 0.0, inside: float | None = None
) -> dict[str, float]:
    """Set the sphere's radius so that the border on these classes is distance 1; return the numbers there.

    The border is that of the best accuracy, or the widest that lets the share `inside` of the different pairs in. The
    pair that it goes through lies at 1 - `slack`: with some, rounding does not put it outside.
    """
    network.eval()
    network.radius.fill_(1.0)
    found = [protocol.distances(lambda x: embed(network, x), test) for test in tests]
    same = np.concatenate([part.same().ravel() for part in found])
    different = np.concatenate([part.different() for part in found])
    if inside is None:
        border, accuracy = metrics.best_border(same, different)
    else:
        border = float(np.sort(different)[max(0, int(inside * len(different)) - 1)])
        accuracy = metrics.accuracy(same, different, border)
    network.radius.fill_((1 - slack) / border)
    numbers = {"accuracy": accuracy, "fpr": float(np.mean(different <= border)), "unit_border": border}
    return protocol.rounded(numbers)


def save_graph(network: Embedder, path: Path) -> None:
    """Write the ONNX graph, the weights inside, and check it against torch on the probe."""
    example = probe_input((2, SIDE, SIDE), "uint8")
    save(Graph(network).eval(), path, "grey", OUTPUTS, [example], {"grey": {0: torch.export.Dim("n")}})


def save(
    graph: nn.Module, path: Path, name: str, outputs: Sequence[str], examples: Sequence[NDArray[Any]],
    shapes: dict[str, Any],
) -> None:  # fmt: skip
    """Write a module as an ONNX graph, the weights inside, and check it against torch on every example.

    name: of its one input. shapes: which sides of it may vary, as `torch.onnx.export` has it. Raises ModelError where
    the graph answers otherwise than the module.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with quiet():
        torch.onnx.export(
            graph, (torch.as_tensor(examples[0]),), str(path), input_names=[name], output_names=list(outputs),
            opset_version=18, verbose=False, dynamo=True, external_data=False, dynamic_shapes=shapes,
        )  # fmt: skip
    strip(path)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    for example in examples:
        with torch.inference_mode():
            expected = [out.numpy() for out in graph(torch.as_tensor(example))]
        answered = session.run(list(outputs), {name: example})
        difference = max(float(np.abs(a - b).max()) for a, b in zip(answered, expected, strict=True))
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
        border_chosen=f"the distance that {chosen['fpr']} of the different pairs lie within, on windows of the "
        f"validation groups, v02, strong and figure manipulations; accuracy there {chosen['accuracy']}",
        training={"data": "micrographs (train split) and drawn pictures", **record},
        limits=LIMITS,
        licence="Apache-2.0; the sources of attribution ask to be named with the weights",
        attribution=ATTRIBUTION,
    )


def described(id: str, path: Path, **own: Any) -> Card:
    """Return the card of an exported graph, hash and probe with it; `own` are the fields that differ by network."""
    return Card(
        id=id,
        **identity(path, "grey", (2, SIDE, SIDE), "uint8"),
        task="embed pictures: two views of one picture lie within distance 1",
        input="grey: (n, 96, 96) uint8",
        preprocessing="outside: luma, resized to 96x96 (area filter when shrinking, bicubic when growing); "
        "inside the graph: four tones, each standardised over the picture",
        output="points: (n, 128) float32, on a sphere; Euclidean distance. To explain it: maps_8, maps_16 and head_*",
        border=1.0,
        **own,
    )


def identity(path: Path, name: str, shape: tuple[int, ...], dtype: Literal["uint8", "float32"]) -> dict[str, Any]:
    """Return the fields of a card by which a graph is known: file, hash, and probe; name: of its one input."""
    graph = path.read_bytes()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    first = session.run(None, {name: probe_input(shape, dtype)})[0].ravel()[:16]
    probe = Probe(shape=shape, dtype=dtype, first=tuple(round(float(v), 6) for v in first), atol=2e-3)
    return {"file": path.name, "sha256": hashlib.sha256(graph).hexdigest(), "probe": probe}


if __name__ == "__main__":
    main()
