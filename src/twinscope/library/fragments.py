"""The fragments of a table: Lance keeps removed rows in its files until a tenth of a fragment is gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def purge(table: Any, folder: Path | None = None) -> bool:
    """Write all rows anew that share a fragment with removed ones; return whether any were.

    folder: that of the table, if it lies on a disk of this machine. What is removed goes off the disk with the versions
    that need it. Each fragment is one commit: its rows are in a new one, and it is none of the table any more.
    """
    done = False
    if folder is not None:
        files = (folder / "_deletions").glob("*-*")  # older versions have theirs there, too
        for number in sorted({int(path.name.split("-")[0]) for path in files}):
            done |= _rewritten(table, number)
        return done
    for number in _suspects(table) if _removed(table) else ():
        done |= _rewritten(table, number)
        if not _removed(table):
            break
    return done


def _rewritten(table: Any, number: int) -> bool:
    where = f"_rowid >= {number << 32} AND _rowid < {(number + 1) << 32}"
    if not table.count_rows(where):
        return False
    table.update(where=where, values_sql={"kind": "kind"})
    return True


def _removed(table: Any) -> int:
    """Return how many fragments have removed rows."""
    return int(table.list_versions()[-1]["metadata"]["total_deletion_files"])


def _suspects(table: Any) -> Iterator[int]:
    """Yield the fragments, those first in which rows are seen to be missing: of missing last rows nothing is seen."""
    count: dict[int, int] = {}
    end: dict[int, int] = {}
    query = table.search().select(["crop"]).with_row_id(True).limit(table.count_rows() + 1)
    for batch in query.to_batches():
        for row in batch["_rowid"].to_pylist():
            number, place = divmod(row, 1 << 32)
            count[number] = count.get(number, 0) + 1
            end[number] = max(end.get(number, 0), place + 1)
    yield from sorted(count, key=lambda number: (count[number] - end[number], -number))
