"""Build manuscripts with and without re-used pictures, screen them, and count what is found.

    python benchmarks/manuscripts.py build -o .cache/bench/test                  # 128 manuscripts of the test groups
    python benchmarks/manuscripts.py build --split train -o .cache/bench/dev     # to tune on: other groups, other hosts
    python benchmarks/manuscripts.py run .cache/bench/test --json benchmarks/results/manuscripts.json
    python benchmarks/manuscripts.py table                                       # the table of the results kept

Thresholds are chosen on the train build only. `--quick` builds 10 manuscripts. A run can be stopped and started again:
the result of every manuscript is kept beside it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "examples"), str(HERE.parent / "src")]

import common
import compose
import peers
import plant
import score

SHARES = {"planted": 0.375, "clean": 0.375, "hard": 0.25}
DENSITY = 0.3
"""Planted pairs for each panel of a manuscript with re-use."""


def orders(count: int, seed: int, split: str) -> list[compose.Order]:
    """Return what to build: 3/8 with planted pairs, 3/8 clean, 2/8 hard-clean, each of 8 to 60 panels."""
    rng = np.random.default_rng([seed, 7])
    numbers = {kind: max(2, round(count * share)) for kind, share in SHARES.items()}
    deck: list[str] = []
    out = []
    for kind, number in numbers.items():
        for index, panels in enumerate(np.linspace(8, 60, number).round().astype(int)):
            pairs: list[str] = []
            if kind == "planted":
                for _ in range(max(2, round(DENSITY * int(panels)))):
                    deck = deck or [str(c) for c in rng.permutation([*plant.CATEGORIES, "blot"])]
                    pairs.append(deck.pop())
            out.append(compose.Order(f"{kind}-{index + 1:02d}", kind, int(panels), tuple(pairs), split, seed))
    return out


def build(count: int, seed: int, split: str, folder: Path) -> None:
    """Write the manuscripts of a build and `build.json`, which says what they are; what is there is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = orders(count, seed, split)
    makers = [HERE / f"{n}.py" for n in ("compose", "plan", "plant", "lookalikes", "sources")]
    drawers = [HERE.parent / "examples" / f"{n}.py" for n in ("paper", "layout", "charts", "draw", "prose")]
    about = {
        "n": count, "seed": seed, "split": split, "names": [order.name for order in wanted],
        "orders": common.short_hash(repr(wanted)),
        "code": common.digest([*makers, *drawers, HERE.parent / "src" / "twinscope" / "manipulate"]),
    }  # fmt: skip
    note = folder / "build.json"
    if not note.is_file() or json.loads(note.read_text()) != about:
        for stale in [*folder.glob("*.json"), *folder.glob("*.pdf")]:
            stale.unlink()
        for stale in [*folder.glob("peers-*"), *folder.glob("screened-*"), *folder.glob("panels")]:
            shutil.rmtree(stale)
        note.write_text(json.dumps(about, indent=1))
    for order in wanted:
        if not (folder / f"{order.name}.json").is_file():
            truth = compose.compose(order, folder)
            print(f"{order.name}: {len(truth['panels_truth'])} panels, {len(truth['pairs'])} planted pairs", flush=True)


def truths(folder: Path, only: str = "") -> dict[str, dict[str, Any]]:
    """Return the truth of every manuscript of a build by name."""
    names = json.loads((folder / "build.json").read_text())["names"]
    return {n: json.loads((folder / f"{n}.json").read_text()) for n in names if only in n}


def run_peers(folder: Path, names: list[str], processes: int) -> dict[str, dict[str, peers.Found]]:
    """Return what the peers report for each manuscript; kept beside it until the peers' code changes."""
    kept = folder / f"peers-{common.digest([HERE / 'peers.py'])}"
    kept.mkdir(exist_ok=True)
    todo = [n for n in names if not (kept / f"{n}.json").is_file()]
    if todo:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            work = pool.imap_unordered(_peer_job, [(n, folder / "panels" / n, kept) for n in todo])
            for done, name in enumerate(work, 1):
                print(f"peers {done}/{len(todo)}: {name}", flush=True)
    return {n: json.loads((kept / f"{n}.json").read_text()) for n in names}


def _peer_job(job: tuple[str, Path, Path]) -> str:
    name, pictures, kept = job
    (kept / f"{name}.json").write_text(json.dumps(peers.compare_all(pictures)))
    return name


SCREEN = """
import sys
from pathlib import Path
from twinscope.screen import screen
from twinscope.settings import load
screen([Path(sys.argv[1])], Path(sys.argv[2]), load(Path(sys.argv[3]) if sys.argv[3] else None))
"""


