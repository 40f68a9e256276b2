"""The commands of the library of earlier panels. Parse, call, print.

They are part of the command line in `cli.py`; nothing heavy is imported at the top.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twinscope.console import (
    EXIT_PROBLEMS,
    JsonOption,
    SetOption,
    SettingsOption,
    ThreadsOption,
    check_inputs,
    interruptible,
    progress_bars,
    say,
    settings_of,
)
from twinscope.errors import UsageError

if TYPE_CHECKING:
    from twinscope.library.store import Library

library_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Keep the panels of earlier papers, and look for a new one among them.

The library is a folder, or a place on an object store (s3://BUCKET/PATH). What a command has acknowledged is on the
disk: neither a crash nor a full disk takes it away.""",
)

LibraryOption = Annotated[
    str,
    typer.Option("--library", metavar="DIR", envvar="TWINSCOPE_LIBRARY", help="The library: a folder, or s3://..."),
]
MOST_TOLD = 20
"""Problems, documents and hits of a panel that are printed; --json has all of them."""


@library_app.command("add")
def add(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATHS", help="Papers: PDF, DOCX, PPTX, ODT, EPUB, images, ZIP, folders."),
    ],
    library: LibraryOption,
    titles: Annotated[
        Path | None,
        typer.Option("--titles", metavar="CSV", help="A file with the columns file and title, for what is new."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster", metavar="ADDRESS", help="Share the work by Ray: local, auto, HOST:PORT or ray://HOST:PORT."
        ),
    ] = None,
    settings: SettingsOption = None,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Add papers and pictures to a library; it is made if there is none.

    Each picture panel is kept with its vectors, a small picture and where it stands. A file that is there, by the hash
    of its bytes, is not read again unless it was read only in part: run the same command again after an interruption.
    Several may add at once. With --cluster all cores of a Ray cluster but one read and embed; see docs/scale.md.
    """
    began = time.monotonic()
    chosen = settings_of(settings, set_, threads)
    check_inputs([*paths, *([titles] if titles else [])])
    if re.match(r"(?i)(?!file:)[a-z][a-z0-9+.-]*:(?!//)", library):
        raise UsageError(f"{library} lacks the two slashes of an object store; write s3://BUCKET/PATH, or ./{library} "
                         f"for a folder of that name")  # fmt: skip
    with interruptible(library), progress_bars() as progress:
        from twinscope import corpus

        added = corpus.add(paths, library, chosen, progress, titles, cluster, _mended)
    told = {"library": library, **added._asdict(), "seconds": round(time.monotonic() - began, 3)}
    told["problems"] = [one.model_dump(mode="json") for one in added.problems]
    told["titled"] = [{"document": document, "title": title} for document, title in added.titled]
    if json_:
        typer.echo(json.dumps(told, indent=2))
    else:
        from twinscope.report.words import visible

        counts = {"were there already": added.known, "are read better than before, when they were read in part":
                  added.again, "hold no picture panel, so that nothing of them is kept": added.empty}  # fmt: skip
        more = "".join(f"; {count} {what}" for what, count in counts.items() if count)
        typer.echo(visible(f"{added.documents} documents added to {library}, with {added.panels} panels{more}"))
        if added.titled:
            say(f"{len(added.titled)} titles of documents that were there already were not changed; to change one, "
                f"remove its document and add it again with --titles")  # fmt: skip
        _problems(told["problems"])
    if added.problems:
        raise typer.Exit(EXIT_PROBLEMS)


@library_app.command("search")
def search(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="A picture, taken whole; or a paper, with all its panels.")
    ],
    library: LibraryOption,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="Panels that are told for each.")] = 5,
    settings: SettingsOption = None,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Look for a picture, or for all panels of a paper, in a library.

    The nearest panels by the embedding are aligned and judged as in a screening. Told are the most probable ones, and
    after them, at 0 %, the nearest that show nothing alike. For a report with the evidence: `screen --library`.
    """
    chosen = settings_of(settings, set_, threads)
    check_inputs([path])
    if path.is_dir():
        raise UsageError(f"{path} is a folder; `search` takes a picture or a paper")
    with interruptible(library), progress_bars() as progress:
        from twinscope import corpus, earlier

        opened = _opened(library)
        with tempfile.TemporaryDirectory(prefix="twinscope-") as room:
            read = earlier.queries(path, Path(room), chosen, progress)
        found = corpus.search([image for _, image in read.panels], opened, chosen, progress)
    rows = [
        {"panel": name, "hits": [earlier.told(hit, chosen) for hit in hits[:top]]}
        for (name, _), hits in zip(read.panels, found, strict=True)
    ]
    problems = [one.model_dump(mode="json") for one in (*read.problems, *earlier.searched(opened)[1])]
    mended = [one.model_dump(mode="json") for one in earlier.mended(opened)]
    if json_:
        told = {"library": library, "panels": rows, "problems": problems + mended, "mended": opened.told}
        typer.echo(json.dumps(told, indent=2))
    else:
        typer.echo("\n".join(_hits(rows)) or f"there is no picture panel in {path}")
        _problems(problems)
    if problems or mended:
        raise typer.Exit(EXIT_PROBLEMS)


