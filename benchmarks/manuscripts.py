"""Build manuscripts with and without re-used pictures, screen them, and count what is found.

    python benchmarks/manuscripts.py build -o .cache/bench/test                  # 64 manuscripts of the test groups
    python benchmarks/manuscripts.py build --split train -o .cache/bench/dev     # to tune on: other groups, other hosts
    python benchmarks/manuscripts.py run .cache/bench/test --json benchmarks/results/manuscripts.json
    python benchmarks/manuscripts.py table                                       # the table of the results kept

Thresholds are chosen on the train build only. `--quick` builds 10 manuscripts. A run can be stopped and started again:
the result of every manuscript is kept beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "examples"), str(HERE.parent / "src")]

import compose
import plant

SHARES = {"planted": 0.375, "clean": 0.375, "hard": 0.25}
DENSITY = 0.3
"""Planted pairs for each panel of a manuscript with re-use."""


def orders(count: int, seed: int, split: str) -> list[compose.Order]:
    """Return what to build: three eighths with planted pairs, three eighths clean, a quarter hard-clean; 8-60 panels."""
    rng = np.random.default_rng([seed, 7])
    numbers = {kind: max(2, round(count * share)) for kind, share in SHARES.items()}
    deck: list[str] = []
    out = []
    for kind, number in numbers.items():
        for index, panels in enumerate(np.linspace(8, 60, number).round().astype(int)):
            pairs: list[str] = []
            if kind == "planted":
                for _ in range(max(2, round(DENSITY * int(panels)))):
                    deck = deck or [str(c) for c in rng.permutation([*plant.CATEGORIES, "blot"])]
                    pairs.append(deck.pop())
            out.append(compose.Order(f"{kind}-{index + 1:02d}", kind, int(panels), tuple(pairs), split, seed))
    return out


def build(count: int, seed: int, split: str, folder: Path) -> None:
    """Write the manuscripts of a build and `build.json`, which says what they are."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = orders(count, seed, split)
    for order in wanted:
        if not (folder / f"{order.name}.json").is_file():
            truth = compose.compose(order, folder)
            print(f"{order.name}: {len(truth['panels_truth'])} panels, {len(truth['pairs'])} planted pairs", flush=True)
    names = [order.name for order in wanted]
    (folder / "build.json").write_text(json.dumps({"n": count, "seed": seed, "split": split, "names": names}, indent=1))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("build", help="write manuscripts and their truth")
    make.add_argument("--n", type=int, default=64)
    make.add_argument("--seed", type=int, default=1)
    make.add_argument("--split", choices=["test", "train"], default="test")
    make.add_argument("--quick", action="store_true", help="10 manuscripts")
    make.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    if given.command == "build":
        build(10 if given.quick else given.n, given.seed, given.split, given.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
