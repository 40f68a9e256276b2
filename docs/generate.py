"""Write what is made from the code and from results.

cli.md, settings.md, screening.schema.json, metric.md, and the results in README.md, library.md, serve.md, scale.md
and papers/

python docs/generate.py
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from twinscope.cli import app
from twinscope.settings import Desk, Settings
from twinscope.types import SCHEMA_VERSION, Screening

DOCS = Path(__file__).resolve().parent
RESULTS = DOCS.parent / "benchmarks" / "results"
BEGIN, END = "<!-- results: begin; made by docs/generate.py from benchmarks/results -->", "<!-- results: end -->"
WIDTH = 96
NOTE = "<!-- Made by docs/generate.py from the code; do not edit. -->"


def pages() -> dict[str, str]:
    """Return the text of every generated file by its name."""
    return {
        "cli.md": "\n".join(_cli()) + "\n",
        "settings.md": "\n".join(_settings()) + "\n",
        "screening.schema.json": json.dumps(_schema(), indent=2) + "\n",
        "../README.md": _filled(DOCS.parent / "README.md", _results()),
        "scale.md": _filled(DOCS / "scale.md", _run("benchmarks/scale_page.py", "section")(_result("cluster"))),
        "serve.md": _filled(
            DOCS / "serve.md", _run("benchmarks/desk_page.py", "section")(_result("review"), _result("desk"))
        ),
        "library.md": _filled(
            DOCS / "library.md",
            _run("benchmarks/library_page.py", "section")(_result("library"), _result("parts"), _result("earlier")),
        ),
        "../papers/cicconet-2019/README.md": _run("papers/cicconet-2019/readme.py", "text")(),
        "../papers/black-2021/README.md": _run("papers/black-2021/readme.py", "text")(),
        "../papers/black-2021/retrieval/README.md": _run("papers/black-2021/retrieval/ir_readme.py", "text")(),
        "../papers/bharathi-2023/README.md": _run("papers/bharathi-2023/gan_readme.py", "text")(),
        **_metric(),
    }


def _run(script: str, name: str) -> Any:
    """Return what a script beside the package defines under a name."""
    return runpy.run_path(str(DOCS.parent / script))[name]


def _metric() -> dict[str, str]:
    measured = _result("metric")
    if measured is None:
        return {}
    return {"metric.md": "\n".join([NOTE, "", *_run("benchmarks/metric_page.py", "page")(measured)]) + "\n"}


def _cli() -> Iterator[str]:
    yield from (NOTE, "", "# The command line", "")
    yield "Every command as `--help` shows it. The [tutorial](tutorial.md) shows them at work."
    yield from _help(typer.main.get_command(app), "twinscope", None)


def _help(command: Any, path: str, parent: Any) -> Iterator[str]:
    with command.make_context(
        path if parent is None else path.rsplit(" ", 1)[1],
        [],
        parent=parent,
        resilient_parsing=True,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
    ) as context:
        yield from ("", f"## `{path}`", "", "```text", command.get_help(context).rstrip(), "```")
        for name, child in getattr(command, "commands", {}).items():
            yield from _help(child, f"{path} {name}", context)


def _settings() -> Iterator[str]:
    yield from (NOTE, "", "# Settings", "")
    yield (
        "Every default of twinscope, by stage. Change one with `--set KEY=VALUE`, or several in a TOML file given with "
        "`--settings`; a flag beats the file. An unknown key is an error. `twinscope settings` prints all of them as "
        "such a file."
    )
    yield from _stage(Settings, "", "The screening")
    yield from _stage(Desk, "", "The desk")


def _stage(stage: type[BaseModel], prefix: str, title: str = "") -> Iterator[str]:
    leaves = {name: field for name, field in stage.model_fields.items() if not _is_stage(field)}
    yield from ("", f"## {title or f'`[{prefix[:-1]}]`'}", "", (stage.__doc__ or "").strip(), "")
    yield from ("| key | default | allowed | what it is |", "| --- | --- | --- | --- |")
    for name, field in leaves.items():
        default = json.dumps(field.get_default(call_default_factory=True), ensure_ascii=False)
        yield f"| `{prefix}{name}` | {default} | {_allowed(field)} | {field.description or ''} |"
    for name, field in stage.model_fields.items():
        if name not in leaves:
            yield from _stage(field.annotation, f"{prefix}{name}.")  # type: ignore[arg-type]


def _is_stage(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _allowed(field: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        f"{sign} {getattr(bound, name)}"
        for bound in field.metadata
        for name, sign in signs.items()
        if hasattr(bound, name)
    ]
    return ", ".join(bounds)


def _schema() -> dict[str, Any]:
    schema = Screening.model_json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"twinscope screening.json, version {SCHEMA_VERSION}",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _filled(path: Path, lines: Iterator[str]) -> str:
    """Return the text of a page with other lines between its marks."""
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    return "\n".join([before + BEGIN, "", *lines, END + after])


def _results() -> Iterator[str]:
    names = ("manuscripts", "extraction", "startup", "explanation", "comparator")
    manuscripts, extraction, startup, explanation, comparator = (_result(name) for name in names)
    if manuscripts:
        table = _run("benchmarks/common.py", "markdown_table")
        yield "Whole manuscripts, from the PDF to the findings (`python benchmarks/manuscripts.py`):"
        yield from ("", table(manuscripts))
    if extraction:
        yield from (_extraction(extraction), "")
    if explanation:
        yield from (_explanation(explanation), "")
    if comparator:
        yield _comparator(comparator)
        yield ""
    if startup:
        yield f"`twinscope --help` takes {startup['median_s']:.2f} s (`python benchmarks/startup.py`)."
        yield ""


def _extraction(result: dict[str, Any]) -> str:
    total = result["total"]
    panels = "; ".join(
        f"panels at IoU .{level} recall {total[f'panel_recall_{level}']:.3f}, "
        f"precision {total[f'panel_precision_{level}']:.3f}"
        for level in (50, 75)
    )
    return (
        f"Figures and panels of {len(result['rows'])} real papers (`python benchmarks/extraction.py`): figures at "
        f"IoU .7 {total['figure_recall']:.3f}; {panels}; kind right {total['kind_accuracy']:.3f}."
    )


def _explanation(result: dict[str, Any]) -> str:
    found = {name: result["sets"][name][result["used"]] for name in ("test", "drawn")}

    def told(name: str, side: str) -> str:
        low, high = found[name][side]["factor_95"]
        return f"{found[name][side]['factor']:.1f} times ({low:.1f}-{high:.1f})"

    return (
        "Why the metric says so (`python benchmarks/explanation.py`): of what the map says makes a picture and its "
        f"edited copy differ, {told('test', 'edited')} as much as by chance lies inside the edit in the edited "
        f"picture, and {told('test', 'other')} at its place in the other one, on test micrographs; on drawn pictures "
        f"{told('drawn', 'edited')} and {told('drawn', 'other')}. In brackets 95 % intervals."
    )


def _comparator(result: dict[str, Any]) -> str:
    pair, gate, side = result["pair"]["ms"], result["gate"], result["side_px"]
    return (
        f"Two panels of {side} px that show one source, keypoints known, are aligned, judged and compared in "
        f"{pair['all']:.0f} ms: alignment {pair['alignment']:.0f}, heat-map {pair['network']:.0f}, edits told "
        f"{pair['tell']:.0f}. SIFT with MAGSAC++, which tells of no edit, takes {pair['sift_magsac']:.0f} ms where it "
        f"aligns at all ({result['pair']['sift_aligned']} of {result['pair']['pairs']} worn and edited pairs; "
        f"twinscope {result['pair']['aligned']}). Many such pairs, side by side on two cores as in a screening, "
        f"take {result['side_by_side']['ms']:.0f} ms each. One panel against {gate['panels']} others takes "
        f"{gate['ms']:.0f} ms (`python benchmarks/comparator.py`, {result['circumstances']['device']}, medians)."
    )


def _result(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def main() -> None:
    """Write every page and name it."""
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
        print((DOCS / name).resolve().relative_to(DOCS.parent))


if __name__ == "__main__":
    main()
