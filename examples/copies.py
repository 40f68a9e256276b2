"""Draw real pictures, and what a generator might make that knows half of them: `python examples/copies.py DIR`.

DIR/real holds the pictures, DIR/generated noisy copies of half of them among new ones, DIR/fresh new ones alone.
DIR/used.txt and DIR/unused.txt name a few of each kind, as somebody might know them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cells
import cv2
import numpy as np


def main(folder: Path, count: int = 40, side: int = 128) -> None:
    """Write `count` real pictures, half of them used, and two sets of generated ones."""
    for name in ("real", "generated", "fresh"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for k in range(count):
        rng = np.random.default_rng(k)
        image, _ = cells.draw(rng, side)
        cv2.imwrite(str(folder / "real" / f"cell-{k:02}.png"), image)
        for name, made in (("fresh", None), ("generated", image if k % 2 == 0 else None)):
            for copy in range(3):
                own = cells.draw(np.random.default_rng([k, copy, len(name)]), side)[0] if made is None else made
                noisy = np.clip(own + rng.normal(0, 10, own.shape), 0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / name / f"made-{3 * k + copy:03}.png"), noisy)
    for name, first in (("used", 0), ("unused", 1)):
        names = [f"cell-{k:02}.png\n" for k in range(first, 20, 2)]
        (folder / f"{name}.txt").write_text("".join(names), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "generator"))
