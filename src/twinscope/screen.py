"""The pipeline, top to bottom: documents -> panels -> candidates -> evidence -> findings.

read      documents become figures and panels, in a sandboxed process
view      each picture panel gets its tone-free picture and keypoints, once
embed     and a point in the embedding space
propose   every pair of pictures counts; those worth a closer look become candidates
judge     a candidate is aligned and measured; a calibrated probability comes out
tell      what is probable enough becomes a finding: steps in words, what was edited, heat-maps
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from twinscope import __version__, geometry, ingest, models, pixels
from twinscope.detect import candidates, coarse, embed, evidence, features, heat, judge, pool
from twinscope.detect import compare as comparing
from twinscope.detect.align import Alignment
from twinscope.detect.features import View
from twinscope.detect.judge import Judged
from twinscope.ingest import files, kinds
from twinscope.settings import Settings
from twinscope.types import Classes, Correction, Finding, Panel, Problem, Progress, Provenance, Screening, Searched

USED = (embed.MODEL, judge.MODEL, kinds.FOREST, heat.MODEL)
"""The models that a screening uses."""


def screen(
    paths: Sequence[Path],
    case: Path,
    settings: Settings,
    progress: Progress | None = None,
    whole: bool = False,
    library: str | None = None,
    corrections: Sequence[Correction] = (),
) -> Screening:
    """Screen documents and pictures for re-used and altered panels; write the case and return the screening.

    Writes `panels/`, `pages/`, `heatmaps/` and `screening.json` below `case`. With `whole`, pictures are not split into
    panels and all of them are compared. library: where earlier panels are kept, of which those that stand again are
    panels of the screening, too. corrections: panel boxes that a person has drawn, moved or taken out. progress: hears
    (stage, done, all). Raises UsageError where the case cannot be written or there is no such library; what cannot be
    read is a status of its input and a problem, never an exception. A file that is named twice is read once, but with
    `whole`.
    """
    start = time.monotonic()
    tell = progress or (lambda stage, done, total: None)
    if whole:
        settings = settings.model_copy(update={"ingest": settings.ingest.model_copy(update={"split": False})})
    told = _mended(library) if library is not None else ()
    with threadpool_limits(1, "blas"), _Prepare(settings) as prepare:
        cv2.setNumThreads(1)

        def wanted(panel: Panel) -> bool:
            return whole or candidates.is_compared(panel, settings)

        def found(panel: Panel, image: pixels.Image) -> None:
            if wanted(panel):
                prepare(image)

        reading = ingest.read(paths, case, settings, tell, found, corrections=corrections, once=not whole)
        chosen = [panel for panel in reading.panels if wanted(panel)]
        views, judged, distances = _detect(chosen, case, prepare, tell)
        if whole and not judged and len(chosen) == 2:
            judged = _second_look(chosen, views, case, settings)
        shared = _Found(chosen, views, distances, case, settings, len(chosen) * (len(chosen) - 1) // 2)
        looked: Searched | None = None
        missed: tuple[Problem, ...] = ()
        if library is not None:
            shared, judged, looked, missed = _look_back(shared, judged, library, told, tell)
        findings = _findings(shared, judged, tell)
    screening = Screening(
        inputs=reading.inputs,
        pages=reading.pages,
        figures=reading.figures,
        panels=(*reading.panels, *(panel for panel in shared.panels if panel.earlier)),
        findings=findings,
        problems=(*reading.problems, *missed),
        seconds=round(time.monotonic() - start, 3),
        provenance=provenance(settings).model_copy(update={"library": looked}),
    )
    (case / "screening.json").write_text(screening.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return screening


def compare(a: Path, b: Path, case: Path, settings: Settings) -> Screening:
    """Compare two pictures as they are: a screening of just these two panels, whatever their kind."""
    return screen([a, b], case, settings, whole=True)


def provenance(settings: Settings) -> Provenance:
    """Return what is needed to get the same findings again."""
    used = {card.id: card.sha256 for card in models.cards() if card.id in USED}
    typed = ["twinscope", *sys.argv[1:]] if sys.argv and sys.argv[0].endswith("twinscope") else []
    command = files.shown(shlex.join(typed))
    return Provenance(
        twinscope=__version__,
        models=used,
        settings_sha256=settings.sha256(),
        seed=settings.seed,
        command=command,
        threshold=settings.compare.threshold,
    )


class _Compared(NamedTuple):
    """What the processes that compare panels share."""

    panels: Sequence[Panel]
    ready: candidates.Panels
    settings: Settings


class _Prepared(NamedTuple):
    """A panel's view, what the embedding network sees of it (96x96 uint8), and the hash of its pixels."""

    view: View
    small: pixels.Image
    sha256: bytes


