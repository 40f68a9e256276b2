"""The second table of cicconet-2019: its tasks, its parts and its page, on made results and tiny drawn tasks."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

import cells
import sn_segment
import torch

from twinscope.detect import maps
from twinscope.models import card as cards
from twinscope.settings import Segment
from twinscope.train import drawn, export_maps, triplets

HERE = Path(__file__).resolve().parents[2] / "papers" / "cicconet-2019"


def tiny() -> sn_segment.Task:
    made = [cells.draw(np.random.default_rng(k), 96) for k in range(8)]
    return sn_segment.Task("nuclei", made[:5], made[5:], ["a", "b", "c"])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a tiny drawn task in the place of all tasks."""
    monkeypatch.setattr(sn_segment, "TASKS", {"nuclei": tiny})
    monkeypatch.setattr(sn_segment, "SIZES", (1, 5))
    monkeypatch.setattr(sn_segment, "seen", lambda task: {"pictures": 0, "fields": 0})
    stage = sn_segment.stage_of
    monkeypatch.setattr(sn_segment, "stage_of", lambda m: stage(m).model_copy(update={"most": 2000, "trees": 3}))


def test_the_tasks_are_those_of_the_data(shared: Path) -> None:
    task = sn_segment.nuclei()
    assert (len(task.training), len(task.test)) == (74, 16)
    assert all(image.shape == mask.shape == (360, 360) for image, mask in task.training)
    assert sn_segment.seen(task) == {"pictures": 15, "fields": 15}
    held = sn_segment.fields()
    assert (len(held.training), len(held.test)) == (64, 26)
    assert sn_segment.seen(held) == {"pictures": 12, "fields": 12}
    groups = {row["id"]: row["group"] for row in sn_segment._rows()}
    tested = {groups[name] for name in held.tested}
    assert tested == set(sn_segment.HELD)
    assert sum(group in tested for group in groups.values()) == 26


def test_drawn_cells_differ_from_the_ground_by_their_grain_alone() -> None:
    task = sn_segment.drawn()
    assert (len(task.training), len(task.test)) == (74, 40)
    means = [(image[mask].mean(), image[~mask].mean()) for image, mask in task.test]
    inside, outside = np.mean(means, axis=0)
    assert abs(inside - outside) < 4
    found = [sn_segment.otsu(image) for image, _ in task.test]
    assert np.mean([(a & b).sum() / (a | b).sum() for a, (_, b) in zip(found, task.test, strict=True)]) < 0.35


