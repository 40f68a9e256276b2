"""The table and the figures of cicconet-2019: by hand, from made results, and on trainings of two steps."""

from __future__ import annotations

import base64
import json
import os
import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

import rivals
import sn_accuracy
import sn_cloud
import sn_figures

from twinscope.train import data, drawn, evaluate, protocol, triplets

HERE = Path(__file__).resolve().parents[2] / "papers" / "cicconet-2019"


def toy_classes(count: int = 8, versions: int = 3) -> protocol.Classes:
    rng = np.random.default_rng(0)
    pictures = [np.repeat(p[..., None], 3, 2) for p in drawn.family(rng, list(range(count)))]
    views = [
        np.stack([data.view(p, rng, "anchor", 128), *(data.view(p, rng, "v02", 128) for _ in range(versions))])
        for p in pictures
    ]
    windows = [data.Window(k, k, 0, "bccd", "light" if k % 2 else "dark", (0, 0, 1, 1)) for k in range(count)]
    return protocol.Classes(np.stack(views), windows)


def test_likelihood_is_equation_2() -> None:
    assert sn_figures.likelihood([1.0, 0.0, 1 + np.log(3)]).tolist() == pytest.approx([50, 100 / (1 + np.exp(-1)), 25])


def test_a_run_asks_nothing_that_is_unsure() -> None:
    cross = np.arange(3 * 3, dtype=np.float32).reshape(3, 3, 1)
    unsure = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]], np.bool_)
    for seed in range(20):
        near, far = sn_figures.one_run(protocol.Distances(cross, unsure), np.random.default_rng(seed))
        assert near.tolist() == [0, 4, 8]
        assert far[0] == 2
        assert far[1] == 5
        assert far[2] in (6, 7)


def test_groups_are_brought_together() -> None:
    found = evaluate.paired(np.arange(9).reshape(3, 3), [1, 0, 1])
    ordered, groups = sn_figures.by_group(found, [1, 0, 1])
    assert groups == [0, 1, 1]
    assert ordered.cross[..., 0].tolist() == [[4, 3, 5], [1, 0, 2], [7, 6, 8]]
    assert ordered.unsure.tolist() == [[False, False, False], [False, False, True], [False, True, False]]


def test_components_of_points_on_a_line() -> None:
    line = np.outer([-2.0, 0.0, 1.0, 5.0], [3.0, 4.0, 0.0])
    places, share = sn_cloud.components(line, 2)
    assert share == pytest.approx([1, 0], abs=1e-9)
    assert np.abs(np.diff(places[:, 0])) == pytest.approx([10, 5, 20])
    assert places.mean(0) == pytest.approx([0, 0], abs=1e-9)


def test_the_page_holds_its_data_and_asks_for_nothing() -> None:
    thumbs = [np.full((32, 32), 10 * k, np.uint8) for k in range(3)]
    places = np.array([[0.0, 1, 2], [4, 0, 0], [-2, 0, 0]])
    page = sn_cloud.page(places, np.array([0.5, 0.3, 0.1]), thumbs, ["b_c", "a", "a"], np.array([0, 1, 1]), "</script>")
    given = json.loads(re.search(r"const given = (\{.*\});\n", page).group(1))  # type: ignore[union-attr]
    assert given["points"] == [[0, 0.25, 0.5, 1, 0], [1, 0, 0, 0, 1], [-0.5, 0, 0, 0, 1]]
    assert given["kinds"] == ["a", "b c"]
    assert page.count("</script>") == 1
    assert "default-src 'none'" in page
    assert re.findall(r"https?:|src=|href=|url\(|import ", page) == []
    sprite = np.frombuffer(base64.b64decode(given["sprite"].split(",")[1]), np.uint8)
    assert cv2.imdecode(sprite, 0)[0, [0, 32, 64]].tolist() == [0, 10, 20]


def test_the_table_says_what_was_measured_and_what_was_not() -> None:
    table = runpy.run_path(str(HERE / "readme.py"))["table"]
    part = {"mean": 0.91234, "interval": [0.9, 1.0], "classes": 402, "groups": 80}
    training = {"steps": 1200, "batch": 128, "windows": 3000, "minutes": 240.0, "threads": 2}
    results = {
        "networks": {"SN": {"sets": {"synthetic": part, "copymove": part}, "training": training}},
        "missing": {"SN[G]": "not trained here"},
        "circumstances": {"device": "a machine", "commit": "abc", "date": "2026-01-01"},
    }
    text = "\n".join(table(results))
    assert "| SN, published | .853731 |  |  |  | .861574 |" in text
    assert "| SN, here | .912 [.900, 1.000] |  |  | .912 [.900, 1.000] |  |" in text
    assert "| SN[G], here | not trained here |" in text
    assert (
        "SN: 1,200 steps (the papers: 20,000) of 128 triplets from 3,000 windows, 240 minutes on 2 thread(s)." in text
    )
    assert "synthetic 402 of 80 groups" in text
    columns = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert columns == {7}
    assert "Nothing has been measured here yet" in "\n".join(table(None))


