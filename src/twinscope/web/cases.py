"""Cases, their files, jobs and rights, in one SQLite file; the decisions stand in a table beside them (`ledger.py`).

Every connection writes ahead (WAL) and syncs in full: what a call has returned from is on the disk.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from twinscope.errors import UsageError
from twinscope.types import Record
from twinscope.web import ledger
from twinscope.web.ledger import writing

DATABASE = "desk.sqlite"
WAIT_S = 15.0
"""How long a connection waits for others, s."""
UPLOADS = "uploads"
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
JobKind = Literal["screen", "pair", "library"]
WAITING: tuple[JobState, ...] = ("queued", "running")

SCHEMA = """
CREATE TABLE IF NOT EXISTS cases (
  id TEXT PRIMARY KEY, title TEXT NOT NULL, owner TEXT NOT NULL, made TEXT NOT NULL, callback TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS files (
  case_id TEXT NOT NULL REFERENCES cases (id) ON DELETE CASCADE, number INTEGER NOT NULL, name TEXT NOT NULL,
  stored TEXT NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (case_id, number)
);
CREATE TABLE IF NOT EXISTS rights (
  case_id TEXT NOT NULL REFERENCES cases (id) ON DELETE CASCADE, user TEXT NOT NULL, PRIMARY KEY (case_id, user)
);
CREATE TABLE IF NOT EXISTS jobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT, case_id TEXT NOT NULL REFERENCES cases (id) ON DELETE CASCADE,
  kind TEXT NOT NULL, what TEXT NOT NULL, state TEXT NOT NULL, stage TEXT NOT NULL DEFAULT '',
  done INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '',
  made TEXT NOT NULL, ended TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS jobs_of_a_case ON jobs (case_id, id);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, id);
CREATE TABLE IF NOT EXISTS places (
  user TEXT NOT NULL, case_id TEXT NOT NULL REFERENCES cases (id) ON DELETE CASCADE, finding TEXT NOT NULL,
  at TEXT NOT NULL, PRIMARY KEY (user, case_id)
);
"""


class Case(Record):
    """A case: its folder below the desk's goes by its id. `callback` is asked when its screening has ended."""

    id: str
    title: str
    owner: str
    made: str
    callback: str = ""


class File(Record):
    """An uploaded file: as the user named it, and as it is stored below `uploads/`."""

    case_id: str
    number: int
    name: str
    stored: str
    sha256: str
    size: int


class Job(Record):
    """A screening, or a comparison of two panels, and how far it is."""

    id: int
    case_id: str
    kind: JobKind
    what: dict[str, Any]
    state: JobState
    stage: str = ""
    done: int = 0
    total: int = 0
    reason: str = ""
    made: str = ""
    ended: str = ""


def now() -> str:
    """Return the clock's word: UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def connect(folder: Path) -> sqlite3.Connection:
    """Open the database of a desk, made if missing. Cheap: one for each request. Close it, or use `connected`.

    Raises UsageError where the folder cannot be written or the file is no database of a desk.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(folder / DATABASE, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        for line in ("synchronous=FULL", "foreign_keys=ON", f"busy_timeout={1000 * WAIT_S:.0f}"):
            db.execute(f"PRAGMA {line}")
        _write_ahead(db)
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'places'").fetchone():
            db.executescript(SCHEMA)
            db.executescript(ledger.SCHEMA)
    except (OSError, sqlite3.Error) as error:
        raise UsageError(
            f"the desk's folder {folder} cannot be used ({error}); name one that can be written"
        ) from error
    return db


def _write_ahead(db: sqlite3.Connection) -> None:
    """Let a database be read while it is written. SQLite does not wait for others here, as it does elsewhere."""
    until = time.monotonic() + WAIT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)


@contextmanager
def connected(folder: Path) -> Iterator[sqlite3.Connection]:
    """Open the database of a desk for a block."""
    db = connect(folder)
    try:
        yield db
    finally:
        db.close()


# ---- cases ------------------------------------------------------------------------------------------------------


def create(
    db: sqlite3.Connection, folder: Path, title: str, owner: str, callback: str = "", case_id: str | None = None
) -> Case:
    """Make a case with an unguessable id, and its folder."""
    case = Case(id=case_id or secrets.token_urlsafe(9).replace("_", "a").replace("-", "b"), title=title, owner=owner,
                made=now(), callback=callback)  # fmt: skip
    (folder / case.id / UPLOADS).mkdir(parents=True, exist_ok=True)
    with writing(db):
        db.execute("INSERT INTO cases VALUES (:id, :title, :owner, :made, :callback)", case.model_dump())
    return case


