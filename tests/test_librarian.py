"""The commands of a library where something is amiss: it was damaged, misnamed, added to by two at once, copied."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from tests.detect.scenes import cells, scene
from tests.library.rows import rows
from tests.test_corpus import written

from twinscope import corpus, pixels, screen
from twinscope.detect import embed
from twinscope.library import store
from twinscope.report import html
from twinscope.settings import Settings

Run = Callable[..., tuple[int, str, str]]
SETTINGS = Settings()
AS_BEFORE = "the library is as it was 1 acknowledged changes ago"


def shelf(place: Path, *documents: str) -> str:
    """Fill a library with made-up documents, each in a change of its own, whose kept pictures can be shown."""
    picture = pixels.jpeg(cells(7), 90)
    for name in documents:
        table = rows(name, model=embed.MODEL)
        kept = pa.array([None if crop else picture for crop in table["crop"].to_pylist()], pa.binary())
        with store.writing(str(place)) as library:
            at = table.schema.get_field_index("picture")
            store.add(library, table.set_column(at, store.SCHEMA.field("picture"), kept))
    return str(place)


def damage(place: str) -> str:
    """Flip a byte of the newest data file of a library; return the library."""
    data = max(Path(place).glob("panels.lance/data/*"), key=lambda path: path.stat().st_mtime_ns)
    text = bytearray(data.read_bytes())
    text[len(text) // 2] ^= 1
    data.write_bytes(text)
    return place


# ---------------------------------------------------------------------------------------------------- mended


@pytest.mark.parametrize(
    ("arguments", "ends"),
    [
        (("compact",), 0),
        (("remove", "one.pdf"), 0),
        (("export", "-o", "{tmp}/all.parquet"), 0),
        (("reembed",), 0),
        (("info",), 0),
        (("add", "{tmp}/q.png"), 0),
        (("search", "{tmp}/q.png"), 3),
        (("verify",), 3),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_that_steps_a_library_back_says_so(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], ends: int, as_json: bool
) -> None:
    place = damage(shelf(tmp_path / "library", "one", "two"))
    written(tmp_path, q=scene(1))
    command = [*(text.format(tmp=tmp_path) for text in arguments), "--library", place]
    code, out, err = run("library", *command, *(["--json"] if as_json else []))
    assert (code, err.count(AS_BEFORE)) == (ends, 1), err
    assert "twinscope: the library was mended: panels.lance/data/" in err
    if as_json:
        (line,) = json.loads(out)["mended"]
        assert line.endswith(AS_BEFORE)
    code, out, err = run("library", "verify", "--library", place, "--json")
    assert (code, json.loads(out)["mended"], json.loads(out)["whole"], err) == (0, [], True, "")


def test_what_was_mended_is_said_where_the_command_then_fails(run: Run, tmp_path: Path) -> None:
    place = damage(shelf(tmp_path / "library", "one", "two"))
    code, _, err = run("library", "remove", "two.pdf", "--library", place)
    assert (code, AS_BEFORE in err, "two.pdf is not there" in err) == (2, True, True)


def test_a_search_and_a_screening_have_the_mended_library_as_a_problem(run: Run, tmp_path: Path) -> None:
    new = written(tmp_path / "new", a=scene(1))
    place = damage(shelf(tmp_path / "one", "one", "two"))
    _, out, _ = run("library", "search", str(new / "a.png"), "--library", place, "--json")
    (problem,) = json.loads(out)["problems"]
    assert (problem["path"], problem["reason"].startswith("it was mended when it was opened: panels.")) == (place, True)
    place = damage(shelf(tmp_path / "two", "one", "two"))
    told = screen.screen([new], tmp_path / "case", SETTINGS, library=place)
    (problem,) = told.problems
    assert (problem.path, AS_BEFORE in problem.reason) == (place, True)
    assert AS_BEFORE in html.render(told, tmp_path / "case")
    assert screen.screen([new], tmp_path / "case", SETTINGS, library=place).problems == ()
    place = damage(shelf(tmp_path / "three", "one", "two"))
    code, _, _ = run("screen", str(new), "--library", place, "-o", str(tmp_path / "other"))
    assert code == 3


# ---------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_removes_nothing(run: Run, tmp_path: Path, name: str) -> None:
    papers, place = written(tmp_path / "papers", one=scene(1)), str(tmp_path / "library")
    assert run("library", "add", str(papers), "--library", place)[0] == 0
    assert [one["title"] for one in store.documents(store.open_library(place))] == [""]
    code, _, err = run("library", "remove", name, "--library", place)
    assert (code, "an empty name is no document's; `twinscope library info --documents`" in err) == (2, True)
    assert len(store.documents(store.open_library(place))) == 1


def test_a_document_is_named_by_any_file_of_its_bytes(run: Run, tmp_path: Path) -> None:
    papers, place = written(tmp_path / "papers", A=scene(1), B=scene(1), C=scene(2)), str(tmp_path / "library")
    assert run("library", "add", str(papers), "--library", place)[0] == 0
    code, out, _ = run("library", "remove", str(papers / "B.png"), "--library", place)
    assert (code, "A.png (" in out, f"1 panels; {papers / 'B.png'} has the same bytes\n" in out) == (0, True, True)
    code, out, _ = run("library", "remove", str(papers / "C.png"), "--library", place)
    assert (code, "C.png (" in out, "the same bytes" in out) == (0, True, False)
    assert run("library", "remove", "x" * 300, "--library", place)[0] == 2  # too long to be a file's name


def test_the_bytes_of_a_file_say_which_of_its_name_is_meant(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = str(tmp_path / "library")
    old, new = written(tmp_path / "old", one=scene(1)), written(tmp_path / "new", one=scene(2), two=scene(3))
    run("library", "add", str(old), str(new), "--library", place)
    monkeypatch.chdir(new)
    code, out, _ = run("library", "remove", "one.png", "--library", place)
    assert (code, f"removed {new / 'one.png'} (" in out) == (0, True)
    monkeypatch.chdir(written(tmp_path / "other", two=scene(1)))  # the name of one document, the bytes of another
    code, _, err = run("library", "remove", "two.png", "--library", place)
    assert (code, "two.png stands for 2 documents" in err) == (2, True)
    assert len(store.documents(store.open_library(place))) == 2


def test_hits_of_two_files_with_one_name_are_told_apart(run: Run, tmp_path: Path) -> None:
    place = str(tmp_path / "library")
    one, two = written(tmp_path / "one", same=scene(1)), written(tmp_path / "two", same=scene(2))
    run("library", "add", str(one), str(two), "--library", place)
    code, out, err = run("library", "search", str(one / "same.png"), "--library", place)
    assert code == 0, err
    hashes = {document["document"][:12] for document in store.documents(store.open_library(place))}
    assert set(re.findall(r"\[(\w{12})\]$", out, re.MULTILINE)) == hashes


@pytest.mark.parametrize("place", ["s3:/bucket/x", "s3:bucket"])
def test_an_object_store_with_a_slash_too_few_is_no_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels.write_png(tmp_path / "a.png", scene(1))
    code, _, err = run("library", "add", "a.png", "--library", place)
    assert (code, f"{place} lacks the two slashes of an object store; write s3://BUCKET/PATH" in err) == (2, True), err
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_bytes_of_a_vector_divide_it(run: Run, tmp_path: Path) -> None:
    place = shelf(tmp_path / "library", "one")
    code, _, err = run("library", "compact", "--library", place, "--set", "library.bytes_a_vector=7")
    why = "setting library.bytes_a_vector: Input should be 1, 2, 4, 8, 16, 32, 64 or 128; see docs/settings.md"
    assert (code, why in err) == (2, True), err
    assert run("library", "compact", "--library", place, "--set", "library.bytes_a_vector=8")[0] == 0


# ---------------------------------------------------------------------------------------------------- adding


def test_titles_of_documents_that_are_there_are_said_not_to_be_changed(run: Run, tmp_path: Path) -> None:
    papers, place = written(tmp_path / "papers", a=scene(1), b=scene(2), c=scene(3)), str(tmp_path / "library")
    table = tmp_path / "titles.csv"
    table.write_text("file,title\na.png,On a\n")
    command = ("library", "add", str(papers), "--library", place, "--titles", str(table))
    said = " titles of documents that were there already were not changed; to change one, remove its document and add"
    assert "titles" not in run(*command)[2]
    assert "titles" not in run(*command)[2]  # the same title again
    table.write_text("file,title\na.png,On A\nb.png,On b\nother.png,On others\n")
    code, _, err = run(*command)
    assert (code, f"twinscope: 2{said}" in err) == (0, True), err
    held = {one["document"]: one for one in store.documents(store.open_library(place))}
    told = json.loads(run(*command, "--json")[1])["titled"]
    assert {(Path(held[one["document"]]["file"]).name, one["title"]) for one in told} == {
        ("a.png", "On A"), ("b.png", "On b")}  # fmt: skip
    assert sorted(one["title"] for one in held.values()) == ["", "", "On a"]
    run("library", "remove", "a.png", "b.png", "--library", place)
    assert "titles" not in run(*command)[2]  # as it is said to be done
    assert sorted(one["title"] for one in store.documents(store.open_library(place))) == ["", "On A", "On b"]


def test_what_another_adds_meanwhile_is_not_told_as_added_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    papers, uri = written(tmp_path / "papers", a=scene(1), b=scene(2), c=scene(3)), str(tmp_path / "library")
    take_in, others = corpus.take_in, []

    def late(*given: object, **more: object) -> corpus.Added:
        if not others:  # both have looked at what is there, and now the other one is faster
            others.append(None)
            others[0] = corpus.add([papers / "a.png", papers / "b.png"], uri, SETTINGS)
        return take_in(*given, **more)

    monkeypatch.setattr(corpus, "take_in", late)
    added = corpus.add([papers], uri, SETTINGS)
    told = [(one.documents, one.known, one.panels, one.vectors) for one in (others[0], added)]
    assert told == [(2, 0, 2, 12), (1, 2, 1, 6)]
    assert len(store.documents(store.open_library(uri))) == 3
    again = corpus.add([papers], uri, SETTINGS)
    assert (again.documents, again.known, again.panels) == (0, 3, 0)


# ---------------------------------------------------------------------------------------------------- the docs

RSYNC = """
import pathlib, shutil, sys
given = [one for one in sys.argv[1:] if one != "-a"]
delete = "--delete" in given
left_out = given[given.index("--exclude") + 1].strip("/") if "--exclude" in given else None
given = [one for one in given if one not in ("--delete", "--exclude", f"/{left_out}")]
source, target = map(pathlib.Path, given)
target.mkdir(exist_ok=True)
if not given[0].endswith("/"):
    shutil.copy2(source, target)
