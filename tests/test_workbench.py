"""The commands for those who train and measure: what they print, what they refuse, and how they exit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from twinscope import pixels
from twinscope.detect import vectors

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of four pictures of two kinds: noise, and one picture at two contrasts."""
    place = tmp_path / "pictures"
    place.mkdir()
    for seed in (1, 2):
        noise = np.random.default_rng(seed).integers(0, 256, (12, 12), dtype=np.uint8)
        image = np.kron(noise, np.ones((10, 10), np.uint8))
        pixels.write_png(place / f"p{seed}.png", image)
        pixels.write_png(place / f"p{seed}-pale.png", (image // 2 + 90).astype(np.uint8))
    return place


def test_embed_writes_a_table_and_names_it(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.parquet"
    code, told, err = run("embed", str(folder), "-o", str(out))
    assert (code, err) == (0, "")
    assert told.startswith("4 pictures embedded")
    assert told.endswith(f"vectors: {out}\n")
    assert pyarrow.parquet.read_table(out).column_names == ["path", "vector"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "v.parquet"]
    assert run("embed", str(folder), "-o", str(out))[0] == 0  # its own output may be written again


def test_embed_tells_every_problem_and_exits_with_3(run: Run, folder: Path, tmp_path: Path) -> None:
    (folder / "\x1b[2Jtorn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "paper.pdf").write_bytes(b"%PDF-1.4")
    code, told, _ = run("embed", str(folder), "-o", str(tmp_path / "v.parquet"))
    assert code == 3
    assert "paper.pdf: refused: PDF is not a picture file" in told
    assert "torn.png: could not be read: the picture is damaged" in told
    assert "\x1b" not in told
    code, told, _ = run("embed", str(folder), "-o", str(tmp_path / "v.parquet"), "--json")
    row = json.loads(told)
    assert (code, row["pictures"], row["output"]) == (3, 4, str(tmp_path / "v.parquet"))
    assert [one["status"] for one in row["problems"]] == ["failed", "refused"]


def test_embed_goes_on_after_an_interruption(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(vectors, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        code, _, err = run("embed", str(folder), "-o", str(tmp_path / "v.parquet"))
    assert code == 130
    assert "same command again" in err
    assert "v.parquet.part" in err
    monkeypatch.setattr(vectors.embed, "prepare", lambda _: pytest.fail("what was done is done again"))
    assert run("embed", str(folder), "-o", str(tmp_path / "v.parquet"))[0] == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["embed", "none", "-o", "v.parquet"], "none does not exist"),
        (["embed", "pictures", "-o", "pictures"], "is a folder"),
        (["embed", "pictures", "-o", "none/v.parquet"], "none does not exist"),
        (["embed", "pictures", "-o", "notes.txt"], "notes.txt is no Parquet file"),
        (["embed", "bare", "-o", "v.parquet"], "there is no picture in bare"),
        (["embed", "pictures"], "Missing option"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_2(
    arguments: list[str], word: str, run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert word in err
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "notes.txt").read_text() == "mine"