@library_app.command("remove")
def remove(
    documents: Annotated[
        list[str],
        typer.Argument(metavar="DOCUMENT", help="A file, its name, or the first 8 or more digits of its hash."),
    ],
    library: LibraryOption,
    json_: JsonOption = False,
) -> None:
    """Remove documents from a library.

    They are found no more from then on; `twinscope library compact --keep-hours 0` then takes their bytes off the
    disk.
    """
    with interruptible(library):
        from twinscope.library import store

        with _changing(library) as opened:
            chosen = _chosen(store.documents(opened), documents)
            rows = store.remove(opened, [one["document"] for one in chosen])
    if json_:
        told = {"library": library, "removed": chosen, "vectors": rows, "mended": opened.told}
        typer.echo(json.dumps(told, indent=2))
    else:
        from twinscope.report.words import visible

        for one in chosen:
            same = f"; {one['same_bytes_as']} has the same bytes" if "same_bytes_as" in one else ""
            typer.echo(visible(f"removed {one['file']} ({one['document'][:12]}), {one['panels']} panels{same}"))


@library_app.command("info")
def info(
    library: LibraryOption,
    documents: Annotated[bool, typer.Option("--documents", help="List the documents, too.")] = False,
    json_: JsonOption = False,
) -> None:
    """Show what a library holds."""
    from twinscope.library import store
    from twinscope.report.words import visible

    opened = _opened(library)
    told = store.info(opened)
    listed = store.documents(opened) if documents else []
    if json_:
        typer.echo(json.dumps({**told, **({"list": listed} if documents else {})}, indent=2))
        return
    typer.echo(f"{library}: {told['documents']} documents, {told['panels']} panels, {told['vectors']} vectors")
    for name, count in told["models"].items():
        typer.echo(f"  {count} vectors of {name}")
    if told["partial"]:
        typer.echo(f"  {told['partial']} documents were read only in part; `add` reads them again")
    index = told["index"]
    typer.echo("  searched exactly" if index is None else f"  searched by an index; {index['unindexed']} not in it yet")
    if told["bytes"] is not None:
        typer.echo(f"  {told['bytes'] / 1e6:.1f} MB on the disk")
    for one in listed:
        typer.echo(visible(f"{one['document'][:12]}  {one['panels']:4d} panels  {_name(one)}"))


@library_app.command("verify")
def verify(library: LibraryOption, json_: JsonOption = False) -> None:
    """Check a library: every file against its hash, every row against the others.

    Exit code 3 where something is wrong, or had to be mended first. Bring a damaged library back from a copy.
    """
    from twinscope.library import store

    with interruptible(library):
        opened = _opened(library)
        wrong = store.verify(opened)
    if json_:
        told = {"library": library, "whole": not wrong, "wrong": wrong, "mended": opened.told}
        typer.echo(json.dumps(told, indent=2))
    else:
        typer.echo("\n".join(wrong) if wrong else f"{library} is whole")
    if wrong:
        raise typer.Exit(EXIT_PROBLEMS)


