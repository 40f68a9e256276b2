"""What a reviewer corrects: panel boxes, and pairs of panels that are compared by hand. Both are files of the case."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import Field, ValidationError

from twinscope import ingest, pixels
from twinscope.errors import InputError, UsageError
from twinscope.ingest import files
from twinscope.report import words
from twinscope.settings import Settings
from twinscope.types import Correction, Finding, Page, Panel, Record, Screening

PAIRS = "hands.json"
BOXES = "corrections.json"
PICTURES = "pictures.json"
SHOWN_PX = 1200
"""Longest side of a picture on which boxes are shown and corrected."""


Kept = TypeVar("Kept", bound=Record)


class Stood(Record):
    """Where a panel stood when it was compared, see `places`, and what it was called."""

    place: str
    name: str


class Pairs(Record):
    """The pairs of a case that were compared by hand: what was found, and the pairs in which nothing was.

    `stood` says by its id where each panel stands: ids are numbers, and pass to other panels when a box is corrected.
    `gone` has the names of pairs that were let go, because a panel of theirs does not stand there any more.
    """

    findings: tuple[Finding, ...] = ()
    nothing: tuple[tuple[str, str], ...] = ()
    stood: dict[str, Stood] = Field(default_factory=dict)
    gone: tuple[tuple[str, str], ...] = ()


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


def place(panel: Panel) -> str:
    """Return where a panel stands, as text: the hash of its file, its page and box; in a library its id there."""
    if panel.earlier is not None:
        return f"library {panel.source.sha256} {panel.earlier.panel}"
    source = panel.source
    corners = (tuple(round(x, 1) for x in box) if box else () for box in (source.box_pt, source.box_px))
    return " ".join(map(str, (source.sha256, source.page, *corners)))


def places(panels: Sequence[Panel]) -> dict[str, str]:
    """Return where each panel stands, by its id; those that stand at one place, as channels do, are numbered."""
    seen: Counter[str] = Counter()
    out = {}
    for panel in panels:
        at = place(panel)
        seen[at] += 1
        out[panel.id] = at if seen[at] == 1 else f"{at} no. {seen[at]}"
    return out


def finder(case: Path, screening: Screening) -> Callable[[str, str], str | None]:
    """Return what gives the id that a panel has in a screening, by the id and the place that it had; None: it is gone.

    The place is "" where an older version of twinscope did not say it; then the id counts, if no box was corrected.
    """
    ids = {at: name for name, at in places(screening.panels).items()}
    names = set(ids.values())

    def find(name: str, at: str) -> str | None:
        if at:
            return ids.get(at)
        return name if name in names and not boxes(case).corrections else None

    return find


def standing(case: Path, screening: Screening) -> Pairs:
    """Return the pairs that were compared by hand with the ids that their panels have in a screening of the case."""
    kept = pairs(case)
    if not (kept.findings or kept.nothing):
        return kept
    find, at, names = finder(case, screening), places(screening.panels), words.panel_names(screening)

    def now(a: str, b: str) -> tuple[str, str] | None:
        new = [find(name, kept.stood[name].place if name in kept.stood else "") for name in (a, b)]
        return None if new[0] is None or new[1] is None else (new[0], new[1])

    told = {(one.a, one.b): now(one.a, one.b) for one in kept.findings} | {pair: now(*pair) for pair in kept.nothing}
    gone = [
        (kept.stood[a].name if a in kept.stood else a, kept.stood[b].name if b in kept.stood else b)
        for (a, b), new in told.items()
        if new is None
    ]
    findings = [(one, told[one.a, one.b]) for one in kept.findings]
    ids = {name for pair in told.values() if pair for name in pair}
    return Pairs(
        findings=tuple(one.model_copy(update={"a": new[0], "b": new[1]}) for one, new in findings if new),
        nothing=tuple(new for pair in kept.nothing if (new := told[pair])),
        stood={name: Stood(place=at[name], name=names[name]) for name in sorted(ids)},
        gone=tuple(dict.fromkeys((*kept.gone, *gone))),
    )


def hits_file(case: Path, panel: str, at: str) -> Path:
    """Return the file with what the library holds near a panel, by the panel's place; it may not be there.

    An older version of twinscope named it by the panel's id, which counts if no box was corrected; "": never.
    """
    file = case / "library" / f"{hashlib.sha256(at.encode()).hexdigest()[:16]}.json"
    old = case / "library" / f"{panel}.json"
    return old if not file.is_file() and old.is_file() and not boxes(case).corrections else file


def compare(case: Path, a: str, b: str, settings: Settings, at: Sequence[str] = ("", "")) -> Finding | None:
    """Compare two panels of a case as `twinscope compare` does; keep what was found. None: nothing was.

    at: where the two stood when they were chosen. Raises UsageError where the case does not hold the panels.
    """
    from twinscope.screen import compare as run  # loads the networks, which the desk itself has no need of

    screening = Screening.model_validate_json((case / "screening.json").read_bytes())
    panels = {panel.id: panel for panel in screening.panels}
    a, b = (held(case, screening, name, there) for name, there in zip((a, b), at, strict=True))
    room = case / "cache" / "pair"
    shutil.rmtree(room, ignore_errors=True)
    found = run(case / "panels" / f"{a}.png", case / "panels" / f"{b}.png", room, settings).findings
    kept = standing(case, screening)
    others = [one for one in kept.findings if {one.a, one.b} != {a, b}]
    nothing = [pair for pair in kept.nothing if set(pair) != {a, b}]
    told = _told(case, room, found[0], panels, (a, b), kept.findings) if found else None
    there, names = places(screening.panels), words.panel_names(screening)
    made = Pairs(
        findings=(*others, told) if told else tuple(others),
        nothing=tuple(nothing) if told else (*nothing, (a, b)),
        stood={**kept.stood, **{name: Stood(place=there[name], name=names[name]) for name in (a, b)}},
        gone=tuple(pair for pair in kept.gone if set(pair) != {names[a], names[b]}),
    )
    _write(case / PAIRS, made)
    shutil.rmtree(room, ignore_errors=True)
    return told


def held(case: Path, screening: Screening, name: str, at: str) -> str:
    """Return the id that a chosen panel has now. Raises UsageError where the case does not hold it any more."""
    found = finder(case, screening)(name, at)
    if found is None and at:
        raise UsageError("a panel does not stand any more where it stood when it was chosen; choose again")
    if found is None or not (case / "panels" / f"{found}.png").is_file():
        raise UsageError(f"the case holds no panel {name}; choose again")
    return found


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
    """Keep the pairs by the ids of a new screening of the case; let go of those whose panels it does not have."""
    now = standing(case, screening)
    if now != pairs(case):
        _write(case / PAIRS, now)
