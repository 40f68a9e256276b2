"""A library on an object store: the same commands, several writers, and one sentence where the store is not there.

The store is moto's server: S3's own requests over HTTP, on a port of this machine.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import lancedb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.detect.scenes import scene
from tests.library import writer
from tests.library.conftest import OneByOne
from tests.library.rows import names, put, rows, vector
from tests.test_corpus import written

from twinscope import corpus
from twinscope.detect import embed
from twinscope.errors import LibraryError, UsageError
from twinscope.library import place, several, store, turns
from twinscope.settings import Settings, Shelf

Run = Callable[..., tuple[int, str, str]]


def objects(uri: str) -> dict[str, bytes]:
    """Return all objects of a bucket by their keys."""
    client, name = boto3.client("s3"), uri.split("/")[2]
    keys = [one["Key"] for one in client.list_objects_v2(Bucket=name).get("Contents", [])]
    return {key: client.get_object(Bucket=name, Key=key)["Body"].read() for key in keys}


def test_the_commands_do_the_same_as_in_a_folder(
    bucket: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    papers = written(tmp_path / "papers", one=scene(1), two=scene(2))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    there, folder = f"{bucket}/some/library", str(tmp_path / "library")
    for uri in (there, folder):
        code, out, _ = run("library", "add", str(papers), "--library", uri)
        assert (code, f"2 documents added to {uri}, with 2 panels" in out) == (0, True)
    told = []
    for uri in (there, folder):
        code, out, _ = run("library", "search", str(papers / "two.png"), "--library", uri, "--json")
        assert code == 0
        told.append(json.loads(out)["panels"])
    assert told[0] == told[1]
    assert Path(told[0][0]["hits"][0]["file"]).name == "two.png"
    code, out, _ = run("library", "info", "--library", there, "--json")
    assert {**json.loads(out), "version": 0} == {
        "library": there, "version": 0, "documents": 2, "panels": 2, "vectors": 12, "models": {embed.MODEL: 12},
        "index": None, "bytes": None, "mended": [], "partial": 0,
    }  # fmt: skip
    assert run("library", "verify", "--library", there)[1].strip() == f"{there} is whole"
    assert run("library", "export", "--library", there, "-o", str(tmp_path / "all.parquet"))[0] == 0
    assert run("library", "remove", "two.png", "--library", there)[0] == 0
    assert run("library", "compact", "--library", there, "--keep-hours", "0")[1].strip() == f"{there} is tidied"
    assert [Path(one["file"]).name for one in store.documents(store.open_library(there))] == ["one.png"]
    assert run("library", "add", str(papers), "--library", there)[1].startswith("1 documents added")
    again = json.loads(run("library", "reembed", "--library", there, "--json")[1])
    assert again == {"library": there, "panels": 0, "mended": []}
    assert all(key.startswith("some/library/panels.lance/") for key in objects(there))
    assert list((tmp_path / "here").iterdir()) == []  # no ledger, no lock, no folder of that name


def test_rows_come_out_as_they_went_in(bucket: str, tmp_path: Path) -> None:
    uri = f"{bucket}/library"
    assert put(uri, "one", "two") == 12
    assert put(uri, "one") == 0
    opened = store.open_library(uri)
    assert store.export(opened, tmp_path / "out.parquet") == 12
    by_panel = [("document", "ascending"), ("panel", "ascending"), ("crop", "ascending")]
    assert pq.read_table(tmp_path / "out.parquet").sort_by(by_panel).slice(0, 6) == rows("one")
    (hits,) = store.nearest(opened, vector(rows("two"), 2)[None], 2, "m-1", Shelf())
    assert (hits[0].key, hits[0].distance) == (("two", "p1-f1-1"), 0.0)
    assert store.pictures(opened, [hits[0].key]) == {hits[0].key: b"picture two 1"}


def test_what_is_removed_is_gone_after_tidying_and_nothing_stays_behind(bucket: str) -> None:
    uri = f"{bucket}/library"
    put(uri, "one", "two", "three")
    with store.writing(uri) as opened:
        assert store.remove(opened, ["two"]) == 6
    assert any(b"picture two 1" in data for data in objects(uri).values())
    with store.writing(uri) as opened:
        store.compact(opened)
        assert opened.table.tags.list() == {}
    left = objects(uri)
    assert not any(b"picture two 1" in data for data in left.values())
    assert any(b"picture one 1" in data for data in left.values())
    assert sum(key.endswith(".manifest") for key in left) == 1
    assert store.verify(store.open_library(uri)) == []


def test_tidying_that_is_interrupted_leaves_nothing_and_can_be_done_again(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"{bucket}/library"
    put(uri, "one", "two")
    with store.writing(uri) as opened:
        table = opened.table
        optimize = type(table).optimize

        def stopped(*given: object, **named: object) -> None:
            optimize(*given, **named)
            raise KeyboardInterrupt

        with monkeypatch.context() as context:
            context.setattr(type(table), "optimize", stopped)
            with pytest.raises(KeyboardInterrupt):
                store.compact(opened)
        assert table.tags.list() == {}  # a tag that stays would keep its version for ever
        store.add(opened, rows("three"))
        store.compact(opened)
    assert names(uri) == ["one", "three", "two"]
    assert sum(key.endswith(".manifest") for key in objects(uri)) == 1


def test_an_index_is_built_and_refreshed(bucket: str) -> None:
    shelf = Shelf(exact=600, lists=4, probed=4, bytes_a_vector=16, refined=20)
    uri = f"{bucket}/library"
    with store.writing(uri) as opened:
        store.add(opened, rows("many", panels=300))
        assert store.refresh(opened, shelf)
        store.add(opened, rows("more", panels=100))
        assert store.refresh(opened, shelf)
    opened = store.open_library(uri)
    assert store.info(opened)["index"]["unindexed"] == 0
    (hits,) = store.nearest(opened, vector(rows("more", panels=100), 8)[None], 1, "m-1", shelf)
    assert (hits[0].key, hits[0].distance) == (("more", "p1-f1-4"), 0.0)


def test_vectors_of_another_network_are_renewed_even_if_stopped_halfway(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, settings = f"{bucket}/library", Settings()
    corpus.add([written(tmp_path / "papers", one=scene(1), two=scene(2))], str(tmp_path / "library"), settings)
    with store.writing(uri) as opened:
        table = store.open_library(str(tmp_path / "library")).table.to_arrow().select(store.SCHEMA.names)
        at = table.schema.get_field_index("model")
        store.add(opened, table.set_column(at, store.SCHEMA.field("model"), pa.array(["old"] * len(table))))
        kind = type(opened.table)
    with monkeypatch.context() as context:

        def stopped(*_: object) -> None:
            raise KeyboardInterrupt

        context.setattr(kind, "delete", stopped)  # after the new rows are there, before the old ones go
        with pytest.raises(KeyboardInterrupt):
            corpus.reembed(uri, settings)
    assert store.info(store.open_library(uri))["models"] == {embed.MODEL: 12, "old": 12}
    assert corpus.reembed(uri, settings) == 2
    opened = store.open_library(uri)
    assert (store.info(opened)["models"], store.verify(opened)) == ({embed.MODEL: 12}, [])


# ---------------------------------------------------------------------------------------------------- several writers


def test_two_writers_at_once_lose_nothing(bucket: str, tmp_path: Path) -> None:
    uri = f"{bucket}/library"
    context = multiprocessing.get_context("spawn")
    works = [
        context.Process(target=writer.add_only, args=(uri, str(tmp_path / f"log{k}"), [100 * k + n for n in range(8)]))
        for k in range(2)
    ]
    for work in works:
        work.start()
    for work in works:
        work.join()
    assert [work.exitcode for work in works] == [0, 0]  # what they raised is in the captured stderr
    assert names(uri) == sorted(f"doc{100 * k + n:06d}" for k in range(2) for n in range(8))
    assert store.verify(store.open_library(uri)) == []


def test_two_who_make_a_library_at_once_lose_nothing(
    bucket: str, moto: OneByOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, looks = f"{bucket}/library", itertools.count(1)
    quick = threading.Thread(target=put, args=(uri, "quick"))

    def between(environ: dict[str, Any]) -> None:
        if "library%2Fpanels.lance%2F_versions" in environ["QUERY_STRING"] and next(looks) == 2:
            quick.start()  # Lance has seen that there is no table, and is about to commit a new one
            quick.join(4)  # long enough to make it and to add to it, were it not to wait

    monkeypatch.setattr(moto, "before", between)
    put(uri, "slow")
    assert quick.ident is not None
    quick.join(60)
    assert names(uri) == ["quick", "slow"]
    assert store.verify(store.open_library(uri)) == []
    assert all(key.startswith("library/panels.lance/") for key in objects(uri))


def test_a_library_is_made_though_one_died_who_was_about_to_make_it(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"{bucket}/library"
    lancedb.connect(uri).create_table("panels_made_by_one_who_died", schema=pa.schema([("nothing", pa.bool_())]))
    monkeypatch.setattr(turns, "DEAD_S", 0.5)
    began = time.monotonic()
    assert put(uri, "one") == 6
    assert time.monotonic() - began > 0.5
    assert all(key.startswith("library/panels.lance/") for key in objects(uri))


def test_of_two_who_add_the_same_document_the_first_keeps_it(bucket: str) -> None:
    uri = f"{bucket}/library"
    put(uri, "before")
    with store.writing(uri) as slow, store.writing(uri) as quick:
        assert several.held(slow, ["same"]) == several.held(quick, ["same"]) == []  # both find that it is not there
        assert store.append(quick, rows("same")) == 6
        assert store.append(slow, pa.concat_tables([rows("same"), rows("other")])) == 6
    assert names(uri) == ["before", "other", "same"]
    assert store.open_library(uri).table.count_rows() == 18
    assert store.verify(store.open_library(uri)) == []


# ---------------------------------------------------------------------------------------------------- not there


@pytest.fixture
def silent() -> Iterator[str]:
    """Return the address of a server that takes a connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def refused(uri: str) -> str:
    """Return what is said, the same for reading and writing, in less than 20 s each."""
    said = []
    for attempt in (store.open_library, lambda uri: store.writing(uri).__enter__()):
        began = time.monotonic()
        with pytest.raises(LibraryError) as caught:
            attempt(uri)
        assert time.monotonic() - began < 20
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "\n" not in said[0]
    return said[0]