class _Prepare:
    """Prepares panels in threads, each picture once, from the moment it is known: documents are read meanwhile."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._threads = ThreadPoolExecutor(settings.threads)
        self._known: dict[tuple[tuple[int, ...], bytes], Future[_Prepared]] = {}

    def __enter__(self) -> _Prepare:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads; what they have not begun is left."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __call__(self, image: pixels.Image) -> Future[_Prepared]:
        sha256 = hashlib.sha256(image.tobytes()).digest()
        key = image.shape, sha256
        if key not in self._known:
            self._known[key] = self._threads.submit(self._work, image, sha256)
        return self._known[key]

    def _work(self, image: pixels.Image, sha256: bytes) -> _Prepared:
        return _Prepared(features.view(image, self.settings.features), embed.prepare(image), sha256)


def _detect(
    panels: Sequence[Panel], case: Path, prepare: _Prepare, tell: Progress
) -> tuple[list[View], list[Judged], NDArray[np.float32]]:
    """Return the views of the panels, every pair judged probable enough, and the embedding distances (n, n)."""
    settings = prepare.settings
    futures = [prepare(pixels.read_png(case / "panels" / f"{panel.id}.png")) for panel in panels]
    prepared = []
    for done, future in enumerate(futures, 1):
        prepared.append(future.result())
        tell("features", done, len(panels))
    prepare.close()  # before processes are forked
    views = [one.view for one in prepared]
    tell("embed", 0, 1)
    points = embed.embed([one.small for one in prepared], embed.MODEL, settings.threads)
    tell("embed", 1, 1)
    distances = embed.distances(points, points)
    told = provenance(settings.model_copy(update={"threads": 1}))  # whose number changes no result
    known = [told.model_dump_json(exclude={"command"}), *(p.model_dump_json() for p in panels)]
    key = hashlib.sha256(b"".join([*(line.encode() for line in known), *(one.sha256 for one in prepared)]))
    kept = case / "cache" / f"compared-{key.hexdigest()[:32]}.jsonl"
    ready = candidates.prepare(views, settings, distances)
    return views, _judge_all(_Compared(panels, ready, settings), kept, tell), distances


def _second_look(panels: Sequence[Panel], views: Sequence[View], case: Path, settings: Settings) -> list[Judged]:
    """Look once more at two pictures in which nothing was found; see `detect.coarse`."""
    images = [pixels.read_png(case / "panels" / f"{panel.id}.png") for panel in panels]
    found = coarse.judged(images, views, settings)
    return [found] if found is not None and found.probability >= settings.findings.probability else []


def _judge_all(shared: _Compared, kept: Path, tell: Progress) -> list[Judged]:
    """Judge every pair, panel by panel. A panel's line in the file `kept` is not computed again."""
    settings, count = shared.settings, len(shared.panels)
    lines = kept.read_text(encoding="utf-8").splitlines(keepends=True) if kept.is_file() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]  # an interrupted line has no end
    judged = [_restored(row) for found in rows for row in found]
    with kept.open("w", encoding="utf-8") as file:
        file.writelines(lines[: len(rows)])
        tell("compare", len(rows), count)
        work = pool.each(_compare_panel, shared, range(len(rows), count), settings.threads)
        for number, measured in enumerate(work, len(rows) + 1):
            best = judge.most_probable(measured, settings.threads)
            found = [one for one in best if one.probability >= settings.findings.probability]
            judged += found
            file.write(json.dumps([_keepable(one) for one in found]) + "\n")
            file.flush()
            tell("compare", number, count)
    return judged