def test_all_of_a_tiny_table_and_nothing_twice(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--json", str(tmp_path / "r.json"), "--cache", str(tmp_path / "c"), "--graphs", str(tmp_path / "g"),
                 "--tasks", "nuclei", "--sizes", "1", "5", "--draws", "2", "--steps", "2",
                 "--figure", str(tmp_path / "plot.png")]  # fmt: skip
    monkeypatch.setattr(sn_segment, "plan", lambda given: sn_segment.unet.Plan(given.steps, 2, 64, 40, 8, 2))
    assert sn_segment.main(arguments) == 0
    out = json.loads((tmp_path / "r.json").read_text())
    rows = out["tasks"]["nuclei"]["rows"]
    assert set(rows) == {"Otsu", "U-Net", "shipped + RF", "plain + RF", "shipped + plain + RF"}
    assert {name: part["draws"] for name, part in rows["shipped + RF"].items()} == {"1": 2, "5": 1}
    part = rows["shipped + RF"]["5"]
    assert part["iou"]["interval"][0] <= part["iou"]["mean"] <= part["iou"]["interval"][1]
    assert part["iou"]["mean"] > rows["Otsu"]["5"]["iou"]["mean"]
    assert set(out["networks"]) == {"shipped + RF"}
    assert cv2.imread(str(tmp_path / "plot.png")).std() > 5

    def never(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(sn_segment.forest, "grow", never)
    monkeypatch.setattr(sn_segment.unet, "train", never)
    assert sn_segment.main(arguments) == 0


def test_the_maps_of_sn_are_exported_as_they_are(tmp_path: Path) -> None:
    pictures = np.stack(drawn.family(np.random.default_rng(1), list(range(6))))
    plan = triplets.Plan(steps=2, batch=4, every=1, fixed=5, bf16=False)
    triplets.train(pictures, pictures, plan, tmp_path / "run")
    export_maps.main([str(tmp_path / "run" / "best.pt"), "--id", "maps-sn", "--into", str(tmp_path)])
    card = cards.read(tmp_path / "maps-sn.json")
    assert card.training["step"] in (1, 2)
    image = pictures[0][:200, :144]
    seen = maps.features(image, str(tmp_path / "maps-sn.onnx"), Segment(plain=False), 1)
    assert seen.shape == (224, 100, 72)
    network = triplets.load(tmp_path / "run" / "best.pt")
    even = np.pad(image, ((0, 8), (0, 0)), "symmetric")
    with torch.inference_mode():
        last = network.maps(torch.as_tensor(image[:192][None, None]).float())
    assert [part.shape[1] for part in last] == [16, 32, 64, 128]
    planes = torch.as_tensor(maps.planes(maps.grey(image), 1)[None])
    assert planes.shape[2:] == even.shape
    with torch.inference_mode():
        quarter = network.blocks[1](network.blocks[0](planes, 0), 0)[0].numpy()
    # at half size with the middle of the stride: 3/4 of the nearer value and 1/4 of the other, row and column
    by_hand = (9 * quarter[:, 3, 3] + 3 * quarter[:, 3, 4] + 3 * quarter[:, 4, 3] + quarter[:, 4, 4]) / 16
    np.testing.assert_allclose(seen[:32, 7, 7], by_hand, atol=1e-4)
    tiled = maps.features(image, str(tmp_path / "maps-sn.onnx"), Segment(plain=False, tile_px=64), 1)
    np.testing.assert_allclose(tiled, seen, atol=1e-4)


def test_the_maps_of_the_shipped_network_are_made_again(tmp_path: Path) -> None:
    export_maps.main(["embedder-1", "--into", str(tmp_path)])
    assert cards.read(tmp_path / "maps-1.json").sha256 == cards.read(cards.CARDS / "maps-1.json").sha256


def test_the_page_says_what_was_measured_and_what_was_not() -> None:
    page = runpy.run_path(str(HERE / "readme.py"))["segmentation"]
    row = {"draws": 3, "train_s": 12.3, "apply_s": 0.17, "iou": {"mean": 0.9312, "interval": [0.92, 0.94]},
           "pa": {"mean": 0.98, "interval": [0.97, 0.99]}}  # fmt: skip
    task = {"training": 74, "test": 16, "seen": {"pictures": 15, "fields": 15},
            "rows": {"U-Net": {"74": row, "5": row}, "shipped + RF": {"1": row}}}  # fmt: skip
    results = {
        "tasks": dict.fromkeys(("nuclei", "fields", "drawn"), task),
        "unet": sn_segment.unet.Plan()._asdict(), "forest": Segment().model_dump(), "networks": {},
        "circumstances": {"device": "a machine", "commit": "abc", "date": "2026-01-01"},
    }  # fmt: skip
    text = "\n".join(page(results))
    assert "| SN + RF, published | .61537368 | .88659722 |  |  |  |" in text
    assert "| U-Net, here | .931 [.920, .940] | .980 [.970, .990] | .931 [.920, .940] | 12 | 0.17 |" in text
    assert "| SN + RF, here | not measured |" in text
    assert "| shipped + RF | .931 (3) |  |  |" in text
    assert "learned from 15 of the 16 test images" in text
    assert "Nothing has been measured here yet" in "\n".join(page(None))


def test_the_script_exports_what_is_trained_and_measures(tmp_path: Path) -> None:
    stub, log = tmp_path / "python", tmp_path / "log"
    stub.write_text(f'#!/bin/sh\necho "$*" >> {log}\n')
    stub.chmod(0o755)
    (tmp_path / "runs" / "sn-g-v02").mkdir(parents=True)
    (tmp_path / "runs" / "sn-g-v02" / "best.pt").write_text("")
    command = [HERE / "segment.sh", "--runs", str(tmp_path / "runs"), "--steps", "9"]
    subprocess.run(command, env={**os.environ, "PYTHON": str(stub)}, check=True)
    exported, measured, docs = log.read_text().splitlines()
    assert exported.endswith("sn-g-v02/best.pt --id maps-sn-g --into .cache/maps")
    assert "sn_segment.py --json papers/cicconet-2019/results/segmentation.json" in measured
    assert measured.endswith("--steps 9")
    assert docs == "docs/generate.py"
