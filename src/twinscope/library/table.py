"""The table of a library: opened for reading or for a change, at its last acknowledged version."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from twinscope.errors import UsageError
from twinscope.library import ledger, turns
from twinscope.library.columns import SCHEMA
from twinscope.library.ledger import is_local
from twinscope.library.place import LATER, check_folder, connected, is_ours, make, spoken

TABLE = "panels"
TRIES = 5
"""How often something is done again that another process came between."""
P = ParamSpec("P")
T = TypeVar("T")


class Library(NamedTuple):
    """An open library: its place, the table at its last acknowledged version, and what was mended at opening.

    `alone`: its lock is held, so that nobody else changes it.
    """

    uri: str
    table: Any
    told: tuple[str, ...] = ()
    alone: bool = False


def open_library(uri: str) -> Library:
    """Open a library for reading, at its last acknowledged version. Raises UsageError where there is none."""
    uri = ledger.located(uri)
    if not is_local(uri):
        with spoken(uri, reads=True):
            return Library(uri, existing(uri))
    ledger.check(uri)
    folder, told = Path(uri), []
    with spoken(uri, reads=True):
        for left in reversed(range(TRIES)):
            known, mended = ledger.newest(folder, TABLE)
            told += mended
            if not known:  # it was never finished
                raise ledger.absent(uri)
            try:
                return Library(uri, existing(uri, known[-1].number), tuple(told))
            except (OSError, RuntimeError, ValueError):  # somebody may have tidied this version away
                if not left or ledger.versions(folder)[-1].number == known[-1].number:
                    raise
    raise AssertionError("the last try returns or raises")


@contextmanager
def writing(uri: str) -> Iterator[Library]:
    """Open a library for a change, and make it if there is none; alone on a local disk: other writers wait."""
    uri = ledger.located(uri)
    if not is_local(uri):
        with spoken(uri):
            yield Library(uri, _made(uri))
        return
    folder = Path(uri)
    check_folder(folder, TABLE)
    with spoken(uri):
        make(folder)
        with ledger.locked(folder):
            told = ledger.mend(folder, TABLE)
            yield Library(uri, _made(uri), tuple(told), True)


def acknowledge(library: Library) -> None:
    """Have on the disk what was changed, and say so in the ledger; an object store has it already."""
    if is_local(library.uri):
        ledger.acknowledge(Path(library.uri), int(library.table.version))


def speaking(library: Library) -> AbstractContextManager[None]:
    """Turn what is raised in working on an open library into one sentence. Raises LibraryError."""
    watched = is_local(library.uri) and not library.alone
    return spoken(library.uri, reads=True, version=int(library.table.version) if watched else None)


def said(work: Callable[Concatenate[Library, P], T]) -> Callable[Concatenate[Library, P], T]:
    """Have a function that works on a library say in one sentence what is wrong with it. Raises LibraryError."""

    @wraps(work)
    def spoken_of(library: Library, /, *given: P.args, **named: P.kwargs) -> T:
        with speaking(library):
            return work(library, *given, **named)

    return spoken_of


def query(library: Library, columns: Sequence[str], where: str | None = None) -> Any:
    """Return LanceDB's query for columns of all rows that a condition holds for; without a limit it gives ten."""
    asked = library.table.search().select(list(columns)).limit(library.table.count_rows() + 1)
    return asked if where is None else asked.where(where)


def existing(uri: str, version: int | None = None) -> Any:
    """Return the table of a place, of a folder at a version. Raises UsageError where there is no library."""
    db, names = connected(uri)
    if TABLE not in names:
        raise ledger.absent(uri)
    return _ours(uri, db.open_table(TABLE, version=version))


def _made(uri: str) -> Any:
    with spoken(uri, reads=True):
        db, names = connected(uri)
        if TABLE not in names:  # on an object store another may make it at the same time
            table = db.create_table(TABLE, schema=SCHEMA) if is_local(uri) else turns.made(db, TABLE, SCHEMA)
            acknowledge(Library(uri, table))
            return _ours(uri, table)
        for left in reversed(range(TRIES)):
            table = _ours(uri, db.open_table(TABLE))
            if LATER in table.schema.names:
                break
            try:
                table.add_columns({LATER: "CAST(NULL AS STRING)"})
                acknowledge(Library(uri, table))
                break
            except RuntimeError as error:  # another may add it at the same time
                if not left or "conflict" not in str(error):
                    raise
        return table


def _ours(uri: str, table: Any) -> Any:
    if not is_ours(table.schema.names):
        raise UsageError(f"{uri} holds a table `{TABLE}` that is no library's; name a new or empty place")
    return table
