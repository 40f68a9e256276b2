"""What stands between a library and a screening: what is looked for, what was looked through, and hits as records."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from twinscope import ingest, pixels
from twinscope.corpus import Hit
from twinscope.detect import candidates, embed
from twinscope.ingest import files
from twinscope.library import store
from twinscope.pixels import Image
from twinscope.settings import Settings
from twinscope.types import Earlier, Origin, Panel, Problem, Progress, Searched


class Queries(NamedTuple):
    """What is looked for: panels by name with their pixels, and what could not be read."""

    panels: list[tuple[str, Image]]
    problems: tuple[Problem, ...]


def queries(path: Path, case: Path, settings: Settings, progress: Progress | None = None) -> Queries:
    """Return the panels of a paper that are compared, or a picture as a whole; `case` is a folder to work in."""
    whole = path.suffix.lower() in files.EXTENSIONS and files.EXTENSIONS[path.suffix.lower()] in files.PICTURES
    if whole:
        settings = settings.model_copy(update={"ingest": settings.ingest.model_copy(update={"split": False})})
    reading = ingest.read([path], case, settings, progress)
    panels = [panel for panel in reading.panels if whole or candidates.is_compared(panel, settings)]
    place = {panel.id: "" if panel.source.page is None else f", page {panel.source.page}" for panel in panels}
    named = [f"{panel.source.path}{place[panel.id]}{', ' + panel.label if panel.label else ''}" for panel in panels]
    pictures = [pixels.read_png(case / "panels" / f"{panel.id}.png") for panel in panels]
    return Queries(list(zip(named, pictures, strict=True)), reading.problems)


def searched(library: store.Library) -> tuple[Searched, tuple[Problem, ...]]:
    """Return what a search looks through, and the problem that it leaves panels out, where it does."""
    count, left = store.panels(library, embed.MODEL)
    reason = (f"its panels with vectors of another network were not searched ({left} of {count + left}); "
              f"run `twinscope library reembed --library {library.uri}`")  # fmt: skip
    looked = Searched(library=library.uri, version=library.table.version, panels=count)
    return looked, (Problem(path=library.uri, reason=reason),) if left else ()


def mended(library: store.Library) -> tuple[Problem, ...]:
    """Return the problems that a library had to be mended when it was opened: it may lack what it had acknowledged."""
    return tuple(Problem(path=library.uri, reason=f"it was mended when it was opened: {line}") for line in library.told)


def panel(row: dict[str, Any], image: Image, name: str, uri: str) -> Panel:
    """Return the record of a panel of a library, whose pixels are its kept picture."""
    return Panel(
        id=name,
        figure=f"{name}-f1",
        kind=row["kind"],
        size=(image.shape[0], image.shape[1]),
        label=row["label"],
        caption=row["caption"],
        source=Origin(path=row["file"], sha256=row["document"], page=row["page"]),
        earlier=Earlier(
            library=uri,
            title=row["title"] or "",
            figure=row["figure"],
            panel=row["panel"],
            size=(row["height"], row["width"]),
        ),
    )


def told(hit: Hit, settings: Settings) -> dict[str, Any]:
    """Return a hit as a line of a result: the earlier panel, and how near and how probably the same source it is."""
    row: dict[str, Any] = {**hit.row, "distance": round(hit.distance, 4),
                           "probability": min(round(hit.probability, 4), settings.findings.most)}  # fmt: skip
    row.pop("crop")
    if hit.judged is not None:
        row["inverted"] = hit.judged.alignment.inverted
    return row