def get(db: sqlite3.Connection, case_id: str) -> Case | None:
    """Return a case, None where there is none."""
    row = db.execute("SELECT * FROM cases WHERE id = ?", (case_id,)).fetchone()
    return Case(**row) if row else None


def visible(db: sqlite3.Connection, user: str, admin: bool) -> list[Case]:
    """Return the cases that a user may see, the newest first: their own, those shared with them, an admin all."""
    rows = db.execute(
        "SELECT * FROM cases WHERE ? OR owner = ? OR id IN (SELECT case_id FROM rights WHERE user = ?)"
        " ORDER BY made DESC, id",
        (admin, user, user),
    )
    return [Case(**row) for row in rows]


def may_see(db: sqlite3.Connection, case: Case, user: str, admin: bool) -> bool:
    """Say whether a user may see a case."""
    if admin or case.owner == user:
        return True
    found = db.execute("SELECT 1 FROM rights WHERE case_id = ? AND user = ?", (case.id, user)).fetchone()
    return found is not None


def grant(db: sqlite3.Connection, case_id: str, user: str) -> None:
    """Let a user see a case."""
    with writing(db):
        db.execute("INSERT OR IGNORE INTO rights VALUES (?, ?)", (case_id, user))


def revoke(db: sqlite3.Connection, case_id: str, user: str) -> None:
    """Let a user no longer see a case."""
    with writing(db):
        db.execute("DELETE FROM rights WHERE case_id = ? AND user = ?", (case_id, user))


def granted(db: sqlite3.Connection, case_id: str) -> list[str]:
    """Return who may see a case beside its owner and the admins."""
    return [row["user"] for row in db.execute("SELECT user FROM rights WHERE case_id = ? ORDER BY user", (case_id,))]


def remove(db: sqlite3.Connection, folder: Path, case_id: str) -> None:
    """Remove a case and all its files; the decisions that were made in it stay."""
    with writing(db):
        db.execute("DELETE FROM cases WHERE id = ?", (case_id,))
    shutil.rmtree(folder / case_id, ignore_errors=True)


def register(db: sqlite3.Connection, folder: Path, owner: str) -> list[Case]:
    """Take up the cases that `twinscope screen -o` has made in the desk's folder; return those that are new."""
    known = {row["id"] for row in db.execute("SELECT id FROM cases")}
    found = []
    for place in sorted(folder.iterdir()):
        usable = place.name.isascii() and all(c.isalnum() or c in "-_." for c in place.name) and place.name[0] != "."
        if place.name in known or not usable or not (place / "screening.json").is_file():
            continue
        case = create(db, folder, place.name, owner, case_id=place.name)
        finish(db, enqueue(db, case.id, "screen", {}, "running"), "done")
        found.append(case)
    return found


# ---- files ------------------------------------------------------------------------------------------------------


def add_file(db: sqlite3.Connection, case_id: str, name: str, stored: str, sha256: str, size: int) -> File:
    """Add an uploaded file, which lies in `uploads/` under `stored`."""
    with writing(db):
        row = db.execute("SELECT max(number) AS last FROM files WHERE case_id = ?", (case_id,)).fetchone()
        file = File(case_id=case_id, number=(row["last"] or 0) + 1, name=name, stored=stored, sha256=sha256, size=size)
        db.execute("INSERT INTO files VALUES (:case_id, :number, :name, :stored, :sha256, :size)", file.model_dump())
    return file


def files(db: sqlite3.Connection, case_id: str) -> list[File]:
    """Return the files of a case in the order in which they came."""
    return [File(**row) for row in db.execute("SELECT * FROM files WHERE case_id = ? ORDER BY number", (case_id,))]


# ---- jobs -------------------------------------------------------------------------------------------------------


def _job(row: sqlite3.Row) -> Job:
    return Job(**{**row, "what": json.loads(row["what"])})


def enqueue(
    db: sqlite3.Connection, case_id: str, kind: JobKind, what: dict[str, Any], state: JobState = "queued"
) -> int:
    """Add a job behind those that wait; return its number."""
    with writing(db):
        added = db.execute(
            "INSERT INTO jobs (case_id, kind, what, state, made) VALUES (?, ?, ?, ?, ?)",
            (case_id, kind, json.dumps(what), state, now()),
        )
    return int(added.lastrowid or 0)


