"""Fetching, against a real server on this machine that misbehaves in every way that servers do."""

from __future__ import annotations

import ast
import errno
import hashlib
import http.server
import io
import json
import subprocess
import sys
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from twinscope import fetch
from twinscope.errors import UsageError

Run = Callable[..., tuple[int, str, str]]
NAME = "stage1_train_labels.csv"
CONTENT = bytes(range(256)) * 4000  # a megabyte, no two blocks at one place alike in phase


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; the fields say how it misbehaves, `asked` what it was asked."""

    files: dict[str, bytes]
    asked: list[dict[str, str | None]]
    cut_at: list[int]
    ranges = True
    etag = '"v1"'
    told_length: int | None = None
    statuses: list[int]
    content_type = "application/octet-stream"
    wrong_start = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing where a client hangs up: that is what is tested."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, name = self.server, self.path.lstrip("/")
        server.asked.append({"path": name, "range": self.headers["Range"], "if_range": self.headers["If-Range"]})
        status = server.statuses.pop(0) if server.statuses else 200
        if status != 200 or name not in server.files:
            self.send_error(404 if status == 200 else status)
            return
        body, start = server.files[name], 0
        given = self.headers["Range"]
        if given and server.ranges and self.headers["If-Range"] in (None, server.etag):
            start = int(given.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_error(416)
                return
            start += server.wrong_start
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        length = len(body) - start if server.told_length is None else server.told_length
        if length >= 0:
            self.send_header("Content-Length", str(length))
        self.send_header("Content-Type", server.content_type)
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        self.wfile.write(body[start : server.cut_at.pop(0) if server.cut_at else None])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(fetch, "PAUSE_S", 0.0)
    with Server(("127.0.0.1", 0), Handler) as one:
        one.files, one.asked, one.cut_at, one.statuses = {NAME: CONTENT}, [], [], []
        thread = threading.Thread(target=one.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def base(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/"


def got(server: Server, folder: Path, *only: str) -> fetch.Fetched:
    return fetch.fetch("bbbc038", folder, only or (NAME,), None, base(server))[0]


def record(folder: Path) -> dict[str, dict[str, dict[str, object]]]:
    return json.loads((folder / "fetched.json").read_text())  # type: ignore[no-any-return]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_hashed_and_recorded(server: Server, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    folder = tmp_path / "new" / "folder"
    told = fetch.fetch("bbbc038", folder, [NAME], lambda *what: heard.append(what), base(server))
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert told == [fetch.Fetched(NAME, "fetched", "", len(CONTENT), digest, "first seen")]
    assert (folder / NAME).read_bytes() == CONTENT
    assert record(folder) == {
        "files": {NAME: {"url": base(server) + NAME, "size": len(CONTENT), "sha256": digest}}, "unfinished": {},
    }  # fmt: skip
    assert names(folder) == ["fetched.json", NAME]
    assert heard[-1] == (f"{NAME}, MB", 0, 0)


def test_what_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    got(server, tmp_path)
    again = got(server, tmp_path)
    assert (again.status, again.checked) == ("kept", "recorded")
    assert len(server.asked) == 1


def test_a_broken_connection_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.cut_at = [300_000, 700_000]
    assert got(server, tmp_path).status == "fetched"
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert [(one["range"], one["if_range"]) for one in server.asked] == [
        (None, None), ("bytes=300000-", '"v1"'), ("bytes=700000-", '"v1"'),
    ]  # fmt: skip


def test_a_connection_that_breaks_often_gets_on_as_long_as_something_comes(server: Server, tmp_path: Path) -> None:
    server.cut_at = [k * 80_000 for k in range(1, 2 * fetch.ATTEMPTS + 1)]
    assert got(server, tmp_path).status == "fetched"
    assert len(server.asked) == 2 * fetch.ATTEMPTS + 1


def test_a_way_that_leaves_https_is_not_followed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = fetch.urllib.request.urlopen

    def redirected(request: urllib.request.Request, timeout: float) -> object:
        assert request.full_url.startswith("https://data.broadinstitute.org/")
        return opened(base(server) + NAME, timeout=timeout)

    monkeypatch.setattr(fetch.urllib.request, "urlopen", redirected)
    told = fetch.fetch("bbbc038", tmp_path, [NAME])[0]
    assert told.status == "failed"
    assert "which is not encrypted" in told.reason
    assert names(tmp_path) == []


def test_an_interruption_is_gone_on_with_by_the_next_run(server: Server, tmp_path: Path) -> None:
    def stop(name: str, done: int, size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch.fetch("bbbc038", tmp_path, [NAME], stop, base(server))
    there = (tmp_path / f"{NAME}.part").stat().st_size
    assert 0 < there < len(CONTENT)
    assert not (tmp_path / NAME).exists()
    assert got(server, tmp_path).sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert server.asked[-1]["range"] == f"bytes={there}-"


def test_a_server_without_ranges_begins_anew(server: Server, tmp_path: Path) -> None:
    server.ranges, server.cut_at = False, [300_000]
    assert got(server, tmp_path).status == "fetched"
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_not_mixed(server: Server, tmp_path: Path) -> None:
    server.cut_at = [300_000] + [0] * 20
    assert got(server, tmp_path).status == "failed"
    server.cut_at, server.etag, server.files = [], '"v2"', {NAME: CONTENT[::-1]}
    assert got(server, tmp_path).sha256 == hashlib.sha256(CONTENT[::-1]).hexdigest()


def test_without_a_validator_the_length_must_stay(server: Server, tmp_path: Path) -> None:
    server.etag, server.cut_at = "", [300_000] + [0] * 20
    got(server, tmp_path)
    server.cut_at, server.files = [], {NAME: CONTENT[::-1] + b"longer"}
    assert got(server, tmp_path).sha256 == hashlib.sha256(CONTENT[::-1] + b"longer").hexdigest()


def test_the_wrong_piece_is_not_taken(server: Server, tmp_path: Path) -> None:
    server.cut_at, server.wrong_start = [300_000], 7
    assert got(server, tmp_path).status == "fetched"
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_begun_anew(server: Server, tmp_path: Path) -> None:
    server.cut_at = [300_000] + [0] * 20
    got(server, tmp_path)
    server.cut_at, server.files = [], {NAME: CONTENT[:1000]}
    assert (got(server, tmp_path).status, (tmp_path / NAME).stat().st_size) == ("fetched", 1000)


def test_a_length_that_is_never_reached_is_a_failure_that_keeps_what_came(server: Server, tmp_path: Path) -> None:
    server.told_length, server.ranges = len(CONTENT) + 5, False
    told = got(server, tmp_path)
    assert told.status == "failed"
    assert f"{len(CONTENT)} bytes of it are kept" in told.reason
    assert len(server.asked) == fetch.ATTEMPTS
    assert names(tmp_path) == ["fetched.json", f"{NAME}.part"]


def test_a_server_that_tells_no_length_is_not_believed(server: Server, tmp_path: Path) -> None:
    server.told_length = -1
    assert "does not tell how long" in got(server, tmp_path).reason
    assert not (tmp_path / NAME).exists()


def test_a_wrong_hash_is_told_and_nothing_is_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = fetch.SETS["bbbc038"]._replace(files={NAME: "0" * 64})
    monkeypatch.setitem(fetch.SETS, "bbbc038", pinned)
    told = got(server, tmp_path)
    assert told.status == "failed"
    assert hashlib.sha256(CONTENT).hexdigest() in told.reason
    assert "0" * 64 + " (pinned)" in told.reason
    assert names(tmp_path) == ["fetched.json"]
    right = pinned._replace(files={NAME: hashlib.sha256(CONTENT).hexdigest()})
    monkeypatch.setitem(fetch.SETS, "bbbc038", right)
    assert (got(server, tmp_path).status, got(server, tmp_path).checked) == ("fetched", "pinned")


def test_a_later_download_is_checked_against_the_first(server: Server, tmp_path: Path) -> None:
    got(server, tmp_path)
    (tmp_path / NAME).unlink()
    server.files = {NAME: CONTENT[::-1]}
    told = got(server, tmp_path)
    assert told.status == "failed"
    assert "(recorded)" in told.reason
    server.files = {NAME: CONTENT}
    assert (got(server, tmp_path).status, (tmp_path / NAME).read_bytes()) == ("fetched", CONTENT)


def test_a_file_that_changed_on_the_disk_is_told(server: Server, tmp_path: Path) -> None:
    got(server, tmp_path)
    (tmp_path / NAME).write_bytes(b"mine")
    assert "move it away" in got(server, tmp_path).reason
    assert (tmp_path / NAME).read_bytes() == b"mine"


def test_a_file_of_somebody_else_is_not_touched(server: Server, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"mine")
    assert "was not fetched by twinscope" in got(server, tmp_path).reason
    assert server.asked == []


def test_404_is_told_at_once_and_the_other_files_come(server: Server, tmp_path: Path) -> None:
    told = fetch.fetch("bbbc038", tmp_path, ["stage1_test.zip", NAME], None, base(server))
    assert [one.status for one in told] == ["failed", "fetched"]
    assert "the server says 404" in told[0].reason
    assert [one["path"] for one in server.asked] == ["stage1_test.zip", NAME]


def test_a_server_that_is_busy_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429, 500]
    assert got(server, tmp_path).status == "fetched"
    server.statuses = [503] * 20
    told = got(server, tmp_path / "b")
    assert "the server says 503" in told.reason
    assert len(server.asked) == 4 + fetch.ATTEMPTS


def test_nobody_there_is_told(tmp_path: Path, server: Server) -> None:
    place = base(server)
    server.shutdown()
    server.server_close()
    assert "cannot be fetched" in fetch.fetch("bbbc038", tmp_path, [NAME], None, place)[0].reason


def test_a_web_page_in_place_of_a_file_is_refused(server: Server, tmp_path: Path) -> None:
    server.content_type = "text/html; charset=utf-8"
    assert "sent a web page" in got(server, tmp_path).reason
    assert names(tmp_path) == []


def test_an_archive_packed_by_lzma_that_is_damaged_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", hashlib.shake_256(b"pixels").digest(3000))
    whole = path.read_bytes()
    assert fetch._broken_archive(path) == ""
    for place in range(60, 1500, 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        assert fetch._broken_archive(path)


def test_an_archive_is_read_through(server: Server, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", b"pixels" * 100)
    good = buffer.getvalue()
    server.files = {
        "stage1_test.zip": good.replace(b"pixelspixels", b"pixelzpixels", 1),
        "stage1_train.zip": good[:200],
    }
    assert "a.png in it is damaged" in got(server, tmp_path, "stage1_test.zip").reason
    assert "no whole ZIP archive" in got(server, tmp_path, "stage1_train.zip").reason
    assert names(tmp_path) == ["fetched.json"]
    server.files["stage1_test.zip"] = good
    assert got(server, tmp_path, "stage1_test.zip").status == "fetched"


def test_what_the_disk_does_not_give_back_is_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", b"pixels" * 100)
    server.files = {"stage1_test.zip": buffer.getvalue()}

    def unreadable(self: zipfile.ZipFile) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(zipfile.ZipFile, "testzip", unreadable)
        told = got(server, tmp_path, "stage1_test.zip")
    assert "cannot be read (Input/output error); what came is kept" in told.reason
    assert (tmp_path / "stage1_test.zip.part").read_bytes() == buffer.getvalue()
    assert got(server, tmp_path, "stage1_test.zip").reason == ""
    assert (tmp_path / "stage1_test.zip").read_bytes() == buffer.getvalue()


def test_an_archive_that_names_a_place_before_its_beginning_is_not_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backwards(self: zipfile.ZipFile) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", b"pixels")
    server.files = {"stage1_test.zip": buffer.getvalue()}
    monkeypatch.setattr(zipfile.ZipFile, "testzip", backwards)
    assert "no whole ZIP archive" in got(server, tmp_path, "stage1_test.zip").reason
    assert not (tmp_path / "stage1_test.zip.part").exists()


@pytest.mark.parametrize("content", ["[]", "{", '{"files": 1, "unfinished": {}}', "\xff"])
def test_a_record_that_is_none_is_one_sentence(content: str, server: Server, tmp_path: Path) -> None:
    (tmp_path / "fetched.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match="not a record of twinscope"):
        got(server, tmp_path)


def test_only_https_of_the_site_itself_is_asked() -> None:
    site = fetch.SETS["bbbc038"]
    assert site.base == "https://data.broadinstitute.org/bbbc/BBBC038/"
    assert {"stage1_train.zip", "stage1_test.zip", "stage2_test_final.zip"} < set(site.files)


def test_data_fetch_prints_what_became_of_each(
    run: Run, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fetch.SETS, "bbbc038", fetch.SETS["bbbc038"]._replace(base=base(server)))
    code, out, err = run("data", "fetch", "bbbc038", "-o", str(tmp_path / "d"), "--only", NAME)
    assert (code, err) == (0, "")
    assert out.startswith(f"{NAME}: fetched: 1.0 MB, sha256 {hashlib.sha256(CONTENT).hexdigest()} (first seen)")
    assert "CC0-1.0" in out
    code, out, _ = run("data", "fetch", "bbbc038", "-o", str(tmp_path / "d"), "--json")
    assert code == 3
    assert [row["status"] for row in json.loads(out)["files"]].count("failed") == 5


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["data", "fetch", "mnist", "-o", "d"], "there is no data set mnist; known: bbbc038"),
        (["data", "fetch", "bbbc038", "-o", "d", "--only", "../x"], "has no file ../x"),
        (["data", "fetch", "bbbc038", "-o", "file", "--only", NAME], "cannot be made"),
        (["data", "fetch", "bbbc038"], "Missing option"),
    ],
)
def test_wrong_use_is_one_sentence(
    arguments: list[str], word: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert word in err
    assert names(tmp_path) == ["file"]


NETWORK = (
    "aiohttp",
    "ftplib",
    "http",
    "httpx",
    "requests",
    "socket",
    "socketserver",
    "ssl",
    "urllib.request",
    "urllib3",
)


def test_nothing_else_of_twinscope_imports_the_network(root: Path) -> None:
    found = []
    for path in sorted((root / "src" / "twinscope").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            if any(name == one or name.startswith(f"{one}.") for name in imported for one in NETWORK):
                found.append(path.relative_to(root / "src" / "twinscope").as_posix())
    # what fetches when it is asked for by name; what listens; and what calls hosts that were named at its start
    assert set(found) == {"fetch.py", "serving.py", "web/callbacks.py"}


def test_the_command_line_does_not_load_it() -> None:
    code = "import sys, twinscope.cli; print('twinscope.fetch' in sys.modules, 'http.client' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False False"