def run_twinscope(folder: Path, names: list[str], settings: Path | None, again: bool, keep: bool) -> dict[str, Any]:
    """Screen each manuscript in a process of its own; return runs by name. Kept until twinscope's code changes.

    The code is copied first, so that a run is of one state even where the tree is worked on meanwhile.
    """
    code = common.digest([HERE.parent / "src" / "twinscope", *([settings] if settings else [])])
    kept = folder / f"screened-{code}"
    if again:
        shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(exist_ok=True)
    frozen = kept / "src"
    if not frozen.is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(HERE.parent / "src" / "twinscope", kept / "copying" / "twinscope", ignore=ignored)
        (kept / "copying").rename(frozen)
    out = {}
    for number, name in enumerate(names, 1):
        file = kept / f"{name}.json"
        if not file.is_file():
            case = kept / name
            shutil.rmtree(case, ignore_errors=True)
            given = str(settings) if settings else ""
            command = [sys.executable, "-c", SCREEN, str(folder / f"{name}.pdf"), str(case), given]
            run = common.measured(command, {"PYTHONPATH": str(frozen)}, limit_s=600)
            written = case / "screening.json"
            run["screening"] = json.loads(written.read_text()) if written.is_file() else None
            if run["screening"] is None or run["code"] not in (0, 3):
                print(f"{name} failed ({run['code']}): {run['output'][-600:]}", flush=True)
            if not keep:
                shutil.rmtree(case, ignore_errors=True)
            file.write_text(json.dumps(run))
        out[name] = json.loads(file.read_text())
        found = out[name]["screening"] or {"panels": [], "findings": []}
        print(
            f"screened {number}/{len(names)}: {name}, {len(found['panels'])} panels, {len(found['findings'])} findings,"
            f" {out[name]['seconds']:.1f} s, {out[name]['peak_mib']} MiB", flush=True,
        )  # fmt: skip
    return out


def collect(folder: Path, runs: dict[str, Any], reports: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """Return the results: for each method recall, false alarms and what was missed or wrongly reported."""
    empty: dict[str, Any] = {"panels": [], "findings": []}
    methods: dict[str, Any] = {}
    if runs:
        screened = {n: r["screening"] or empty for n, r in runs.items()}
        verdicts = {n: score.judged(score.twinscope_pairs(s, known[n]), known[n]) for n, s in screened.items()}
        counts = {n: score.panel_counts(s, known[n]) for n, s in screened.items()}
        methods["twinscope"] = {
            **score.method(verdicts, known), **score.own(verdicts, counts, runs, known),
            "failed": [n for n, r in runs.items() if r["screening"] is None],
            "manuscripts": {n: {**verdicts[n], "panels": counts[n], "seconds": runs[n]["seconds"],
                                "peak_mib": runs[n]["peak_mib"]} for n in runs},
        }  # fmt: skip
    for peer in ("phash", "SIFT", "ELIS settings") if reports else ():
        found = {n: score.judged([{"a": a, "b": b} for a, b in r[peer]], known[n]) for n, r in reports.items()}
        methods[peer] = score.method(found, known)
    names = list(runs or reports)
    kinds = [known[n]["kind"] for n in names]
    return {
        "circumstances": common.circumstances(),
        "build": {k: v for k, v in json.loads((folder / "build.json").read_text()).items() if k != "names"},
        "manuscripts": {k: kinds.count(k) for k in SHARES},
        "panels_total": sum(len(known[n]["panels_truth"]) for n in names),
        "pairs_total": sum(len(known[n]["pairs"]) for n in names),
        "methods": methods,
    }


def missed(results: dict[str, Any], known: dict[str, Any]) -> str:
    """Return one line for every planted pair that twinscope missed and every false alarm."""
    lines = []
    for name, result in results["methods"].get("twinscope", {}).get("manuscripts", {}).items():
        for index, pair in enumerate(known[name]["pairs"]):
            if str(index) not in result["found"]:
                lines.append(f"missed {name} {pair['a']} {pair['b']} {pair['category']} {json.dumps(pair['detail'])}")
        for alarm in result["alarms"]:
            ids = " ".join(alarm["panels"])
            lines.append(
                f"alarm  {name} {alarm['a']} {alarm['b']} p={alarm['probability']:.3f} {alarm['between']} ({ids})"
            )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("build", help="write manuscripts and their truth")
    make.add_argument("--n", type=int, default=128)
    make.add_argument("--seed", type=int, default=1)
    make.add_argument("--split", choices=["test", "train"], default="test")
    make.add_argument("--quick", action="store_true", help="10 manuscripts")
    make.add_argument("-o", "--output", type=Path, required=True)
    test = commands.add_parser("run", help="screen a build, run the peers, count")
    test.add_argument("folder", type=Path)
    test.add_argument("--json", type=Path, help="where to keep the results")
    test.add_argument("--only", default="", help="manuscripts whose name holds this, such as planted or hard-03")
    test.add_argument("--no-peers", action="store_true")
    test.add_argument("--no-twinscope", action="store_true")
    test.add_argument("--settings", type=Path, help="a TOML file of settings for twinscope")
    test.add_argument("--again", action="store_true", help="screen again what was screened with the same code")
    test.add_argument("--keep", action="store_true", help="keep the case folders")
    test.add_argument("--missed", action="store_true", help="list what was missed and every false alarm")
    show = commands.add_parser("table", help="print the table of kept results")
    show.add_argument("file", type=Path, nargs="?", default=HERE / "results" / "manuscripts.json")
    given = parser.parse_args(arguments)
    if given.command == "build":
        build(10 if given.quick else given.n, given.seed, given.split, given.output)
    elif given.command == "run":
        _run(given)
    else:
        print(common.markdown_table(json.loads(given.file.read_text())), end="")
    return 0


def _run(given: argparse.Namespace) -> None:
    known = truths(given.folder, given.only)
    names = list(known)
    runs = {} if given.no_twinscope else run_twinscope(given.folder, names, given.settings, given.again, given.keep)
    reports = {} if given.no_peers else run_peers(given.folder, names, processes=2)
    results = collect(given.folder, runs, reports, known)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(results, indent=1, sort_keys=False) + "\n")
    if given.missed:
        print(missed(results, known))
    print(common.markdown_table(results), end="")


if __name__ == "__main__":
    sys.exit(main())
