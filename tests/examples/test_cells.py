"""The drawn cells of docs/segment.md."""

from __future__ import annotations

from pathlib import Path

import cells
import cv2
import numpy as np


def test_the_folder_of_the_tutorial(tmp_path: Path) -> None:
    cells.main(tmp_path)
    counts = {name: len(list((tmp_path / name).iterdir())) for name in ("images", "masks", "scribbles")}
    assert counts == {"images": 30, "masks": 30, "scribbles": 10}
    for path in sorted((tmp_path / "scribbles").iterdir()):
        strokes = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        mask = cv2.imread(str(tmp_path / "masks" / path.name), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(strokes)) == {0, 1, 2}
        assert (mask[strokes == 2] == 1).all()
        assert (mask[strokes == 1] == 0).all()
        assert (strokes > 0).mean() < 0.05
    again = cells.draw(np.random.default_rng([11, 3]))[0]
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "images" / "cells-03.png"), 0), again)
