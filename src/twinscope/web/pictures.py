"""Pictures of a case as the pages ask for them: files of the case, thumbnails, and the points that two panels share."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from twinscope import pixels
from twinscope.detect import align, features
from twinscope.report import pictures, words
from twinscope.settings import Settings
from twinscope.types import Finding, Panel

SERVED = ("panels", "pages", "heatmaps", "library")
"""The folders of a case whose pictures the pages show."""
THUMBNAIL_PX = 240
MOST_POINTS = 150
"""Matched points that are drawn; more would hide the pictures."""


def served(case: Path, relative: str) -> Path | None:
    """Return the file of a picture of the case, None where there is none or where it is not to be shown."""
    if relative.split("/", 1)[0] not in SERVED or Path(relative).suffix.lower() not in (".png", ".jpg"):
        return None
    return pictures.inside(case, relative)


def thumbnail(case: Path, panel: str) -> bytes | None:
    """Return a small JPEG of a panel, None where the case does not hold it."""
    file = pictures.inside(case, f"panels/{panel}.png")
    return None if file is None else _thumbnail(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=4000)
def _thumbnail(file: Path, stamp: int) -> bytes:
    return pixels.jpeg(pixels.thumbnail(pixels.read_png(file), THUMBNAIL_PX), 82)


def points(case: Path, finding: Finding, panels: dict[str, Panel], settings: Settings) -> dict[str, Any]:
    """Return the points that agree with a finding's transform: {"a": [[x, y], ...], "b": ..., "says": ...}.

    Corner positions in px of the panels as they are stored, the strongest `MOST_POINTS`.
    """
    views = []
    for side in (finding.a, finding.b):
        image = pictures.load(case, f"panels/{side}.png")
        if image is None:
            return {"a": [], "b": [], "says": "The picture of a panel is not stored in the case."}
        views.append(features.view(image, settings.features))
    transform = np.array(finding.transform, np.float64)
    a, b = align.matched(views[0], views[1], transform, settings.align)
    shown = min(len(a), MOST_POINTS)
    says = f"{words.count(len(a), 'point')} of both pictures match" + (
        f"; the strongest {shown} are shown." if shown < len(a) else "."
    )
    if not len(a):
        says = "No single points match: the two were aligned by their whole content."
    return {"a": (a[:shown] + 0.5).round(2).tolist(), "b": (b[:shown] + 0.5).round(2).tolist(), "says": says}