def test_what_is_missing_is_said_in_a_sentence(
    bucket: str, silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=f"{bucket}/none is no library; make one with"):
        store.open_library(f"{bucket}/none")
    assert refused("s3://no-such-bucket/library") == (
        "there is no bucket for s3://no-such-bucket/library; make it first, or name another one"
    )
    deaf = f"the object store of {bucket}/library does not answer; check the network and AWS_ENDPOINT_URL"
    with monkeypatch.context() as context:
        context.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        assert refused(f"{bucket}/library") == deaf
        context.setenv("AWS_ENDPOINT_URL", silent)
        context.setattr(place, "FIRST", {**place.FIRST, "timeout": "1s"})  # as it is, it takes half a minute
        assert refused(f"{bucket}/library") == deaf
    with monkeypatch.context() as context:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            context.delenv(name)
        for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            context.setenv(name, os.devnull)
        assert refused(f"{bucket}/library").startswith(f"there are no credentials for {bucket}/library; set AWS_")


def test_a_command_says_it_and_ends(bucket: str, run: Run, tmp_path: Path) -> None:
    papers = written(tmp_path / "papers", one=scene(1))
    for command in (("add", str(papers)), ("info",), ("search", str(papers / "one.png"))):
        code, _, err = run("library", *command, "--library", "s3://no-such-bucket/library")
        assert (code, "there is no bucket for s3://no-such-bucket/library" in err) == (4, True), (command, err)


