"""Vectors of picture files: what is read, what is told, what is kept, and the table."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest
import tifffile
from numpy.typing import NDArray

from twinscope import pixels
from twinscope.detect import embed, vectors
from twinscope.errors import UsageError
from twinscope.settings import Settings, load


def picture(seed: int, size: tuple[int, int] = (120, 150)) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of three pictures."""
    place = tmp_path / "pictures"
    place.mkdir()
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        pixels.write_png(place / f"{name}.png", picture(seed))
    return place


def found_in(place: Path, kept: Path, settings: Settings | None = None) -> vectors.Vectors:
    return vectors.embedded(vectors.listed([place])[0], kept, settings or Settings())


def test_points_are_those_of_the_network_in_the_order_of_the_names(folder: Path, tmp_path: Path) -> None:
    found = found_in(folder, tmp_path / "part")
    assert found.paths == tuple(f"{folder.as_posix()}/{name}.png" for name in "abc")
    assert np.array_equal(found.points, embed.embed([picture(seed) for seed in (1, 2, 3)]))
    assert found.troubles == ()


def test_every_bad_file_is_told_and_the_good_ones_stay(folder: Path, tmp_path: Path) -> None:
    (folder / "empty.png").write_bytes(b"")
    (folder / "torn.png").write_bytes((folder / "a.png").read_bytes()[:400])
    (folder / "lie.jpg").write_bytes((folder / "a.png").read_bytes())
    (folder / "paper.pdf").write_bytes(b"%PDF-1.4\n")
    pixels.write_png(folder / "huge.png", picture(4, (200, 300)))
    PIL.Image.fromarray(picture(5)).save(
        folder / "moves.gif", save_all=True, append_images=[PIL.Image.fromarray(picture(6))]
    )
    tifffile.imwrite(folder / "stack.tif", np.stack([picture(7), picture(8)]), photometric="minisblack")
    os.mkfifo(folder / "pipe.png")
    (folder / "movie.xyz").write_bytes(b"?")
    sources, left_out = vectors.listed([folder])
    found = vectors.embedded(sources, tmp_path / "part", load(flags={"ingest": {"limits": {"image_px": 50_000}}}))
    told = {Path(one.path).name: (one.status, one.reason) for one in [*left_out, *found.troubles]}
    assert {name: status for name, (status, _) in told.items()} == {
        "empty.png": "failed", "torn.png": "failed", "lie.jpg": "refused", "paper.pdf": "refused",
        "huge.png": "refused", "moves.gif": "partial", "stack.tif": "partial", "pipe.png": "refused",
        "movie.xyz": "refused",
    }  # fmt: skip
    assert "PDF is not a picture file" in told["paper.pdf"][1]
    assert "over the limit of 50000 px" in told["huge.png"][1]
    assert "only the first" in told["stack.tif"][1]
    assert [Path(path).name for path in found.paths] == ["a.png", "b.png", "c.png", "moves.gif", "stack.tif"]
    assert np.array_equal(found.points[4:], embed.embed([picture(7)]))


def test_names_that_no_file_can_have_are_told(tmp_path: Path) -> None:
    sources = [vectors.Source(Path("nul\0.png"), "nul\0.png"), vectors.Source(tmp_path / "none.png", "none.png")]
    found = vectors.embedded(sources, tmp_path / "part", Settings())
    assert [one.status for one in found.troubles] == ["failed", "failed"]
    assert found.points.shape == (0, 128)


def test_what_is_done_is_not_done_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "CHUNK", 1)
    whole = found_in(folder, tmp_path / "whole")
    decoded: list[int] = []
    decode = pixels.decode

    def stop_at_the_third(file: Path, kind: str, most_px: int) -> tuple[NDArray[np.uint8], int]:
        decoded.append(1)
        if len(decoded) == 3:
            raise KeyboardInterrupt
        return decode(file, kind, most_px)

    monkeypatch.setattr(pixels, "decode", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        found_in(folder, tmp_path / "part")
    with (tmp_path / "part").open("a") as file:
        file.write('{"key": "torn off in the mid')
    again = found_in(folder, tmp_path / "part")
    assert len(decoded) == 4  # a and b were kept, c alone is done
    assert np.array_equal(again.points, whole.points)
    assert found_in(folder, tmp_path / "part").paths == whole.paths
    assert len(decoded) == 4


def test_what_is_kept_belongs_to_the_bytes_and_the_limits(folder: Path, tmp_path: Path) -> None:
    before = found_in(folder, tmp_path / "part")
    pixels.write_png(folder / "b.png", picture(9))
    after = found_in(folder, tmp_path / "part")
    assert np.array_equal(after.points[1:2], embed.embed([picture(9)]))
    assert np.array_equal(after.points[[0, 2]], before.points[[0, 2]])
    small = found_in(folder, tmp_path / "part", load(flags={"ingest": {"limits": {"image_px": 10_000}}}))
    assert (len(small.paths), len(small.troubles)) == (0, 3)


def test_a_file_that_was_read_in_part_is_told_again(folder: Path, tmp_path: Path) -> None:
    tifffile.imwrite(folder / "stack.tif", np.stack([picture(7), picture(8)]), photometric="minisblack")
    before = found_in(folder, tmp_path / "part").troubles
    assert [Path(one.path).name for one in before] == ["stack.tif"]
    assert found_in(folder, tmp_path / "part").troubles == before


@pytest.mark.parametrize("line", ["\n", "[]\n", '{"key": 1}\n', "\xff\xfe\n", '{"point": "AAAA"}\n', "null\n"])
def test_a_hostile_line_in_what_is_kept_is_nothing(line: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(line.encode("latin-1"))
    assert len(found_in(folder, tmp_path / "part").paths) == 3


def test_a_file_named_twice_and_our_own_output_are_no_pictures(folder: Path) -> None:
    (folder / "v.parquet").write_bytes(b"PAR1")
    (folder / "v.parquet.part").write_bytes(b"")
    ours = [folder / "v.parquet", folder / "v.parquet.part"]
    sources, left_out = vectors.listed([folder, folder / "a.png", *ours], ours)
    assert ([Path(one.path).name for one in sources], left_out) == (["a.png", "b.png", "c.png"], [])
    assert [Path(one.path).name for one in vectors.listed([folder])[1]] == ["v.parquet", "v.parquet.part"]


def test_the_table_is_what_other_programs_read(folder: Path, tmp_path: Path) -> None:
    found = found_in(folder, tmp_path / "part")
    odd = found._replace(paths=("a.png", "\udcff.png", "ü.png"))
    vectors.write(odd, tmp_path / "v.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "v.parquet")
    assert table.schema.field("path").type == pyarrow.string()
    assert table.schema.field("vector").type == pyarrow.list_(pyarrow.float32(), 128)
    assert table["path"].to_pylist() == ["a.png", "\\xff.png", "ü.png"]
    assert np.array_equal(np.stack(table["vector"].to_numpy()), found.points)
    assert table.schema.metadata[b"model"] == embed.MODEL.encode()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part", "pictures", "v.parquet"]


def test_a_place_that_cannot_be_written_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        found_in(folder, tmp_path / "none" / "part")
    found = found_in(folder, tmp_path / "part")
    with pytest.raises(UsageError, match="cannot be written"):
        vectors.write(found, tmp_path / "none" / "v.parquet")
