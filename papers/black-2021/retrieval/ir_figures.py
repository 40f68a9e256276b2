"""Draw figure 4 of black-2021, recall by k, from results/retrieval.json.

python papers/black-2021/retrieval/ir_figures.py --json papers/black-2021/retrieval/results/retrieval.json -o FILE.png
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

import ir_readme


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    draw(json.loads(given.json.read_text(encoding="utf-8")), given.output)
    return 0


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Draw a panel a query set, a curve a method; both stages dashed, as they are of fewer queries."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.4), sharey=True)
    rows = {row["name"]: row for row in results["table1"]}
    for axis, (key, title) in zip(axes, ir_readme.SETS.items(), strict=True):
        for name in ir_readme.ROWS:
            if name in rows:
                told = ir_readme.named(name).strip("*")
                axis.plot(range(1, len(rows[name]["curves"][key]) + 1), rows[name]["curves"][key], label=told)
        for name, told in (
            ("stage 1", "ours, stage 1, fewer queries"),
            ("stage 1+2", "ours, stage 1 + 2, fewer queries"),
        ):
            if results["looked"]:
                curve = results["looked"][name]["curves"][key]
                axis.plot(
                    range(1, len(curve) + 1), curve, "--", color="grey" if name == "stage 1" else "black", label=told
                )
        axis.set_xscale("log")
        axis.set_xlabel("k")
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("recall at k")
    figure.tight_layout(rect=(0, 0.14, 1, 1))
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="lower center", ncols=5, fontsize=8, frameon=False)
    figure.savefig(path, dpi=90)
    plt.close(figure)
    with Image.open(path) as whole:
        small = whole.convert("RGB").quantize(128)
    small.save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
