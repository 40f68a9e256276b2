"""The pipeline, top to bottom: documents -> panels -> candidates -> evidence -> findings.

read      documents become figures and panels, in a sandboxed process
view      each picture panel gets its tone-free picture and keypoints, once
embed     and a point in the embedding space
propose   every pair of pictures counts; those worth a closer look become candidates
judge     a candidate is aligned and measured; a calibrated probability comes out
tell      what is probable enough becomes a finding: steps in words, changes, heat-maps
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from twinscope import __version__, geometry, ingest, models, pixels
from twinscope.detect import candidates, embed, features, judge
from twinscope.detect import compare as comparing
from twinscope.detect.features import View
from twinscope.detect.judge import Judged
from twinscope.settings import Settings
from twinscope.types import PICTURE_KINDS, Finding, Panel, Provenance, Screening

EMBEDDER = "embedder-0"

Progress = Callable[[str, int, int], None]


def screen(
    paths: Sequence[Path], case: Path, settings: Settings, progress: Progress | None = None, whole: bool = False
) -> Screening:
    """Screen documents and pictures for re-used and altered panels; write the case and return the screening.

    Writes `panels/`, `pages/`, `heatmaps/` and `screening.json` below `case`. With `whole`, pictures are not split into
    panels and all of them are compared. progress: hears (stage, done, all). Raises UsageError where the case cannot be
    written; what cannot be read is a status of its input and a problem, never an exception.
    """
    start = time.monotonic()
    tell = progress or (lambda stage, done, total: None)
    if whole:
        settings = settings.model_copy(update={"ingest": settings.ingest.model_copy(update={"split": False})})
    reading = ingest.read(paths, case, settings, tell)
    chosen = [p for p in reading.panels if whole or (p.kind in PICTURE_KINDS and _large_enough(p, settings))]
    with threadpool_limits(1, "blas"):
        cv2.setNumThreads(1)
        judged, distances = _detect(chosen, case, settings, tell)
        findings = _findings(chosen, judged, distances, case, settings, tell)
    screening = Screening(
        inputs=reading.inputs,
        pages=reading.pages,
        figures=reading.figures,
        panels=reading.panels,
        findings=findings,
        problems=reading.problems,
        seconds=round(time.monotonic() - start, 3),
        provenance=provenance(settings),
    )
    (case / "screening.json").write_text(screening.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return screening


def compare(a: Path, b: Path, case: Path, settings: Settings) -> Screening:
    """Compare two pictures as they are: a screening of just these two panels, whatever their kind."""
    return screen([a, b], case, settings, whole=True)


def provenance(settings: Settings) -> Provenance:
    """Return what is needed to get the same findings again."""
    used = {name: models.load(name, settings.threads).card.sha256 for name in (EMBEDDER, judge.MODEL)}
    command = shlex.join(["twinscope", *sys.argv[1:]]) if sys.argv and sys.argv[0].endswith("twinscope") else ""
    return Provenance(
        twinscope=__version__, models=used, settings_sha256=settings.sha256(), seed=settings.seed, command=command
    )


def _large_enough(panel: Panel, settings: Settings) -> bool:
    return min(panel.size) >= settings.findings.least_side_px


def _detect(
    panels: Sequence[Panel], case: Path, settings: Settings, tell: Progress
) -> tuple[list[Judged], NDArray[np.float32]]:
    """Return every judged candidate among the panels, and the embedding distances (n, n)."""
    done = 0

    def prepare(panel: Panel) -> tuple[View, NDArray[np.uint8]]:
        nonlocal done
        image = pixels.read_png(case / "panels" / f"{panel.id}.png")
        out = features.view(image, settings.features), embed.prepare(image)
        done += 1
        tell("features", done, len(panels))
        return out

    with ThreadPoolExecutor(settings.threads) as pool:
        prepared = list(pool.map(prepare, panels))
    views = [view for view, _ in prepared]
    tell("embed", 0, 1)
    points = embed.embed([small for _, small in prepared], EMBEDDER, settings.threads)
    tell("embed", 1, 1)
    distances = embed.distances(points, points)
    tell("candidates", 0, 1)
    border = settings.candidates.distance
    pairs = candidates.candidates(views, settings, lambda a, b: bool(distances[a, b] <= border))
    pairs = [c for c in pairs if not _same_place(panels[c.a], panels[c.b])]
    tell("candidates", 1, 1)
    judged: list[Judged] = []
    with ThreadPoolExecutor(settings.threads) as pool:
        work = pool.map(lambda c: judge.judge(views[c.a], views[c.b], c, settings), pairs)
        for number, found in enumerate(work):
            tell("compare", number + 1, len(pairs))
            if found is not None and found.probability >= settings.findings.probability:
                judged.append(found)
    return judged, distances


def _same_place(a: Panel, b: Panel) -> bool:
    """Say whether two panels are cut from overlapping places of one figure: one is then no re-use of the other."""
    if (a.source.sha256, a.source.path, a.source.page) != (b.source.sha256, b.source.path, b.source.page):
        return False
    for box_a, box_b in ((a.source.box_pt, b.source.box_pt), (a.source.box_px, b.source.box_px)):
        if box_a is not None and box_b is not None and (a.source.page is None or box_a is a.source.box_pt):
            smaller = min(geometry.intersection(box_a, box_a), geometry.intersection(box_b, box_b))
            return a.figure == b.figure and geometry.intersection(box_a, box_b) > 0.05 * max(smaller, 1e-9)
    return False


def _findings(
    panels: Sequence[Panel],
    judged: Sequence[Judged],
    distances: NDArray[np.float32],
    case: Path,
    settings: Settings,
    tell: Progress,
) -> tuple[Finding, ...]:
    """Tell the judged pairs, most probable first, and write their heat-maps."""
    folder = case / "heatmaps"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("f*.png"):
        old.unlink()
    ordered = sorted(
        judged, key=lambda j: (-round(j.probability, 6), -j.numbers["inliers"], j.candidate.a, j.candidate.b)
    )
    pairs = len(panels) * (len(panels) - 1) // 2
    out = []
    for number, found in enumerate(ordered, 1):
        a, b = panels[found.candidate.a], panels[found.candidate.b]
        distance = float(distances[found.candidate.a, found.candidate.b])
        out.append(_finding(f"f{number}", a, b, found, distance, pairs, case, settings))
        tell("findings", number, len(ordered))
    return tuple(out)


def _finding(
    id: str, a: Panel, b: Panel, found: Judged, distance: float, pairs: int, case: Path, settings: Settings
) -> Finding:
    told = comparing.compare(found.a, found.b, found.alignment, found.frame, settings.compare)
    for side, heat in (("a", told.heat_a), ("b", told.heat_b)):
        pixels.write_png(case / "heatmaps" / f"{id}-{side}.png", np.asarray(np.rint(heat * 255), np.uint8))
    shares = (told.region_a.area / (a.size[0] * a.size[1]), told.region_b.area / (b.size[0] * b.size[1]))
    probability = min(round(found.probability, 4), settings.findings.most)
    return Finding(
        id=id,
        kind="duplicate" if min(shares) >= settings.findings.duplicate else "overlap",
        a=a.id,
        b=b.id,
        verdict=told.verdict,
        probability=probability,
        expected_false=round(judge.expected_false(probability, pairs), 6),
        distance=round(distance, 4),
        region_a=told.region_a,
        region_b=told.region_b,
        transform=geometry.as_matrix(told.transform),
        steps=told.steps,
        changes=told.changes,
        heatmap_a=f"heatmaps/{id}-a.png",
        heatmap_b=f"heatmaps/{id}-b.png",
        evidence={key: round(float(value), 4) for key, value in sorted(found.numbers.items())},
    )
