"""Training the metric on a user's own pictures: it learns, stops, goes on, and says what it cannot use."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from twinscope import manipulate, metrics, models, pixels  # noqa: E402
from twinscope.detect.embed import embed  # noqa: E402
from twinscope.errors import ModelError, UsageError  # noqa: E402
from twinscope.models import card as card_of  # noqa: E402
from twinscope.settings import Settings, Training  # noqa: E402
from twinscope.train import data, folders, loop, metric, protocol  # noqa: E402
from twinscope.train.networks import Embedder  # noqa: E402

Run = Callable[..., tuple[int, str, str]]
MOST = 10**8


def small() -> Embedder:
    """Return a small network; with a stem of 8 channels torch 2.15 crashes on some processors at 96 px."""
    return Embedder((16, 16, 16, 32), 16)


def picture(seed: int, size: tuple[int, int] = (180, 220)) -> data.Bytes:
    grain = np.random.default_rng(seed).integers(0, 256, (9 + seed % 5, 9 + seed % 7, 3), np.uint8)
    return np.asarray(cv2.resize(grain, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with eight pictures to train on, two of them of one group, and five to validate on."""
    for name, seeds in (("training", range(8)), ("validation", range(20, 25))):
        (tmp_path / name).mkdir()
        for seed in seeds:
            pixels.write_png(tmp_path / name / f"p{seed:02}.png", picture(seed))
    (tmp_path / "training" / "slide").mkdir()
    for seed in (6, 7):
        (tmp_path / "training" / f"p{seed:02}.png").rename(tmp_path / "training" / "slide" / f"p{seed:02}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(metric, "Embedder", small)
    return tmp_path


COMMAND = ("train", "metric", "training", "--validation", "validation", "-o", "run", "--threads", "1")


def curve(run: Path) -> list[dict[str, str]]:
    with (run / "curve.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def test_it_learns_and_leaves_a_graph_a_card_and_a_curve(
    run: Run, place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    code, out, err = run(*COMMAND, "--epochs", "14", "--batch", "8", "--json")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert (told["epochs"], told["stopped"], told["again"]) == (14, "epochs", False)
    names = ["best.pt", "curve.csv", "curve.svg", "last.pt", "metric.json", "metric.onnx", "run.json"]
    assert sorted(path.name for path in (place / "run").iterdir()) == names
    rows = curve(place / "run")
    assert [row["step"] for row in rows] == [str(k) for k in range(1, 15)]  # eight pictures are one batch
    losses = [float(row["loss"]) for row in rows]
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])

    monkeypatch.setattr(card_of, "CARDS", place / "run")
    monkeypatch.setattr(card_of, "WEIGHTS", place / "run")
    models.load.cache_clear()
    card = card_of.read(place / "run" / "metric.json")
    assert models.verify("metric") <= card.probe.atol
    assert card.training["data"] == "the user's own pictures"
    assert card.training["folders"] == json.loads((place / "run" / "run.json").read_text())["data"]
    assert card.training["settings"] == Training(epochs=14, batch=8).model_dump()
    assert card.training["twinscope"]
    assert card.metrics["v02"] == told["validation"]
    assert card.licence.startswith("the user's own")

    held = folders.read(Path("validation"), MOST, lambda done, total: None)
    test = folders.classes(held, "v02", 1)
    network = small().eval()
    network.load_state_dict(torch.load("run/best.pt", weights_only=True)["network"])
    views = test.views[:, :, 16:112, 16:112].reshape(-1, 96, 96)
    with torch.inference_mode():
        expected = network.directions(torch.as_tensor(views)[:, None].float()).numpy()
    given = embed(list(views), "metric")
    radius = np.linalg.norm(given, axis=1)
    assert np.allclose(radius, radius[0], rtol=1e-4)
    assert np.allclose(given / radius[:, None], expected, atol=1e-3)

    found = protocol.distances(lambda x: embed(list(x), "metric"), test)
    border, accuracy = metrics.best_border(found.same().ravel(), found.different())
    assert border == pytest.approx(1, abs=1e-4)
    assert metrics.accuracy(found.same().ravel(), found.different()) == pytest.approx(accuracy)
    assert told["validation"]["accuracy"] == pytest.approx(accuracy, abs=1e-4)
    assert np.median(found.same()) < 1 < np.median(found.different())
    (place / "run" / "metric.onnx").write_bytes((place / "run" / "metric.onnx").read_bytes() + b" ")
    models.load.cache_clear()
    with pytest.raises(ModelError, match="not the file"):
        models.load("metric")