def _compare_panel(shared: _Compared, a: int) -> list[tuple[candidates.Candidate, list[judge.Measured]]]:
    """Look for panel `a` in every later one; runs in a process of its own."""
    views = shared.ready.views
    return [
        (candidate, judge.measure(views[a], views[candidate.b], candidate, shared.settings))
        for candidate in candidates.of_panel(a, shared.ready, shared.settings)
        if not _same_place(shared.panels[a], shared.panels[candidate.b])
    ]


def _keepable(found: Judged) -> dict[str, Any]:
    return {
        "a": found.a,
        "b": found.b,
        "transform": found.alignment.transform.tolist(),
        "inverted": found.alignment.inverted,
        "numbers": found.numbers,
        "probability": found.probability,
    }


def _restored(row: dict[str, Any]) -> Judged:
    none = np.zeros((0, 2))
    alignment = Alignment(np.array(row["transform"]), row["inverted"], 0, none, none)
    return Judged(row["a"], row["b"], alignment, row["numbers"], row["probability"])


def _same_place(a: Panel, b: Panel) -> bool:
    """Say whether two panels are cut from overlapping places of one figure: one is then no re-use of the other."""
    if (a.source.sha256, a.source.path, a.source.page) != (b.source.sha256, b.source.path, b.source.page):
        return False
    for box_a, box_b in ((a.source.box_pt, b.source.box_pt), (a.source.box_px, b.source.box_px)):
        if box_a is not None and box_b is not None:
            smaller = min(geometry.intersection(box_a, box_a), geometry.intersection(box_b, box_b))
            place = box_a is a.source.box_pt or a.figure == b.figure  # px are those of a figure, points of a page
            return place and geometry.intersection(box_a, box_b) > 0.05 * max(smaller, 1e-9)
    return False


class _Found(NamedTuple):
    """What the processes that write findings share."""

    panels: Sequence[Panel]
    views: Sequence[View]
    distances: NDArray[np.float32]
    case: Path
    settings: Settings
    pairs: int


def _mended(library: str) -> tuple[str, ...]:
    """Return what had to be mended of a library, which no later opening tells.

    It is opened before a document is read, for what is wrong with it would be told only minutes later.
    """
    from twinscope.library import store  # it loads LanceDB, which a screening without a library has no need of

    return store.open_library(library).told


def _look_back(
    shared: _Found, judged: list[Judged], library: str, told: tuple[str, ...], tell: Progress
) -> tuple[_Found, list[Judged], Searched, tuple[Problem, ...]]:
    """Look for the panels in a library; return all with the earlier panels that were found, with their pairs, what was
    searched, and what was not, or is missing from it. told: what was mended of it before.
    """
    from twinscope import corpus, earlier  # they load LanceDB, which a screening without a library has no need of
    from twinscope.library import store

    settings, count = shared.settings, len(shared.panels)
    images = [pixels.read_png(shared.case / "panels" / f"{panel.id}.png") for panel in shared.panels]
    own = {panel.source.sha256 for panel in shared.panels}
    opened = store.open_library(library)
    opened = opened._replace(told=(*told, *opened.told))
    near = corpus.nearby(images, opened, settings.library.screened, settings, own)
    views = [features.view(image, settings.features) for image in near.images]
    found = [
        one
        for several in corpus.judged(shared.views, views, near.pairs, settings, tell)
        for one in several
        if one.probability >= settings.findings.probability
    ]
    wanted = sorted({one.b for one in found})
    numbers = {number: count + k for k, number in enumerate(wanted)}
    panels = [
        earlier.panel(near.rows[number], near.images[number], f"e{k}", library) for k, number in enumerate(wanted, 1)
    ]
    for panel, number in zip(panels, wanted, strict=True):
        pixels.write_png(shared.case / "panels" / f"{panel.id}.png", near.images[number])
    distances = np.full((count + len(wanted),) * 2, np.inf, np.float32)
    distances[:count, :count] = shared.distances
    for a, pairs in enumerate(near.pairs):
        for number, distance in pairs:
            if number in numbers:
                distances[a, numbers[number]] = distance
    more = [one._replace(b=numbers[one.b]) for one in found]
    both = shared._replace(
        panels=[*shared.panels, *panels],
        views=[*shared.views, *(views[number] for number in wanted)],
        distances=distances,
        pairs=shared.pairs + sum(map(len, near.pairs)),
    )
    looked, unsearched = earlier.searched(opened)
    return both, [*judged, *more], looked, (*earlier.mended(opened), *unsearched)


