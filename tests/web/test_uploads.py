"""What comes over the wire and onto the disk: whole, hashed, bounded, under a safe name; or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.web.desks import FILE, ORIGIN, QUICK, TOKEN, enter, make_case, open_desk

from twinscope.web import cases, uploads

MB = 1 << 20
SMALL = QUICK.model_copy(update={"upload_bytes": MB, "upload_files": 5, "upload_idle_s": 0.3})
SCRIPT = {"Accept": "application/json"}


@pytest.fixture
def small(tmp_path: Path) -> FastAPI:
    """Return a desk that takes 1 MB and five files at a time."""
    return open_desk(tmp_path / "cases", desk=SMALL)


def on_disk(app: FastAPI) -> list[str]:
    """Return all files of uploads, those under way, too."""
    folder: Path = app.state.folder
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(path for path in found if "uploads/" in path or uploads.ROOM in path)


def form(*parts: tuple[str, bytes], boundary: str = "b0rder", end: str = "--") -> tuple[bytes, dict[str, str]]:
    """Return a body of parts (what stands after `form-data; `, content), and its headers."""
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"
        for head, content in parts
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return body + f"--{boundary}{end}\r\n".encode(), headers


def test_files_are_kept_as_they_came_with_their_hashes(desk: FastAPI) -> None:
    content = [os.urandom(3 * MB + 17), b"", b"\r\n--b0rder\r\n" * 99]
    names = ["a paper.pdf", "empty.png", "../../../etc/passwd"]
    client = enter(desk)
    files = [("files", (name, data)) for name, data in zip(names, content, strict=True)]
    answer = client.post("/cases", files=files, data={"title": "  Two\n words "}, headers=SCRIPT)
    assert answer.status_code == 200
    case_id = answer.json()["id"]
    assert answer.json()["url"] == f"/cases/{case_id}"
    with cases.connected(desk.state.folder) as db:
        case = cases.get(db, case_id)
        kept = cases.files(db, case_id)
        job = cases.latest_job(db, case_id)
    assert case is not None
    assert job is not None
    assert (case.title, job.kind, job.state) == ("Two words", "screen", "queued")
    assert [file.name for file in kept] == ["a paper.pdf", "empty.png", "passwd"]
    assert [file.stored for file in kept] == ["1/a_paper.pdf", "2/empty.png", "3/passwd"]
    assert [file.sha256 for file in kept] == [hashlib.sha256(data).hexdigest() for data in content]
    assert [file.size for file in kept] == [len(data) for data in content]
    for file, data in zip(kept, content, strict=True):
        assert (desk.state.folder / case_id / "uploads" / file.stored).read_bytes() == data
        assert client.get(f"/cases/{case_id}/files/{file.number}").content == data
    assert len(on_disk(desk)) == 3


def test_a_browser_goes_on_to_the_case_and_the_title_is_the_files(desk: FastAPI) -> None:
    answer = enter(desk).post("/cases", files=[FILE, FILE])
    assert answer.status_code == 303
    with cases.connected(desk.state.folder) as db:
        case = cases.get(db, answer.headers["location"].removeprefix("/cases/"))
    assert case is not None
    assert case.title == "paper and 1 more"


def test_more_files_get_the_next_numbers_and_one_screening(desk: FastAPI) -> None:
    case = make_case(desk.state.folder)
    client = enter(desk)
    for _ in range(2):
        assert client.post(f"/cases/{case.id}/files", files=[FILE, FILE]).status_code == 303
    with cases.connected(desk.state.folder) as db:
        assert [file.stored for file in cases.files(db, case.id)] == [f"{n}/paper.pdf" for n in range(1, 6)]
        assert db.execute("SELECT count(*) FROM jobs").fetchone()[0] == 1


def test_uploads_into_one_case_at_once_lose_nothing(desk: FastAPI) -> None:
    case = make_case(desk.state.folder)
    client = enter(desk)
    threads = [
        threading.Thread(target=client.post, args=(f"/cases/{case.id}/files",), kwargs={"files": [FILE] * 5})
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with cases.connected(desk.state.folder) as db:
        kept = cases.files(db, case.id)
    assert [file.number for file in kept] == list(range(1, 32))
    assert len(on_disk(desk)) == 31


@pytest.mark.parametrize("told", [True, False])
def test_one_byte_too_many_is_413_and_leaves_nothing(small: FastAPI, told: bool) -> None:
    client = enter(small)

    def send(size: int) -> httpx.Response:
        body, headers = form(('name="files"; filename="a.pdf"', b"x" * size))
        chunks = iter([body[at : at + 70_000] for at in range(0, len(body), 70_000)])
        return client.post("/cases", content=body if told else chunks, headers={**headers, **SCRIPT})

    assert send(MB).status_code == 200
    before = on_disk(small)
    for size in (MB + 1, 3 * MB, 9 * MB):
        answer = send(size)
        assert answer.status_code == 413
        assert (
            answer.json()["detail"]
            == "the upload is larger than 1 MB, which is the most at a time; send the files one by one"
        )
        assert on_disk(small) == before
    with cases.connected(small.state.folder) as db:
        assert len(cases.visible(db, "", True)) == 1


@pytest.mark.parametrize(
    ("parts", "status", "word"),
    [
        ([('name="files"; filename="a.pdf"', b"x" * 700_000)] * 2, 413, "larger than 1 MB"),
        ([('name="files"; filename="a.pdf"', b"x")] * 6, 413, "5 files at most"),
        ([('name="files"; filename=""', b"")] * 3000, 413, "5 files at most"),
        ([(f'name="f{n}"', b"x") for n in range(21)], 413, "too many fields"),
        ([('name="title"', b"x" * 10_001)], 413, "the field title of the form is too long"),
        ([], 400, "no file came"),
        ([('name="title"', b"x")], 400, "no file came"),
        ([('name="files"; filename=""', b"")], 400, "no file came"),
        ([('filename="a.pdf"', b"x")], 400, "not whole"),
        ([("", b"x")], 400, "not whole"),
        ([('name="\xff\xfe"; filename="a.pdf"', b"x")], 200, ""),
    ],
)
def test_forms_that_are_none_are_told_in_a_sentence(
    small: FastAPI, parts: list[tuple[str, bytes]], status: int, word: str
) -> None:
    body, headers = form(*parts)
    answer = enter(small).post("/cases", content=body, headers={**headers, **SCRIPT})
    assert answer.status_code == status, answer.text
    assert word in answer.text
    assert len(on_disk(small)) == (status == 200)
    assert os.listdir(small.state.folder / uploads.ROOM) == []


BODY, HEADERS = form(('name="files"; filename="a.pdf"', b"content"))


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (BODY[:-20], HEADERS, 400), (BODY[:60], HEADERS, 400), (b"", HEADERS, 400), (b"junk" * 99, HEADERS, 400),
        (BODY, {"Content-Type": "multipart/form-data"}, 415), (BODY, {"Content-Type": "text/plain"}, 415),
        (BODY, {}, 415), (BODY, {"Content-Type": "multipart/form-data; boundary=" + "x" * 300}, 400),
        (form(('name="files"; filename="a"\r\nX: ' + "y" * 9000, b""))[0], HEADERS, 400),
        (form(('name="files"; filename="a"' + "\r\nX: y" * 50, b""))[0], HEADERS, 400),
        (form(('name="files"; filename="a.pdf"', b"x"), end="")[0], HEADERS, 400),
    ],
)  # fmt: skip
def test_what_is_damaged_leaves_nothing(small: FastAPI, body: bytes, headers: dict[str, str], status: int) -> None:
    answer = enter(small).post("/cases", content=body, headers={**headers, **SCRIPT})
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert on_disk(small) == []


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_bytes_of_a_form_make_an_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    app = desks.setdefault("hostile", open_desk(tmp_path_factory.mktemp("hostile"), desk=SMALL))
    client = clients.setdefault("hostile", enter(app))
    body = bytearray(form(('name="files"; filename="a.pdf"', b"content"), ('name="title"', b"t"))[0])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    answer = client.post("/cases", content=bytes(body), headers={**HEADERS, **SCRIPT})
    assert answer.status_code in (200, 400, 413)
    assert os.listdir(app.state.folder / uploads.ROOM) == []


desks: dict[str, FastAPI] = {}
clients: dict[str, Any] = {}


def test_a_case_that_is_removed_while_files_come_stays_so(desk: FastAPI) -> None:
    case = make_case(desk.state.folder)
    client = enter(desk, **SCRIPT)
    sent = form(('name="files"; filename="a.pdf"', b"content" * 99))[0]

    def body() -> Iterator[bytes]:
        yield sent[:50]
        assert enter(desk).post(f"/cases/{case.id}/remove").status_code == 303
        yield sent[50:]

    assert client.post(f"/cases/{case.id}/files", content=body(), headers=HEADERS).status_code == 404
    assert on_disk(desk) == []
    assert not (desk.state.folder / case.id).exists()


@pytest.mark.parametrize(
    "name", ['a"b.pdf', "a\nb.pdf", "a\r\nX: y.pdf", "论文.pdf", "<script>.pdf", "a;b=c.pdf", "\u202efdp.exe"]
)
def test_an_original_keeps_its_name_and_says_no_more(desk: FastAPI, name: str) -> None:
    case = make_case(desk.state.folder)
    with cases.connected(desk.state.folder) as db:
        cases.add_file(db, case.id, name, "1/paper.pdf", "0" * 64, 16)
    answer = enter(desk).get(f"/cases/{case.id}/files/2")
    assert answer.status_code == 200
    said = answer.headers["content-disposition"]
    assert re.fullmatch(r"attachment; filename(\*=utf-8''[A-Za-z0-9%._~-]+|=\"[^\"\r\n]+\")", said)
    assert "x" not in {key.lower() for key in answer.headers}


def test_a_form_elsewhere_is_small(desk: FastAPI) -> None:
    case = make_case(desk.state.folder)
    client = enter(desk, **SCRIPT)
    for body in (b"user=" + b"x" * (1 << 21), iter([b"user="] + [b"x" * 65536] * 33)):
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = client.post(f"/cases/{case.id}/access", content=body, headers=headers)
        assert answer.status_code == 413
        assert answer.headers["x-content-type-options"] == "nosniff"


async def _slowly(app: FastAPI, chunks: AsyncIterator[bytes]) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        key = {"Authorization": f"Bearer {TOKEN}", **HEADERS}
        return await client.post("/api/v1/cases", content=chunks, headers=key)


def test_an_upload_that_stalls_is_given_up(small: FastAPI) -> None:
    async def stalls() -> AsyncIterator[bytes]:
        yield BODY[:100]
        await asyncio.sleep(1)
        yield BODY[100:]

    async def pauses() -> AsyncIterator[bytes]:
        for at in range(0, len(BODY), 20):
            yield BODY[at : at + 20]
            await asyncio.sleep(0.02)

    answer = asyncio.run(_slowly(small, stalls()))
    assert (answer.status_code, "nothing came for 0.3 s" in answer.text) == (408, True)
    assert on_disk(small) == []
    assert asyncio.run(_slowly(small, pauses())).status_code == 201


def _exchange(app: FastAPI, came: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Send the messages of an upload to a desk, and return those of its answer."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return next(came)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = {"host": "127.0.0.1:8765", "authorization": f"Bearer {TOKEN}", **HEADERS}
    scope = {
        "type": "http", "method": "POST", "path": "/api/v1/cases", "raw_path": b"/api/v1/cases", "query_string": b"",
        "root_path": "", "scheme": "http", "http_version": "1.1", "client": ("127.0.0.1", 1), "server": None,
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return sent


def test_a_sender_who_goes_away_leaves_nothing(small: FastAPI) -> None:
    came = [{"type": "http.request", "body": BODY[:100], "more_body": True}, {"type": "http.disconnect"}]
    _exchange(small, iter(came))
    assert on_disk(small) == []
    with cases.connected(small.state.folder) as db:
        assert cases.visible(db, "", True) == []


@pytest.mark.parametrize(("chunks", "left"), [(18, 0), (60, 25)])
def test_who_sends_too_much_may_finish_but_not_for_ever(small: FastAPI, chunks: int, left: int) -> None:
    """A browser hears the answer when it has sent everything, and tells nothing where the line breaks before."""
    parts = [BODY[: BODY.index(b"content")], *[b"x" * 100_000] * chunks]
    came = iter([{"type": "http.request", "body": part, "more_body": True} for part in parts] + [
        {"type": "http.request", "body": b"", "more_body": False}])  # fmt: skip
    sent = _exchange(small, came)
    assert sent[0]["status"] == 413
    rest = len(list(came))
    assert rest >= left if left else rest == 0


def test_a_full_disk_is_told_and_leaves_nothing(small: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    client = enter(small)
    monkeypatch.setattr(uploads.os, "fsync", full)
    answer = client.post("/cases", files=[FILE], headers=SCRIPT)
    assert answer.status_code == 507
    assert "disk" in answer.json()["detail"]
    assert on_disk(small) == []


def test_files_are_on_the_disk_before_they_are_acknowledged(small: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real: Callable[[int], None] = os.fsync

    def noted(number: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{number}"))
        real(number)

    client = enter(small)
    monkeypatch.setattr(uploads.os, "fsync", noted)
    case_id = client.post("/cases", files=[FILE], headers=SCRIPT).json()["id"]
    assert re.fullmatch(r".*/\.incoming/[0-9a-f]{16}/1", synced[0])
    folder = str(small.state.folder)
    assert synced[1:] == [f"{folder}/{case_id}/uploads/1", f"{folder}/{case_id}/uploads", f"{folder}/{case_id}", folder]


def test_what_an_upload_left_is_cleared_at_the_next_start(tmp_path: Path) -> None:
    room = tmp_path / uploads.ROOM / "abc"
    room.mkdir(parents=True)
    (room / "1").write_bytes(b"half")
    uploads.clear(tmp_path)
    uploads.clear(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "told", "stored"),
    [
        ("paper.pdf", "paper.pdf", "paper.pdf"), ("C:\\Users\\me\\my paper.PDF", "my paper.PDF", "my_paper.PDF"),
        ("../../.ssh/id", "id", "id"), ("..", "..", "file"), (".", ".", "file"), ("/", "file", "file"),
        (".bashrc", ".bashrc", "bashrc"), ("-rf.pdf", "-rf.pdf", "rf.pdf"), ("résumé.pdf", "résumé.pdf", "resume.pdf"),
        ("论文.pdf", "论文.pdf", "file.pdf"), ("a\0b\n.pdf", "a\0b\n.pdf", "a_b.pdf"),
        ("x.tar.gz", "x.tar.gz", "x_tar.gz"),
        ("a." + "b" * 300, "b" * 255, "b" * 80), ("x" * 300 + ".pdf", "x" * 251 + ".pdf", "x" * 69 + ".pdf"),
    ],
)  # fmt: skip
def test_names(name: str, told: str, stored: str) -> None:
    assert uploads.given(name) == told
    assert uploads.safe(name) == stored


@given(st.text(max_size=300))
def test_every_name_is_safe(name: str) -> None:
    made = uploads.safe(name)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9]{1,10})?", made)
    assert len(made) <= 80
    assert Path(made).name == made
