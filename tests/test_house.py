"""The house itself: what it promises to those who build on it, and what keeps it in order."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import json
import re
import runpy
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
from packaging.requirements import Requirement

import twinscope

PUBLIC = {
    "twinscope.errors": {
        "BrokenError", "FetchError", "InputError", "LibraryError", "ModelError", "RefusedError", "SettingsError",
        "TwinscopeError", "UsageError", "WorkerError",
    },
    "twinscope.types": {
        "Audit", "Audited", "Box", "Classes", "Correction", "Earlier", "Edit", "Figure", "Finding", "InputFile",
        "Learning", "Match", "Near", "Origin", "Page", "Panel", "Problem", "Provenance", "Record", "Screening",
        "Searched", "Statement", "Unread",
    },
    "twinscope.screen": {"compare", "provenance", "screen"},
    "twinscope.models": {"Card", "Model", "Probe", "cards", "load", "probe_input", "verify"},
    "twinscope.ingest": {"Reading", "read"},
}  # fmt: skip
"""What others may import. A name that goes is a broken promise; a name that comes is a new one."""


def _public(name: str) -> set[str]:
    """Return the functions and classes that a module defines, or offers in `__all__`."""
    module = importlib.import_module(name)
    offered = getattr(module, "__all__", None)
    if offered is not None:
        return set(offered)
    return {
        key
        for key, value in vars(module).items()
        if (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == name and key[0] != "_"
    }


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_those_that_were_promised(name: str) -> None:
    assert _public(name) == PUBLIC[name]


def test_the_version_is_the_same_everywhere(root: Path) -> None:
    assert importlib.metadata.version("twinscope") == twinscope.__version__
    assert f"version: {twinscope.__version__}" in (root / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {twinscope.__version__}" in (root / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_dependency_is_pinned_and_installed_as_pinned(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pins = {_key(name): version for name, version in pins.items()}
    wanted = [
        *project["dependencies"],
        *(r for e in ("train", "cluster", "dev") for r in project["optional-dependencies"][e]),
    ]
    names = [_key(Requirement(line).name) for line in wanted]
    assert [name for name in names if name not in pins] == []
    installed = {_key(d.name): d.version for d in importlib.metadata.distributions()}
    assert {name: installed.get(name) for name in names} == {name: pins[name] for name in names}


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_setting_says_what_it_is(root: Path) -> None:
    rows = [
        line for line in (root / "docs" / "settings.md").read_text(encoding="utf-8").splitlines() if line[:3] == "| `"
    ]
    assert len(rows) > 40
    assert [row for row in rows if row.endswith("|  |")] == []


def test_generated_docs_are_current(root: Path) -> None:
    generated = runpy.run_path(str(root / "docs" / "generate.py"))["pages"]()
    stale = [name for name, text in generated.items() if (root / "docs" / name).read_text(encoding="utf-8") != text]
    assert stale == [], "run `make docs`"


def test_the_schema_is_a_schema_and_refuses_what_is_no_screening(root: Path) -> None:
    schema = json.loads((root / "docs" / "screening.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    checker = jsonschema.Draft202012Validator(schema)
    good = {"inputs": [], "seconds": 1.0, "provenance": {"twinscope": "0", "settings_sha256": "0" * 64}}
    assert checker.is_valid(good)
    assert not checker.is_valid({**good, "seconds": -1})
    assert not checker.is_valid({**good, "fraud": True})
    assert not checker.is_valid({"inputs": []})


def test_links_in_the_docs_lead_somewhere(root: Path) -> None:
    broken = []
    for page in [*root.glob("*.md"), *(root / "docs").glob("*.md")]:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(root)} -> {target}")
    assert broken == []


def test_no_file_and_no_function_asks_to_be_two_things(root: Path) -> None:
    long = []
    for path in sorted((root / "src").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 500:
            long.append(f"{path.name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > 60:
                    long.append(f"{path.name}: {node.name} has {lines} lines")
    assert long == []


def test_what_is_imported_is_a_declared_dependency_of_its_half(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    desk = {_key(Requirement(line).name) for line in project["dependencies"]}
    extras = {
        name: desk | {_key(Requirement(line).name) for line in project["optional-dependencies"][name]}
        for name in ("train", "cluster")
    }
    dists = importlib.metadata.packages_distributions()
    package = root / "src" / "twinscope"
    undeclared = []
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        declared = extras.get(place.stem if place.stem == "cluster" else place.parts[0], desk)
        for name in sorted(_imported(path) - {"twinscope", "__future__"} - sys.stdlib_module_names):
            if not {_key(dist) for dist in dists.get(name, [name])} & declared:
                undeclared.append(f"{place} imports {name}")
    assert undeclared == []


def _imported(path: Path) -> set[str]:
    """Return the top-level packages that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_the_package_brings_its_files_along() -> None:
    package = Path(twinscope.__file__).parent
    assert (package / "py.typed").is_file()
    assert list((package / "models" / "cards").glob("*.json"))
    assert list((package / "models" / "weights").glob("*.onnx"))
    assert list((package / "report" / "templates").iterdir())
    assert sum(path.stat().st_size for path in (package / "models" / "weights").iterdir()) <= 40 * 2**20
    assert sys.version_info >= (3, 11)
