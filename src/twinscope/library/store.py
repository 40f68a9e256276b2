"""One LanceDB table of earlier panels: add, search, remove, and keep whole.

A row is one vector: of a whole panel (`crop` 0, with its picture) or of a part of one. On a local disk every change is
acknowledged through `ledger`; on an object store (s3://...) LanceDB's own commits are enough:
they are whole or are not.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from lancedb.index import IvfPq
from numpy.typing import NDArray

from twinscope.errors import LibraryError
from twinscope.library import columns, fragments, ledger, several
from twinscope.library.columns import among, quoted
from twinscope.library.ledger import is_local
from twinscope.library.place import CORES, size, spoken
from twinscope.library.table import TABLE, acknowledge, query, said, speaking
from twinscope.library.table import Library as Library
from twinscope.library.table import open_library as open_library
from twinscope.library.table import writing as writing
from twinscope.settings import Shelf

T = TypeVar("T")
SCHEMA, DIMENSIONS, TOLD = columns.SCHEMA, columns.DIMENSIONS, columns.TOLD
Points = NDArray[np.float32]
INDEX = "vector_idx"
"""The name of the index of the vectors."""
SAFE = "acknowledged"
"""The tag of the version that stays while older ones are deleted."""
SHARE = 16
"""The fewest points that are worth a query of their own."""
KEPT = timedelta(days=36500)
"""The age at which optimising alone would delete a version: never."""


class Hit(NamedTuple):
    """A panel of the library near a query: `distance` (1 is the border), and what is told of it, by column."""

    distance: float
    row: dict[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        return self.row["document"], self.row["panel"]


@said
def add(library: Library, rows: pa.Table, again: Collection[str] = ()) -> int:
    """Add rows (columns of SCHEMA) of documents that the library does not hold under their model; return how many.

    again: documents whose rows take the place of what is there, see `renew`. `library` is open for writing. When this
    returns, the rows are on the disk.
    """
    rows, better = parted(rows, again)
    rows = _fresh(library, rows)
    return (append(library, rows) if len(rows) else 0) + (renew(library, better) if len(better) else 0)


def parted(rows: pa.Table, again: Collection[str]) -> tuple[pa.Table, pa.Table]:
    """Return the rows of other documents than those, and the rows of those."""
    those = pa.array([name in again for name in rows["document"].to_pylist()], pa.bool_())
    return rows.filter(pc.invert(those)), rows.filter(those)


@said
def renew(library: Library, rows: pa.Table) -> int:
    """Put rows in the place of all rows of their documents, acknowledged as one change; return how many are new."""
    names = rows["document"].unique().to_pylist()
    old = [row["_rowid"] for row in several.held(library, names)]
    rows = rows.cast(SCHEMA)
    library.table.add(rows)
    if several.dropped(library, names, old) < len(old):
        several.settled(library, rows, True)
    acknowledge(library)
    return len(rows)


@said
def append(library: Library, rows: pa.Table) -> int:
    """Add rows of documents of which the caller knows that the library does not hold them; return how many are new.

    `library` is open for writing. On an object store others may write at the same time: of those who added the same
    document, the first keeps it, and the others take their rows out again.
    """
    before = library.table.version
    library.table.add(rows.cast(SCHEMA))
    acknowledge(library)
    alone = library.table.version == before + 1
    return len(rows) - (0 if alone or is_local(library.uri) else several.withdrawn(library, rows))


@said
def panels(library: Library, model: str) -> tuple[int, int]:
    """Return how many panels have vectors of a model, and how many of documents without any are not found."""
    table = library.table
    count = int(table.count_rows(f"crop = 0 AND model = {quoted(model)}"))
    if not _is_mixed(table, table.version, model):
        return count, 0
    rows = query(library, ["document", "panel"], f"crop = 0 AND model != {quoted(model)}").to_arrow().to_pylist()
    known = held(library, model)
    return count, len({(row["document"], row["panel"]) for row in rows if row["document"] not in known})


@said
def documents(library: Library, model: str | None = None) -> list[dict[str, Any]]:
    """Return the documents of a library by file: document, title, file, and how many panels each has."""
    told: dict[str, dict[str, Any]] = {}
    panels: dict[str, set[str]] = {}
    where = "crop = 0" if model is None else f"crop = 0 AND model = {quoted(model)}"
    for row in query(library, ["document", "panel", "title", "file"], where).to_arrow().to_pylist():
        told.setdefault(row["document"], {key: row[key] for key in ("document", "title", "file")})
        panels.setdefault(row["document"], set()).add(row["panel"])
    out = [one | {"panels": len(panels[key])} for key, one in told.items()]
    return sorted(out, key=lambda one: (one["file"], one["document"]))


@said
def held(library: Library, model: str) -> set[str]:
    """Return the hashes of the documents that have vectors of a model."""
    where = f"crop = 0 AND model = {quoted(model)}"
    batches = query(library, ["document"], where).to_batches()
    return {name for batch in batches for name in pc.unique(batch["document"]).to_pylist()}


@said
def in_part(library: Library, model: str) -> Counter[str]:
    """Return the hashes of the documents that were read only in part, and how many panels the library has of each."""
    if "partial" not in library.table.schema.names:
        return Counter()
    where = f"crop = 0 AND model = {quoted(model)} AND partial IS NOT NULL"
    return Counter(query(library, ["document"], where).to_arrow()["document"].to_pylist())


@said
def remove(library: Library, wanted: Sequence[str]) -> int:
    """Remove documents by their sha256; return how many rows went. The bytes are gone after `compact`."""
    if not wanted:
        return 0
    if not is_local(library.uri):
        library.table.checkout_latest()  # another may have tidied this version away
    gone = library.table.delete(among(wanted)).num_deleted_rows
    acknowledge(library)
    return int(gone)


def nearest(library: Library, points: Points, k: int, model: str, settings: Shelf) -> list[list[Hit]]:
    """Return for each point (n, 128) the `k` panels with the nearest vector of a model, nearest first, in one query.

    Each panel comes once, with its nearest vector; see `near` for how it is searched.
    """
    return [best(hits, k) for hits in near(library, points, k, model, settings)]


@said
def near(
    library: Library, points: Points, k: int, model: str, settings: Shelf, without: Collection[str] = ()
) -> list[list[Hit]]:
    """Return for each point (n, 128) the nearest vectors of a model, as many as `k` panels have, in one query.

    None are of the documents `without` (their sha256). Distances are Euclidean; 1 is the border. Below `settings.exact`
    rows the search is exact; above, the index proposes `settings.refined` times as many vectors as are wanted, and
    these are measured exactly.
    """
    if not len(points) or not library.table.count_rows():
        return [[] for _ in points]
    numbers, ids, far = _proposed(library, points, k * settings.vectors, model, settings, without)
    rows = _taken(library, np.unique(ids), [*TOLD])
    told = dict(zip(rows.pop("_rowid"), zip(*rows.values(), strict=True), strict=True))
    out: list[list[Hit]] = [[] for _ in points]
    for number, row_id, distance in zip(numbers.tolist(), ids.tolist(), far.tolist(), strict=True):
        out[number].append(Hit(distance, dict(zip(rows, told[row_id], strict=True))))
    return out


def best(hits: Iterable[Hit], k: int) -> list[Hit]:
    """Return the `k` panels that are nearest, nearest first, each once with its nearest vector."""
    nearest: dict[tuple[str, str], Hit] = {}
    for hit in sorted(hits, key=lambda hit: (hit.distance, hit.key)):
        nearest.setdefault(hit.key, hit)
    return list(nearest.values())[:k]


def _proposed(
    library: Library, points: Points, count: int, model: str, settings: Shelf, without: Collection[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Points]:
    """Return the `count` nearest rows of each point: the point's number, the row's id and the distance, in this order.

    LanceDB answers the points of a query one after the other: they are shared out to a query for each core.
    """
    points = np.asarray(points, np.float32)
    shares = np.array_split(points, max(1, min(CORES, len(points) // SHARE)))
    if len(shares) == 1:
        return _near(library, points, count, model, settings, without)
    first = np.cumsum([0, *map(len, shares)])
    with ThreadPoolExecutor(len(shares)) as threads:
        found = list(threads.map(lambda part: _near(library, part, count, model, settings, without), shares))
    numbers = np.concatenate([start + part[0] for start, part in zip(first, found, strict=False)])
    return numbers, np.concatenate([part[1] for part in found]), np.concatenate([part[2] for part in found])


def _near(
    library: Library, points: Points, count: int, model: str, settings: Shelf, without: Collection[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Points]:
    """Do what `_proposed` does, in one query.

    LanceDB's own exact measuring reads the vectors point by point. For a single point that is the fastest (10 ms
    against 16 at a million vectors); for many, read once for all it takes a third of the time.
    """
    index = _index(library)
    later = bool(index) and len(points) > 1
    query = library.table.search(points).distance_type("l2").select(["_distance"])
    wanted = [f"model = {quoted(model)}"] if _is_mixed(library.table, library.table.version, model) else []
    wanted += [f"NOT {among(sorted(without))}"] if without else []
    if wanted:
        query = query.where(" AND ".join(wanted), prefilter=True)
    if index:
        query = query.nprobes(settings.probed)
        query = query if later else query.refine_factor(settings.refined)
    found = query.with_row_id(True).limit(count * (settings.refined if later else 1)).to_arrow()
    ids = found["_rowid"].to_numpy().astype(np.int64)
    one = "query_index" not in found.column_names
    numbers = np.zeros(len(ids), np.int64) if one else found["query_index"].to_numpy().astype(np.int64)
    far = np.sqrt(np.maximum(found["_distance"].to_numpy(), 0)).astype(np.float32)
    if later and len(ids):
        unique, at = np.unique(ids, return_inverse=True)
        rows = _taken(library, unique, ["vector"])
        order = np.argsort(np.asarray(rows["_rowid"], np.int64))
        far = np.linalg.norm(np.asarray(rows["vector"], np.float32)[order][at] - points[numbers], axis=1)
    order = np.lexsort((ids, far, numbers))
    numbers, ids, far = numbers[order], ids[order], far[order]
    place = np.arange(len(ids)) - np.searchsorted(numbers, numbers)
    return numbers[place < count], ids[place < count], far[place < count]


@lru_cache(maxsize=8)
def _is_mixed(table: Any, version: int, model: str) -> bool:
    """Say whether a version of a table has vectors of another model, too; asking that takes longer than a query."""
    return bool(table.count_rows(f"model != {quoted(model)}"))


def _taken(library: Library, ids: NDArray[np.int64], columns: list[str]) -> dict[str, Any]:
    """Return columns of rows by their ids, in any order, and "_rowid": lists, but an array of "vector"."""
    rows = library.table.take_row_ids(ids.tolist()).select(columns).with_row_id().to_arrow()
    out: dict[str, Any] = {name: rows[name].to_pylist() for name in rows.column_names if name != "vector"}
    if "vector" in columns:
        out["vector"] = rows["vector"].combine_chunks().flatten().to_numpy().reshape(len(rows), DIMENSIONS)
    return out


@said
def pictures(library: Library, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
    """Return the kept pictures (JPEG) of panels by (document, panel)."""
    wanted = set(keys)
    if not wanted:
        return {}
    where = f"crop = 0 AND {among(sorted({document for document, _ in wanted}))}"
    rows = query(library, ["document", "panel", "picture"], where)
    found = {(row["document"], row["panel"]): row["picture"] for row in rows.to_arrow().to_pylist()}
    return {key: found[key] for key in wanted if key in found}


@said
def refresh(library: Library, settings: Shelf, build: Callable[[Library, Shelf], None] | None = None) -> bool:
    """Build the index of a large library, or bring new rows into it; return whether anything was done.

    build: another way to build it, for libraries that outgrow one machine. An index that knows less than half of the
    rows is built anew: what it learned of the others may say nothing of these, as after `corpus.reembed`.
    """
    rows, index = library.table.count_rows(), _index(library)
    if rows < settings.exact:
        return False
    outside = rows if index is None else library.table.index_stats(index).num_unindexed_rows
    if index is None or 2 * outside > rows:
        (build or _build)(library, settings)
    elif outside > settings.unindexed * rows:
        library.table.optimize(cleanup_older_than=KEPT)
    else:
        return False
    acknowledge(library)
    return True


def _build(library: Library, settings: Shelf) -> None:
    lists, parts = settings.lists, settings.bytes_a_vector
    config = IvfPq(distance_type="l2", num_partitions=lists, num_sub_vectors=parts)
    library.table.create_index("vector", config=config, name=INDEX)


@said
def compact(library: Library, keep_s: float = 0.0) -> None:
    """Join small files and drop removed rows, then delete what only versions older than `keep_s` seconds need.

    On an object store the newest version is the safe one: it needs no tag, which would stay if the process ended here.
    """
    older = timedelta(seconds=max(0.001, keep_s))
    if not is_local(library.uri):
        library.table.optimize(cleanup_older_than=older, delete_unverified=False)
        if fragments.purge(library.table):
            library.table.optimize(cleanup_older_than=older, delete_unverified=False)
        return
    folder = Path(library.uri)
    fragments.purge(library.table, folder / f"{TABLE}.lance")
    library.table.optimize(cleanup_older_than=KEPT)
    acknowledge(library)
    ledger.tidying(folder)
    library.table.tags.create(SAFE, library.table.version)  # optimising may make one more, and must not delete this one
    library.table.optimize(cleanup_older_than=older, delete_unverified=True)
    library.table.tags.delete(SAFE)
    acknowledge(library)
    ledger.shorten(folder)
    shutil.rmtree(folder / ledger.ASIDE, ignore_errors=True)


def info(library: Library) -> dict[str, Any]:
    """Return what a library holds: documents, panels, vectors by model, its index, and bytes on the disk."""
    return {**_steady(library, _counted), "mended": list(library.told)}


@said
def _counted(library: Library) -> dict[str, Any]:
    table = library.table
    rows = query(library, ["document", "model", "crop"]).to_arrow()
    models = rows["model"].to_pylist()
    whole = [crop == 0 for crop in rows["crop"].to_pylist()]
    counts = {name: models.count(name) for name in sorted(set(models))}
    index = _index(library)
    return {
        "library": library.uri,
        "version": table.version,
        "documents": len(rows["document"].unique()),
        "panels": sum(whole),
        "vectors": len(models),
        "models": counts,
        "partial": len({document for name in counts for document in in_part(library, name)}),
        "index": None if index is None else {"name": index, "unindexed": table.index_stats(index).num_unindexed_rows},
        "bytes": size(Path(library.uri)) if is_local(library.uri) else None,
    }


def verify(library: Library) -> list[str]:
    """Return what is wrong with a library, a sentence each: damaged files, rows twice or without a sound vector.

    What was mended when it was opened comes first: what it was mended from is no longer to be seen.
    """
    wrong = [f"it was mended when it was opened: {line}" for line in library.told]
    lost = ledger.damaged(Path(library.uri), library.alone) if is_local(library.uri) else []
    if lost:
        return wrong + [f"{name} is absent or not what it was when it was written" for name in lost]
    return wrong + _steady(library, _unsound)


@said
def _unsound(library: Library) -> list[str]:
    wrong = []
    seen: set[tuple[Any, ...]] = set()
    for batch in query(library, ["document", "panel", "crop", "model", "vector"]).to_batches():
        for row in zip(*(batch[name].to_pylist() for name in ("document", "panel", "crop", "model")), strict=True):
            if row in seen:
                wrong.append(f"panel {row[1]} of document {row[0][:12]} stands there twice (crop {row[2]}, {row[3]})")
            seen.add(row)
        if not np.isfinite(batch["vector"].flatten().to_numpy(zero_copy_only=False)).all():
            wrong.append("a vector is no number")
    return wrong


def _steady(library: Library, look: Callable[[Library], T]) -> T:
    """Return what a look at a library gives; the second look is under its lock: another may have tidied meanwhile."""
    try:
        return look(library)
    except LibraryError:
        if library.alone or not is_local(library.uri):
            raise
    with ledger.locked(Path(library.uri), reads=True):
        return look(open_library(library.uri))


@said
def export(library: Library, output: Path) -> int:
    """Write all rows to a Parquet file, batch by batch; return how many there are."""
    part, count = output.with_name(output.name + ".part"), 0
    schema = pa.schema([field for field in SCHEMA if field.name in library.table.schema.names])
    try:
        with spoken(str(output)), pq.ParquetWriter(part, schema, compression="zstd") as writer:
            for batch in _batches(library, schema):
                writer.write_batch(batch)
                count += batch.num_rows
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
    return count


def _batches(library: Library, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with speaking(library):
        for batch in query(library, schema.names).to_batches():
            yield batch.cast(schema)


@said
def of_other_models(library: Library, model: str) -> list[dict[str, Any]]:
    """Return the rows of whole panels that have a vector of another model, one of each panel, without its picture."""
    where = f"crop = 0 AND model != {quoted(model)}"
    names = [name for name in SCHEMA.names if name not in ("vector", "picture")]
    rows = query(library, names, where).to_arrow().to_pylist()
    return list({(row["document"], row["panel"]): row for row in rows}.values())


@said
def replace(library: Library, rows: pa.Table, model: str) -> None:
    """Put rows of a model in the place of all rows of their documents; the two changes are acknowledged as one.

    A document that has rows of the model keeps those: it was added anew, or the work was interrupted between the two.
    """
    names = rows["document"].unique().to_pylist()
    fresh = _fresh(library, rows)
    if len(fresh):
        library.table.add(fresh)
    library.table.delete(f"{among(names)} AND model != {quoted(model)}")
    acknowledge(library)


# ---------------------------------------------------------------------------------------------------- the rows


def _fresh(library: Library, rows: pa.Table) -> pa.Table:
    """Return the rows of documents that the library does not hold under their model."""
    rows = rows.cast(SCHEMA)
    known = {(row["document"], row["model"]) for row in several.held(library, rows["document"].unique().to_pylist())}
    keys = zip(rows["document"].to_pylist(), rows["model"].to_pylist(), strict=True)
    return rows.filter(pa.array([key not in known for key in keys], pa.bool_()))


def _index(library: Library) -> str | None:
    names = [index.name for index in library.table.list_indices() if "vector" in index.columns]
    return names[0] if names else None