def finish(run: Path, record: dict[str, Any], *_: object) -> dict[str, Any]:
    """Stand for the export, which takes seconds."""
    for name in metric.FILES[:2]:
        (run / name).write_text("")
    return {"state": torch.load(run / "last.pt", weights_only=True)["state"]["step"]}


def train(place: Path, run: str, **options: Any) -> metric.Trained:
    wanted = Training(**({"epochs": 4, "batch": 4} | options))
    return metric.train(place / "training", place / "validation", place / run, wanted, Settings(threads=1))


def interrupted(patch: pytest.MonkeyPatch, owner: object, name: str, turn: int) -> None:
    """Make the `turn`-th call of a function an interruption."""
    function, calls = getattr(owner, name), []

    def call(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == turn:
            raise KeyboardInterrupt
        return function(*arguments)

    patch.setattr(owner, name, call)


save = loop.save


def torn(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint, but be interrupted at last.pt: the row of the epoch is written, the checkpoint is not."""
    if path.name == "last.pt":
        raise KeyboardInterrupt
    save(path, content)


def test_an_interrupted_run_ends_with_the_same_weights(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric, "_finish", finish)
    train(place, "whole")
    with monkeypatch.context() as patch:
        interrupted(patch, metric, "judge", 3)  # in the third epoch, before it is judged
        with pytest.raises(KeyboardInterrupt):
            train(place, "parts")
    assert len(curve(place / "parts")) == 2
    with monkeypatch.context() as patch:
        patch.setattr(loop, "save", torn)
        with pytest.raises(KeyboardInterrupt):
            train(place, "parts")
    assert len(curve(place / "parts")) == 3
    train(place, "parts")
    for name in ("last.pt", "best.pt"):
        whole, parts = (torch.load(place / run / name, weights_only=True) for run in ("whole", "parts"))
        assert all(torch.equal(value, parts["network"][key]) for key, value in whole["network"].items()), name
    assert curve(place / "parts") == curve(place / "whole")
    assert [row["step"] for row in curve(place / "parts")] == ["2", "4", "6", "8"]  # two batches an epoch


def test_an_interruption_is_one_sentence(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, metric, "judge", 2)
    code, out, err = run(*COMMAND, "--epochs", "3")
    assert (code, out) == (130, "")
    assert err == "twinscope: interrupted; run the same command again to go on from what is in run\n"
    assert torch.load("run/last.pt", weights_only=True)["state"]["step"] == 1


def test_patience_ends_a_run_and_it_is_not_done_again(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.1, 0.5, 0.4, 0.6, 0.6, 0.5, 0.3, 0.9])
    same = {"best_accuracy": 0.5, "ir1": 0.5, "tpr_1e-3": 0.5, "best_border": 0.5}
    monkeypatch.setattr(metric, "judge", lambda network, test: same | {"score": next(scores)})
    code, out, _ = run(*COMMAND, "--epochs", "50", "--patience", "3", "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["epochs"], told["best_epoch"], told["best_score"], told["stopped"]) == (7, 5, 0.6, "patience")
    before = {path: path.read_bytes() for path in (place / "run").iterdir()}
    code, out, _ = run(*COMMAND, "--epochs", "50", "--patience", "3")
    assert code == 0
    assert out.startswith(
        "this run was finished before; nothing is done again\nlearned from 8 pictures, chosen by 5; 7 "
    )
    assert "TPR at FPR 1e-3                       too few to say" in out
    assert {path: path.read_bytes() for path in (place / "run").iterdir()} == before
    monkeypatch.setattr(metric, "_finish", finish)
    (place / "run" / "metric.onnx").unlink()  # what is missing is made again from the checkpoint, without training
    assert train(place, "run", epochs=50, patience=3, batch=32).told == {"state": 7}


def test_a_run_of_other_settings_or_pictures_is_refused(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric, "_finish", finish)
    train(place, "run", epochs=1)
    for options, word in (
        (["--epochs", "2", "--batch", "4"], "--epochs 1, not 2"),
        (["--epochs", "1", "--batch", "5"], "--batch 4, not 5"),
        (["--epochs", "1", "--batch", "4", "--preset", "figure"], "--preset v02, not figure"),
    ):
        code, out, err = run(*COMMAND, *options)
        assert (code, out) == (2, "")
        assert word in err
    assert train(place, "run", epochs=1).again
    (place / "validation" / "p20.png").unlink()
    with pytest.raises(UsageError, match="the validation pictures are not those"):
        train(place, "run", epochs=1)
    (place / "training" / "p00.png").rename(place / "training" / "slide" / "p00.png")
    with pytest.raises(UsageError, match="the training pictures are not those"):
        train(place, "run", epochs=1)


def test_what_cannot_be_used_is_told_and_left_out(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "training" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    pixels.write_png(place / "training" / "blank.png", np.full((90, 90), 200, np.uint8))
    shutil.copy(place / "training" / "p01.png", place / "training" / "slide" / "again.png")
    (place / "validation" / "paper.pdf").write_bytes(b"%PDF-1.4")
    code, out, _ = run(*COMMAND, "--epochs", "1", "--json")
    told = json.loads(out)
    assert (code, told["pictures"]) == (3, {"training": 8, "validation": 5})
    assert {Path(one["path"]).name: one["reason"].split(";")[0] for one in told["problems"]} == {
        "torn.png": told["problems"][2]["reason"],
        "blank.png": "it shows next to nothing",
        "again.png": "a copy of training/p01.png, pixel for pixel",
        "paper.pdf": "PDF is not a picture file",
    }
    assert "the picture is damaged" in told["problems"][2]["reason"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["training", "--validation", "none", "-o", "run"], "none does not exist"),
        (["training", "--validation", "notes.txt", "-o", "run"], "notes.txt is a file; name a folder of pictures"),
        (["training", "--validation", "./training", "-o", "run"], "training is both; what is trained on cannot"),
        (["bare", "--validation", "validation", "-o", "run"], "bare holds no picture that can be used"),
        (["bad", "--validation", "validation", "-o", "run"], "1 files were left out, such as bad/torn.png: the pict"),
        (
            ["training", "--validation", "training/slide", "-o", "run"],
            "slide/p06.png is the same picture as training/s",
        ),
        (["training", "--validation", "one", "-o", "run"], "the validation pictures are all of one group, one/slide/p"),
        (["training", "--validation", "validation", "-o", "training/run"], "training/run lies in training; name a"),
        (["training", "--validation", "validation", "-o", "notes.txt"], "notes.txt is a file; name a folder"),
        (["training", "--validation", "validation", "-o", "foreign"], "foreign holds files that are not of a training"),
        (["training", "--validation", "validation", "-o", "broken"], "run.json is no record of a training"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_2(arguments: list[str], sentence: str, run: Run, place: Path) -> None:
    for name in ("bare", "bad", "foreign", "broken", "one/slide"):
        (place / name).mkdir(parents=True)
    (place / "bad" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (place / "broken" / "run.json").write_text("[1]")
    for seed in (40, 41):
        pixels.write_png(place / "one" / "slide" / f"p{seed}.png", picture(seed))
    for path in ("notes.txt", "foreign/mine.txt"):
        (place / path).write_text("mine")
    before = sorted(place.rglob("*"))
    code, out, err = run("train", "metric", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("twinscope: ")
    assert sentence in err
    assert err.count("\n") == 1
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("output", ["notes.txt/run", "/proc/run", "x" * 300])
def test_a_run_that_cannot_be_made_is_told_before_pictures_are_read(
    output: str, run: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "read", lambda *_: pytest.fail("pictures are read"))
    (place / "notes.txt").write_text("mine")
    code, out, err = run("train", "metric", "training", "--validation", "validation", "-o", output)
    assert (code, out) == (2, "")
    assert err.startswith(f"twinscope: the folder {output} cannot be ")
    assert err.endswith("; name another\n")


def test_a_folder_whose_name_is_no_text_is_read(place: Path) -> None:
    (place / "training").rename(place / os.fsdecode(b"tr\xfc"))
    own = folders.read(Path(os.fsdecode(b"tr\xfc")), MOST, lambda done, total: None)
    assert own.names[0] == "tr%FC/p00.png"
    assert own.groups() == 7  # two of the eight are of one sub-folder


def test_a_training_that_diverges_is_one_sentence(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Embedder, "directions", lambda network, grey: network.place(*network.maps(grey)) * np.nan)
    code, out, err = run(*COMMAND, "--epochs", "2", "--rate", "0.5")
    assert (code, out) == (2, "")
    assert err.startswith(
        "twinscope: the training diverges at --rate 0.5 (the loss is no number any more); give a lower"
    )
    assert not (place / "run" / "last.pt").exists()


def test_an_epoch_shows_every_picture_once(place: Path) -> None:
    own = folders.read(place / "training", MOST, lambda done, total: None)
    batches = folders.EpochBatches(own.stock, 3, 5, 64, 2, "v02")
    assert (batches.each, len(batches)) == (2, 4)
    first, second = ([batches.numbers(2 * epoch + turn) for turn in range(2)] for epoch in range(2))
    assert [len(part) for part in first] == [4, 4]  # nearly one size, never 5 and 3
    assert all(sorted(part[0] + part[1]) == list(range(8)) for part in (first, second))
    assert first != second
    with pytest.raises(IndexError):
        batches[4]
    again = folders.EpochBatches(own.stock, 3, 5, 64, 2, "v02")
    assert all(np.array_equal(a, b) for a, b in zip(batches[1], again[1], strict=True))
    assert not np.array_equal(batches[1].views, batches[3].views)


def test_pictures_of_one_group_are_unsure_and_tiles_of_one_picture_differ(tmp_path: Path) -> None:
    (tmp_path / "slide").mkdir()
    for seed, name in enumerate(("slide/a.png", "slide/b.png", "c.png")):
        pixels.write_png(tmp_path / name, picture(seed, (700, 900)))
    own = folders.read(tmp_path, MOST, lambda done, total: None)
    assert [one.group for one in own.stock.pictures] == [0, 1, 1]
    assert own.groups() == 2
    batches = folders.EpochBatches(own.stock, 0, 4, 64, 20, "geometric")
    sizes = set()
    for step in range(20):
        views, same, unsure = batches[step][:3]
        windows = len(views) // 3
        sizes.add(windows)
        assert np.array_equal(same, np.tile(np.eye(windows, dtype=bool), (3, 3)))
        groups, k = [own.stock.pictures[n].group for n in batches.numbers(step)], windows // 3
        if windows == 6:  # two tiles a picture
            expected = np.array(
                [[groups[a // k] == groups[b // k] and a // k != b // k for b in range(6)] for a in range(6)]
            )
            assert np.array_equal(unsure[:6, :6], expected)
    assert sizes >= {6}


def test_pictures_are_kept_as_they_are_and_large_ones_shrunk(tmp_path: Path) -> None:
    grey = picture(1)[..., 0]
    for name, image in (("a.png", grey), ("b.png", picture(2)), ("c.png", picture(3, (400, 3200)))):
        pixels.write_png(tmp_path / name, image)
    heard: list[tuple[int, int]] = []
    own = folders.read(tmp_path, MOST, lambda done, total: heard.append((done, total)))
    assert np.array_equal(own.stock.picture(0), np.repeat(grey[..., None], 3, 2))
    assert np.array_equal(own.stock.picture(1), picture(2))
    assert own.stock.picture(2).shape == (200, 1600, 3)
    assert heard[-1] == (3, 3)
    assert folders.read(tmp_path, MOST, lambda done, total: None).stock.sha256 == own.stock.sha256
    assert folders.read(tmp_path, 10**6, lambda done, total: None).troubles[0].status == "refused"


def test_a_picture_whose_windows_are_blank_is_seen_as_a_whole() -> None:
    image = np.full((2000, 300, 3), 255, np.uint8)
    image[900:1100] = picture(5, (200, 300))
    batches = folders.EpochBatches.__new__(folders.EpochBatches)
    seen = set()
    for seed in range(30):
        for box, part in batches._windows(image, np.random.default_rng(seed)):
            seen.add(box == (0, 0, 300, 2000))
            assert part.shape == (256, 256, 3)
            assert not data.blank(part)
    assert seen == {True, False}


def test_a_geometric_view_edits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manipulate, "clutter", lambda image, rng: manipulate.chain(image, rng, []))
    flat = np.full((256, 256, 3), 200, np.uint8)
    for seed in range(12):
        assert data.view(flat, np.random.default_rng(seed), "geometric", 96)[48, 48] == 200
