"""`twinscope explain` on real files: the sheet, the maps, the numbers, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from twinscope import models, pixels
from twinscope.detect import explain
from twinscope.errors import InputError, UsageError
from twinscope.report import explanation
from twinscope.settings import Settings


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(2)
    a = cv2.resize(rng.integers(0, 256, (12, 16), np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
    b = a.copy()
    cv2.circle(b, (250, 60), 30, 128, -1)
    files = tmp_path / "a.png", tmp_path / "b.png"
    for path, image in zip(files, (a, cv2.resize(b, (200, 300))), strict=True):
        pixels.write_png(path, image)
    return files


def test_a_file_whose_name_is_not_utf8_is_explained(pair: tuple[Path, Path], tmp_path: Path) -> None:
    raw = Path(os.fsdecode(bytes(tmp_path) + b"/M\xfcller.png"))
    pair[1].rename(raw)
    told = explanation.write(pair[0], raw, tmp_path / "out", Settings())
    assert told["b"]["path"] == f"{tmp_path}/M%FCller.png"
    assert json.loads((tmp_path / "out" / "explanation.json").read_text("utf-8")) == told


def test_two_files_give_a_sheet_two_maps_and_the_numbers(pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = explanation.write(*pair, out, Settings())
    assert json.loads((out / "explanation.json").read_text("utf-8")) == told
    truth = explain.explain(*(pixels.read_png(path) for path in pair))
    assert told["distance"] == pytest.approx(truth.distance, abs=1e-4)
    assert told["model"]["sha256"] in {card.sha256 for card in models.cards()}
    for name, path, field in zip("ab", pair, truth[1:], strict=True):
        kept = tifffile.imread(out / told[name]["map"])
        assert kept.dtype == np.float32
        assert np.array_equal(kept, field)
        assert told[name]["size"] == list(field.shape)
        assert told[name]["path"] == str(path)
        assert told[name]["differ"] == pytest.approx(float(np.maximum(field, 0).mean()), abs=1e-5)
        assert told[name]["alike"] == pytest.approx(float(np.maximum(-field, 0).mean()), abs=1e-5)
    assert "differ is strongest at the upper right" in told["b"]["words"]
    assert "no evidence of an edit" in told["note"]
    sheet = pixels.read_png(out / "explanation.png")
    assert min(sheet.shape[:2]) > 600
    yellow = (sheet[..., 0] > 180) & (sheet[..., 2] < 110)
    assert yellow.sum() > 500


def test_the_same_file_twice_is_told_as_such(pair: tuple[Path, Path], tmp_path: Path) -> None:
    told = explanation.write(pair[0], pair[0], tmp_path / "out", Settings())
    assert told["distance"] == 0
    assert told["a"]["words"] == told["b"]["words"] == "to the network both are the same picture"


def test_what_is_not_one_picture_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        explanation.write(pair[0], tmp_path, tmp_path / "out", Settings())
    text = tmp_path / "notes.md"
    text.write_text("no picture")
    with pytest.raises(InputError, match=r"notes\.md could not be read as a picture"):
        explanation.write(pair[0], text, tmp_path / "out", Settings())
    many = tmp_path / "many.tif"
    tifffile.imwrite(many, np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8), photometric="minisblack")
    with pytest.raises(UsageError, match="holds 3 pictures"):
        explanation.write(pair[0], many, tmp_path / "out", Settings())
