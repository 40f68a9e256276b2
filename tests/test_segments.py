"""`twinscope segment`: what it writes, what it does not do twice, and what it refuses, on drawn pictures."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
import cells

from twinscope import pixels, segments
from twinscope.detect import forest, segment
from twinscope.errors import BrokenError, RefusedError
from twinscope.models import card as cards
from twinscope.models import runtime
from twinscope.settings import load

Run = Callable[..., tuple[int, str, str]]
FAST = ("--set", "segment.trees=5", "--set", "segment.most=6000", "--threads", "1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with pictures/, masks/ and scribbles/ of five drawn pictures."""
    folder = tmp_path_factory.mktemp("drawn")
    for name in ("pictures", "masks", "scribbles"):
        (folder / name).mkdir()
    for k in range(5):
        rng = np.random.default_rng(k)
        image, mask = cells.draw(rng, 160)
        pixels.write_png(folder / "pictures" / f"p{k}.png", image)
        pixels.write_labels(folder / "masks" / f"p{k}.png", mask.astype(np.uint16) * 300)
        if k < 3:
            pixels.write_png(folder / "scribbles" / f"p{k}.png", cells.scribble(mask, rng))
    return folder


@pytest.fixture(scope="module")
def model(made: Path) -> Path:
    """Return a model that was trained on the first three pictures with their full masks."""
    for name in ("pictures", "masks"):
        (made / "few" / name).mkdir(parents=True)
        for k in range(3):
            shutil.copy(made / name / f"p{k}.png", made / "few" / name)
    chosen = load(None, {"segment": {"trees": 5, "most": 6000}, "threads": 1})
    segments.train(made / "few" / "pictures", made / "few" / "masks", made / "cells.model", chosen)
    return made / "cells.model"


def overlap(out: Path, made: Path, names: list[str]) -> float:
    found = [cv2.imread(str(out / "labels" / f"{name}.png"), cv2.IMREAD_UNCHANGED) > 0 for name in names]
    truth = [cv2.imread(str(made / "masks" / f"{name}.png"), cv2.IMREAD_UNCHANGED) > 0 for name in names]
    return float(np.mean([(a & b).sum() / (a | b).sum() for a, b in zip(found, truth, strict=True)]))


def test_scribbles_on_three_pictures_segment_the_others(run: Run, made: Path, tmp_path: Path) -> None:
    where = tmp_path / "s.model"
    code, told, err = run(
        "segment", "train", str(made / "pictures"), str(made / "scribbles"), "--scribbles", "-o", str(where), *FAST
    )
    assert (code, err) == (0, "")
    assert told.startswith("3 pictures, ")
    assert "2 pictures without a mask left out" in told
    out = tmp_path / "out"
    assert run("segment", "apply", str(where), str(made / "pictures"), "-o", str(out), *FAST)[0] == 0
    assert overlap(out, made, ["p3", "p4"]) > 0.6


