"""Documents into a library of earlier panels, and panels looked for there: what `library` keeps and `detect` can tell.

add       documents are read as in a screening; each picture panel gives a vector of the whole, and of its parts
search    every panel's vectors in one query (stage 1); the nearest are looked at closely and ranked anew (stage 2)
"""

from __future__ import annotations

import functools
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from twinscope import ingest, pixels
from twinscope.detect import candidates, embed, features, judge, pool
from twinscope.detect.features import View
from twinscope.detect.judge import Judged
from twinscope.errors import BrokenError
from twinscope.ingest import files
from twinscope.ingest.watch import Workers
from twinscope.library import cluster, parts, store
from twinscope.library import titles as table
from twinscope.pixels import Image
from twinscope.settings import Settings
from twinscope.types import Box, Panel, Problem, Progress

T = TypeVar("T")
R = TypeVar("R")


class Added(NamedTuple):
    """What became of documents: how many are new and how many were there, panels and vectors written, problems.

    `again` took the place of what was read of them only in part, `empty` have no picture panel that could be kept.
    `titled` are titles that the table gives to documents that were there, as (document, title).
    """

    documents: int
    known: int
    panels: int
    vectors: int
    problems: tuple[Problem, ...]
    mended: tuple[str, ...]
    again: int = 0
    empty: int = 0
    titled: tuple[tuple[str, str], ...] = ()


class Hit(NamedTuple):
    """A panel of the library for a panel that is looked for: how near in the embedding space, and what a closer look
    says; `judged` is None where the two show nothing alike.
    """

    distance: float
    row: dict[str, Any]
    judged: Judged | None

    @property
    def probability(self) -> float:
        return 0.0 if self.judged is None else self.judged.probability


def add(
    paths: Sequence[Path],
    uri: str,
    settings: Settings,
    progress: Progress | None = None,
    titles: Path | None = None,
    address: str | None = None,
    heard: Callable[[tuple[str, ...]], None] | None = None,
) -> Added:
    """Add documents, pictures and folders to a library, some hundred panels at a time; each such part is safe at once.

    A document that is there, by the hash of its bytes, is read again only where it was read in part. titles: a CSV file
    with the columns file and title; those of documents that are there change nothing, and where they are others they
    are returned. address: of a cluster whose cores share the work, see `library.cluster`; its machines must see the
    documents under the same paths. heard: hears what was mended, before anything is read; with an address, at the end.
    What cannot be read is a problem, never an exception. Raises UsageError, LibraryError.
    """
    tell, hear = progress or (lambda stage, done, total: None), heard or (lambda told: None)
    named = {} if titles is None else table.read(titles)
    sources, skipped = files.expand(paths)
    tell("library", 0, len(sources))
    if address is None:
        added = _added_here(sources, uri, settings, tell, named, hear)
    else:
        added = _added_by_many(sources, uri, settings, tell, named, address)
        hear(added.mended)
    problems = tuple(Problem(path=one.path, reason=one.reason) for one in skipped)
    return added._replace(problems=problems + added.problems, titled=_unused(uri, added.titled))


