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

from twinscope.detect import embed
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
    assert "older run" not in text
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
    """Train SN for two steps of four triplets, mended and faithful, watched."""
    folder = tmp_path_factory.mktemp("runs")
    pictures = np.stack(drawn.family(np.random.default_rng(1), list(range(6))))
    plan = triplets.Plan(steps=2, batch=4, every=1, fixed=5, bf16=False)
    for name, faithful in (("sn-v02", False), ("sn-v02-faithful", True)):
        triplets.train(pictures, pictures, plan._replace(faithful=faithful), folder / name,
                       lambda network: {"test_accuracy": 0.5, "real_blots": 0.7})  # fmt: skip
    return folder


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put drawn pictures where the scripts read ../shared: eight classes, four pairs of real edits."""
    pictures = drawn.family(np.random.default_rng(3), list(range(4)))
    pairs = evaluate.Pairs(pictures, pictures, [0, 1, 2, 2])
    monkeypatch.setattr(evaluate, "real_pairs", lambda name: pairs)
    monkeypatch.setattr(protocol, "classes", lambda split, count, *args, **more: toy_classes(min(count, 8)))
    monkeypatch.setattr(sn_figures, "example_windows", lambda count: pictures[:2])
    monkeypatch.setattr(sn_figures, "drawn_classes", toy_classes)


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


FIGURES = ["classes-copymove", "classes-synthetic", "likelihood-copymove", "likelihood-synthetic", "neighbours", "pca",
           "pca-points", "right", "training", "wrong"]  # fmt: skip


def test_the_table_and_all_figures_of_a_tiny_training(shared: Path, runs: Path, tmp_path: Path) -> None:
    test = toy_classes()
    results = sn_accuracy.results(runs, test, sets=("copymove",))
    assert list(results["networks"]) == ["SN", "SN, faithful", embed.MODEL]
    assert results["missing"] == {
        "SN[G]": "not trained here (sn-g-v02/best.pt)",
        "SN[G], faithful": "not trained here (sn-g-v02-faithful/best.pt)",
    }
    for name, faithful in (("SN", False), ("SN, faithful", True)):
        training = results["networks"][name]["training"]
        assert (training["steps"], training["faithful"]) == (2, faithful)
    assert results["networks"]["SN"]["sets"]["copymove"]["groups"] == 13
    assert results["networks"][embed.MODEL]["sets"]["copymove"]["mean"] > 0.9
    (method,), _ = rivals.methods(["SN"], runs)
    sn_figures.draw(method, test, tmp_path, sets=("copymove",))
    sn_figures.training(runs / "sn-v02" / "curve.csv", tmp_path / "training.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*(f"{n}.png" for n in FIGURES), "pca.html"])
    for name in FIGURES:
        assert cv2.imread(str(tmp_path / f"{name}.png")).std() > 5, name


def test_what_is_kept_shows_no_picture_of_the_shared_data(runs: Path, tmp_path: Path) -> None:
    (method,), _ = rivals.methods(["SN, faithful"], runs)
    kept = tmp_path / "kept"
    for name in (*sn_figures.KEPT, *sn_figures.DRAWN):
        (tmp_path / name).write_bytes(b"of ../shared: " + name.encode())
    sn_figures.keep(method, tmp_path, kept, toy_classes())
    for name in sn_figures.KEPT:  # they show no picture, and are those of the whole test
        assert (kept / f"SN-faithful-{name}").read_bytes() == b"of ../shared: " + name.encode()
    for name in sn_figures.DRAWN:
        assert b"of ../shared" not in (kept / f"SN-faithful-{name}").read_bytes()
    for name in ("neighbours", "right", "wrong", "pca"):
        assert cv2.imread(str(kept / f"SN-faithful-{name}.png")).std() > 5, name
    assert cv2.imread(str(kept / "deformations.png")).std() > 5
    names = {f"SN-faithful-{name}" for name in (*sn_figures.KEPT, *sn_figures.DRAWN)} | {"deformations.png"}
    assert {path.name for path in kept.iterdir()} == names
    assert {"likelihood-blots.png", "likelihood-photos.png", "likelihood-copymove.png"} < set(sn_figures.KEPT)
    assert {"classes-blots.png", "classes-photos.png", "classes-copymove.png"} < set(sn_figures.KEPT)
    assert not set(sn_figures.KEPT) & set(sn_figures.DRAWN)


def test_a_page_that_is_too_large_is_not_kept(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (method,), _ = rivals.methods(["SN"], runs)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "SN-pca.html").write_text("of an earlier run")
    monkeypatch.setattr(sn_figures, "MOST_BYTES", 5000)
    sn_figures.keep(method, tmp_path, kept, toy_classes())
    assert (tmp_path / "drawn" / "pca.html").stat().st_size > 5000
    assert not (kept / "SN-pca.html").exists()


def test_drawn_classes_are_always_the_same_and_none_is_blank(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[np.ndarray] = []
    whole = protocol.classes_of
    monkeypatch.setattr(protocol, "classes_of", lambda pixels, *rest: taken.append(pixels) or whole(pixels, *rest))
    monkeypatch.setattr(data, "micrographs", lambda split: pytest.fail("drawn pictures are not of ../shared"))
    one, again = (sn_figures.drawn_classes(families=26, members=4, versions=1) for _ in range(2))
    assert one.views.shape == (104, 2, 128, 128)
    assert np.array_equal(one.views, again.views)
    assert not any(map(data.blank, taken[0]))  # family 24 has a member that is
    assert np.bincount([w.group for w in one.windows]).tolist() == [4] * 26
    assert len({w.image for w in one.windows}) == 104
    assert not data.relations(one.windows)[1].any()  # members of a family are different for certain


@pytest.mark.usefixtures("toys")
def test_the_figures_of_the_shipped_network_need_no_training(tmp_path: Path) -> None:
    out, kept = tmp_path / "out", tmp_path / "kept"
    kept.mkdir()
    for name in ("embedder-0-pca.png", "SN-pca.png", "embedder-0-notes.txt"):
        (kept / name).write_text("of before")
    assert sn_figures.main(["--runs", str(tmp_path), "-o", str(out), "--keep", str(kept)]) == 0
    names = [f"{embed.MODEL}-{name}" for name in (*sn_figures.KEPT, *sn_figures.DRAWN) if name != "training.png"]
    expected = {*names, "deformations.png", "SN-pca.png", "embedder-0-notes.txt"}
    assert {path.name for path in kept.iterdir()} == expected  # what was kept of an older network has gone
    shown = "\n".join(runpy.run_path(str(HERE / "readme.py"))["figures"](kept))
    assert set(re.findall(r"figures/([\w.-]+)\)", shown)) == expected - {"embedder-0-notes.txt"}
    assert f"real: blots (2019, figure 3c): {embed.MODEL}](figures/{embed.MODEL}-classes-blots.png)" in shown
    assert f"(figures/{embed.MODEL}-pca.png)\n\n[As a page to move in](figures/{embed.MODEL}-pca.html)" in shown
    assert "SN-pca.html" not in shown


def test_every_figure_has_a_caption_with_the_numbers_of_the_papers(tmp_path: Path) -> None:
    page = runpy.run_path(str(HERE / "readme.py"))
    assert page["NAMES"] == {sn_figures.slug(name): name for name in sn_accuracy.NAMES}
    for name in (*sn_figures.KEPT, *sn_figures.DRAWN, "deformations.png"):
        assert Path(name).stem in page["FIGURES"], name
    for name, numbers in (("likelihood-synthetic", "(2019, figure 3b)"), ("classes-synthetic", "(2019, figure 3d)"),
                          ("likelihood-photos", "(2018, figure 4; 2019, 3a)"), ("classes-photos", "(2019, figure 3c)"),
                          ("neighbours", "(2019, figure 3e)"), ("wrong", "(2018, figure 5)")):  # fmt: skip
        assert page["FIGURES"][name].endswith(numbers), name
    for name in ("embedder-0-right.png", "SN-G-faithful-classes-blots.png"):
        (tmp_path / name).touch()
    shown = list(page["figures"](tmp_path))
    assert shown[1].startswith("![Classes against classes, real: blots (2019, figure 3c): SN[G], faithful](")
    assert shown[3].startswith("![Pairs of drawn pictures that it tells right (2018, figure 5): embedder-0](")


@pytest.mark.usefixtures("toys")
def test_rows_that_cannot_be_measured_stay_with_their_date(runs: Path, tmp_path: Path, capsys: Any) -> None:
    path, bare = tmp_path / "new" / "accuracy.json", tmp_path / "bare"
    asked = ["--json", str(path), "--keep", "--runs"]
    assert sn_accuracy.main([*asked, str(runs)]) == 0  # nothing to keep yet
    old = json.loads(path.read_text())
    assert list(old["networks"]) == ["SN", "SN, faithful", embed.MODEL]
    assert all("circumstances" not in row for row in old["networks"].values())
    old["circumstances"] |= {"commit": "0ld", "date": "2020-02-02"}
    old["networks"]["embedder-0"] = old["networks"][embed.MODEL]
    old["networks"][embed.MODEL] = {"about": "is measured anew", "sets": {}}
    path.write_text(json.dumps(old))
    for _ in range(2):  # the date of an old row stays
        assert sn_accuracy.main([*asked, str(bare)]) == 0
        new = json.loads(path.read_text())
        assert list(new["networks"]) == ["SN", "SN, faithful", embed.MODEL]  # what shipped before has gone
        for name in ("SN", "SN, faithful"):
            assert new["networks"][name] == {"circumstances": old["circumstances"]} | old["networks"][name]
        assert "circumstances" not in new["networks"][embed.MODEL]
        assert new["networks"][embed.MODEL]["sets"]["blots"]["groups"] == 3
        assert new["circumstances"]["commit"] != "0ld"
        assert set(new["missing"]) == {"SN[G]", "SN[G], faithful"}
    text = "\n".join(runpy.run_path(str(HERE / "readme.py"))["table"](new))
    told = f"is of an older run, the same pictures: {old['circumstances']['device']}; commit 0ld,\n2020-02-02."
    assert f"The row of SN {told}" in text
    assert f"The row of SN, faithful {told}" in text
    assert text.count("older run") == 2
    assert "| SN, faithful, here | ." in text
    with pytest.raises(SystemExit):
        sn_accuracy.main([*asked, str(bare), "--classes", "7"])
    assert "other classes (SN, synthetic: 8 of 8 groups); its rows cannot stand" in capsys.readouterr().err
    assert json.loads(path.read_text()) == new
    assert sn_accuracy.main([*asked, str(runs), "--classes", "7"]) == 0  # all rows are measured anew: none is kept
    assert all("circumstances" not in row for row in json.loads(path.read_text())["networks"].values())
    assert sn_accuracy.main(["--json", str(path), "--runs", str(bare)]) == 0
    assert list(json.loads(path.read_text())["networks"]) == [embed.MODEL]


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
    code, asked, _ = run(tmp_path, "--minutes", "9", "--steps", "3", "--runs", "R", "--figures", "F")
    assert code == 0
    first, second, table, figures, figures_g, shipped, docs = asked
    assert "twinscope.train.triplets --name sn-v02 --version v02 --watch --minutes 4.5 --threads 2 --runs R" in first
    assert first.endswith("--steps 3")
    assert "--name sn-g-v02 --version v02 --manipulations geometric --watch --minutes 4.5" in second
    assert table.startswith(
        "papers/cicconet-2019/sn_accuracy.py --keep --runs R --classes 402 --json papers/cicconet-2019/res"
    )
    assert figures.endswith("--network SN --runs R --classes 402 -o F/SN --keep papers/cicconet-2019/figures")
    assert "--network SN[G] --runs R --classes 402 -o F/SN[G] " in figures_g
    assert "sn_figures.py --runs R --classes 402 -o F/shipped --keep papers/cicconet-2019/figures" in shipped
    assert docs == "docs/generate.py"


def test_a_faithful_run_has_names_of_its_own(tmp_path: Path) -> None:
    code, asked, _ = run(tmp_path, "--faithful", "--runs", "R", "--figures", "F")
    assert code == 0
    first, second, table, figures, figures_g, *_ = asked
    assert "--name sn-v02-faithful --version v02 --watch" in first
    assert "--name sn-g-v02-faithful --version v02 --manipulations geometric --watch" in second
    for line in (first, second):
        assert line.endswith("--runs R --faithful")  # batch and looks are the recipe's own
    assert " --keep " in table
    assert "--network SN, faithful --runs R --classes 402 -o F/SN, faithful --keep" in figures
    assert "--network SN[G], faithful --runs R" in figures_g
    trained = {line.split("--name ")[1].split()[0] for line in (first, second)}
    assert trained == {rivals.CHECKPOINTS[name] for name in ("SN, faithful", "SN[G], faithful")}


def test_run_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    code, asked, told = run(tmp_path, "--magic", "1")
    assert (code, asked) == (2, [])
    assert "--magic is not an option" in told
    assert run(tmp_path, "--minutes")[0] == 2
