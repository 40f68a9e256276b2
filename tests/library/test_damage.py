"""What befalls a library: damage that is told as what it is, places that are none, removed pictures off the disk."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import lancedb
import pyarrow as pa
import pytest
from tests.library.rows import names, on_disk, put, rows, vector, zeroed

from twinscope.errors import LibraryError, UsageError
from twinscope.library import ledger, store
from twinscope.settings import Shelf

INTERRUPTED = "a change that was interrupted before it was acknowledged was dropped"


# ---------------------------------------------------------------------------------------------------- off the disk


@pytest.mark.parametrize("removed", ["d00", "d07", "d29"])
def test_one_of_many_that_were_added_at_once_goes_off_the_disk(tmp_path: Path, removed: str) -> None:
    """Lance writes a file anew only where a tenth of its rows are gone."""
    library = tmp_path / "library"
    with store.writing(str(library)) as opened:
        store.add(opened, pa.concat_tables([rows(f"d{k:02d}") for k in range(30)]))
        store.remove(opened, [removed])
        assert on_disk(library, f"picture {removed} 1")
        store.compact(opened)
    assert not on_disk(library, f"picture {removed} 1")
    left = [f"d{k:02d}" for k in range(30) if f"d{k:02d}" != removed]
    assert names(library) == left
    opened = store.open_library(str(library))
    assert (opened.told, store.verify(opened), opened.table.count_rows()) == ((), [], 29 * 6)
    assert store.pictures(opened, [("d11", "p1-f1-2")]) == {("d11", "p1-f1-2"): b"picture d11 2"}


# ---------------------------------------------------------------------------------------------------- the ledger


def flipped(library: Path, place: bytes) -> None:
    """Flip a bit of the first byte of some text in the last line of the ledger."""
    path = library / ledger.LEDGER
    text = bytearray(path.read_bytes())
    start = bytes(text).rstrip(b"\n").rfind(b"\n") + 1
    text[text.index(place, start)] ^= 1
    path.write_bytes(text)


def test_a_damaged_line_of_the_ledger_whose_files_are_whole_is_kept(tmp_path: Path) -> None:
    put(tmp_path / "library", "one", "two")
    hashed = next(iter(ledger.versions(tmp_path / "library")[-1].files.values()))[1]
    flipped(tmp_path / "library", hashed.encode())
    opened = store.open_library(str(tmp_path / "library"))
    assert opened.told == (
        "line 3 of ledger.jsonl is damaged, but all the files that it names are whole: its change was kept",
    )
    assert [one["document"] for one in store.documents(opened)] == ["one", "two"]
    assert store.verify(opened) == [f"it was mended when it was opened: {opened.told[0]}"]
    again = store.open_library(str(tmp_path / "library"))
    assert (again.told, store.verify(again)) == ((), [])


def test_a_damaged_line_of_the_ledger_that_cannot_be_read_is_told_as_damage(tmp_path: Path) -> None:
    put(tmp_path / "library", "one", "two")
    flipped(tmp_path / "library", b"[")
    opened = store.open_library(str(tmp_path / "library"))
    told = "line 3 of ledger.jsonl is damaged: the library is as it was before the change that it acknowledged"
    assert opened.told == (told,)  # and not that it was interrupted
    assert [one["document"] for one in store.documents(opened)] == ["one"]
    assert store.verify(opened) == [f"it was mended when it was opened: {told}"]
    put(tmp_path / "library", "two")
    assert names(tmp_path / "library") == ["one", "two"]


def test_a_step_back_is_not_told_as_an_interruption(tmp_path: Path) -> None:
    library = tmp_path / "library"
    put(library, "one", "two")
    (manifest,) = (name for name in ledger.versions(library)[-1].files if name.endswith(".manifest"))
    with store.writing(str(library)) as opened:
        opened.table.add(rows("three"))  # interrupted: never acknowledged
    last = max((library / "panels.lance" / "_versions").glob("*.manifest"), key=ledger.number_of)
    kept = last.read_bytes()
    last.unlink()
    zeroed(library / manifest)
    stepped = f"{manifest} is damaged: the library is as it was 1 acknowledged changes ago"
    assert store.open_library(str(library)).told == (stepped,)
    put(library, "two")
    (manifest,) = (name for name in ledger.versions(library)[-1].files if name.endswith(".manifest"))
    last.write_bytes(kept)
    zeroed(library / manifest)
    assert store.open_library(str(library)).told == (stepped, INTERRUPTED)


def test_after_tidying_there_is_a_version_to_step_back_to(tmp_path: Path) -> None:
    library = tmp_path / "library"
    put(library, "one", "two")
    for name in ("three", "four"):
        put(library, name)
        with store.writing(str(library)) as opened:
            store.remove(opened, ["one"])
            store.compact(opened, 3600)
    assert len(ledger.versions(library)) == 3
    (manifest, *_) = sorted((library / "panels.lance" / "_versions").glob("*.manifest"))  # the names count down
    zeroed(manifest)
    opened = store.open_library(str(library))
    assert "is damaged: the library is as it was 1 acknowledged changes ago" in opened.told[0]
    assert len(opened.told) == 1
    assert [one["document"] for one in store.documents(opened)] == ["four", "three", "two"]
    assert store.verify(store.open_library(str(library))) == []
    put(library, "five")
    assert names(library) == ["five", "four", "three", "two"]


# ---------------------------------------------------------------------------------------------------- places


def test_a_folder_named_as_an_address_is_that_folder(tmp_path: Path) -> None:
    library = tmp_path / "a library"
    put(library.as_uri(), "one")
    put(library, "two")
    put(f"file://localhost{library}", "three")
    assert names(library) == names(library.as_uri()) == ["one", "three", "two"]
    assert store.open_library(library.as_uri()).uri == str(library)
    assert store.verify(store.open_library(library.as_uri())) == []
    ledger.check(library.as_uri())


@pytest.mark.parametrize("uri", ["foo://x", "az://c/x", "db://x", "gs://b/x", "file://elsewhere/x", "file:x"])
def test_other_places_are_none(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for attempt in (ledger.check, store.open_library, lambda uri: store.writing(uri).__enter__()):
        with pytest.raises(
            UsageError, match=f"^{uri} (is no place for a library|names no folder of this machine); name"
        ):
            attempt(uri)
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_others_is_left_alone(tmp_path: Path) -> None:
    lancedb.connect(tmp_path / "theirs").create_table("panels", data=pa.table({"a": [1, 2, 3]}))
    before = sorted((tmp_path / "theirs").rglob("*"))
    with pytest.raises(UsageError, match="holds files that are not of a library; name a new or empty folder"):
        put(tmp_path / "theirs", "one")
    assert sorted((tmp_path / "theirs").rglob("*")) == before


def test_what_is_left_of_the_making_of_a_library_is_put_aside(tmp_path: Path) -> None:
    library = tmp_path / "library"
    lancedb.connect(library).create_table("panels", schema=store.SCHEMA)
    (library / ledger.LOCK).touch()
    zeroed(next(library.rglob("*.manifest")))
    put(library, "one")
    assert names(library) == ["one"]


def test_new_folders_are_on_the_disk_before_a_change_is_acknowledged(tmp_path: Path, synced: list[str]) -> None:
    put(tmp_path / "new" / "folders" / "library", "one")
    at = synced.index(str(tmp_path / "new" / "folders" / "library" / ledger.LEDGER))
    assert {str(tmp_path), str(tmp_path / "new"), str(tmp_path / "new" / "folders")} <= set(synced[:at])


# ---------------------------------------------------------------------------------------------------- damaged, not mine

DAMAGED = r"is damaged; run `twinscope library verify` and bring it back from a copy \([^\n]*\)$"
READS: dict[str, Callable[[store.Library], object]] = {
    "info": store.info,
    "documents": store.documents,
    "held": lambda library: store.held(library, "m-1"),
    "in_part": lambda library: store.in_part(library, "m-1"),
    "near": lambda library: store.nearest(library, vector(rows("two"), 0)[None], 3, "m-1", Shelf()),
    "pictures": lambda library: store.pictures(library, [("one", "p1-f1-0")]),
    "models": lambda library: store.of_other_models(library, "m-2"),
}
WRITES: dict[str, Callable[[store.Library], object]] = {
    "add": lambda library: store.add(library, rows("five")),
    "renew": lambda library: store.renew(library, rows("one", panels=2)),
    "remove": lambda library: store.remove(library, ["one"]),
    "replace": lambda library: store.replace(library, rows("one", model="m-2"), "m-2"),
    "compact": store.compact,
    "refresh": lambda library: store.refresh(library, Shelf(exact=256, lists=1)),
}


@pytest.mark.parametrize("accident", [zeroed, os.unlink])
def test_a_damaged_older_file_is_told_by_every_function(tmp_path: Path, accident: Callable[[Path], None]) -> None:
    library = tmp_path / "library"
    with store.writing(str(library)) as opened:
        store.add(opened, rows("one", panels=150))
    put(library, "two", "three")
    (data,) = (name for name in ledger.versions(library)[1].files if "/data/" in name)
    accident(library / data)
    for name, read in READS.items():
        with pytest.raises(LibraryError, match=DAMAGED):
            pytest.fail(f"{name} gave {read(store.open_library(str(library)))}")
    for name, write in WRITES.items():
        with pytest.raises(LibraryError, match=DAMAGED), store.writing(str(library)) as opened:
            pytest.fail(f"{name} gave {write(opened)}")
    with pytest.raises(LibraryError, match=f"^{library} {DAMAGED}"):
        store.export(store.open_library(str(library)), tmp_path / "out.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["library"]
    assert store.verify(store.open_library(str(library)))[-1] == (
        f"{data} is absent or not what it was when it was written"
    )


def test_a_reader_whose_version_was_tidied_away_is_told_so(tmp_path: Path) -> None:
    library = tmp_path / "library"
    put(library, "one", "two", "three")
    with store.writing(str(library)) as opened:
        store.remove(opened, ["one"])
    reader = store.open_library(str(library))
    with store.writing(str(library)) as opened:
        store.compact(opened)
    with pytest.raises(LibraryError, match=r"was tidied while it was read; run the same command again$"):
        store.documents(reader)
    assert store.info(reader)["documents"] == 2
    assert store.verify(reader) == []


def test_files_that_go_while_a_library_is_verified_are_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "library"
    put(library, "one", "two")
    reader = store.open_library(str(library))
    broken = ledger._broken

    def late(folder: Path, files: dict[str, tuple[int, str]]) -> list[str]:
        monkeypatch.setattr(ledger, "_broken", broken)
        with store.writing(str(library)) as opened:
            store.compact(opened)
        return broken(folder, files)

    monkeypatch.setattr(ledger, "_broken", late)
    assert store.verify(reader) == []


def test_a_version_that_is_tidied_away_before_it_is_opened_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "library"
    put(library, "one", "two")
    with store.writing(str(library)) as opened:
        store.remove(opened, ["one"])
    list_tables = lancedb.db.LanceDBConnection.list_tables

    def late(db: lancedb.db.LanceDBConnection) -> object:
        monkeypatch.setattr(lancedb.db.LanceDBConnection, "list_tables", list_tables)
        with store.writing(str(library)) as opened:
            store.add(opened, rows("three"))
            store.compact(opened)
        return list_tables(db)

    monkeypatch.setattr(lancedb.db.LanceDBConnection, "list_tables", late)
    assert names(library) == ["three", "two"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return a disk of its own; skip the test where none can be made."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("a disk cannot be mounted here: it takes the rights of root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("lock", [True, False])
def test_a_library_that_may_only_be_read_is_read(disk: Path, tmp_path: Path, lock: bool) -> None:
    uri = str(disk / "library")
    put(uri, "one", "two")
    with store.writing(uri) as opened:
        opened.table.add(rows("three"))  # never acknowledged, and damaged
    zeroed(min((disk / "library").rglob("*.manifest")))
    if not lock:
        (disk / "library" / ledger.LOCK).unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    opened = store.open_library(uri)
    assert [one["document"] for one in store.documents(opened)] == ["one", "two"]
    assert len(store.nearest(opened, vector(rows("two"), 0)[None], 3, "m-1", Shelf())[0]) == 3
    assert store.info(opened)["documents"] == 2
    assert store.verify(opened) == []
    assert store.export(opened, tmp_path / "out.parquet") == 12
    with pytest.raises(LibraryError, match=f"^{uri} is not yours to read or to write .*; ask its owner"):
        put(uri, "four")


def test_a_damaged_newest_version_of_a_library_that_may_only_be_read_is_passed_over(disk: Path) -> None:
    uri = str(disk / "library")
    put(uri, "one", "two")
    (manifest,) = (name for name in ledger.versions(Path(uri))[-1].files if name.endswith(".manifest"))
    zeroed(Path(uri, manifest))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for _ in range(2):
        opened = store.open_library(uri)
        assert opened.told == (f"{manifest} is damaged: the library is as it was 1 acknowledged changes ago",)
        assert [one["document"] for one in store.documents(opened)] == ["one"]