def test_what_was_read_in_part_is_replaced_on_an_object_store_too(bucket: str) -> None:
    uri = f"{bucket}/library"
    with store.writing(uri) as library:
        store.add(library, rows("one", panels=1))
        library.table.drop_columns(["partial"])  # as an older version made it
    with store.writing(uri) as library:
        assert store.in_part(library, "m-1") == {}
        library.table.update(values={"partial": "the rest is not read"})
    with store.writing(uri) as library:
        assert store.in_part(library, "m-1") == {"one": 1}
        assert store.add(library, pa.concat_tables([rows("one"), rows("two")]), {"one"}) == 12
    opened = store.open_library(uri)
    assert (store.in_part(opened, "m-1"), store.verify(opened), opened.table.count_rows()) == ({}, [], 12)


# ---------------------------------------------------------------------------------------------------- others between


def test_one_of_many_that_were_added_at_once_goes_out_of_the_store(bucket: str) -> None:
    for removed in ("d07", "d29"):
        uri = f"{bucket}/{removed}"
        with store.writing(uri) as opened:
            store.add(opened, pa.concat_tables([rows(f"d{k:02d}") for k in range(30)]))
            assert store.remove(opened, [removed]) == 6
            store.compact(opened)
        left = [data for key, data in objects(uri).items() if key.startswith(removed)]
        assert not any(f"picture {removed} 1".encode() in data for data in left)
        assert any(b"picture d11 1" in data for data in left)
        assert names(uri) == [f"d{k:02d}" for k in range(30) if f"d{k:02d}" != removed]


