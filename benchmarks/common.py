"""What the benchmarks share: the machine, intervals, memory of a process tree, the tables."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from scipy import stats

ROOT = Path(__file__).resolve().parent.parent
CHARTS = frozenset({"same-axes", "graph and graph", "diagram and graph", "diagram and diagram"})


def circumstances() -> dict[str, Any]:
    """Return device, commit and date of a run."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", "src"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    mark = "+" if changed.stdout.strip() else ""
    return {
        "device": f"{_processor()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "commit": (commit.stdout.strip() or "unknown") + mark,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
    }


def dated(rows: Mapping[str, Mapping[str, Any]], made: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return rows of an older run, each with the circumstances of its own: `made`, unless it was kept before."""
    return {name: {"circumstances": made, **row} for name, row in rows.items()}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share."""
    if total == 0:
        return 0.0, 1.0
    interval = stats.binomtest(hits, total).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def poisson_rate(events: int, units: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a rate of events for each unit (Garwood)."""
    if units == 0:
        return 0.0, float("inf")
    low = stats.chi2.ppf(0.025, 2 * events) / 2 if events else 0.0
    return float(low / units), float(stats.chi2.ppf(0.975, 2 * events + 2) / 2 / units)


def digest(paths: Sequence[Path]) -> str:
    """Return a hash of the content of files and folders; it changes when the code does."""
    whole = hashlib.sha256()
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            if "__pycache__" not in file.parts:
                whole.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()[:16]


def short_hash(text: str) -> str:
    """Return a hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def measured(command: Sequence[str], environment: Mapping[str, str], limit_s: float) -> dict[str, Any]:
    """Run a command; return its exit code, wall seconds, peak memory of it and all its children, its last words.

    Memory is proportional set size (PSS), summed over the tree every 0.1 s; where the system has none, RSS.
    """
    peak = [0]
    begin = time.monotonic()
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, peak, done), daemon=True)
    watcher.start()
    try:
        output, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        output += f"\nstopped after {limit_s:.0f} s"
    seconds = time.monotonic() - begin
    done.set()
    watcher.join()
    return {
        "code": process.returncode, "seconds": round(seconds, 2), "peak_mib": round(peak[0] / 2**20),
        "output": output[-1500:],
    }  # fmt: skip


def _watch(pid: int, peak: list[int], done: threading.Event) -> None:
    while not done.wait(0.1):
        try:
            root = psutil.Process(pid)
            tree = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        peak[0] = max(peak[0], sum(_memory(process) for process in tree))


def _memory(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", 0) or full.rss)
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return 0


def markdown_table(results: Mapping[str, Any]) -> str:
    """Return the tables of `benchmarks/results/manuscripts.json` as Markdown."""
    return "\n\n".join([_overall(results), _by_category(results), _footer(results)]) + "\n"


def _overall(results: Mapping[str, Any]) -> str:
    rows = [
        "| | planted pairs found | false alarms, clean manuscript | false alarms, hard-clean manuscript |",
        "|---|---|---|---|",
    ]
    for name, method in results["methods"].items():
        recall, clean, hard = method["recall"], method["false_alarms"]["clean"], method["false_alarms"]["hard"]
        label = f"**{name}**" if name == "twinscope" else name
        rows.append(f"| {label} | {_share(recall)} | {_rate(clean)} | {_rate(hard)} |")
    return "\n".join(rows)


def _by_category(results: Mapping[str, Any]) -> str:
    methods = results["methods"]
    rows = ["| category | pairs | " + " | ".join(methods) + " |", "|---|---:|" + "---:|" * len(methods)]
    first = next(iter(methods.values()))
    for category, value in first["by_category"].items():
        shares = [f"{method['by_category'][category]['share']:.2f}" for method in methods.values()]
        rows.append(f"| {category} | {value['total']} | " + " | ".join(shares) + " |")
    return "\n".join(rows)


def _footer(results: Mapping[str, Any]) -> str:
    counts = results["manuscripts"]
    text = (
        f"{sum(counts.values())} manuscripts ({counts['planted']} with planted pairs, {counts['clean']} clean, "
        f"{counts['hard']} hard-clean), {results['panels_total']} panels, {results['pairs_total']} planted pairs; "
        "95 % intervals. The peers were given the true panels; twinscope extracted its own."
    )
    beside = ", ".join(f"{name} {_among_pictures(method)}" for name, method in results["methods"].items())
    text += f" False alarms that do not lie between charts, clean / hard-clean manuscript: {beside}."
    own = results["methods"].get("twinscope")
    if own:
        found, cost = own["panels"], own["cost"]
        text += (
            f" Its panels: recall {_share(found['recall'])}, precision {_share(found['precision'])} at IoU .5. "
            f"Seconds a manuscript: median {cost['seconds_median']:.1f}, with {cost['largest_panels']} panels "
            f"{cost['seconds_largest']:.1f}, at most {cost['seconds_max']:.1f}; "
            f"peak memory of all processes {cost['peak_mib_max']} MiB."
        )
        text += _verdicts(own["verdicts"])
    where = results["circumstances"]
    return f"{text} {where['device']}; commit {where['commit']}, {where['date']}."


def _verdicts(told: Mapping[str, Any]) -> str:
    """Return how often the verdict of a planted pair that was found is right: edited, not edited, and both."""
    edited, plain = told["edited_called_manipulated"], told["plain_called_benign"]
    hits, total = edited["hits"] + plain["hits"], edited["total"] + plain["total"]
    low, high = wilson(hits, total)
    whole = _share({"share": hits / max(1, total), "low": low, "high": high})
    return (
        f" Its verdicts on the planted pairs that it found: right in {hits} of {total}, {whole}; of "
        f"{edited['total']} that were edited {_share(edited)} are called manipulated, "
        f"of {plain['total']} others {_share(plain)} are not."
    )


def _among_pictures(method: Mapping[str, Any]) -> str:
    """Return the rates of false alarms other than between two charts."""
    rates = []
    for kind in ("clean", "hard"):
        part = method["false_alarms"][kind]
        charts = sum(count for what, count in part["between"].items() if what in CHARTS)
        rates.append(f"{(part['count'] - charts) / max(1, part['manuscripts']):.2f}")
    return " / ".join(rates)


def _share(value: Mapping[str, Any]) -> str:
    return f"{value['share']:.3f} ({value['low']:.3f}-{value['high']:.3f})"


def _rate(value: Mapping[str, Any]) -> str:
    return f"{value['rate']:.2f} ({value['low']:.2f}-{value['high']:.2f})"