def test_apply_writes_all_and_names_it(run: Run, made: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, told, err = run("segment", "apply", str(model), str(made / "pictures"), "-o", str(out), *FAST)
    assert (code, err) == (0, "")
    assert told.endswith(f"folder: {out}\n")
    assert overlap(out, made, ["p3", "p4"]) > 0.7
    labels = cv2.imread(str(out / "labels" / "p3.png"), cv2.IMREAD_UNCHANGED)
    probable = cv2.imread(str(out / "probability" / "p3.png"), cv2.IMREAD_UNCHANGED)
    overlay = cv2.imread(str(out / "overlays" / "p3.png"), cv2.IMREAD_UNCHANGED)
    assert (labels.dtype, labels.shape, probable.dtype, overlay.shape) == (
        np.uint16,
        (160, 160),
        np.uint8,
        (160, 160, 3),
    )
    assert (probable[labels > 0] >= 127).all()
    text = (out / "areas.csv").read_text(encoding="utf-8-sig")
    rows = [row for row in csv.DictReader(io.StringIO(text)) if row["image"].endswith("p3.png")]
    assert [int(row["area_px"]) for row in rows] == np.bincount(labels.ravel())[1:].tolist()
    assert 0.5 < float(rows[0]["probability"]) <= 1


def test_tiles_and_threads_change_nothing(run: Run, made: Path, model: Path, tmp_path: Path) -> None:
    picture = str(made / "pictures" / "p4.png")
    for name, more in (("one", ()), ("tiles", ("--set", "segment.tile_px=64")), ("two", ("--threads", "2"))):
        assert run("segment", "apply", str(model), picture, "-o", str(tmp_path / name), *FAST, *more)[0] == 0
    seen = {name: (tmp_path / name / "probability" / "p4.png").read_bytes() for name in ("one", "tiles", "two")}
    assert seen["one"] == seen["tiles"] == seen["two"]


def test_what_is_done_is_not_done_twice(
    run: Run, made: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, arguments = tmp_path / "out", ("segment", "apply", str(model), str(made / "pictures"))
    asked: list[int] = []
    good = segment.probability

    def counted(*given: object) -> object:
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return good(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(segment, "probability", counted)
    code, _, err = run(*arguments, "-o", str(out), *FAST)
    assert (code, "go on" in err) == (130, True)
    code, told, _ = run(*arguments, "-o", str(out), *FAST, "--json")
    row = json.loads(told)
    assert (code, row["again"], len(row["pictures"]), len(asked)) == (0, 2, 5, 6)
    whole = (out / "areas.csv").read_text()
    assert json.loads(run(*arguments, "-o", str(out), *FAST, "--json")[1])["again"] == 5
    assert (out / "areas.csv").read_text() == whole
    assert len(asked) == 6
    (out / "labels" / "p1.png").unlink()  # what is gone is made again
    assert json.loads(run(*arguments, "-o", str(out), *FAST, "--json")[1])["again"] == 4
    more = ("--set", "segment.threshold=0.7")
    assert json.loads(run(*arguments, "-o", str(out), *FAST, *more, "--json")[1])["again"] == 0


def test_the_table_says_what_the_labels_on_the_disk_say(made: Path, model: Path, tmp_path: Path) -> None:
    """Another picture of the name, or other settings, write over what is there: the earlier row is no more."""
    chosen = load(None, {"segment": {"trees": 5}, "threads": 1})
    other = load(None, {"segment": {"trees": 5, "threshold": 0.8}, "threads": 1})
    for name, picture in (("one", "p0.png"), ("two", "p1.png")):
        (tmp_path / name).mkdir()
        shutil.copy(made / "pictures" / picture, tmp_path / name / "p.png")
    out, again = tmp_path / "out", []
    for folder, settings in (("one", chosen), ("two", chosen), ("one", chosen), ("one", other), ("one", chosen),
                             ("one", chosen)):  # fmt: skip
        found = segments.apply(model, [tmp_path / folder], out, settings)
        labels = cv2.imread(str(out / "labels" / "p.png"), cv2.IMREAD_UNCHANGED)
        (row,) = found.rows
        assert row["areas"]
        assert [one["area_px"] for one in row["areas"]] == np.bincount(labels.ravel())[1:].tolist()
        again.append(found.again)
    assert again == [0, 0, 0, 0, 0, 1]


def test_what_is_written_over_when_it_is_interrupted_is_done_again(
    made: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = load(None, {"segment": {"trees": 5}, "threads": 1})
    other = load(None, {"segment": {"trees": 5, "threshold": 0.8}, "threads": 1})
    picture, out = made / "pictures" / "p0.png", tmp_path / "out"
    segments.apply(model, [picture], out, chosen)
    good = (out / "labels" / "p0.png").read_bytes()

    def stop(*_: object) -> object:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(segment, "areas", stop)  # after all is written
        with pytest.raises(KeyboardInterrupt):
            segments.apply(model, [picture], out, other)
    assert (out / "labels" / "p0.png").read_bytes() != good
    assert segments.apply(model, [picture], out, chosen).again == 0
    assert (out / "labels" / "p0.png").read_bytes() == good


def test_what_is_wrong_with_a_picture_is_told_every_time(run: Run, made: Path, model: Path, tmp_path: Path) -> None:
    import tifffile

    frames = [pixels.read_png(made / "pictures" / f"p{k}.png") for k in range(2)]
    with tifffile.TiffWriter(tmp_path / "stack.tif") as pages:
        for frame in frames:
            pages.write(frame)
    for again in (0, 1):
        code, told, _ = run(
            "segment", "apply", str(model), str(tmp_path / "stack.tif"), "-o", str(tmp_path / "o"), *FAST, "--json"
        )
        row = json.loads(told)
        assert (code, row["again"], [one["status"] for one in row["problems"]]) == (3, again, ["partial"])
        assert len(row["pictures"]) == 1


def test_a_name_that_is_no_text_is_written_as_one_that_is(run: Run, made: Path, model: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"M\xfcller.png")
    shutil.copy(made / "pictures" / "p0.png", odd)
    out = tmp_path / "o"
    assert run("segment", "apply", str(model), str(odd), "-o", str(out), *FAST)[0] == 0
    assert [path.name for path in (out / "labels").iterdir()] == ["M%FCller.png"]
    assert "/M%FCller.png,1," in (out / "areas.csv").read_text(encoding="utf-8-sig")


def test_training_is_the_same_every_time_and_sees_the_seed(run: Run, made: Path, tmp_path: Path, model: Path) -> None:
    arguments = ("segment", "train", str(made / "few" / "pictures"), str(made / "few" / "masks"), *FAST)
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert run(*arguments, "-o", str(tmp_path / name), "--set", f"seed={seed}")[0] == 0
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b == model.read_bytes()
    assert a != c
    card = forest.load(tmp_path / "a")[1]
    assert (card["network"], card["pictures"], card["features"]) == ("maps-1", 3, 238)


def told(run: Run, *arguments: str) -> tuple[int, str]:
    code, _, err = run("segment", *arguments)
    assert err.count("\n") == 1, err
    return code, err


def test_what_cannot_be_learned_from_is_one_sentence(run: Run, made: Path, tmp_path: Path) -> None:
    pictures, masks, out = tmp_path / "p", tmp_path / "m", tmp_path / "x.model"
    for folder in (pictures, masks):
        folder.mkdir()
    arguments = ("train", str(pictures), str(masks), "-o", str(out), *FAST)
    assert "there is no mask in" in told(run, *arguments)[1]
    image = cells.draw(np.random.default_rng(0), 64)[0]
    pixels.write_png(pictures / "a.png", image)
    pixels.write_png(masks / "b.png", image)
    assert "b.png is the mask of no picture" in told(run, *arguments)[1]
    (masks / "b.png").rename(masks / "a.png")
    pixels.write_png(pictures / "c.png", image)
    assert "c.png has no mask" in told(run, *arguments)[1]
    (pictures / "c.png").unlink()
    pixels.write_png(masks / "a.png", np.zeros((64, 32), np.uint8))
    assert "has 64 x 64 px and its mask 32 x 64" in told(run, *arguments)[1]
    pixels.write_png(masks / "a.png", np.zeros((64, 64), np.uint8))
    code, err = told(run, *arguments)
    assert (code, "label background and no other kind" in err) == (2, True)
    assert "label nothing and no other kind" in told(run, *arguments, "--scribbles")[1]
    pixels.write_png(masks / "a.png", np.dstack([image, image, 255 - image]))
    assert "it has colours" in told(run, *arguments)[1]
    (masks / "a.png").unlink()
    pixels.write_jpeg(masks / "a.jpg", image)
    assert "JPEG does not keep numbers" in told(run, *arguments)[1]
    (masks / "a.jpg").rename(masks / "a.png")
    assert "cannot be used" in told(run, *arguments)[1]
    assert not out.exists()
    out.write_text("mine")
    assert "holds something else" in told(run, *arguments)[1]
    assert told(run, *arguments[:3], "-o", str(tmp_path / "no" / "x.model"))[0] == 2


def test_what_cannot_be_applied_is_one_sentence(run: Run, made: Path, model: Path, tmp_path: Path) -> None:
    pictures, other = str(made / "pictures"), tmp_path / "other.model"
    other.write_text("no model")
    code, err = told(run, "apply", str(other), pictures, "-o", str(tmp_path / "o"))
    assert (code, "is no model of `twinscope segment train`" in err) == (4, True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x.txt").write_text("mine")
    assert "not of a segmentation" in told(run, "apply", str(model), pictures, "-o", str(tmp_path / "full"))[1]
    trees, card = forest.load(model)
    forest.save(other, trees, card | {"network_sha256": "0" * 64})
    code, err = told(run, "apply", str(other), pictures, "-o", str(tmp_path / "o"))
    assert (code, "was trained with another maps-1" in err) == (4, True)
    forest.save(other, trees, card | {"network": "maps-own"})
    code, err = told(run, "apply", str(other), pictures, "-o", str(tmp_path / "o"))
    assert (code, "name its .onnx with --network" in err) == (4, True)


def test_a_picture_that_cannot_be_read_stops_nothing(run: Run, made: Path, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(made / "pictures" / "p0.png", folder / "=good.png")
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, out, _ = run("segment", "apply", str(model), str(folder), "-o", str(tmp_path / "o"), *FAST)
    assert code == 3
    assert "torn.png" in out
    assert "1 picture; " in out
    assert (tmp_path / "o" / "labels" / "=good.png").exists()


def test_pictures_of_one_name_have_outputs_of_their_own(run: Run, made: Path, model: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for k, folder in enumerate(folders):
        folder.mkdir()
        shutil.copy(made / "pictures" / f"p{k}.png", folder / "p.png")
    out = tmp_path / "o"
    assert run("segment", "apply", str(model), *map(str, folders), "-o", str(out), *FAST)[0] == 0
    assert sorted(path.name for path in (out / "labels").iterdir()) == ["p-2.png", "p.png"]


def test_maps_of_ones_own_are_used_and_asked_for(run: Run, made: Path, tmp_path: Path) -> None:
    graph = tmp_path / "own.onnx"
    shutil.copy(cards.WEIGHTS / "maps-1.onnx", graph)
    card = cards.read(cards.CARDS / "maps-1.json")
    cards.write(card.model_copy(update={"id": "own"}), graph.with_suffix(".json"))
    few = (str(made / "few" / "pictures"), str(made / "few" / "masks"))
    where = str(tmp_path / "own.model")
    assert run("segment", "train", *few, "-o", where, "--network", str(graph), *FAST)[0] == 0
    assert told(run, "apply", where, few[0], "-o", str(tmp_path / "o"))[0] == 4
    assert run("segment", "apply", where, few[0], "-o", str(tmp_path / "o"), "--network", str(graph), *FAST)[0] == 0
    assert told(run, "train", *few, "-o", where, "--network", str(tmp_path / "no.onnx"))[0] == 2
    shutil.copy(cards.WEIGHTS / "embedder-0.onnx", graph)
    cards.write(cards.read(cards.CARDS / "embedder-0.json"), graph.with_suffix(".json"))
    runtime.load.cache_clear()
    code, err = told(run, "train", *few, "-o", where, "--network", str(graph), *FAST)
    assert (code, "gives no maps" in err) == (2, True)


def test_masks_are_read_as_the_numbers_that_they_hold(tmp_path: Path) -> None:
    import PIL.Image
    import tifffile

    numbers = np.array([[0, 1, 700], [3, 0, 65535]], np.uint16)
    pixels.write_labels(tmp_path / "a.png", numbers)
    tifffile.imwrite(tmp_path / "a.tif", numbers)
    palette = PIL.Image.new("P", (3, 1))
    palette.putdata([0, 1, 2])
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "p.png")
    PIL.Image.fromarray(np.dstack([np.array([[0, 9]], np.uint8)] * 3)).save(tmp_path / "grey.png")
    for name, kind, expected in (("a.png", "png", numbers), ("a.tif", "tiff", numbers), ("p.png", "png", [[0, 1, 2]]),
                                 ("grey.png", "png", [[0, 9]])):  # fmt: skip
        found = pixels.read_labels(tmp_path / name, kind, 100)
        assert found.tolist() == np.asarray(expected).tolist()
    with pytest.raises(RefusedError, match="over the limit"):
        pixels.read_labels(tmp_path / "a.png", "png", 5)
    (tmp_path / "torn.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(BrokenError, match="damaged"):
        pixels.read_labels(tmp_path / "torn.png", "png", 100)
