"""The table of earlier panels: what goes in comes out, once; and what was acknowledged is there after any accident."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.library.rows import names, on_disk, put, rows, vector, zeroed

from twinscope.errors import LibraryError, UsageError
from twinscope.library import ledger, store
from twinscope.settings import Shelf

SHELF = Shelf()


def test_a_document_is_held_once_and_told_as_it_was_given(tmp_path: Path) -> None:
    library = tmp_path / "library"
    assert put(library, "one", "two") == 12
    assert put(library, "one") == 0
    assert put(library, "three", "one") == 6
    opened = store.open_library(str(library))
    assert opened.told == ()
    assert opened.table.count_rows() == 18
    assert store.documents(opened)[0] == {"document": "one", "title": "On one", "file": "one.pdf", "panels": 3}
    assert store.info(opened) | {"bytes": 0, "version": 0} == {
        "library": str(library), "version": 0, "documents": 3, "panels": 9, "vectors": 18, "models": {"m-1": 18},
        "index": None, "bytes": 0, "mended": [], "partial": 0,
    }  # fmt: skip


@pytest.mark.parametrize("cores", [1, 3])
def test_the_nearest_are_those_of_a_plain_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    """On three cores the seven queries go in shares of three, two and two."""
    monkeypatch.setattr(store, "CORES", cores)
    monkeypatch.setattr(store, "SHARE", 2)
    asked: list[int] = []
    near = store._near
    monkeypatch.setattr(
        store, "_near", lambda library, part, *rest: asked.append(len(part)) or near(library, part, *rest)
    )
    put(tmp_path / "library", *(f"d{k}" for k in range(20)))
    opened = store.open_library(str(tmp_path / "library"))
    everything = [rows(f"d{k}") for k in range(20)]
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((7, store.DIMENSIONS)).astype(np.float32)
    for query, hits in zip(queries, store.nearest(opened, queries, 5, "m-1", SHELF), strict=True):
        plain: dict[tuple[str, str], float] = {}
        for table in everything:
            for k in range(len(table)):
                key = table["document"][k].as_py(), table["panel"][k].as_py()
                far = float(np.linalg.norm(vector(table, k).astype(float) - query))
                plain[key] = min(far, plain.get(key, np.inf))
        told = sorted(plain.items(), key=lambda item: item[1])[:5]
        assert [hit.key for hit in hits] == [key for key, _ in told]
        assert [hit.distance for hit in hits] == pytest.approx([far for _, far in told], rel=1e-5)
        assert len({hit.key for hit in hits}) == 5
    assert sorted(asked) == ([7] if cores == 1 else [2, 2, 3])


def test_vectors_of_another_model_are_never_found(tmp_path: Path) -> None:
    put(tmp_path / "library", "one", model="old")
    put(tmp_path / "library", "one", "two", model="m-1")
    opened = store.open_library(str(tmp_path / "library"))
    query = vector(rows("one"), 0)[None]
    (hits,) = store.nearest(opened, query, 100, "m-1", SHELF)
    assert (len(hits), hits[0].distance) == (6, 0.0)
    assert store.nearest(opened, query, 100, "newer", SHELF) == [[]]
    assert [row["model"] for row in store.of_other_models(opened, "m-1")] == ["old"] * 3


def test_pictures_come_back_by_panel(tmp_path: Path) -> None:
    put(tmp_path / "library", "one", "o'two")
    opened = store.open_library(str(tmp_path / "library"))
    wanted = [("one", "p1-f1-2"), ("o'two", "p1-f1-0"), ("absent", "p1-f1-0")]
    assert store.pictures(opened, wanted) == {wanted[0]: b"picture one 2", wanted[1]: b"picture o'two 0"}


def test_what_is_removed_is_found_no_more_and_goes_off_the_disk(tmp_path: Path) -> None:
    library = tmp_path / "library"
    put(library, "one", "two", "three")
    with store.writing(str(library)) as opened:
        assert store.remove(opened, ["two"]) == 6
    assert names(library) == ["one", "three"]
    assert on_disk(library, "picture two 1")
    with store.writing(str(library)) as opened:
        store.compact(opened)
    assert not on_disk(library, "picture two 1")
    assert on_disk(library, "picture one 1")
    assert names(library) == ["one", "three"]
    assert store.verify(store.open_library(str(library))) == []
    assert put(library, "two") == 6


def test_a_reader_keeps_its_version_while_others_write(tmp_path: Path) -> None:
    put(tmp_path / "library", "one")
    opened = store.open_library(str(tmp_path / "library"))
    put(tmp_path / "library", "two")
    assert opened.table.count_rows() == 6
    assert store.open_library(str(tmp_path / "library")).table.count_rows() == 12


def test_a_reader_sees_nothing_that_is_not_yet_safe(tmp_path: Path) -> None:
    library = tmp_path / "library"
    put(library, "one")
    before = (library / ledger.LEDGER).stat()
    with store.writing(str(library)) as opened:
        opened.table.add(rows("two"))  # not yet acknowledged
        reader = store.open_library(str(library))
        assert (reader.told, reader.table.count_rows()) == ((), 6)
        ledger.acknowledge(library, opened.table.version)
        assert reader.table.count_rows() == 6
        assert store.open_library(str(library)).table.count_rows() == 12
    after = (library / ledger.LEDGER).stat()
    assert after.st_ino == before.st_ino  # the ledger only ever grows by a line


def test_all_rows_are_exported(tmp_path: Path) -> None:
    put(tmp_path / "library", "one", "two")
    assert store.export(store.open_library(str(tmp_path / "library")), tmp_path / "out.parquet") == 12
    told = pq.read_table(tmp_path / "out.parquet")
    assert told.schema.equals(store.SCHEMA)
    by_panel = [("document", "ascending"), ("panel", "ascending"), ("crop", "ascending")]
    assert told.sort_by(by_panel).slice(0, 6) == rows("one")


def test_vectors_of_another_model_that_come_later_are_not_compared(tmp_path: Path) -> None:
    with store.writing(str(tmp_path / "library")) as opened:
        store.add(opened, rows("one"))
        asked = np.array([rows("two", model="old")["vector"][0].as_py()], np.float32)
        before = store.nearest(opened, asked, 10, "m-1", Shelf())[0]
        store.add(opened, rows("two", model="old"))
        assert store.nearest(opened, asked, 10, "m-1", Shelf())[0] == before
        assert {hit.row["document"] for hit in store.nearest(opened, asked, 10, "old", Shelf())[0]} == {"two"}


def test_an_index_that_knows_less_than_half_of_the_rows_is_built_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, uri = Shelf(exact=600, lists=4, probed=1, bytes_a_vector=16, refined=1), str(tmp_path / "library")
    build, built = store._build, []

    def counted(library: store.Library, settings: Shelf) -> None:
        built.append(library.table.count_rows())
        build(library, settings)

    monkeypatch.setattr(store, "_build", counted)
    with store.writing(uri) as opened:
        store.add(opened, rows("one", panels=300, model="old"))
        store.add(opened, rows("two", panels=100, model="old"))
        assert store.refresh(opened, shelf)
        store.replace(opened, rows("two", panels=100), "m-1")
        assert store.refresh(opened, shelf)
        assert built == [800]  # a quarter is new: what the index learned serves
        store.replace(opened, rows("one", panels=300), "m-1")
        assert store.refresh(opened, shelf)
        assert built == [800, 800]
        assert store.info(opened)["index"]["unindexed"] == 0
        assert not store.refresh(opened, shelf)


def test_an_export_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "library", "one")
    (tmp_path / "out").mkdir()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_batch", full)
    with pytest.raises(LibraryError, match="is full"):
        store.export(store.open_library(str(tmp_path / "library")), tmp_path / "out" / "all.parquet")
    assert list((tmp_path / "out").iterdir()) == []


def test_rows_of_a_new_model_take_the_place_of_the_old_ones(tmp_path: Path) -> None:
    put(tmp_path / "library", "one", "two", model="old")
    with store.writing(str(tmp_path / "library")) as opened:
        store.replace(opened, rows("one", crops=3), "m-1")
    assert store.info(store.open_library(str(tmp_path / "library")))["models"] == {"m-1": 9, "old": 6}


def test_above_the_border_an_index_is_built_and_refreshed(tmp_path: Path) -> None:
    shelf = Shelf(exact=600, lists=4, probed=4, bytes_a_vector=16, refined=20)
    uri = str(tmp_path / "library")
    with store.writing(uri) as opened:
        store.add(opened, rows("few", panels=100))
        assert not store.refresh(opened, shelf)
        store.add(opened, rows("many", panels=300))
        assert store.refresh(opened, shelf)
        assert not store.refresh(opened, shelf)
        store.add(opened, rows("more", panels=100))
        assert store.info(opened)["index"]["unindexed"] == 200
        assert store.refresh(opened, shelf)
        assert store.info(opened)["index"]["unindexed"] == 0
        store.add(opened, rows("last", panels=1))
    opened = store.open_library(uri)
    table = rows("last", panels=1)
    (hits,) = store.nearest(opened, vector(table, 0)[None], 1, "m-1", shelf)
    assert hits[0].key == ("last", "p1-f1-0")  # found before the index knows it
    table = rows("many", panels=300)
    queries = np.stack([vector(table, k) for k in range(0, 600, 20)])
    found = store.nearest(opened, queries, 1, "m-1", shelf)
    assert [hits[0].distance for hits in found] == [0.0] * 30
    assert store.verify(opened) == []


# ---------------------------------------------------------------------------------------------------- accidents


def test_what_is_no_library_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no library; make one with"):
        store.open_library(str(tmp_path / "absent"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    with (
        pytest.raises(UsageError, match="holds files that are not of a library"),
        store.writing(str(tmp_path / "other")),
    ):
        pass
    with pytest.raises(UsageError, match="is a file"), store.writing(str(tmp_path / "other" / "letter.txt")):
        pass


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("accident", [truncated, zeroed, emptied, os.unlink])
@pytest.mark.parametrize("change", ["add", "remove", "compact"])
def test_any_file_that_was_not_yet_safe_may_be_lost(
    tmp_path: Path, accident: Callable[[Path], None], change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "library"
    put(library, "one", "two")
    changes = {
        "add": lambda opened: store.add(opened, rows("three")),
        "remove": lambda opened: store.remove(opened, ["one"]),
        "compact": store.compact,
    }
    with monkeypatch.context() as context:
        context.setattr(ledger, "acknowledge", lambda *_: crash())
        with pytest.raises(KeyboardInterrupt), store.writing(str(library)) as opened:
            changes[change](opened)
    safe = set(ledger.files_of(ledger.versions(library)))
    new = sorted(str(path.relative_to(library)) for path in ledger._data(library))
    new = [name for name in new if name not in safe]
    assert any(name.endswith(".manifest") for name in new)
    for name in new:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(library, copy)
        accident(copy / name)
        opened = store.open_library(str(copy))
        dropped = "a change that was interrupted before it was acknowledged was dropped"
        manifests = [one for one in new if one.endswith(".manifest")]
        gone = accident is os.unlink and manifests == [name]  # nothing is left to be dropped
        assert opened.told == (() if gone else (dropped,))
        assert [one["document"] for one in store.documents(opened)] == ["one", "two"]
        assert store.verify(opened) == [f"it was mended when it was opened: {line}" for line in opened.told]
        assert store.verify(store.open_library(str(copy))) == []
        assert put(copy, "three") == 6
        assert names(copy) == ["one", "three", "two"]


def crash() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("accident", [truncated, zeroed, emptied, os.unlink])
def test_a_damaged_newest_version_is_stepped_back_from_and_told(
    tmp_path: Path, accident: Callable[[Path], None]
) -> None:
    library = tmp_path / "library"
    put(library, "one")
    put(library, "two")
    for name in ledger.versions(library)[-1].files:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(library, copy)
        accident(copy / name)
        opened = store.open_library(str(copy))
        assert opened.told[0] == f"{name} is damaged: the library is as it was 1 acknowledged changes ago"
        assert [one["document"] for one in store.documents(opened)] == ["one"]
        assert put(copy, "two") == 6
        assert names(copy) == ["one", "two"]
        assert store.verify(store.open_library(str(copy))) == []


def test_a_line_of_the_ledger_that_was_cut_off_counts_for_nothing(tmp_path: Path) -> None:
    library = tmp_path / "library"
    put(library, "one")
    put(library, "two")
    path = library / ledger.LEDGER
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    for kept in (0, 1, len(last) // 2, len(last) - 1):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(library, copy)
        (copy / ledger.LEDGER).write_bytes(whole[: len(whole) - len(last) + kept])
        assert names(copy) == ["one"]
        assert put(copy, "two") == 6
        assert names(copy) == ["one", "two"]
    path.write_bytes(whole.replace(b"manifest", b"manifesT", 1))
    with pytest.raises(LibraryError, match=r"line 1 of .* is damaged; bring the library back from a copy"):
        store.open_library(str(library))


def test_a_flipped_bit_of_any_file_is_found(tmp_path: Path) -> None:
    library = tmp_path / "library"
    put(library, "one")
    put(library, "two")
    with store.writing(str(library)) as opened:
        store.remove(opened, ["one"])
    put(library, "three")
    files = sorted(ledger.files_of(ledger.versions(library)))
    assert len(files) > 8
    rng = np.random.default_rng(0)
    for name in files:
        opened = store.open_library(str(library))
        before = (library / name).read_bytes()
        k = int(rng.integers(len(before)))
        (library / name).write_bytes(before[:k] + bytes([before[k] ^ 1 << int(rng.integers(8))]) + before[k + 1 :])
        assert store.verify(opened) == [f"{name} is absent or not what it was when it was written"]
        (library / name).write_bytes(before)
    assert store.verify(store.open_library(str(library))) == []


def test_a_row_that_stands_there_twice_is_found(tmp_path: Path) -> None:
    with store.writing(str(tmp_path / "library")) as opened:
        store.add(opened, rows("one"))
        opened.table.add(rows("one").slice(2, 1))
        ledger.acknowledge(tmp_path / "library", opened.table.version)
    assert store.verify(store.open_library(str(tmp_path / "library"))) == [
        "panel p1-f1-1 of document one stands there twice (crop 0, m-1)"
    ]


def test_the_ledger_is_short_after_tidying(tmp_path: Path) -> None:
    library = tmp_path / "library"
    for name in "abcdef":
        put(library, name)
    with store.writing(str(library)) as opened:
        store.compact(opened)
    base, last = ledger.versions(library)
    assert (base.number, len(last.files)) == (0, 1)
    there = {str(path.relative_to(library)) for path in ledger._data(library)}
    assert {*base.files, *last.files} == there
    assert names(library) == list("abcdef")
    assert len([name for name in there if "/data/" in name]) == 1


def test_a_library_whose_only_version_is_damaged_is_said_to_be(tmp_path: Path) -> None:
    library = tmp_path / "library"
    put(library, "one")
    with store.writing(str(library)) as opened:
        store.compact(opened)
    (manifest,) = ledger.versions(library)[-1].files
    zeroed(library / manifest)
    with pytest.raises(
        LibraryError, match=r"has no whole version \(panels.lance/_versions/.*bring it back from a copy"
    ):
        store.open_library(str(library))


@pytest.mark.parametrize("at", ["before the files go", "after the files went"])
def test_tidying_that_was_interrupted_is_finished_at_the_next_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """With an index of removed rows LanceDB makes a version more whenever it tidies: the acknowledged one must stay."""
    library = tmp_path / "library"
    with store.writing(str(library)) as opened:
        store.add(opened, rows("many", panels=300))
        store.refresh(opened, Shelf(exact=600, lists=4))
        store.add(opened, rows("one", panels=50))
        store.remove(opened, ["many"])
    with monkeypatch.context() as context:
        acknowledge, numbers = ledger.acknowledge, []

        def once(folder: Path, number: int) -> None:
            numbers.append(number)
            if len(numbers) == 2:
                raise KeyboardInterrupt
            acknowledge(folder, number)

        context.setattr(ledger, "acknowledge", once)
        if at == "before the files go":
            context.setattr(ledger, "tidying", lambda _: crash())
        with pytest.raises(KeyboardInterrupt), store.writing(str(library)) as opened:
            store.compact(opened)
    lost = [name for name in ledger.files_of(ledger.versions(library)) if not (library / name).exists()]
    assert bool(lost) == (at == "after the files went")
    opened = store.open_library(str(library))
    assert opened.table.version == numbers[0]
    assert opened.table.count_rows() == 100
    assert names(library) == ["one"]
    assert store.verify(store.open_library(str(library))) == []
    with store.writing(str(library)) as opened:
        store.compact(opened)
        assert put_more(opened) == 6
    assert names(library) == ["one", "two"]


def put_more(library: store.Library) -> int:
    return store.add(library, rows("two"))


def test_versions_are_read_from_the_names_of_manifests() -> None:
    assert ledger.number_of(Path("18446744073709551613.manifest")) == 2
    assert ledger.number_of(Path("7.manifest")) == 7


def test_a_line_of_the_ledger_holds_what_it_was_given(tmp_path: Path) -> None:
    version = ledger.Version(3, {"panels.lance/data/é.lance": (12, "ab")}, ("gone",), True)
    assert ledger._parsed(ledger._line(version)) == version
    assert json.loads(ledger._line(version)[9:])[0] == 3


def in_part(document: str, panels: int) -> pa.Table:
    """Return the rows of a document that was read only in part."""
    table = rows(document, panels=panels)
    at = table.schema.get_field_index("partial")
    return table.set_column(at, store.SCHEMA.field("partial"), pa.array(["the rest is not read"] * len(table)))


def test_what_was_read_in_part_gives_way_to_what_was_read_in_full(tmp_path: Path) -> None:
    uri = str(tmp_path / "library")
    with store.writing(uri) as library:
        store.add(library, in_part("one", 1))
        store.add(library, rows("two"))
        assert store.in_part(library, "m-1") == {"one": 1}
        both = pa.concat_tables([rows("one"), rows("two"), rows("three")])
        assert store.add(library, both, {"one": 1}) == 12  # "two" stays as it is
    opened = store.open_library(uri)
    assert (store.in_part(opened, "m-1"), store.verify(opened)) == ({}, [])
    assert [one["panels"] for one in store.documents(opened)] == [3, 3, 3]


def test_a_library_of_an_older_version_gets_the_new_column_with_the_next_change(tmp_path: Path) -> None:
    uri = str(tmp_path / "library")
    put(Path(uri), "one")
    with store.writing(uri) as library:
        library.table.drop_columns(["partial"])
        store.acknowledge(library)
    opened = store.open_library(uri)
    assert store.in_part(opened, "m-1") == {}
    assert store.info(opened)["partial"] == 0
    assert store.export(opened, tmp_path / "old.parquet") == 6
    query = vector(rows("one"), 0)[None]
    assert len(store.nearest(opened, query, 3, "m-1", SHELF)[0]) == 3
    put(Path(uri), "two")
    with store.writing(uri) as library:
        store.add(library, in_part("three", 2))
    opened = store.open_library(uri)
    assert store.in_part(opened, "m-1") == {"three": 2}
    assert (names(Path(uri)), store.verify(opened)) == (["one", "three", "two"], [])
    assert len(store.nearest(opened, query, 8, "m-1", SHELF)[0]) == 8


def test_an_empty_ledger_is_said_and_nothing_is_moved(tmp_path: Path) -> None:
    library = tmp_path / "library"
    put(library, "one", "two")
    (library / ledger.LEDGER).write_bytes(b"")
    before = sorted(library.rglob("*"))
    for _ in range(2):
        with pytest.raises(LibraryError, match=r"ledger\.jsonl is empty, though the library was written"):
            store.open_library(str(library))
        with pytest.raises(LibraryError, match="bring it back from a copy"):
            put(library, "three")
    assert sorted(library.rglob("*")) == before


def test_a_library_that_was_never_finished_is_none(tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / ledger.LEDGER).touch()
    with pytest.raises(UsageError, match="is no library"):
        store.open_library(str(library))
    assert put(library, "one") == 6
