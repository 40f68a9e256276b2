"""Count false findings in a library that holds none of what is looked for, beside the number that twinscope tells.

    python benchmarks/earlier.py --json benchmarks/results/earlier.json

The library: one window of 384 px of each picture of the training groups, as picture files through `library add`.
Queries: one window of 320 px of each picture of the validation and test groups, which show other specimens, judged
against the nearest panels as `screen --library` does. What is told is false; `expected` is what the report would have
said (`judge.expected_false` for the pairs looked at). Needs ../shared and the `train` extra.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

import common

from twinscope import corpus
from twinscope.detect import features, judge
from twinscope.library import store
from twinscope.settings import Settings
from twinscope.train import data

SETTINGS = Settings(threads=2)
LEVELS = (0.5, 0.7, 0.9, 0.98)


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--panels", type=int, default=10_000, help="of the library, at most")
    parser.add_argument("--show", type=Path, help="a folder for the pairs that were told")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    earlier, _ = data.cut(data.micrographs("train"), rng, 1, (384,))
    asked, _ = data.cut(data.micrographs("test") + data.micrographs("val"), rng, 1, (320,))
    earlier = earlier[rng.permutation(len(earlier))[: given.panels]]
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "pictures"
        folder.mkdir()
        for k, picture in enumerate(earlier):
            cv2.imwrite(str(folder / f"{k:05d}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        added = corpus.add([folder], str(Path(room) / "library"), SETTINGS)
        print(f"{added.panels} panels", file=sys.stderr, flush=True)
        near = corpus.nearby(list(asked), store.open_library(str(Path(room) / "library")), SETTINGS.library.screened,
                             SETTINGS)  # fmt: skip
    views = [features.view(one, SETTINGS.features) for one in asked]
    others = [features.view(one, SETTINGS.features) for one in near.images]

    def tell(stage: str, done: int, total: int) -> None:
        if done % 100 == 0:
            print(f"{stage} {done} of {total}", file=sys.stderr, flush=True)

    found = [one for several in corpus.judged(views, others, near.pairs, SETTINGS, tell) for one in several]
    pairs = sum(map(len, near.pairs))
    levels: dict[str, dict[str, Any]] = {
        f"{level}": {
            "told": sum(one.probability >= level for one in found),
            "expected": round(judge.expected_false(level, pairs), 3),
        }
        for level in LEVELS
    }
    out = {"circumstances": common.circumstances(), "library": added.panels, "queries": len(asked), "pairs": pairs,
           "levels": levels}  # fmt: skip
    given.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(out, indent=1))
    if given.show:
        given.show.mkdir(parents=True, exist_ok=True)
        for one in found:
            if one.probability >= LEVELS[0]:
                name = str(given.show / f"{one.probability:.3f}-{one.a}-{one.b}.png")
                pair = [cv2.resize(picture, (384, 384)) for picture in (asked[one.a], near.images[one.b])]
                cv2.imwrite(name, cv2.cvtColor(np.hstack([as_rgb(one) for one in pair]), cv2.COLOR_RGB2BGR))


def as_rgb(picture: np.ndarray) -> np.ndarray:
    """Return HxW or HxWx3 as HxWx3."""
    return picture if picture.ndim == 3 else np.dstack([picture] * 3)


if __name__ == "__main__":
    main()
