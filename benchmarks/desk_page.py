"""What is measured of the review desk, for docs/serve.md, from benchmarks/results/{review,desk}.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Numbers = Mapping[str, Any]
SAID = {
    "health": "`/health`",
    "home": "the first page",
    "case": "a case",
    "finding": "a finding, not fetched ahead",
    "note": "a note, kept",
    "upload": "an upload",
    "event": "from event to event",
}


def section(review: Numbers | None, desk: Numbers | None) -> Iterator[str]:
    """Yield the lines between the marks."""
    if review:
        turn, kept = (_times(review, name) for name in ("next", "decision"))
        yield (
            f"One reviewer and a case of {review['findings']} findings, in Chromium (`python benchmarks/review.py`): "
            f"the list is there after {review['list_s']:.2f} s, the first pair {review['first_s']:.2f} s after it is "
            f"asked for, the next one after {turn}, and a decision is kept after {kept}. {_where(review)}"
        )
        yield ""
    if desk:
        yield (
            f"{desk['reviewers']} reviewers who click and write without a pause while {desk['uploaders']} others "
            f"upload {desk['upload_mb']} MB at a time and a manuscript is screened, all on the same machine, for "
            f"{desk['seconds']:.0f} s (`python benchmarks/desk.py`): {desk['uploads_kept']} uploads and "
            f"{desk['entries_kept']} notes were acknowledged, {len(desk['lost'])} of them lost. {_where(desk)}"
        )
        yield from ("", "| ms | times | median | 95 % within | most |", "|---|---:|---:|---:|---:|")
        for name, row in {"health": desk["health"], **desk["clicks"]}.items():
            numbers = " | ".join(f"{row[key]:,.0f}" for key in ("p50_ms", "p95_ms", "most_ms"))
            yield f"| {SAID[name]} | {row['n']:,} | {numbers} |"
        yield ""


def _times(result: Numbers, name: str) -> str:
    median, most = (1000 * result[f"{name}_{kind}_s"] for kind in ("median", "p95"))
    return f"{median:.0f} ms (95 % within {most:.0f})"


def _where(result: Numbers) -> str:
    return f"({result['device']}, load {result['load']:.1f}; commit {result['commit']}.)"