def _findings(shared: _Found, judged: Sequence[Judged], tell: Progress) -> tuple[Finding, ...]:
    """Tell the judged pairs, most probable first, and write their heat-maps."""
    folder = shared.case / "heatmaps"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("f*.png"):
        old.unlink()
    ordered = sorted(judged, key=lambda j: (-round(j.probability, 6), -j.numbers["inliers"], j.a, j.b))
    most = shared.settings.findings.most
    expected = [judge.expected_false(min(round(one.probability, 4), most), shared.pairs) for one in ordered]
    items = list(zip(range(1, len(ordered) + 1), ordered, expected, strict=True))
    out: list[Finding] = []
    for finding in pool.threaded(partial(_finding, shared), items, shared.settings.threads):
        out.append(finding)
        tell("findings", len(out), len(ordered))
    return tuple(out)


def _finding(shared: _Found, item: tuple[int, Judged, float]) -> Finding:
    """Tell one pair and write its heat-maps; other threads do so beside it."""
    number, found, expected = item
    settings = shared.settings
    a, b = shared.panels[found.a], shared.panels[found.b]
    views = shared.views[found.a], shared.views[found.b]
    published = (b.earlier.size[1] / b.size[1], b.earlier.size[0] / b.size[0]) if b.earlier else (1.0, 1.0)
    frame = evidence.frame(*views, found.alignment)
    told = comparing.compare(*views, found.alignment, frame, settings.compare, published)
    shares = (told.region_a.area / (a.size[0] * a.size[1]), told.region_b.area / (b.size[0] * b.size[1]))
    probability = min(round(found.probability, 4), settings.findings.most)
    return Finding(
        id=f"f{number}",
        kind="duplicate" if min(shares) >= settings.findings.duplicate else "overlap",
        a=a.id,
        b=b.id,
        verdict=told.verdict,
        probability=probability,
        expected_false=round(expected, 6),
        distance=round(float(shared.distances[found.a, found.b]), 4),
        region_a=told.region_a,
        region_b=told.region_b,
        transform=geometry.as_matrix(told.transform),
        steps=told.steps,
        changes=tuple(edit.box_b for edit in told.edits),
        edits=told.edits,
        classes=_classes(probability, told.classes),
        evidence={key: round(float(value), 4) for key, value in sorted(found.numbers.items())},
        **_maps(shared.case, f"f{number}", told),
    )


def _classes(probability: float, share: tuple[float, float]) -> Classes:
    """Return the three probabilities: that both show one source, parted by the comparator into worn and edited."""
    benign = round(probability * share[0], 4)
    return Classes(benign=benign, manipulated=round(probability - benign, 4), distinct=round(1 - probability, 4))


def _maps(case: Path, name: str, told: comparing.Comparison) -> dict[str, str]:
    """Write the heat-maps of a finding, and where nothing can be said; return their paths by field."""
    maps = {
        "heatmap_a": told.heat_a, "heatmap_b": told.heat_b,
        "unsure_a": told.unsure_a.astype(np.float32), "unsure_b": told.unsure_b.astype(np.float32),
    }  # fmt: skip
    out = {}
    for field, values in maps.items():
        kind, side = field.split("_")
        out[field] = f"heatmaps/{name}-{side}.png" if kind == "heatmap" else f"heatmaps/{name}-{kind}-{side}.png"
        pixels.write_png(case / out[field], np.asarray(np.rint(values * 255), np.uint8))
    return out
