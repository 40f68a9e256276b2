"""Write a trained comparator as an ONNX graph with its card: `python -m twinscope.train.export_comparator RUN`.

It goes into the package, or with `--into FOLDER` both files go there: a candidate, to be judged before it ships.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch

from twinscope.models.card import Card, probe_input, write
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
    given = export.arguments(__doc__, "comparator-2")
    saved = loop.load(given.run / "best.pt")
    if given.last:
        with (given.run / "curve.csv").open(newline="", encoding="utf-8") as file:
            row = {name: float(value) for name, value in list(csv.DictReader(file))[-1].items()}
        saved = {"network": loop.load(given.run / "last.pt")["network"], "row": row}
    network = Seer()
    network.load_state_dict(saved["network"])
    save_graph(network, given.graph)
    write(make_card(given.id, given.graph, export.record(given.run, saved["row"]), saved["row"]), given.card)
    print(export.told(given.graph))


def save_graph(network: Seer, path: Path) -> None:
    """Write the ONNX graph for pictures of any size, and check it against torch at two sizes."""
    rows, columns = torch.export.Dim("rows", min=1, max=64), torch.export.Dim("columns", min=1, max=64)
    examples = [probe_input(shape, "float32") for shape in (SHAPE, (1, 7, 224, 160))]
    shapes = {"given": {2: 16 * rows, 3: 16 * columns}}
    export.save(Graph(network.eval()).eval(), path, "planes", OUTPUTS, examples, shapes)


def make_card(id: str, path: Path, record: dict[str, Any], seen: dict[str, Any]) -> Card:
    """Return the card of an exported graph; `seen` is what its last look at validation pairs said."""
    return Card(
        id=id,
        **export.identity(path, "planes", SHAPE, "float32"),
        task="compare two aligned pictures: where one of them was edited, and whether it was",
        input="planes: (1, 7, H, W) float32, sides multiples of 16",
        preprocessing="outside (twinscope.detect.heat.planes): of each picture its tones, standardised; locally "
        "normalised; and after one has taken the tones of the other; the seventh plane is where both are seen",
        output="heat: (1, 1, H/2, W/2) float32, the probability of an edit; classes: (1, 3), benign, manipulated, "
        "distinct, which add to 1",
        training={"data": "micrographs (train split) and drawn pictures, pairs of twinscope.train.changes", **record},
        metrics={"validation": {name: value for name, value in seen.items() if name not in ("step", "seconds")}},
        limits=LIMITS,
        licence="Apache-2.0; the sources of attribution ask to be named with the weights",
        attribution=export.ATTRIBUTION,
    )


if __name__ == "__main__":
    main()