def _unused(uri: str, titled: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return those titles of documents (document, title) in whose place the library has others, or none."""
    given = dict(titled)
    held = {one["document"]: one["title"] or "" for one in store.documents(store.open_library(uri))} if given else {}
    return tuple((name, title) for name, title in given.items() if held.get(name, title) != title)


def _added_here(
    sources: Sequence[files.Source],
    uri: str,
    settings: Settings,
    tell: Progress,
    titles: dict[str, str],
    hear: Callable[[tuple[str, ...]], None],
) -> Added:
    """Add documents by this process and its readers. What others add meanwhile is not told as added here."""
    with store.writing(uri) as library:
        left, mended, version = store.in_part(library, embed.MODEL), library.told, library.table.version
        known = store.held(library, embed.MODEL) - left.keys()
    hear(mended)
    late: Counter[str] = Counter()  # documents that others have added since, with their panels

    def claim(names: Sequence[str]) -> dict[str, int]:
        free = {name: left.get(name, 0) for name in names if name not in known}
        known.update(free)
        return free

    def write(rows: pa.Table) -> int:
        nonlocal version
        with store.writing(uri) as library:
            if library.table.version != version:
                there = store.held(library, embed.MODEL) - left.keys()
                whole = rows.filter(pc.equal(rows["crop"], 0))["document"].to_pylist()
                late.update(name for name in whole if name in there)
            count = store.add(library, rows, left)
            store.refresh(library, settings.library)
            version = library.table.version
        return count

    added = take_in(sources, claim, write, settings, titles, lambda done: tell("library", done, len(sources)))
    return added._replace(documents=added.documents - len(late), known=added.known + len(late),
                          panels=added.panels - late.total(), mended=mended)  # fmt: skip


def _added_by_many(
    sources: Sequence[files.Source],
    uri: str,
    settings: Settings,
    tell: Progress,
    titles: dict[str, str],
    address: str,
) -> Added:
    """Add documents with the cores of a cluster, each of which takes in a group of files after the other."""
    size = max(1, min(settings.library.batch, len(sources) // GROUPS))
    items = [sources[start : start + size] for start in range(0, len(sources), size)]
    work = functools.partial(take_in, settings=settings.model_copy(update={"threads": 1}), titles=titles)
    done: list[int] = []

    def heard(number: int) -> None:
        done.append(len(items[number]))
        tell("library", sum(done), len(sources))

    outcome = cluster.run(items, work, uri, embed.MODEL, settings.library, address, heard)
    shares: list[Added] = [outcome.results[number] for number in sorted(outcome.results)]
    problems = tuple(problem for part in shares for problem in part.problems)
    if outcome.stopped:
        problems += (Problem(path=uri, reason=outcome.stopped),)
    counts = {name: sum(getattr(part, name) for part in shares) for name in COUNTED}
    titled = tuple(one for part in shares for one in part.titled)
    return Added(problems=problems, mended=outcome.mended, titled=titled, **counts)


COUNTED = ("documents", "known", "panels", "vectors", "again", "empty")
GROUPS = 16
"""Groups of files that are dealt out to a cluster, at least: the smaller, the less some wait for the last."""
AT_ONCE = 16
"""Files that are read at a time."""


def take_in(
    sources: Sequence[files.Source],
    claim: cluster.Claim,
    write: cluster.Write,
    settings: Settings,
    titles: dict[str, str],
    tell: Callable[[int], None] | None = None,
) -> Added:
    """Read documents and write their rows, `settings.library.batch` panels or more at a time; tell what became of them.

    claim: says which documents are to be read here, see `cluster.Claim`. write: writes rows, and returns how many are
    new. tell: hears how many sources are done.
    """
    counts = dict.fromkeys(COUNTED, 0)
    problems: list[Problem] = []
    titled: list[tuple[str, str]] = []
    waiting: list[pa.Table] = []
    groups = [sources[start : start + AT_ONCE] for start in range(0, len(sources), AT_ONCE)]
    with ThreadPoolExecutor(1) as pool, Workers() as workers:  # on the way out workers are ended before it is waited
        for number, part in enumerate(_one_ahead(pool, lambda group: _read(group, claim, settings, workers), groups)):
            last = number + 1 == len(groups)
            for name in ("documents", "known", "again", "empty"):
                counts[name] += getattr(part, name)
            problems += part.problems
            titled += [(name, title) for name, path in part.there if (title := _title(path, titles))]
            rows = _rows(part, settings, titles)
            counts["panels"] += sum(row["crop"] == 0 for row in rows)
            waiting.append(pa.Table.from_pylist(rows, schema=store.SCHEMA))
            count = sum(len(table) for table in waiting)
            if count and (last or count >= settings.library.batch * settings.library.vectors):
                counts["vectors"] += write(pa.concat_tables(waiting))
                waiting.clear()
            if tell is not None:
                tell(min((number + 1) * AT_ONCE, len(sources)))
    return Added(problems=tuple(problems), mended=(), titled=tuple(titled), **counts)


def _one_ahead(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield what `work` gives for each item; while one is used the next is worked on."""
    coming: Future[R] | None = None
    for item in items:
        current, coming = coming, pool.submit(work, item)
        if current is not None:
            yield current.result()
    if coming is not None:
        yield coming.result()


class _Part(NamedTuple):
    """What some files gave: how many documents are new and how many were known, picture panels with their pixels, what
    figures are called, what could not be read, why documents were read only in part, and of which documents (sha256,
    path) nothing was taken because they are there. The rest is as in `Added`.
    """

    documents: int
    known: int
    panels: list[tuple[Panel, Image]]
    figures: dict[str, str]
    problems: tuple[Problem, ...]
    partial: Mapping[str, str] = MappingProxyType({})
    again: int = 0
    empty: int = 0
    there: Sequence[tuple[str, str]] = ()


def _read(sources: Sequence[files.Source], claim: cluster.Claim, settings: Settings, workers: Workers) -> _Part:
    """Read those documents that nobody holds or reads; of the same bytes twice the first counts."""
    names = [_sha256(source.file) or source.path for source in sources]
    free, first = claim(names), dict(zip(reversed(names), reversed(sources), strict=True))
    chosen = [first[name] for name in dict.fromkeys(names) if name in free]
    known = len(sources) - len(chosen)
    there = [(name, source.path) for name, source in zip(names, sources, strict=True) if name not in free]
    if not chosen:
        return _Part(0, known, [], {}, (), there=there)
    images: dict[tuple[str, str], Image] = {}

    def found(panel: Panel, image: Image) -> None:
        if candidates.is_compared(panel, settings):
            images[panel.source.sha256, panel.id] = image

    with tempfile.TemporaryDirectory(prefix="twinscope-") as room:
        reading = ingest.read([one.file for one in chosen], Path(room), settings, workers=workers, found=found)
        documents = [one for one in reading.inputs if one.status in ("ok", "partial") and one.kind != "zip"]
        within = sorted({one.sha256 for one in documents} - free.keys())  # in archives
        free |= claim(within) if within else {}
        partial = {one.sha256: one.reason or "it was read in part" for one in documents if one.status == "partial"}
        panels = {
            (panel.source.sha256, _name(panel)): panel
            for panel in reversed(reading.panels)
            if panel.source.sha256 in free and candidates.is_compared(panel, settings)
        }
        count = Counter(name for name, _ in panels)
        fresh = {one.sha256 for one in documents} & free.keys()
        least = {name: free[name] + 1 if name in partial else 1 for name in fresh if free[name]}
        same = {name for name, better in least.items() if count[name] < better}  # no better than what is there
        pictures = [(panel, images[name]) for name, panel in reversed(panels.items()) if name[0] not in same]
    new = [name for name in fresh - same if not free[name]]
    return _Part(
        documents=sum(count[name] > 0 for name in new),
        known=known + len(same) + sum(one.sha256 not in fresh for one in documents),
        panels=pictures,
        figures={one.id: one.label for one in reading.figures},
        problems=reading.problems,
        partial=partial,
        again=len(fresh - same) - len(new),
        empty=sum(not count[name] for name in new),
        there=there + [(one.sha256, one.path) for one in documents if one.sha256 not in fresh],
    )


def _name(panel: Panel) -> str:
    """Return the id of a panel within its document."""
    return panel.id.partition("-")[2]


def _title(path: str, titles: Mapping[str, str]) -> str:
    """Return the title that a table gives to a document, by the name or the path of its file; "" where it has none."""
    return titles.get(Path(path).name) or titles.get(path, "")


def _sha256(file: Path) -> str:
    """Return the hash of a file as hex, "" of one that cannot be read: reading it says why."""
    try:
        return files.sha256(file)
    except BrokenError:
        return ""


def _rows(part: _Part, settings: Settings, titles: dict[str, str]) -> list[dict[str, Any]]:
    """Return the rows of panels: one for the whole, with its picture, and one for each part."""
    shelf = settings.library
    cut = [
        (panel, image, k, box) for panel, image in part.panels for k, box in enumerate(parts.windows(panel.size, shelf))
    ]
    threads = max(1, settings.threads // 2)  # meanwhile others read
    points = embed.embed([parts.cropped(image, box) for _, image, _, box in cut], embed.MODEL, threads)
    rows = []
    for (panel, image, k, box), point in zip(cut, points, strict=True):
        name = panel.source.path
        rows.append({
            "document": panel.source.sha256, "panel": _name(panel), "crop": k, "box_px": list(box),
            "model": embed.MODEL, "vector": point, "title": _title(name, titles),
            "file": name, "page": panel.source.page, "figure": part.figures[panel.figure], "label": panel.label,
            "caption": panel.caption, "kind": panel.kind, "height": panel.size[0], "width": panel.size[1],
            "picture": pixels.jpeg(pixels.thumbnail(image, shelf.picture_px), shelf.quality) if k == 0 else None,
            "partial": part.partial.get(panel.source.sha256),
        })  # fmt: skip
    return rows


# ---------------------------------------------------------------------------------------------------- searching


def nearest(
    library: store.Library, images: Sequence[Image], k: int, settings: Settings, without: Collection[str] = ()
) -> list[list[store.Hit]]:
    """Return for each picture `k` panels that are near it by their vectors, see `parts`; one query for all.

    None are of the documents `without` (their sha256).
    """
    shelf = settings.library
    cut = [(n, number, parts.cropped(image, box)) for n, image in enumerate(images) for number, box in
           enumerate(parts.windows((image.shape[0], image.shape[1]), shelf))]  # fmt: skip
    points = embed.embed([part for *_, part in cut], embed.MODEL, settings.threads)
    found = store.near(library, points, k, embed.MODEL, shelf, without)
    out: list[list[tuple[int, store.Hit]]] = [[] for _ in images]
    for (n, number, _), hits in zip(cut, found, strict=True):
        out[n] += [(number, hit) for hit in hits]
    return [parts.shortlist(hits, k, shelf) for hits in out]


class Nearby(NamedTuple):
    """The panels of a library near some pictures: their rows and kept pixels, and by picture [(number, distance)]."""

    rows: list[dict[str, Any]]
    images: list[Image]
    pairs: list[list[tuple[int, float]]]


def nearby(
    images: Sequence[Image], library: store.Library, k: int, settings: Settings, without: Collection[str] = ()
) -> Nearby:
    """Return the `k` panels nearest to each picture; none of the documents `without` (their sha256)."""
    found = nearest(library, images, k, settings, without)
    rows = {hit.key: hit.row for hits in found for hit in hits}
    kept = store.pictures(library, rows)
    numbers = {key: number for number, key in enumerate(rows)}
    pairs = [[(numbers[hit.key], hit.distance) for hit in hits] for hits in found]
    return Nearby(list(rows.values()), [pixels.decoded(kept[key]) for key in rows], pairs)


def search(
    images: Sequence[Image], library: store.Library, settings: Settings, progress: Progress | None = None
) -> list[list[Hit]]:
    """Look for pictures (HxW or HxWx3 uint8) in a library: for each the panels found, the most probable first.

    Stage 1: the `settings.library.looked` panels with the nearest vectors, for all pictures in one query. Stage 2
    (black-2021, section 3.3): each is aligned and judged, the comparator's "distinct" among the evidence. Those that
    are as good as certain, and those that show nothing alike, come by their distance.
    """
    tell = progress or (lambda stage, done, total: None)
    with threadpool_limits(1, "blas"):
        cv2.setNumThreads(1)
        found = nearby(images, library, settings.library.looked, settings)
        with ThreadPoolExecutor(settings.threads) as threads:
            seen = list(threads.map(lambda one: features.view(one, settings.features), [*images, *found.images]))
        views, others = seen[: len(images)], seen[len(images) :]
        out = []
        for pairs, known in zip(found.pairs, judged(views, others, found.pairs, settings, tell), strict=True):
            said = {one.b: one for one in known}
            out.append(ranked([Hit(distance, found.rows[number], said.get(number)) for number, distance in pairs]))
    return out


def ranked(hits: Sequence[Hit]) -> list[Hit]:
    """Return hits by their probability to the hundredth, those of `judge.SURE` and more, and equals, by distance."""
    return sorted(hits, key=lambda hit: (-min(round(hit.probability, 2), judge.SURE), hit.distance))


class _Looked(NamedTuple):
    """What the processes that look for panels among earlier ones share."""

    views: Sequence[View]
    others: Sequence[View]
    settings: Settings


def judged(
    views: Sequence[View],
    others: Sequence[View],
    pairs: Sequence[Sequence[tuple[int, float]]],
    settings: Settings,
    progress: Progress | None = None,
) -> list[list[Judged]]:
    """Judge each view against those of `others` that `pairs` name [(number, distance)]; a counts views, b others."""
    tell = progress or (lambda stage, done, total: None)
    items = [(a, list(near[k : k + TOGETHER])) for a, near in enumerate(pairs) for k in range(0, len(near), TOGETHER)]
    out: list[list[Judged]] = [[] for _ in views]
    tell("earlier", 0, len(items))
    work = pool.each(_measure, _Looked(views, others, settings), items, settings.threads)
    for done, ((a, near), measured) in enumerate(zip(items, work, strict=True), 1):
        for one in judge.most_probable(measured, settings.threads):
            out[a].append(one._replace(a=a, b=near[one.b - 1][0]))
        tell("earlier", done, len(items))
    return out


TOGETHER = 25
"""Earlier panels that one process looks at for a panel before it takes the next."""


def _measure(
    shared: _Looked, item: tuple[int, list[tuple[int, float]]]
) -> list[tuple[candidates.Candidate, list[judge.Measured]]]:
    """Look for one panel in some earlier ones; runs in a process of its own."""
    a, near = item
    views = [shared.views[a], *(shared.others[number] for number, _ in near)]
    distances = np.full((len(views), len(views)), np.inf, np.float32)
    distances[0, 1:] = [distance for _, distance in near]
    ready = candidates.prepare(views, shared.settings, distances)
    return [
        (one, judge.measure(views[0], views[one.b], one, shared.settings))
        for one in candidates.of_panel(0, ready, shared.settings)
    ]


def reembed(uri: str, settings: Settings, progress: Progress | None = None) -> int:
    """Give panels whose vectors are another model's those of this one, from their kept pictures; return how many.

    A document changes as a whole; stopped, the same call goes on. The index of a large library is built anew.
    """
    tell = progress or (lambda stage, done, total: None)
    store.open_library(uri)
    with store.writing(uri) as library:
        old = store.of_other_models(library, embed.MODEL)
        tell("reembed", 0, len(old))
        for done, part in _by_document(old, settings.library.batch):
            kept = store.pictures(library, {(row["document"], row["panel"]) for row in part})
            rows = [new for row in part for new in _renewed(row, kept[row["document"], row["panel"]], settings)]
            store.replace(library, pa.Table.from_pylist(rows, schema=store.SCHEMA), embed.MODEL)
            tell("reembed", done, len(old))
        store.refresh(library, settings.library)
    return len(old)


def _by_document(rows: list[dict[str, Any]], least: int) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield how many rows are done with the next part: documents as a whole, `least` rows or more at a time."""
    rows = sorted(rows, key=lambda row: row["document"])
    part: list[dict[str, Any]] = []
    for k, row in enumerate(rows):
        part.append(row)
        if k + 1 == len(rows) or (len(part) >= least and rows[k + 1]["document"] != row["document"]):
            yield k + 1, part
            part = []


def _renewed(row: dict[str, Any], picture: bytes, settings: Settings) -> list[dict[str, Any]]:
    """Return the rows of a panel with new vectors, made from its kept picture."""
    image = pixels.decoded(picture)
    scale = row["width"] / image.shape[1], row["height"] / image.shape[0]
    boxes = parts.windows((row["height"], row["width"]), settings.library)
    small = [Box(b.x0 / scale[0], b.y0 / scale[1], b.x1 / scale[0], b.y1 / scale[1]) for b in boxes]
    points = embed.embed([parts.cropped(image, box) for box in small], embed.MODEL, settings.threads)
    new = [
        {"box_px": list(box), "model": embed.MODEL, "vector": point} for box, point in zip(boxes, points, strict=True)
    ]
    return [{**row, **one, "crop": k, "picture": None if k else picture} for k, one in enumerate(new)]
