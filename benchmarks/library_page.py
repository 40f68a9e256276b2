"""What is measured of the library, for docs/library.md, from benchmarks/results/{library,parts,earlier}.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Numbers = Mapping[str, Any]


def section(library: Numbers | None, parts: Numbers | None, earlier: Numbers | None) -> Iterator[str]:
    """Yield the lines between the marks."""
    if library:
        yield from (*_speed(library), "")
    if parts:
        yield from (*_parts(parts), "")
    if earlier:
        yield from (*_earlier(earlier), "")


def _speed(result: Numbers) -> Iterator[str]:
    where, ours, exact, peers = (result[name] for name in ("circumstances", "library", "exact", "faiss"))
    yield (
        f"**{result['vectors']:,} vectors**, {result['of_windows']:,} of them of windows and crops of micrographs, the "
        f"others made from these (`python benchmarks/library.py`); {result['queries']} queries under the `figure` "
        f"manipulations; {where['device']}; commit {where['commit']}. Two threads each. FAISS has the vectors in "
        "memory; twinscope has them on the disk, with what is told of each panel."
    )
    yield from (
        "",
        "| | made in | all queries at once | one query | IR@1 | nearest of all comes first | beside the vectors |",
    )
    yield "|---|---:|---:|---:|---:|---:|---:|"
    made_s, paper = ours["write_s"] + ours["index_s"], result["as_paper"]
    yield _row(f"twinscope: {ours['probed']} lists looked through, then exact", made_s, ours)
    yield _row(f"twinscope: {paper['probed']} lists, as the paper has it", made_s, paper)
    for name, peer in peers.items():
        if name not in ("version", "missing"):
            yield _row(f"FAISS {peers['version']}: {name}", peer["build_s"], peer)
    if "missing" in peers:
        yield f"| FAISS | {peers['missing']} | | | | | |"
    yield f"| numpy: comparing with all | | {exact['batch_s']:.2f} s | | {exact['ir1']:.3f} | 1.000 | 0 bytes |"
    yield from (
        "",
        f"twinscope opens in {ours['open_s']:.2f} s and needs {ours['memory_mib']:,} MiB in all; with what is "
        f"told of the panels found one query takes {ours['one_told_ms']:.0f} ms.",
    )
    added = result["added"]
    yield from (
        f"Adding picture files, panels found, embedded and on the disk: {added['panels_a_second']:.1f} panels a second "
        f"({added['files']} files, {added['vectors']} vectors).",
    )


def _row(name: str, made_s: float, told: Numbers) -> str:
    return (
        f"| {name} | {made_s:.0f} s | {told['batch_s']:.2f} s | {told['one_ms']:.1f} ms | {told['ir1']:.3f} | "
        f"{told['same_as_exact']:.3f} | {told['index_bytes_a_vector']:.1f} bytes a vector |"
    )


def _parts(result: Numbers) -> Iterator[str]:
    ways = list(next(iter(result["inside"].values())))
    yield (
        f"**What the vectors of parts buy** (`python benchmarks/parts.py`): {result['panels']:,} panels, "
        f"{result['queries']} queries a row, turned and worn, where one picture shows a square of the other. Found "
        "first, with 95 % intervals, and among the first 100, by which vectors of a query are compared with which of "
        "a panel."
    )
    for kind, told in (("inside", "The query is a part of the panel"), ("around", "The panel is a part of the query")):
        yield from ("", f"| {told}: side | " + " | ".join(ways) + " |", "|---|" + "---|" * len(ways))
        for share, row in result[kind].items():
            cells = (
                f"{row[way]['ir1']['value']:.3f} ({row[way]['ir1']['low']:.3f}-{row[way]['ir1']['high']:.3f}); "
                f"{row[way]['ir100']['value']:.3f}"
                for way in ways
            )
            yield f"| {share} | " + " | ".join(cells) + " |"


def _earlier(result: Numbers) -> Iterator[str]:
    yield (
        f"**False findings** (`python benchmarks/earlier.py`): {result['queries']} panels screened against a library "
        f"of {result['library']:,} panels of other specimens, {result['pairs']:,} pairs looked at."
    )
    yield from ("", "| probability | told, all of them false | told to be expected |", "|---|---:|---:|")
    for level, row in result["levels"].items():
        yield f"| {level} or more | {row['told']} | {row['expected']:.2f} |"