@library_app.command("compact")
def compact(
    library: LibraryOption,
    keep_hours: Annotated[
        float,
        typer.Option("--keep-hours", metavar="H", min=0, help="Keep what searches that began so long ago may need."),
    ] = 1.0,
    settings: SettingsOption = None,
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """Tidy a library: join small files, bring the index up to date, take removed documents off the disk."""
    chosen = settings_of(settings, set_, None)
    from twinscope.library import store

    with interruptible(library), _changing(library) as opened:
        before = store.info(opened)["bytes"]
        store.compact(opened, 3600 * keep_hours)
        store.refresh(opened, chosen.library)
        after = store.info(opened)["bytes"]
    if json_:
        told = {"library": library, "bytes_before": before, "bytes": after, "mended": opened.told}
        typer.echo(json.dumps(told, indent=2))
    else:
        sizes = "" if after is None else f": {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB now"
        typer.echo(f"{library} is tidied{sizes}")


@library_app.command("export")
def export(
    library: LibraryOption,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The Parquet file to write.")],
    json_: JsonOption = False,
) -> None:
    """Write all rows of a library to a Parquet file: where each panel stands, its vectors, its small picture."""
    if output.exists():
        raise UsageError(f"{output} is there already; name a new file, so that nothing is overwritten")
    with interruptible(output):
        from twinscope.library import store

        opened = _opened(library)
        rows = store.export(opened, output)
    told = {"output": str(output), "vectors": rows, "mended": opened.told}
    typer.echo(json.dumps(told) if json_ else f"{output}: {rows} vectors")


@library_app.command("reembed")
def reembed(
    library: LibraryOption,
    settings: SettingsOption = None,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Give panels whose vectors are another network's the vectors of this one, from their kept pictures.

    Until then such panels are not found: vectors of two networks are never compared.
    """
    chosen = settings_of(settings, set_, threads)
    with interruptible(library), progress_bars() as progress:
        from twinscope import corpus

        opened = _opened(library)
        count = corpus.reembed(library, chosen, progress)
    told = {"library": library, "panels": count, "mended": opened.told}
    typer.echo(json.dumps(told) if json_ else f"{count} panels of {library} have new vectors")


# --- opening ----------------------------------------------------------------------------------------------------


def _opened(library: str) -> Library:
    """Open a library for reading, and say at once what was mended: no later opening says it."""
    from twinscope.library import store

    opened = store.open_library(library)
    _mended(opened.told)
    return opened


@contextmanager
def _changing(library: str) -> Iterator[Library]:
    """Open a library that must be there for a change, and say at once what was mended."""
    from twinscope.library import store

    told = _opened(library).told
    with store.writing(library) as opened:
        _mended(opened.told)
        yield opened._replace(told=(*told, *opened.told))


# --- printing ---------------------------------------------------------------------------------------------------


def _hits(rows: list[dict[str, Any]]) -> list[str]:
    from twinscope.report.words import visible

    out = []
    for row in rows:
        out.append(visible(row["panel"]))
        for hit in row["hits"]:
            page = "" if hit["page"] is None else f", page {hit['page']}"
            place = f"{_name(hit)}{page}, {hit['figure'] or 'panel'} {hit['label'] or hit['panel'].rpartition('-')[2]}"
            place += f" [{hit['document'][:12]}]"
            out.append(f"  {100 * hit['probability']:5.1f} %  distance {hit['distance']:.2f}  {visible(place)}")
    return out


def _name(row: dict[str, Any]) -> str:
    return f"{row['title']} ({row['file']})" if row["title"] else str(row["file"])


def _mended(told: tuple[str, ...]) -> None:
    for line in told:
        say(f"the library was mended: {line}")


def _problems(problems: list[dict[str, Any]]) -> None:
    for one in problems[:MOST_TOLD]:
        say(f"{one['path']}: {one['reason']}")
    if len(problems) > MOST_TOLD:
        say(f"and {len(problems) - MOST_TOLD} problems more; --json has all of them")


def _chosen(held: list[dict[str, Any]], wanted: list[str]) -> list[dict[str, Any]]:
    """Return the documents that are meant by files, names or hashes.

    A file stands for the document of its bytes, which is told as `same_bytes_as` where its name is another. Raises
    UsageError where one is none or more than one.
    """
    out: dict[str, dict[str, Any]] = {}
    for text in wanted:
        if not text.strip():
            raise UsageError("an empty name is no document's; `twinscope library info --documents` lists them all")
        named = [one for one in held if text in (one["file"], Path(one["file"]).name, one["title"])
                 or (len(text) >= 8 and one["document"].startswith(text.lower()))]  # fmt: skip
        sha256 = _sha256(Path(text))
        same = [one for one in held if one["document"] == sha256]
        found = same if same and (not named or same[0] in named) else named + same
        if len(found) != 1:
            several = ", ".join(one["document"][:12] for one in found[:5])
            why = f"stands for {len(found)} documents ({several}); name one by its hash" if found else "is not there"
            raise UsageError(f"{text} {why}; `twinscope library info --documents` lists them all")
        out.setdefault(found[0]["document"], found[0] if named else {**found[0], "same_bytes_as": text})
    return list(out.values())


def _sha256(path: Path) -> str:
    """Return the hash of a file as hex, "" where none can be read there."""
    from twinscope.errors import BrokenError
    from twinscope.ingest import files

    try:
        return files.sha256(path) if path.is_file() else ""
    except (BrokenError, OSError):
        return ""
