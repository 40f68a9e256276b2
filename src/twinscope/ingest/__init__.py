"""From files to figures to panels: `read`.

Documents are parsed in worker processes only (`worker.py`); this side expands folders, hashes files, watches the
workers and puts their panels into the case. A document that was read is kept in `cache/`, by the hash of its bytes
and the settings, and is not read again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from twinscope import pixels
from twinscope.errors import InputError, UsageError
from twinscope.ingest import files, watch
from twinscope.ingest.files import Source
from twinscope.ingest.job import Job, Note
from twinscope.ingest.watch import Told, Workers
from twinscope.pixels import Image
from twinscope.settings import Ingest, Settings
from twinscope.types import Correction, Figure, InputFile, Page, Panel, Problem, Progress, Record

__all__ = ["Reading", "read"]


@cache
def _version() -> str:
    """Return the hash of the code that reads documents: other code may give other panels."""
    digest = hashlib.sha256()
    folder = Path(__file__).resolve().parent
    for file in sorted([*folder.glob("*.py"), folder.parent / "pixels.py"]):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


Found = Callable[[Panel, Image], None]


class Reading(NamedTuple):
    """What the inputs of a screening gave, in the order of the inputs."""

    inputs: tuple[InputFile, ...]
    pages: tuple[Page, ...]
    figures: tuple[Figure, ...]
    panels: tuple[Panel, ...]
    problems: tuple[Problem, ...]


class _Input(NamedTuple):
    """A file as it is found: `key` names what reading it gives; no key where it is not read."""

    source: Source
    sha256: str
    kind: str
    key: str = ""
    status: str = "ok"
    reason: str = ""
    corrections: tuple[Correction, ...] = ()


class _Kept(Record):
    """How reading a document ended, as kept beside its notes."""

    status: str
    reason: str
    pages: int | None


def read(
    paths: Sequence[Path],
    case: Path,
    settings: Settings,
    progress: Progress | None = None,
    found: Found | None = None,
    workers: Workers | None = None,
    corrections: Sequence[Correction] = (),
    once: bool = False,
) -> Reading:
    """Read documents, pictures, archives and folders; write `panels/` and `pages/` of the case.

    progress: hears ("read", pages done, pages). found: gets each panel that was not read before, and its pixels, while
    the rest is still being read; its id and path are not yet those of the result, and it may be lost again. workers:
    starts the processes that read, for who reads many times; one of its own by default. corrections: panel boxes of
    PDF pages that a person has drawn, moved or taken out. once: read a file that is named more than once under its
    first name only. Returns records in the order of the inputs. What cannot be read is a status of its input and a
    problem, never an exception; UsageError only where the case cannot be written.
    """
    cache = case / "cache"
    try:
        for folder in (cache, case / "panels", case / "pages"):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (case / "panels", case / "pages"):
            for old in folder.glob("d*"):
                old.unlink()
    except OSError as error:
        raise UsageError(f"the case folder {case} cannot be written ({error.strerror})") from error
    with tempfile.TemporaryDirectory(prefix="unpack-", dir=cache) as room, Workers() as own:
        sources, skipped = files.expand(paths)
        if once:
            sources = files.once(sources)
        problems = [Problem(path=item.path, reason=item.reason) for item in skipped]
        start = own if workers is None else workers
        inputs = [_corrected(one, corrections) for one in _open_archives(sources, Path(room), settings.ingest, start)]
        told = _read_all(inputs, cache, settings, start, progress, found)
        return _assemble(inputs, told, case, problems)


def _open_archives(sources: Sequence[Source], room: Path, ingest: Ingest, workers: Workers) -> list[_Input]:
    """Return all inputs in order, each archive followed by what lies in it."""
    inputs: list[_Input] = []
    waiting = list(sources)
    left = {"entries": ingest.limits.zip_entries, "bytes": ingest.limits.zip_bytes}
    while waiting:
        source = waiting.pop(0)
        one = _look(source, ingest)
        if one.kind == "zip" and not one.reason:
            if source.depth == 0:
                left = {"entries": ingest.limits.zip_entries, "bytes": ingest.limits.zip_bytes}
            if source.depth >= ingest.limits.zip_nesting:
                reason = f"archives inside more than {ingest.limits.zip_nesting} archives are not read"
                one = one._replace(status="refused", reason=reason)
            else:
                out = room / str(len(inputs))
                told = watch.run(workers, _job(one, out, ingest, left))
                members = [note.member for note in told.notes if note.member is not None]
                left["entries"] -= len(members)
                left["bytes"] -= sum((out / m.file).stat().st_size for m in members)
                waiting[:0] = [Source(out / m.file, f"{source.path}!/{m.name}", source.depth + 1) for m in members]
                one = one._replace(status=told.status, reason=told.reason)
                inputs.append(one)
                lost = [n.problem for n in told.notes if n.problem is not None]
                inputs += [_Input(source, "", "", "", "note", p.reason) for p in lost]
                continue
        inputs.append(one)
    return inputs


def _look(source: Source, ingest: Ingest) -> _Input:
    sha256 = ""
    try:
        kind = files.kind(source.file, source.path)
        sha256 = files.sha256(source.file)
    except InputError as error:
        if not sha256 and source.file.is_file():
            try:
                sha256 = files.sha256(source.file)
            except InputError:
                sha256 = ""
        status = "refused" if type(error).__name__ == "RefusedError" else "failed"
        return _Input(source, sha256, "unknown", "", status, str(error))
    key = hashlib.sha256(f"{_version()} {kind} {sha256} {ingest.model_dump_json()}".encode()).hexdigest()[:32]
    return _Input(source, sha256, kind, key)


def _corrected(one: _Input, corrections: Sequence[Correction]) -> _Input:
    """Return an input with the corrections of its panels, which are part of what its key stands for."""
    own = tuple(correction for correction in corrections if correction.sha256 == one.sha256)
    if not (own and one.key):
        return one
    text = "\n".join([one.key, *(correction.model_dump_json() for correction in own)])
    return one._replace(key=hashlib.sha256(text.encode()).hexdigest()[:32], corrections=own)


def _job(one: _Input, out: Path, ingest: Ingest, left: dict[str, int]) -> Job:
    return Job(
        file=str(one.source.file.resolve()),
        path=one.source.path,
        sha256=one.sha256,
        kind=one.kind,
        out=str(out.resolve()),
        ingest=ingest,
        entries_left=max(0, left["entries"]),
        bytes_left=max(0, left["bytes"]),
        corrections=one.corrections,
    )


def _read_all(
    inputs: Sequence[_Input],
    cache: Path,
    settings: Settings,
    workers: Workers,
    progress: Progress | None,
    found: Found | None,
) -> dict[str, Told]:
    """Return what each document gave, by key; each is read once, as many at a time as there are threads."""
    todo = {one.key: one for one in reversed(inputs) if one.key and one.kind != "zip"}
    done = dict.fromkeys(todo, (0, 1))
    lock, stop = threading.Lock(), threading.Event()

    def heard(key: str, at: int, pages: int) -> None:
        with lock:
            done[key] = (at, max(1, pages))
            if progress is not None:
                progress("read", sum(a for a, _ in done.values()), sum(n for _, n in done.values()))

    def one_document(one: _Input) -> Told:
        def hear(at: int, pages: int) -> None:
            heard(one.key, at, pages)

        told = _read_one(one, cache, settings.ingest, workers, hear, stop, found)
        heard(one.key, *(max(1, told.pages or 1),) * 2)
        return told

    pool = ThreadPoolExecutor(max_workers=max(1, min(settings.threads, 8)))
    futures: dict[str, Future[Told]] = {}
    try:
        order = [one.key for one in inputs if one.key in todo]
        futures = {key: pool.submit(one_document, todo[key]) for key in dict.fromkeys(order)}
        return {key: future.result() for key, future in futures.items()}
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _read_one(
    one: _Input,
    cache: Path,
    ingest: Ingest,
    workers: Workers,
    heard: Callable[[int, int], None],
    stop: threading.Event,
    found: Found | None,
) -> Told:
    folder = cache / f"ingest-{one.key}"
    kept = _kept(folder)
    if kept is not None:
        return kept
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="reading-", dir=cache) as room:
        out = Path(room) / "out"
        out.mkdir()

        def seen(panel: Panel) -> None:
            if found is not None:
                found(panel, pixels.read_png(out / "panels" / f"{panel.id}.png"))

        told = watch.run(workers, _job(one, out, ingest, {"entries": 0, "bytes": 0}), heard, stop, seen)
        (out / "notes.jsonl").write_text("".join(n.model_dump_json(exclude_defaults=True) + "\n" for n in told.notes))
        if not told.died:
            ended = _Kept(status=told.status, reason=told.reason, pages=told.pages)
            (out / "ended.json").write_text(ended.model_dump_json())
        (out / "repaired.pdf").unlink(missing_ok=True)
        out.rename(folder)
    return told


def _kept(folder: Path) -> Told | None:
    """Return what an earlier screening kept of a document, None where that is not complete."""
    try:
        ended = _Kept.model_validate_json((folder / "ended.json").read_text())
        lines = (folder / "notes.jsonl").read_text().splitlines()
        notes = [Note.model_validate_json(line) for line in lines]
    except (OSError, ValidationError, UnicodeDecodeError):
        return None
    wanted = [folder / "panels" / f"{n.panel.id}.png" for n in notes if n.panel is not None]
    wanted += [folder / n.shown.thumbnail for n in notes if n.shown is not None and n.shown.thumbnail]
    if not all(file.is_file() for file in wanted):
        return None
    return Told(notes, ended.status, ended.reason, ended.pages, False)  # type: ignore[arg-type]


def _assemble(inputs: Sequence[_Input], told: dict[str, Told], case: Path, problems: list[Problem]) -> Reading:
    """Return the records in the order of the inputs, and link the pictures into the case."""
    records: list[InputFile] = []
    pages: list[Page] = []
    figures: list[Figure] = []
    panels: list[Panel] = []
    first: dict[str, str] = {}
    for one in inputs:
        path = one.source.path
        if one.status == "note":
            problems.append(Problem(path=path, reason=one.reason))
            continue
        index = len(records) + 1
        status, reason, count = one.status, one.reason, None
        if one.key in told:
            gave = told[one.key]
            status, reason, count = gave.status, gave.reason, gave.pages
            if one.key in first and one.kind not in files.PICTURES:
                reason = f"the same bytes as {first[one.key]}; read once"
            else:
                first.setdefault(one.key, path)
                folder = case / "cache" / f"ingest-{one.key}"
                for note in gave.notes:
                    _take(note, path, index, folder, case, (pages, figures, panels, problems))
        known = {(problem.path, problem.reason) for problem in problems}
        if status in ("refused", "failed") and (path, reason) not in known:
            problems.append(Problem(path=path, reason=reason))
        records.append(
            InputFile(path=path, sha256=one.sha256, kind=one.kind, status=status, reason=reason, pages=count)  # type: ignore[arg-type]
        )
    return Reading(tuple(records), tuple(pages), tuple(figures), tuple(panels), tuple(problems))


def _take(
    note: Note,
    path: str,
    index: int,
    folder: Path,
    case: Path,
    into: tuple[list[Page], list[Figure], list[Panel], list[Problem]],
) -> None:
    """Add the record of a note, under the document's path and number."""
    pages, figures, panels, problems = into
    name = f"d{index}-"
    if note.problem is not None:
        problems.append(note.problem.model_copy(update={"path": path}))
    if note.shown is not None:
        thumbnail = note.shown.thumbnail
        if thumbnail is not None:
            shown = f"pages/{name}{Path(thumbnail).name}"
            _link(folder / thumbnail, case / shown)
            thumbnail = shown
        pages.append(note.shown.model_copy(update={"path": path, "thumbnail": thumbnail}))
    if note.figure is not None:
        source = note.figure.source.model_copy(update={"path": path})
        figures.append(note.figure.model_copy(update={"id": name + note.figure.id, "source": source}))
    if note.panel is not None:
        panel = note.panel
        _link(folder / "panels" / f"{panel.id}.png", case / "panels" / f"{name}{panel.id}.png")
        source = panel.source.model_copy(update={"path": path})
        change = {"id": name + panel.id, "figure": name + panel.figure, "source": source}
        panels.append(panel.model_copy(update=change))


def _link(file: Path, place: Path) -> None:
    """Put a file at a second place, without a copy where the disk allows it."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)
