"""Write a trained comparator as an ONNX graph with its card: `python -m twinscope.train.export_comparator RUN`.

It goes into the package, or with `--into FOLDER` both files go there: a candidate, to be judged before it ships.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from twinscope.errors import ModelError
from twinscope.models.card import CARDS, WEIGHTS, Card, Probe, probe_input, write
from twinscope.train import export, loop
from twinscope.train.heat import Graph, Seer

OUTPUTS = ("heat", "classes")
SHAPE = (1, 7, 64, 96)
"""The probe's shape."""
LIMITS = (
    "Sees 224 px of the longer side at most: an edit of a few pixels in a large picture is lost.",
    "Both pictures must be aligned: it forgives some pixels of misfit, not another transform.",
    "Sees grey: an edit in colour alone, of equal brightness, is not seen unless a single channel is compared.",
    "Learned from edits that a program drew into micrographs; what a hand does with care may look otherwise.",
    "Text and other marks count as edits here; the desk takes out what it knows as annotations before it asks.",
)


def main() -> None:
    """Export from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--id", default="comparator-1")
    parser.add_argument("--into", type=Path, help="a folder for graph and card instead of the package")
    parser.add_argument("--last", action="store_true", help="the weights of last.pt instead of best.pt")
    arguments = parser.parse_args()
    saved = loop.load(arguments.run / "best.pt")
    if arguments.last:
        with (arguments.run / "curve.csv").open(newline="", encoding="utf-8") as file:
            row = {name: float(value) for name, value in list(csv.DictReader(file))[-1].items()}
        saved = {"network": loop.load(arguments.run / "last.pt")["network"], "row": row}
    network = Seer()
    network.load_state_dict(saved["network"])
    path = (arguments.into or WEIGHTS) / f"{arguments.id}.onnx"
    save_graph(network, path)
    record = json.loads((arguments.run / "run.json").read_text())
    made = make_card(
        arguments.id, path, record | {"step": saved["row"]["step"], "train_s": saved["row"]["seconds"]}, saved["row"]
    )
    write(made, (arguments.into or CARDS) / f"{arguments.id}.json")
    print(f"{path.name}: {path.stat().st_size / 2**20:.1f} MiB, sha256 {made.sha256}")


def save_graph(network: Seer, path: Path) -> None:
    """Write the ONNX graph for pictures of any size, and check it against torch at two sizes."""
    graph, example = Graph(network.eval()).eval(), torch.as_tensor(probe_input(SHAPE, "float32"))
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = torch.export.Dim("rows", min=1, max=64), torch.export.Dim("columns", min=1, max=64)
    with export.quiet():
        torch.onnx.export(
            graph, (example,), str(path), input_names=["planes"], output_names=list(OUTPUTS), opset_version=18,
            verbose=False, dynamo=True, external_data=False, dynamic_shapes={"given": {2: 16 * rows, 3: 16 * columns}},
        )  # fmt: skip
    export.strip(path)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    for shape in (SHAPE, (1, 7, 224, 160)):
        example = torch.as_tensor(probe_input(shape, "float32"))
        with torch.inference_mode():
            expected = [out.numpy() for out in graph(example)]
        answered = session.run(list(OUTPUTS), {"planes": example.numpy()})
        difference = max(float(np.abs(a - b).max()) for a, b in zip(answered, expected, strict=True))
        if difference > 1e-3:
            raise ModelError(f"the exported graph differs from the network by {difference:.2g}; report torch's version")


def make_card(id: str, path: Path, record: dict[str, Any], seen: dict[str, Any]) -> Card:
    """Return the card of an exported graph; `seen` is what its last look at validation pairs said."""
    graph = path.read_bytes()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    probe = session.run(["heat"], {"planes": probe_input(SHAPE, "float32")})[0].ravel()[:16]
    return Card(
        id=id,
        file=path.name,
        sha256=hashlib.sha256(graph).hexdigest(),
        task="compare two aligned pictures: where one of them was edited, and whether it was",
        input="planes: (1, 7, H, W) float32, sides multiples of 16",
        preprocessing="outside (twinscope.detect.heat.planes): of each picture its tones, standardised; locally "
        "normalised; and after one has taken the tones of the other; the seventh plane is where both are seen",
        output="heat: (1, 1, H/2, W/2) float32, the probability of an edit; classes: (1, 3), benign, manipulated, "
        "distinct, which add to 1",
        training={"data": "micrographs (train split) and drawn pictures, pairs of twinscope.train.changes", **record},
        metrics={"validation": {name: value for name, value in seen.items() if name not in ("step", "seconds")}},
        probe=Probe(shape=SHAPE, dtype="float32", first=tuple(round(float(v), 6) for v in probe), atol=2e-3),
        limits=LIMITS,
        licence="Apache-2.0; the sources of attribution ask to be named with the weights",
        attribution=export.ATTRIBUTION,
    )


if __name__ == "__main__":
    main()
