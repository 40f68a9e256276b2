"""The table of papers/cicconet-2019/README.md, from results/accuracy.json; docs/generate.py writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- results: begin; made by docs/generate.py from results/accuracy.json -->", "<!-- results: end -->"
PUBLISHED = {"SN": (".853731", ".861574"), "SN[G]": (".748010", ".848148")}
FIGURES = {
    "deformations": "Deformations of two drawn pictures (figure 2 of both papers)",
    "training": "Accuracy during training: batch, validation, test, real (2018, figure 3)",
    "likelihood-synthetic": "Likelihood of each pair, green right and red wrong (2018, figure 4; 2019, 3a)",
    "classes-synthetic": "Classes against classes (2019, figure 3c)",
    "pca-points": "Principal components of 1,024 embeddings (2018, figure 6)",
}
NAMES = {"SN": "SN", "SN-G": "SN[G]", "embedder-1": "embedder-1"}
SETS = {"synthetic": "synthetic", "blots": "real: blots", "photos": "real: photographs", "copymove": "real: copy-move"}


def text() -> str:
    """Return the whole page, with its table made again."""
    before, rest = (HERE / "README.md").read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    path = HERE / "results" / "accuracy.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return "\n".join([before + BEGIN, "", *table(results), "", END + after])


def table(results: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the lines of the table; what was not measured is said to be so."""
    yield "| | " + " | ".join([*SETS.values(), "their real set"]) + " |"
    yield "|---|" + "---|" * (len(SETS) + 1)
    for name, (synthetic, real) in PUBLISHED.items():
        yield f"| {name}, published | {synthetic} |  |  |  | {real} |"
    networks = results["networks"] if results else {}
    for name, network in networks.items():
        cells = [_cell(network["sets"][key]) if key in network["sets"] else "" for key in SETS]
        yield f"| {name}, here | " + " | ".join([*cells, ""]) + " |"
    if results is None:
        yield from ("", "Nothing has been measured here yet: `run.sh` does it.")
        return
    for name, why in results["missing"].items():
        yield f"| {name}, here | {why} |" + "  |" * len(SETS)
    yield ""
    counts = next(iter(networks.values()))["sets"] if networks else {}
    sizes = "; ".join(f"{SETS[key]} {part['classes']} of {part['groups']} groups" for key, part in counts.items())
    where = results["circumstances"]
    yield f"Classes: {sizes}. Means of 10 runs; 95 % intervals from a bootstrap over groups."
    yield f"{where['device']}; commit {where['commit']}, {where['date']}."
    for name, network in networks.items():
        if "training" in network:
            run = network["training"]
            what = f"{run['steps']:,} steps (the papers: 20,000) of {run['batch']} triplets"
            cost = f"{run['minutes']:.0f} minutes on {run['threads']} thread(s)"
            yield f"{name}: {what} from {run['windows']:,} windows, {cost}."
    yield from figures(HERE / "figures")


def figures(folder: Path) -> Iterator[str]:
    """Yield the figures that lie in a folder, each with what it shows."""
    for path in sorted(folder.glob("*.png")):
        what = next(text for end, text in FIGURES.items() if path.stem.endswith(end))
        network = path.stem.removesuffix(next(end for end in FIGURES if path.stem.endswith(end))).rstrip("-")
        yield from ("", f"![{what}{': ' + NAMES[network] if network else ''}](figures/{path.name})")


def _cell(part: Mapping[str, Any]) -> str:
    low, high = part["interval"]
    return f"{part['mean']:.3f} [{low:.3f}, {high:.3f}]".replace("0.", ".")
