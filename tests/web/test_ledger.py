"""The record of decisions: nothing in it changes, goes or comes in between without being seen."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from twinscope.web import cases, ledger
from twinscope.web.ledger import Entry

AT = "2026-01-02T03:04:05.678Z"


def entry(case: str = "c1", act: ledger.Act = "decide", **more: object) -> Entry:
    """Return an entry."""
    return Entry.model_validate({"case_id": case, "act": act, "who": "olga", "at": AT, **more})


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with cases.connected(tmp_path) as made:
        yield made


@pytest.fixture
def record(db: sqlite3.Connection) -> sqlite3.Connection:
    """Return a record of five entries, whose guards are gone: somebody has the file."""
    for number in range(5):
        ledger.append(db, entry(finding=f"k{number}", decision="same", note="“ok” é", probability=0.5))
    db.execute("DROP TRIGGER decisions_stay")
    db.execute("DROP TRIGGER decisions_remain")
    return db


def test_a_hash_is_that_of_number_prior_and_text(db: sqlite3.Connection) -> None:
    first = ledger.append(db, entry(finding="k", decision="not", note="é"))
    second = ledger.append(db, entry(act="undo", undoes=1))
    text = '{"act": "decide", "at": "2026-01-02T03:04:05.678Z", "case_id": "c1", "decision": "not", "finding": "k", '
    text += '"note": "é", "who": "olga"}'
    assert first.hash == hashlib.sha256(("1\n" + "0" * 64 + "\n" + text).encode()).hexdigest()
    assert db.execute("SELECT entry FROM decisions").fetchone()["entry"] == text
    other = json.dumps({"act": "undo", "at": AT, "case_id": "c1", "undoes": 1, "who": "olga"})
    assert second.hash == hashlib.sha256(f"2\n{first.hash}\n{other}".encode()).hexdigest()
    assert (first.seq, second.seq) == (1, 2)
    assert ledger.head(db) == (2, second.hash)
    assert ledger.verify(db) == (2, second.hash, ())


def test_an_empty_record_is_whole(db: sqlite3.Connection) -> None:
    assert ledger.verify(db) == (0, ledger.START, ())
    assert ledger.verify(db, (0, ledger.START)) == (0, ledger.START, ())
    assert ledger.head(db) == (0, ledger.START)


@pytest.mark.parametrize(
    "line",
    ["UPDATE decisions SET entry = '{}'", "UPDATE decisions SET seq = 9", "DELETE FROM decisions",
     "UPDATE decisions SET hash = 'x' WHERE seq = 1"],
)  # fmt: skip
def test_the_database_refuses_to_change_or_remove(db: sqlite3.Connection, line: str) -> None:
    kept = ledger.append(db, entry())
    with pytest.raises(sqlite3.IntegrityError, match="never"):
        db.execute(line)
    assert ledger.verify(db) == (1, kept.hash, ())


FIELDS = {
    "case_id": "c2", "act": "note", "who": "rita", "at": "2020", "finding": "other", "shown": "f9", "pair": "p",
    "decision": "not", "control": "merge", "note": "another", "undoes": 1, "probability": 0.6, "twinscope": "9",
    "models": {"m": "x"}, "details": {"x": 1},
}  # fmt: skip


def test_all_fields_are_tried() -> None:
    assert FIELDS.keys() == Entry.model_fields.keys()


@pytest.mark.parametrize("field", FIELDS)
def test_a_change_of_any_field_shows(record: sqlite3.Connection, field: str) -> None:
    text = json.loads(record.execute("SELECT entry FROM decisions WHERE seq = 3").fetchone()[0])
    changed = json.dumps({**text, field: FIELDS[field]}, sort_keys=True, ensure_ascii=False)
    record.execute("UPDATE decisions SET entry = ? WHERE seq = 3", (changed,))
    assert ledger.verify(record).troubles == ("entry 3 was changed after it was made",)


def test_a_change_with_a_new_hash_shows_at_the_next(record: sqlite3.Connection) -> None:
    row = record.execute("SELECT * FROM decisions WHERE seq = 3").fetchone()
    text = row["entry"].replace('"same"', '"not"')
    record.execute(
        "UPDATE decisions SET entry = ?, hash = ? WHERE seq = 3", (text, ledger.digest(3, text, row["prior"]))
    )
    assert ledger.verify(record).troubles == ("entry 4 does not follow the one before it",)


def test_a_new_prior_shows(record: sqlite3.Connection) -> None:
    record.execute("UPDATE decisions SET prior = ? WHERE seq = 3", (ledger.START,))
    assert ledger.verify(record).troubles == (
        "entry 3 does not follow the one before it", "entry 3 was changed after it was made",
    )  # fmt: skip


@pytest.mark.parametrize("number", [1, 2, 4])
def test_one_that_is_gone_shows(record: sqlite3.Connection, number: int) -> None:
    record.execute("DELETE FROM decisions WHERE seq = ?", (number,))
    troubles = ledger.verify(record).troubles
    assert troubles[0] == f"entry {number} is missing; the next one is {number + 1}"
    assert troubles[1] == f"entry {number + 1} does not follow the one before it"
    assert len(troubles) == 2


def test_another_order_shows(record: sqlite3.Connection) -> None:
    record.execute("UPDATE decisions SET seq = 9 WHERE seq = 2")
    record.execute("UPDATE decisions SET seq = 2 WHERE seq = 3")
    record.execute("UPDATE decisions SET seq = 3 WHERE seq = 9")
    assert len(ledger.verify(record).troubles) >= 4


def test_an_end_that_was_cut_off_shows_against_a_noted_one(record: sqlite3.Connection) -> None:
    seq, head = ledger.head(record)
    third = record.execute("SELECT seq, hash FROM decisions WHERE seq = 3").fetchone()
    assert ledger.verify(record, (seq, head)).troubles == ()
    assert ledger.verify(record, tuple(third)).troubles == ()
    record.execute("DELETE FROM decisions WHERE seq > 3")
    assert ledger.verify(record).troubles == ()
    assert ledger.verify(record, tuple(third)).troubles == ()
    assert ledger.verify(record, (seq, head)).troubles == (
        f"entry 5 with the noted hash {head[:12]}... is not there",
    )  # fmt: skip
    assert ledger.verify(record, (4, third["hash"])).troubles != ()
    assert ledger.verify(record, (0, "1" * 64)).troubles != ()


def test_a_record_that_was_made_anew_shows_against_a_noted_one(db: sqlite3.Connection, tmp_path: Path) -> None:
    for note in ("a", "b"):
        ledger.append(db, entry(note=note))
    with cases.connected(tmp_path / "other") as other:
        for note in ("a", "x"):
            ledger.append(other, entry(note=note))
        assert ledger.verify(other).troubles == ()
        assert len(ledger.verify(other, ledger.head(db)).troubles) == 1


def _append(folder: Path, who: str, count: int) -> None:
    with cases.connected(folder) as db:
        for number in range(count):
            ledger.append(db, entry(who=who, note=str(number)))


def test_two_processes_that_append_at_once_make_one_chain(tmp_path: Path) -> None:
    with cases.connected(tmp_path) as db:
        made = [multiprocessing.get_context("spawn").Process(target=_append, args=(tmp_path, w, 60)) for w in "ab"]
        for process in made:
            process.start()
        for process in made:
            process.join()
        assert [process.exitcode for process in made] == [0, 0]
        assert ledger.verify(db)[::2] == (120, ())
        kept = ledger.entries(db, "c1")
    assert [one.seq for one in kept] == list(range(1, 121))
    for who in "ab":
        assert [one.entry.note for one in kept if one.entry.who == who] == [str(n) for n in range(60)]


def test_an_append_that_fails_leaves_nothing_and_the_next_goes_on(db: sqlite3.Connection) -> None:
    first = ledger.append(db, entry())
    db.execute("CREATE TRIGGER full BEFORE INSERT ON decisions BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with pytest.raises(sqlite3.IntegrityError, match="disk full"):
        ledger.append(db, entry())
    db.execute("DROP TRIGGER full")
    assert ledger.append(db, entry()).seq == 2
    assert ledger.verify(db).troubles == ()
    assert first.seq == 1


def test_what_is_taken_back_does_not_stand(db: sqlite3.Connection) -> None:
    for one in (
        entry(note="a"),
        entry(note="b"),
        entry(act="undo", undoes=1),
        entry(note="c", case="c2"),
        entry(note="d"),
    ):
        ledger.append(db, one)
    assert [one.entry.note for one in ledger.standing(ledger.entries(db, "c1"))] == ["b", "d"]
    assert [one.seq for one in ledger.entries(db, "c2")] == [4]


def test_a_pair_is_hidden_until_it_is_shown_or_taken_back(db: sqlite3.Connection) -> None:
    ledger.append(db, entry(act="hide", pair="p"))
    ledger.append(db, entry(act="hide", pair="q", case="c2"))
    assert ledger.hidden(db) == {"p", "q"}
    ledger.append(db, entry(act="undo", undoes=1))
    assert ledger.hidden(db) == {"q"}
    ledger.append(db, entry(act="show", pair="q", case="c3"))
    assert ledger.hidden(db) == set()
    ledger.append(db, entry(act="undo", undoes=4, case="c3"))
    assert ledger.hidden(db) == {"q"}


@pytest.mark.parametrize("wrong", [{"act": "delete"}, {"decision": "fraud"}, {"note": "x" * 4001}, {"extra": 1},
                                   {"probability": float("nan")}])  # fmt: skip
def test_an_entry_of_another_form_is_none(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        entry(**wrong)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.text(max_size=20), st.sampled_from(["same", "not", "benign", "unclear"])), max_size=5),
       st.data())  # fmt: skip
def test_any_change_of_any_byte_shows(tmp_path: Path, told: list[tuple[str, str]], data: st.DataObject) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    db.executescript(ledger.SCHEMA)
    kept = [ledger.append(db, entry(note=note, decision=decision)) for note, decision in told]
    assert ledger.verify(db)[::2] == (len(told), ())
    assert [one.entry for one in ledger.entries(db, "c1")] == [one.entry for one in kept]
    if kept:
        db.execute("DROP TRIGGER decisions_stay")
        number = data.draw(st.integers(1, len(kept)))
        column = data.draw(st.sampled_from(["entry", "hash", "prior"]))
        old = db.execute(f"SELECT {column} FROM decisions WHERE seq = ?", (number,)).fetchone()[0]
        at = data.draw(st.integers(0, len(old) - 1))
        new = old[:at] + ("0" if old[at] != "0" else "1") + old[at + 1 :]
        try:
            db.execute(f"UPDATE decisions SET {column} = ? WHERE seq = ?", (new, number))
        except sqlite3.OperationalError:
            pass  # no JSON any more: SQLite itself refuses it
        else:
            assert ledger.verify(db).troubles != ()
    db.close()
