"""Decisions: an append-only table in which each entry holds the hash of the one before.

An entry says who did what, when, with which twinscope and models, and how probable the finding was. Nothing is ever
changed or taken out: what is taken back is a further entry. Their order is that of their numbers, not of clocks.
The chain shows any change of an entry, any that is missing between two others, and, against a number and hash noted
elsewhere (each export states them), any that was cut off the end.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from typing import Literal, NamedTuple

from pydantic import Field

from twinscope.types import Record

Act = Literal["decide", "note", "undo", "hide", "show", "pair", "panel"]
Decision = Literal["same", "not", "benign", "unclear"]
Control = Literal["", "shared control", "merge", "inset", "time series", "other"]
START = "0" * 64
"""The hash before the first entry."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS decisions (
  seq INTEGER PRIMARY KEY, entry TEXT NOT NULL, prior TEXT NOT NULL, hash TEXT NOT NULL UNIQUE,
  case_id TEXT GENERATED ALWAYS AS (json_extract(entry, '$.case_id')) STORED,
  act TEXT GENERATED ALWAYS AS (json_extract(entry, '$.act')) STORED
);
CREATE INDEX IF NOT EXISTS decisions_of_a_case ON decisions (case_id, seq);
CREATE INDEX IF NOT EXISTS decisions_by_act ON decisions (act, seq);
CREATE TRIGGER IF NOT EXISTS decisions_stay BEFORE UPDATE ON decisions
  BEGIN SELECT RAISE(ABORT, 'a decision is never changed'); END;
CREATE TRIGGER IF NOT EXISTS decisions_remain BEFORE DELETE ON decisions
  BEGIN SELECT RAISE(ABORT, 'a decision is never removed'); END;
"""


class Entry(Record):
    """One act of a reviewer. `finding` names the two places (`keys.finding`), `pair` the two pictures (`keys.pair`).

    `undoes` is the number of the entry that an undo takes back. `at` is what the clock says (UTC, ISO 8601): told, not
    used.
    """

    case_id: str
    act: Act
    who: str
    at: str
    finding: str = ""
    shown: str = Field(default="", description="the finding's id in the screening when it was decided")
    pair: str = ""
    decision: Decision | None = None
    control: Control = ""
    note: str = Field(default="", max_length=4000)
    undoes: int | None = None
    probability: float | None = None
    twinscope: str = ""
    models: dict[str, str] = Field(default_factory=dict)
    details: dict[str, str | int | float | list[float]] = Field(default_factory=dict)


class Kept(NamedTuple):
    """An entry with its number and hash."""

    seq: int
    entry: Entry
    hash: str


class Chain(NamedTuple):
    """What checking the chain gave: how many entries, the last one's hash, and what is wrong."""

    entries: int
    head: str
    troubles: tuple[str, ...]


def digest(seq: int, text: str, prior: str) -> str:
    """Return the hash of an entry: SHA-256 of its number, the hash before it and its text, a line each."""
    return hashlib.sha256(f"{seq}\n{prior}\n{text}".encode()).hexdigest()


def append(db: sqlite3.Connection, entry: Entry) -> Kept:
    """Append an entry and return it as kept; it is on the disk when this returns."""
    with writing(db):
        return add(db, entry)


def add(db: sqlite3.Connection, entry: Entry) -> Kept:
    """Append an entry within a block of `writing`, for what must not change between a look and an entry."""
    text = json.dumps(entry.model_dump(mode="json", exclude_defaults=True), sort_keys=True, ensure_ascii=False)
    seq, prior = head(db)
    made = digest(seq + 1, text, prior)
    db.execute("INSERT INTO decisions (seq, entry, prior, hash) VALUES (?, ?, ?, ?)", (seq + 1, text, prior, made))
    return Kept(seq + 1, entry, made)


class writing:
    """Hold the database's only right to write for a block, and commit it, or nothing of it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def __enter__(self) -> sqlite3.Connection:
        self.db.execute("BEGIN IMMEDIATE")
        return self.db

    def __exit__(self, kind: object, *_: object) -> None:
        self.db.execute("COMMIT" if kind is None else "ROLLBACK")


def entries(db: sqlite3.Connection, case_id: str) -> list[Kept]:
    """Return the entries of a case in their order."""
    rows = db.execute("SELECT seq, entry, hash FROM decisions WHERE case_id = ? ORDER BY seq", (case_id,))
    return [Kept(row["seq"], Entry.model_validate_json(row["entry"]), row["hash"]) for row in rows]


def standing(kept: list[Kept]) -> list[Kept]:
    """Return the entries that were not taken back; an undo itself is not among them."""
    undone = {one.entry.undoes for one in kept if one.entry.act == "undo"}
    return [one for one in kept if one.entry.act != "undo" and one.seq not in undone]


def hidden(db: sqlite3.Connection) -> set[str]:
    """Return the pairs of pictures that are not to be shown again, whatever manuscript they stand in."""
    rows = db.execute("SELECT seq, entry, hash FROM decisions WHERE act IN ('hide', 'show', 'undo') ORDER BY seq")
    out: set[str] = set()
    for one in standing([Kept(row["seq"], Entry.model_validate_json(row["entry"]), row["hash"]) for row in rows]):
        if one.entry.act == "hide":
            out.add(one.entry.pair)
        elif one.entry.act == "show":
            out.discard(one.entry.pair)
    return out


def head(db: sqlite3.Connection) -> tuple[int, str]:
    """Return the number and the hash of the last entry."""
    last = db.execute("SELECT seq, hash FROM decisions ORDER BY seq DESC LIMIT 1").fetchone()
    return (last["seq"], last["hash"]) if last else (0, START)


def verify(db: sqlite3.Connection, noted: tuple[int, str] | None = None) -> Chain:
    """Check every entry's hash against its text, its number and the entry before; `noted` against what is there."""
    return Chain(*_walk(db, noted))


def _walk(db: sqlite3.Connection, noted: tuple[int, str] | None) -> tuple[int, str, tuple[str, ...]]:
    troubles: list[str] = []
    count, prior = 0, START
    seen = noted is None or noted == (0, START)
    for row in _rows(db):
        count += 1
        if row["seq"] != count:
            troubles.append(f"entry {count} is missing; the next one is {row['seq']}")
            count = row["seq"]
        if row["prior"] != prior:
            troubles.append(f"entry {row['seq']} does not follow the one before it")
        if row["hash"] != digest(row["seq"], row["entry"], row["prior"]):
            troubles.append(f"entry {row['seq']} was changed after it was made")
        prior = row["hash"]
        seen = seen or (row["seq"], row["hash"]) == noted
    if noted is not None and not seen:
        troubles.append(f"entry {noted[0]} with the noted hash {noted[1][:12]}... is not there")
    return count, prior, tuple(troubles)


def _rows(db: sqlite3.Connection) -> Iterator[sqlite3.Row]:
    yield from db.execute("SELECT seq, entry, prior, hash FROM decisions ORDER BY seq")
