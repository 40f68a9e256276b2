"""Hostile files: each has its status, costs little time, and none of the parent's memory."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from twinscope import ingest, settings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))
import attacks

import papers

SECONDS = 60.0
PARENT_BYTES = 100 * 2**20


class Wanted(NamedTuple):
    """What must become of a file: allowed statuses, words of the reason or a problem, panels (None: any number)."""

    status: tuple[str, ...]
    words: str = ""
    panels: int | None = 0


FAILED, REFUSED, PARTIAL, OK = ("failed",), ("refused",), ("partial",), ("ok",)

WANTED = {
    "self_recursive_form": Wanted(("ok", "failed")),
    "nested_forms": Wanted(("ok", "failed")),
    "huge_content": Wanted(FAILED, "memory"),
    "double_flate": Wanted(FAILED, "memory"),
    "object_stream_bomb": Wanted(FAILED, "memory"),
    "huge_page": Wanted(FAILED, "200000 x 200000 points"),
    "encrypted": Wanted(REFUSED, "encrypted"),
    "truncated": Wanted(("partial", "failed"), "damaged", None),
    "broken_xref": Wanted(("ok", "partial"), "", 2),
    "garbage": Wanted(FAILED, "damaged"),
    "image_header_bomb": Wanted(("partial", "failed"), "60000 x 60000 px"),
    "jpx_header_bomb": Wanted(("partial", "failed")),
    "png_header_bomb": Wanted(REFUSED, "over the limit"),
    "jpeg_header_bomb": Wanted(REFUSED, "over the limit"),
    "tiff_header_bomb": Wanted(REFUSED, "60000 x 60000 px"),
    "tiff_huge_tiles": Wanted(REFUSED, "tiles"),
    "zip_bomb": Wanted(REFUSED, "200 to 1"),
    "nested_zips": Wanted(OK, "more than 2 archives"),
    "overlapping_zip": Wanted(REFUSED, "share the same bytes"),
    "many_entries_zip": Wanted(REFUSED, "3000 entries"),
    "traversal_zip": Wanted(PARTIAL, "points outside", None),
    "symlink_zip": Wanted(PARTIAL, "not followed", None),
    "polyglot": Wanted(OK, "", None),
    "wrong_extension": Wanted(REFUSED, "the content is a PNG file"),
    "entity_bomb": Wanted(FAILED, "entities"),
    "empty": Wanted(FAILED, "empty"),
    "one_pixel": Wanted(FAILED, "1 x 1 px"),
    "wide": Wanted(OK, "", 1),
}


def draw(name: str, folder: Path) -> Path:
    image = papers.micrograph()
    if name in ("truncated", "broken_xref"):
        return Path(getattr(attacks, name)(folder, papers.pdf(folder, [image, image])))
    if name == "encrypted":
        return attacks.encrypted(folder, papers.pdf(folder, [image]), "secret")
    return Path(getattr(attacks, name)(folder))


@pytest.mark.parametrize("name", WANTED)
def test_attack(name: str, tmp_path: Path) -> None:
    file = draw(name, tmp_path)
    wanted = WANTED[name]
    before = psutil.Process().memory_info().rss
    began = time.monotonic()
    got = ingest.read([file], tmp_path / "case", settings.load())
    assert time.monotonic() - began < SECONDS
    assert psutil.Process().memory_info().rss - before < PARENT_BYTES
    assert got.inputs[0].status in wanted.status
    said = [got.inputs[0].reason, *(i.reason for i in got.inputs), *(p.reason for p in got.problems)]
    assert any(wanted.words in words for words in said)
    if got.inputs[0].status != "ok":
        assert got.problems
        assert got.inputs[0].reason
    if wanted.panels is not None:
        assert len(got.panels) == wanted.panels
    strays = {p.name for p in tmp_path.rglob("*evil*")} | {p.name for p in tmp_path.parent.glob("*evil*")}
    assert strays == set()


def test_encrypted_with_an_empty_password_is_read(tmp_path: Path) -> None:
    image = papers.micrograph()
    file = attacks.encrypted(tmp_path, papers.pdf(tmp_path, [image]), "")
    got = ingest.read([file], tmp_path / "case", settings.load())
    assert got.inputs[0].status == "ok"
    assert len(got.panels) == 1


def test_polyglot_is_read_as_a_picture_only(tmp_path: Path) -> None:
    got = ingest.read([attacks.polyglot(tmp_path)], tmp_path / "case", settings.load())
    assert len(got.inputs) == 1
    assert len(got.figures) == 1


def test_links_in_folders_lead_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "loop").symlink_to(folder)
    (folder / "secret.png").symlink_to("/etc/passwd")
    got = ingest.read([folder], tmp_path / "case", settings.load())
    assert got.inputs == ()
    assert len(got.problems) == 2


def test_missing_file_and_device(tmp_path: Path) -> None:
    got = ingest.read([tmp_path / "gone.pdf", Path("/dev/zero")], tmp_path / "case", settings.load())
    assert [i.status for i in got.inputs] == ["failed", "refused"]


def test_attack_names_are_all_tested() -> None:
    drawn = {name for name, item in vars(attacks).items() if callable(item) and not name.startswith("_")}
    drawn = {name for name in drawn if getattr(vars(attacks)[name], "__module__", "") == "attacks"}
    assert drawn - {"pdf_bytes", "stream", "picture_bytes", "pdf_with_image"} == set(WANTED)