def test_two_who_bring_an_older_library_up_to_date_both_go_on(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"{bucket}/library"
    put(uri, "one")
    with store.writing(uri) as library:
        library.table.drop_columns(["partial"])
        kind = type(library.table)
    add_columns = kind.add_columns

    def late(table: object, columns: dict[str, str]) -> object:
        monkeypatch.setattr(kind, "add_columns", add_columns)
        put(uri, "two")
        return add_columns(table, columns)

    monkeypatch.setattr(kind, "add_columns", late)
    put(uri, "three")
    assert names(uri) == ["one", "three", "two"]


@pytest.mark.parametrize("keep_s", [0.0, 3600.0])
def test_a_document_stands_there_once_though_another_tidies_meanwhile(
    bucket: str, monkeypatch: pytest.MonkeyPatch, keep_s: float
) -> None:
    uri = f"{bucket}/library"
    put(uri, "before")
    with store.writing(uri) as slow, store.writing(uri) as quick:
        assert store.append(quick, rows("same")) == 6
        kind = type(slow.table)
        add = kind.add

        def tidied(table: object, given: pa.Table) -> None:
            monkeypatch.setattr(kind, "add", add)
            add(table, given)
            with store.writing(uri) as third:
                store.compact(third, keep_s)

        monkeypatch.setattr(kind, "add", tidied)
        assert store.append(slow, rows("same")) == 0
        assert store.remove(quick, ["before"]) == 6  # of its own, though others were there
    opened = store.open_library(uri)
    assert (names(uri), store.verify(opened), opened.table.count_rows()) == (["same"], [], 6)


def test_what_is_renewed_stands_there_once_though_another_tidies_meanwhile(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"{bucket}/library"
    put(uri, "one", "two")
    better = rows("one", panels=2, crops=3)
    at = better.schema.get_field_index("vector")
    other = better.set_column(at, store.SCHEMA.field("vector"), rows("new", panels=2, crops=3)["vector"])
    for given in (other, better):
        with store.writing(uri) as slow:
            kind = type(slow.table)
            delete = kind.delete

            def tidied(table: object, where: str, kind: type = kind, delete: Callable[..., object] = delete) -> object:
                monkeypatch.setattr(kind, "delete", delete)
                with store.writing(uri) as third:
                    store.compact(third, 3600)
                return delete(table, where)

            monkeypatch.setattr(kind, "delete", tidied)
            assert store.renew(slow, given) == 6
        opened = store.open_library(uri)
        assert (names(uri), store.verify(opened), opened.table.count_rows()) == (["one", "two"], [], 12)
        (hits,) = store.nearest(opened, vector(given, 4)[None], 1, "m-1", Shelf())
        assert (hits[0].key, hits[0].distance) == (("one", "p1-f1-1"), 0.0)


def test_two_who_take_theirs_out_at_once_leave_one(bucket: str) -> None:
    uri = f"{bucket}/library"
    put(uri, "one")
    with store.writing(uri) as opened:
        opened.table.add(pa.concat_tables([rows("same"), rows("same")]))
        assert several.settled(opened, rows("same")) == 6
        opened.table.delete("document = 'same'")
        assert several.settled(opened, rows("same")) == 0
    assert names(uri) == ["one", "same"]
    assert store.verify(store.open_library(uri)) == []