else:
    there = {path.relative_to(source) for path in source.rglob("*")} - {pathlib.Path(left_out or "/")}
    for one in sorted(there):
        (target / one).mkdir(exist_ok=True) if (source / one).is_dir() else shutil.copy2(source / one, target / one)
    for path in sorted(target.rglob("*"), reverse=True) if delete else []:
        if path.relative_to(target) not in there:
            path.rmdir() if path.is_dir() else path.unlink()
"""
"""What the backup asks of rsync, for machines without it."""


def test_the_backup_of_the_docs_forgets_and_is_whole_at_every_moment(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("flock") is None:
        pytest.skip("there is no flock here")
    text = (root / "docs" / "library.md").read_text(encoding="utf-8")
    (backup,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    tool = shutil.which("rsync") or f"{sys.executable} {tmp_path / 'rsync.py'}"
    (tmp_path / "rsync.py").write_text(RSYNC)
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "rsync"  # which keeps what is there after each step
    script.write_text(f'#!/bin/sh -e\n{tool} "$@"\ncp -r COPY "kept.$(ls -d kept.* 2>/dev/null | wc -l)"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)

    def held(place: str) -> set[str]:
        store.open_library(place)  # what it is not told of it puts aside
        opened = store.open_library(place)
        assert store.verify(opened) == []
        return {one["document"] for one in store.documents(opened)}

    def add(name: str) -> None:
        with store.writing("panels") as library:
            store.add(library, rows(name))

    for name in "abc":
        add(name)
    subprocess.run(["sh", "-c", backup], check=True)
    with store.writing("panels") as library:
        store.remove(library, ["b"])
    with store.writing("panels") as library:
        store.compact(library, 0)
    add("d")
    subprocess.run(["sh", "-c", backup], check=True)
    moments = [held(f"kept.{k}") for k in range(1, 6)]  # after the first step of all there is no ledger yet
    assert moments == [{*"abc"}, {*"abc"}, {*"abc"}, {*"acd"}, {*"acd"}]
    assert [b"picture b 0" in b"".join(path.read_bytes() for path in Path(place).rglob("*") if path.is_file())
            for place in ("kept.2", "panels", "COPY")] == [True, False, False]  # fmt: skip
    damage("panels")
    assert subprocess.run(["sh", "-c", backup], capture_output=True).returncode == 3
    assert held("COPY") == {*"acd"}  # which the library has lost
    assert held("panels") == {*"ac"}


def test_the_money_of_the_docs_is_that_of_all_hours(root: Path) -> None:
    table = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", (root / "docs" / "scale.md").read_text(), re.MULTILINE)
    comes_to = {what: float(number.strip(" $").replace(",", "")) for what, _, number in table if "hours" in what}
    hours = comes_to["core hours"] + comes_to["core hours of the index, at least: more lists take longer"]
    ((formula, money),) = [(formula, number) for what, formula, number in table if what == "money for computing"]
    assert formula == "(core hours + those of the index) x $0.05"
    assert money == f"${hours * 0.05:,.0f}"