def test_accuracy_by_hand() -> None:
    cross = np.full((6, 6, 2), 2.0, np.float32)
    for k in range(6):
        cross[k, k] = 0.5
    cross[0, 0] = 1.5  # one class is never found, all others always
    part = sn_accuracy.judged(protocol.Distances(cross, np.zeros((6, 6), np.bool_)), list(range(6)))
    assert part["mean"] == pytest.approx(1 - 1 / 12, abs=1e-6)
    assert len(part["runs"]) == 10
    assert (part["same"], part["different"]) == (pytest.approx(5 / 6, abs=1e-4), 1)
    assert part["interval"][0] < part["mean"] <= part["interval"][1] == 1


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train SN for two steps of four triplets, watched."""
    folder = tmp_path_factory.mktemp("runs")
    pictures = np.stack(drawn.family(np.random.default_rng(1), list(range(6))))
    plan = triplets.Plan(steps=2, batch=4, every=1, fixed=5, bf16=False)
    triplets.train(
        pictures, pictures, plan, folder / "sn-v02", lambda network: {"test_accuracy": 0.5, "real_blots": 0.7}
    )
    return folder


def test_what_is_watched_stands_in_the_curve(runs: Path) -> None:
    rows = (runs / "sn-v02" / "curve.csv").read_text().splitlines()
    assert rows[0].endswith("val_accuracy,test_accuracy,real_blots")
    assert [row.split(",")[-2:] for row in rows[1:]] == [["0.5", "0.7"]] * 2


def test_a_watch_looks_at_test_groups_and_real_edits(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = np.stack(drawn.family(np.random.default_rng(1), list(range(6))))
    monkeypatch.setattr(triplets, "grey_windows", lambda split, rng, many: {"test": pictures}[split])
    monkeypatch.setattr(evaluate, "SETS", {"copymove": evaluate.SETS["copymove"]})
    network = triplets.SN().eval()
    seen = triplets.watcher(triplets.Plan(fixed=5))(network)
    assert set(seen) == {"test_accuracy", "real_copymove"}
    assert seen["real_copymove"] == 0.5  # at the start all lies within 1: half of the answers are right


def test_a_picture_of_any_aspect_is_seen_square() -> None:
    assert triplets.square(np.full((300, 60, 3), 7, np.uint8)).tolist() == [[7] * 128] * 128


def test_the_table_and_all_figures_of_a_tiny_training(shared: Path, runs: Path, tmp_path: Path) -> None:
    test = toy_classes()
    results = sn_accuracy.results(runs, test, sets=("copymove",))
    assert set(results["networks"]) == {"SN", "embedder-1"}
    assert results["missing"] == {"SN[G]": "not trained here (sn-g-v02/best.pt)"}
    assert results["networks"]["SN"]["training"]["steps"] == 2
    assert results["networks"]["SN"]["sets"]["copymove"]["groups"] == 13
    assert results["networks"]["embedder-1"]["sets"]["copymove"]["mean"] > 0.9
    (method,), _ = rivals.methods(["SN"], runs)
    sn_figures.draw(method, test, tmp_path, sets=("copymove",))
    sn_figures.training(runs / "sn-v02" / "curve.csv", tmp_path / "training.png")
    sn_figures.deformations(list(drawn.family(np.random.default_rng(2), [1, 2])), tmp_path / "deformations.png")
    names = ["classes-copymove", "classes-synthetic", "deformations", "likelihood-copymove", "likelihood-synthetic",
             "neighbours", "pca", "pca-points", "right", "training", "wrong"]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*(f"{n}.png" for n in names), "pca.html"])
    for name in names:
        assert cv2.imread(str(tmp_path / f"{name}.png")).std() > 5, name
    sn_figures.keep("SN[G]", tmp_path, tmp_path / "kept")
    kept = ["SN-G-classes-synthetic", "SN-G-likelihood-synthetic", "SN-G-pca-points", "SN-G-training", "deformations"]
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [f"{name}.png" for name in kept]
    shown = "\n".join(runpy.run_path(str(HERE / "readme.py"))["figures"](tmp_path / "kept"))
    assert re.findall(r"figures/([\w-]+)\.png", shown) == kept
    assert "![Classes against classes (2019, figure 3c): SN[G]](figures/SN-G-classes-synthetic.png)" in shown


def test_figures_of_a_network_that_was_not_trained_are_refused(tmp_path: Path, capsys: Any) -> None:
    assert sn_figures.main(["--network", "SN", "--runs", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "not trained here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def run(tmp_path: Path, *arguments: str) -> tuple[int, list[str], str]:
    """Run run.sh with a python that only writes down what it was asked."""
    stub, log = tmp_path / "python", tmp_path / "log"
    stub.write_text(f'#!/bin/sh\necho "$*" >> {log}\n')
    stub.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(stub)}
    done = subprocess.run([HERE / "run.sh", *arguments], env=environment, capture_output=True, text=True, check=False)
    return done.returncode, log.read_text().splitlines() if log.exists() else [], done.stderr


def test_run_trains_both_networks_and_makes_all(tmp_path: Path) -> None:
    code, asked, _ = run(tmp_path, "--minutes", "9", "--steps", "3", "--faithful", "--runs", "R", "--figures", "F")
    assert code == 0
    first, second, table, figures, figures_g, docs = asked
    assert "twinscope.train.triplets --name sn-v02 --version v02 --watch --minutes 4.5 --threads 2 --runs R" in first
    assert first.endswith("--steps 3 --faithful")
    assert "--name sn-g-v02 --version v02 --manipulations geometric --watch --minutes 4.5" in second
    assert table.startswith(
        "papers/cicconet-2019/sn_accuracy.py --runs R --classes 402 --json papers/cicconet-2019/res"
    )
    assert "--network SN --runs R --classes 402 -o F/SN --keep papers/cicconet-2019/figures" in figures
    assert "--network SN[G]" in figures_g
    assert docs == "docs/generate.py"


def test_run_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    code, asked, told = run(tmp_path, "--magic", "1")
    assert (code, asked) == (2, [])
    assert "--magic is not an option" in told
    assert run(tmp_path, "--minutes")[0] == 2