def next_job(db: sqlite3.Connection, kind: JobKind) -> Job | None:
    """Take the job that has waited longest, which is then running; None where none waits.

    kind: screenings are taken by themselves, whatever else a reviewer waits for together. A case has one job running
    at a time; its others wait, and those behind them do not.
    """
    with writing(db):
        row = db.execute(
            "SELECT * FROM jobs WHERE state = 'queued' AND (kind = 'screen') = ?"
            " AND case_id NOT IN (SELECT case_id FROM jobs WHERE state = 'running') ORDER BY id LIMIT 1",
            (kind == "screen",),
        ).fetchone()
        if row is not None:
            db.execute("UPDATE jobs SET state = 'running' WHERE id = ?", (row["id"],))
    return _job(row).model_copy(update={"state": "running"}) if row else None


def job(db: sqlite3.Connection, number: int) -> Job | None:
    """Return a job."""
    row = db.execute("SELECT * FROM jobs WHERE id = ?", (number,)).fetchone()
    return _job(row) if row else None


def latest_job(db: sqlite3.Connection, case_id: str, kind: JobKind | None = None) -> Job | None:
    """Return the newest job of a case, of any kind by default."""
    row = db.execute(
        "SELECT * FROM jobs WHERE case_id = ? AND (? IS NULL OR kind = ?) ORDER BY id DESC LIMIT 1",
        (case_id, kind, kind),
    ).fetchone()
    return _job(row) if row else None


def latest_jobs(db: sqlite3.Connection, case_id: str | None = None) -> dict[str, dict[JobKind, Job]]:
    """Return the newest job of each kind of every case, or of one, by the case's id and the kind."""
    rows = db.execute(
        "SELECT * FROM jobs WHERE id IN (SELECT max(id) FROM jobs WHERE ? IS NULL OR case_id = ?"
        " GROUP BY case_id, kind) ORDER BY id",
        (case_id, case_id),
    )
    found: dict[str, dict[JobKind, Job]] = {}
    for row in rows:
        found.setdefault(row["case_id"], {})[row["kind"]] = _job(row)
    return found


def beside(jobs: dict[JobKind, Job]) -> list[Job]:
    """Return what is told of a case beside its screening: the jobs that wait or run, or failed since that began."""
    since = jobs["screen"].id if "screen" in jobs else 0
    told = [job for kind, job in jobs.items() if kind != "screen"]
    return [job for job in told if job.state in WAITING or (job.state == "failed" and job.id > since)]


def place(db: sqlite3.Connection, number: int) -> int:
    """Return how many jobs a waiting job waits for."""
    row = db.execute("SELECT count(*) AS n FROM jobs WHERE state IN ('queued', 'running') AND id < ?", (number,))
    return int(row.fetchone()["n"])


def waiting(db: sqlite3.Connection) -> list[int]:
    """Return the numbers of all jobs that wait or run, in their order."""
    return [row["id"] for row in db.execute("SELECT id FROM jobs WHERE state IN ('queued', 'running') ORDER BY id")]


def progress(db: sqlite3.Connection, number: int, stage: str, done: int, total: int) -> None:
    """Note how far a running job is."""
    with writing(db):
        db.execute(
            "UPDATE jobs SET stage = ?, done = ?, total = ? WHERE id = ? AND state = 'running'",
            (stage, done, total, number),
        )


def finish(db: sqlite3.Connection, number: int, state: JobState, reason: str = "") -> None:
    """End a job that waits or runs; one that was cancelled meanwhile stays so."""
    with writing(db):
        db.execute(
            "UPDATE jobs SET state = ?, reason = ?, ended = ? WHERE id = ? AND state IN ('queued', 'running')",
            (state, reason, now(), number),
        )


def cancel(db: sqlite3.Connection, case_id: str) -> list[Job]:
    """End all jobs of a case that wait or run, as cancelled; return them as they were."""
    with writing(db):
        rows = db.execute("SELECT * FROM jobs WHERE case_id = ? AND state IN ('queued', 'running')", (case_id,))
        found = [_job(row) for row in rows]
        db.execute(
            "UPDATE jobs SET state = 'cancelled', ended = ? WHERE case_id = ? AND state IN ('queued', 'running')",
            (now(), case_id),
        )
    return found


def requeue_unfinished(db: sqlite3.Connection) -> int:
    """Put the jobs that ran when the desk went down back into the queue, at their old places; return how many."""
    with writing(db):
        return db.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'").rowcount


# ---- where the reviewer was -------------------------------------------------------------------------------------


def stand(db: sqlite3.Connection, user: str, case_id: str, finding: str) -> None:
    """Remember the finding that a user looks at."""
    with writing(db):
        db.execute("INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?)", (user, case_id, finding, now()))


def stood(db: sqlite3.Connection, user: str, case_id: str) -> str:
    """Return the finding that a user looked at last, or ""."""
    row = db.execute("SELECT finding FROM places WHERE user = ? AND case_id = ?", (user, case_id)).fetchone()
    return str(row["finding"]) if row else ""
