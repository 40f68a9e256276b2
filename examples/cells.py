"""Draw a folder of cells, ten of them scribbled on, for docs/segment.md: python examples/cells.py cells

In the folder: images/ (30 pictures), scribbles/ (10 masks: 0 not labelled, 1 background, 2 cell) and masks/ (30, the
truth, to compare with). Nothing is third-party, and every run draws the same.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

PICTURES, SCRIBBLED = 30, 10
WIDE_PX = 3


def main(folder: Path) -> None:
    """Write the three folders."""
    for name in ("images", "scribbles", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for k in range(PICTURES):
        rng = np.random.default_rng([11, k])
        image, mask = draw(rng)
        cv2.imwrite(str(folder / "images" / f"cells-{k:02d}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"cells-{k:02d}.png"), np.asarray(mask, np.uint8))
        if k < SCRIBBLED:
            cv2.imwrite(str(folder / "scribbles" / f"cells-{k:02d}.png"), scribble(mask, rng))


def scribble(mask: NDArray[np.bool_], rng: np.random.Generator, each: int = 6) -> NDArray[np.uint8]:
    """Return strokes as a person would make them: some in cells (2), some on the ground (1), the rest 0."""
    out = np.zeros(mask.shape, np.uint8)
    for label, where in ((2, mask), (1, ~mask)):
        inner = cv2.erode(np.asarray(where, np.uint8), np.ones((5, 5), np.uint8))
        strokes = np.zeros_like(out)
        for _ in range(each):
            y, x = (int(v) for v in rng.choice(np.argwhere(inner > 0)))
            bend = rng.integers(-25, 26, (3, 2)).cumsum(0) + np.array([x, y])
            cv2.polylines(strokes, [np.array([(x, y), *bend.tolist()], np.int32)], False, 1, WIDE_PX)
        out[(strokes > 0) & (inner > 0)] = label
    return out


def draw(rng: np.random.Generator, side: int = 256) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw cells (side x side grey uint8) and their mask, as phase contrast shows them.

    They are as grey as the ground and differ from it by their grain, and by a halo here and there.
    """
    mask = np.zeros((side, side), np.uint8)
    for _ in range(int(rng.integers(6, 16))):
        axes = [int(v) for v in rng.uniform(12, 30, 2)]
        spot = [int(v) for v in rng.uniform(0, side, 2)]
        cv2.ellipse(mask, spot, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    inside = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.5)
    rim = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 4.0) * (1 - inside)
    grain, soft, broad, shade = (_noise(rng, side, width) for width in (1.2, 5.0, 5.0, 60.0))
    patches = np.clip(_noise(rng, side, 25.0), 0, 1)
    level = 120 + 18 * shade + 8 * broad * (1 - inside) + (14 * grain + 5 * soft) * inside + 60 * rim * patches
    noisy = level + rng.normal(0, 4, level.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), mask > 0


def _noise(rng: np.random.Generator, side: int, width: float) -> NDArray[np.float32]:
    out = cv2.GaussianBlur(rng.standard_normal((side, side)).astype(np.float32), (0, 0), width)
    return np.asarray(out / out.std(), np.float32)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("python examples/cells.py FOLDER")
    main(Path(sys.argv[1]))
