"""PS-Battles: its tables and folders, the distance filter, and boxes that become targets."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from twinscope.errors import UsageError  # noqa: E402
from twinscope.train import psbattles  # noqa: E402

TAIL = "url\tend\thash\tfilesize\tscore\tauthor\tlink\ttimestamp\twidth\theight"


def picture(path: Path, value: int, size: tuple[int, int] = (30, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a tiny data set: two originals, four edits, one of which was never downloaded."""
    rest = '0\t1\t5\t"anna" q\tlink\t0\t40\t30'
    (tmp_path / "originals.tsv").write_text(f"id\t{TAIL}\no1\tu\tpng\t{rest}\no2\tu\tpng\t{rest}\n", encoding="utf-8")
    rows = "".join(
        f"{name}\t{original}\tu\tpng\t{rest}\n"
        for name, original in (("a_0", "o1"), ("b_0", "o1"), ("c_0", "o2"), ("lost_0", "o2"))
    )
    (tmp_path / "photoshops.tsv").write_text(f"id\toriginal\t{TAIL}\n{rows}", encoding="utf-8")
    picture(tmp_path / "originals" / "o1.png", 100)
    picture(tmp_path / "originals" / "o2.png", 50)
    picture(tmp_path / "photoshops" / "o1" / "a_0.png", 110)
    picture(tmp_path / "photoshops" / "o1" / "b_0.png", 250)
    picture(tmp_path / "photoshops" / "o2" / "c_0.png", 52, (70, 35))
    return tmp_path


def test_the_pairs_that_are_there(folder: Path) -> None:
    found = psbattles.load(folder)
    assert [(one.original, one.photoshop) for one in found.battles] == [("o1", "a_0"), ("o1", "b_0"), ("o2", "c_0")]
    assert found.missing == 1
    assert found.battles[0].author == '"anna" q'
    assert found.battles[0].score == 5
    assert all(one.photoshop_path.is_file() and one.original_path.is_file() for one in found.battles)


def test_the_distance_filter(folder: Path) -> None:
    calls = []

    def features(pictures: np.ndarray) -> np.ndarray:
        calls.append(pictures.shape)
        means = pictures.reshape(len(pictures), -1).mean(1)
        return np.stack([means, 0 * means], 1).astype(np.float32)

    battles = psbattles.load(folder).battles
    assert [one.photoshop for one in psbattles.near(battles, features, size=16)] == ["a_0", "c_0"]
    assert calls == [(1, 16, 16, 3)] * 5  # two originals once each, three edits
    assert [one.photoshop for one in psbattles.near(battles, features, 5.0, 16)] == ["c_0"]
    assert [one.photoshop for one in psbattles.near(battles, features, 150.1, 16)] == ["a_0", "b_0", "c_0"]


def test_boxes_become_masks_and_targets(folder: Path) -> None:
    table = folder / "annotations.csv"
    table.write_text(
        "photoshop,worker,x0,y0,x1,y1\na_0,w2,0,0,20,15\na_0,w1,0,0,20,30\na_0,w1,30,20,60,60\na_0,w3,,,,\n",
        encoding="utf-8",
    )
    boxes = psbattles.drawn_boxes(table)
    assert boxes == {"a_0": [((0, 0, 20, 30), (30, 20, 60, 60)), ((0, 0, 20, 15),), ()]}
    maps = psbattles.masks(boxes["a_0"], (30, 40))
    assert maps.shape == (3, 30, 40)
    assert list(maps.sum((1, 2))) == [20 * 30 + 10 * 10, 20 * 15, 0]
    assert np.allclose(psbattles.target(maps, 2), [[2 / 3, 0], [1 / 3, 1 / 9]], atol=1e-6)
    assert psbattles.target(maps).shape == (7, 7)
    merged = psbattles.merged(maps)
    assert merged[:15, :20].all()
    assert merged.sum() == 300
    found = list(psbattles.pairs(psbattles.load(folder).battles, boxes, 28))
    assert found[0].pair.changed is not None
    assert found[0].pair.changed[:14, :14].all()
    assert found[0].pair.changed.sum() == 14 * 14
    assert found[0].target == pytest.approx(psbattles.target(maps))
    assert found[0].pair.original.shape == found[2].pair.query.shape == (28, 28, 3)
    assert (found[0].pair.query == 110).all()
    assert found[0].pair.label == 1
    assert found[1].pair.changed is None
    assert found[1].target is None


def test_nobody_saw_anything() -> None:
    assert not psbattles.target(psbattles.masks([(), ()], (10, 10))).any()
    assert not psbattles.target(psbattles.masks([], (10, 10))).any()
    assert not psbattles.merged(psbattles.masks([], (10, 10))).any()


def test_the_split_keeps_an_original_together_and_has_the_papers_share() -> None:
    ids = [f"{k:x}" for k in range(20_000)]
    assert np.mean([psbattles.is_test(name) for name in ids]) == pytest.approx(807 / 7171, abs=0.01)
    assert [psbattles.is_test(name) for name in ids[:50]] == [psbattles.is_test(name) for name in ids[:50]]


def test_what_is_missing_is_said(folder: Path) -> None:
    (folder / "originals" / "o2.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"o2\.png is damaged"):
        list(psbattles.pairs(psbattles.load(folder).battles))
    for name in ("originals", "photoshops"):
        for path in (folder / name).rglob("*.png"):
            path.unlink()
    with pytest.raises(UsageError, match="files of none of 4 pairs"):
        psbattles.load(folder)
    table = folder / "photoshops.tsv"
    table.write_text(table.read_text().replace("\to2\t", "\to9\t"))
    with pytest.raises(UsageError, match="o9, which originals"):
        psbattles.load(folder)
    table.write_text("id\toriginal\turl\n")
    with pytest.raises(UsageError, match="no column end"):
        psbattles.load(folder)
    table.write_text(f"id\toriginal\t{TAIL}\na_0\to1\n")
    with pytest.raises(UsageError, match="line 2 is cut off"):
        psbattles.load(folder)
    table.unlink()
    with pytest.raises(UsageError, match=r"photoshops\.tsv is missing"):
        psbattles.load(folder)


def test_a_box_that_is_none(tmp_path: Path) -> None:
    table = tmp_path / "annotations.csv"
    table.write_text("photoshop,worker,x0,y0,x1,y1\na,w,1,2,3,\n")
    with pytest.raises(UsageError, match="line 2"):
        psbattles.drawn_boxes(table)
