"""Rows of documents that several add at once to an object store: each of them stands there once in the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from twinscope.errors import LibraryError
from twinscope.library.columns import among
from twinscope.library.table import TRIES, Library, existing, query

KEY = ("document", "model", "panel", "crop")
"""What tells one row from all others."""


def held(library: Library, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of documents: document, model and _rowid."""
    where = among(names)
    if not names or not library.table.count_rows():
        return []
    rows: list[dict[str, Any]] = query(library, ["document", "model"], where).with_row_id(True).to_arrow().to_pylist()
    return rows


def withdrawn(library: Library, rows: pa.Table) -> int:
    """Take out again what was just added of documents that others had added before; return how many rows went."""
    names = rows["document"].unique().to_pylist()
    models = set(rows["model"].unique().to_pylist())
    before = existing(library.uri)
    try:
        before.checkout(library.table.version - 1)
        theirs = [row for row in held(Library(library.uri, before), names) if row["model"] in models]
    except (OSError, RuntimeError, ValueError):  # somebody has tidied it away
        return settled(library, rows)
    twice = {row["document"] for row in theirs}
    if not twice:
        return 0
    first = {row["_rowid"] for row in theirs}
    now = [row for row in held(library, sorted(twice)) if row["model"] in models]
    ours = [row["_rowid"] for row in now if row["_rowid"] not in first]
    went = dropped(library, sorted(twice), ours)
    return went if went == len(ours) else went + settled(library, rows)


def settled(library: Library, rows: pa.Table, renewed: bool = False) -> int:
    """Have each of some rows stand once, where rows were moved by one who tidied; return how many went.

    renewed: of their documents no others stand beside them. Rows are known by their keys and, then, by their vectors.
    """
    names, went = rows["document"].unique().to_pylist(), 0
    ours = dict(zip(_keys(rows), rows["vector"].to_pylist(), strict=True))
    models = {model for _, model, _, _ in ours}
    for _ in range(TRIES):
        library.table.checkout_latest()
        there = query(library, [*KEY, "vector"], among(names)).with_row_id(True).to_arrow().sort_by("_rowid")
        seen: set[tuple[Any, ...]] = set()
        spare = []
        for key, vector, number in zip(
            _keys(there), *(there[name].to_pylist() for name in ("vector", "_rowid")), strict=True
        ):
            if key in seen or (renewed and ours.get(key) != vector):
                spare.append(number)
            elif renewed or key[1] in models:
                seen.add(key)
        kept = {key[:2] for key in seen}
        lost = rows.filter(pa.array([key[:2] not in kept for key in ours], pa.bool_()))  # two took theirs out at once
        if not spare and not len(lost):
            return went
        if len(lost):
            library.table.add(lost)
        went += dropped(library, names, spare)
    raise LibraryError(f"too many change {library.uri} at once; run the same command again")


def _keys(rows: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(rows[name].to_pylist() for name in KEY), strict=True))


def dropped(library: Library, names: Sequence[str], ids: Sequence[int]) -> int:
    """Delete rows of documents by their ids; return how many went: none of those that were moved meanwhile."""
    if not ids:
        return 0
    where = f"{among(names)} AND _rowid IN ({', '.join(map(str, ids))})"
    return int(library.table.delete(where).num_deleted_rows)
