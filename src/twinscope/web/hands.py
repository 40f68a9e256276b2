"""What a reviewer corrects: panel boxes, and pairs of panels that are compared by hand. Both are files of the case."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import ValidationError

from twinscope import ingest, pixels
from twinscope.errors import InputError, UsageError
from twinscope.ingest import files
from twinscope.settings import Settings
from twinscope.types import Correction, Finding, Page, Panel, Record, Screening

PAIRS = "hands.json"
BOXES = "corrections.json"
PICTURES = "pictures.json"
SHOWN_PX = 1200
"""Longest side of a picture on which boxes are shown and corrected."""


Kept = TypeVar("Kept", bound=Record)


class Pairs(Record):
    """The pairs of a case that were compared by hand: what was found, and the pairs in which nothing was."""

    findings: tuple[Finding, ...] = ()
    nothing: tuple[tuple[str, str], ...] = ()


class Boxes(Record):
    """The panel boxes of a case that a person has drawn, moved or taken out, in the order in which that was done."""

    corrections: tuple[Correction, ...] = ()


class Pictures(Record):
    """Pictures that are files of their own, as they are shown: `size_pt` is in pixels."""

    pages: tuple[Page, ...] = ()


def pairs(case: Path) -> Pairs:
    """Return the pairs of a case that were compared by hand; none where there are none, or of another version."""
    return _read(case / PAIRS, Pairs)


def pictures(case: Path) -> Pictures:
    """Return the pictures of a case that are files of their own, as pages on which boxes can be corrected."""
    return _read(case / PICTURES, Pictures)


def boxes(case: Path) -> Boxes:
    """Return the corrected panel boxes of a case."""
    return _read(case / BOXES, Boxes)


def _read(file: Path, kind: type[Kept]) -> Kept:
    try:
        return kind.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return kind()
    except ValidationError as error:
        raise InputError(f"{file.name} of the case is not what the desk wrote; take it away and try again") from error


def show(case: Path, room: Path, paths: Sequence[Path], screening: Screening, settings: Settings) -> None:
    """Draw the pictures among the inputs of a screening, whole, below `pages/` of the case, and keep which they are.

    They are decoded in the sandbox, as everything is: this reads them again, without splitting them, below `room`.
    """
    own = {item.sha256 for item in screening.inputs if item.kind in files.PICTURES}
    chosen = [path for path in paths if files.sha256(path) in own]
    pages: dict[tuple[str, int], Page] = {}
    if chosen:
        whole = settings.model_copy(update={"ingest": settings.ingest.model_copy(update={"split": False})})
        for panel in ingest.read(chosen, room, whole).panels:
            key = panel.source.sha256, panel.source.page or 1
            if key in pages:  # another channel of the same picture
                continue
            image = pixels.read_png(room / "panels" / f"{panel.id}.png")
            name = f"pages/picture-{len(pages) + 1}.jpg"
            pixels.write_jpeg(case / name, pixels.thumbnail(image, SHOWN_PX), 85)
            height, width = panel.size
            pages[key] = Page(
                path=panel.source.path, sha256=key[0], page=key[1], size_pt=(height, width), thumbnail=name
            )
    _write(case / PICTURES, Pictures(pages=tuple(pages.values())))


def correct(case: Path, new: Sequence[Correction]) -> Boxes:
    """Add corrections to those of a case: one that replaces an earlier drawn box takes its place. Return all."""
    kept = list(boxes(case).corrections)
    for one in new:
        drawn = [old for old in kept if _is(old, one)]
        if not drawn:
            kept.append(one)
            continue
        old = drawn[0]
        merged = one.model_copy(update={"replaces": old.replaces})
        place = kept.index(old)
        kept[place : place + 1] = [merged] if merged.box or merged.replaces else []
    out = Boxes(corrections=tuple(kept))
    _write(case / BOXES, out)
    return out


def _is(old: Correction, new: Correction) -> bool:
    """Say whether a correction replaces the box that an earlier one has drawn."""
    if old.box is None or new.replaces is None or (old.sha256, old.page) != (new.sha256, new.page):
        return False
    return bool(np.allclose(old.box, new.replaces, atol=1.0))


def _write(file: Path, kept: Record) -> None:
    half = file.with_suffix(".part")
    half.write_text(kept.model_dump_json(indent=1) + "\n", encoding="utf-8")
    half.replace(file)


def compare(case: Path, a: str, b: str, settings: Settings) -> Finding | None:
    """Compare two panels of a case as `twinscope compare` does; keep what was found. None: nothing was.

    Raises UsageError where the case does not hold the panels.
    """
    from twinscope.screen import compare as run  # loads the networks, which the desk itself has no need of

    screening = Screening.model_validate_json((case / "screening.json").read_bytes())
    panels = {panel.id: panel for panel in screening.panels}
    for name in (a, b):
        if name not in panels or not (case / "panels" / f"{name}.png").is_file():
            raise UsageError(f"the case holds no panel {name}")
    room = case / "cache" / "pair"
    shutil.rmtree(room, ignore_errors=True)
    found = run(case / "panels" / f"{a}.png", case / "panels" / f"{b}.png", room, settings).findings
    kept = pairs(case)
    others = [one for one in kept.findings if {one.a, one.b} != {a, b}]
    nothing = [pair for pair in kept.nothing if set(pair) != {a, b}]
    told = _told(case, room, found[0], panels, (a, b), kept.findings) if found else None
    made = Pairs(
        findings=(*others, told) if told else tuple(others), nothing=tuple(nothing) if told else (*nothing, (a, b))
    )
    _write(case / PAIRS, made)
    shutil.rmtree(room, ignore_errors=True)
    return told


def _told(
    case: Path, room: Path, found: Finding, panels: dict[str, Panel], names: tuple[str, str], before: Sequence[Finding]
) -> Finding:
    """Return a finding of two files as one of two panels of the case, with its maps among those of the case."""
    last = max((int(match[1]) for one in before if (match := re.fullmatch(r"h(\d+)", one.id))), default=0)
    name = f"h{last + 1}"
    maps: dict[str, str | None] = {}
    for field in ("heatmap_a", "heatmap_b", "unsure_a", "unsure_b"):
        file = getattr(found, field)
        maps[field] = None
        if file is not None:
            maps[field] = f"heatmaps/{name}-{field.replace('_', '-')}.png"
            shutil.copyfile(room / file, case / maps[field])  # type: ignore[operator]
    return found.model_copy(update={"id": name, "a": names[0], "b": names[1], **maps})


def tidy(case: Path, screening: Screening) -> None:
    """Let go of pairs whose panels a new screening of the case no longer has."""
    kept = pairs(case)
    there = {panel.id for panel in screening.panels}
    findings = tuple(one for one in kept.findings if one.a in there and one.b in there)
    nothing = tuple(pair for pair in kept.nothing if set(pair) <= there)
    if (findings, nothing) != (kept.findings, kept.nothing):
        _write(case / PAIRS, Pairs(findings=findings, nothing=nothing))
