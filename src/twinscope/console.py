"""What the files of commands share: exit codes, options, settings, and how to speak to the person who waits.

Nothing heavy is imported at the top, so that `--help` is instant.
"""

from __future__ import annotations

import signal
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twinscope.errors import UsageError

if TYPE_CHECKING:
    from twinscope.settings import Settings

EXIT_DONE = 0
EXIT_FOUND = 1
EXIT_USAGE = 2
EXIT_PROBLEMS = 3
EXIT_FAILED = 4
EXIT_INTERRUPTED = 130

STAGES = {
    "read": "reading documents",
    "library": "documents into the library",
    "reembed": "panels with new vectors",
    "features": "finding keypoints",
    "embed": "describing panels",
    "compare": "comparing pairs",
    "earlier": "looking in the library",
    "pairs": "pairs of pictures",
    "findings": "telling findings",
    "pair": "comparing two panels",
    "report": "writing the report",
    "vectors": "embedding pictures",
    "intervals": "drawing intervals",
    "training": "reading training pictures",
    "validation": "reading validation pictures",
    "train": "training, steps",
    "labelled": "looking at labelled places",
    "forest": "growing the forest",
    "segment": "segmenting pictures",
    "overlaid": "laying pictures over others",
    "aligned": "aligning the nearest",
}
"""What a stage's name means to the person who waits; an unknown stage is shown as it is."""

SettingsOption = Annotated[
    Path | None, typer.Option("--settings", metavar="FILE", help="A TOML file of settings; see `twinscope settings`.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting, such as ingest.render_dpi=300. May be repeated."),
]
ThreadsOption = Annotated[int | None, typer.Option("--threads", metavar="N", help="Processor threads to use.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]


def say(sentence: str) -> None:
    """Say one sentence on standard error, with whatever could steer the terminal made visible."""
    from twinscope.report.words import visible

    typer.echo(f"twinscope: {visible(sentence)}", err=True)


def settings_of(path: Path | None, pairs: list[str] | None, threads: int | None) -> Settings:
    """Return the settings of the options --settings, --set and --threads. Raises UsageError for a wrong one."""
    from twinscope.settings import load

    flags: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not (equals and all(key.split("."))):
            raise UsageError(f"--set {pair} is not of the form KEY=VALUE, such as ingest.render_dpi=300")
        *parents, leaf = key.split(".")
        node = flags
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise UsageError(f"--set {pair} goes below {parent}, which is a value and not a table")
        node[leaf] = _value(text)
    if threads is not None:
        flags["threads"] = threads
    return load(path, flags)


def check_inputs(paths: list[Path]) -> None:
    """Raise UsageError for a path that is not there, or that cannot be looked at."""
    for path in paths:
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UsageError(f"{path} does not exist") from error
        except OSError as error:
            raise UsageError(f"{path} cannot be opened ({error.strerror}); name another") from error


def _value(text: str) -> Any:
    """Return `text` as the TOML value that it is, or as a plain string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


@contextmanager
def interruptible(place: Path | str) -> Iterator[None]:
    """Turn Ctrl-C and a polite kill into one sentence that says how to go on."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        _stop_processes()
        say(f"interrupted; run the same command again to go on from what is in {place}")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop_processes() -> None:
    """End the processes that still compare: what they would give is lost, and leaving must not wait for them."""
    if "multiprocessing" in sys.modules:
        import multiprocessing

        for process in multiprocessing.active_children():
            process.kill()


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Give a callback (stage, done, total) that draws one bar a stage on standard error, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:24}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:

        def update(stage: str, done: int, total: int) -> None:
            name = STAGES.get(stage, stage)
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        yield update
