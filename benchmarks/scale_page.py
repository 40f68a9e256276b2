"""The figures of docs/scale.md, on libraries of many machines, from benchmarks/results/cluster.json."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

Numbers = Mapping[str, Any]
PANELS = 100_000_000
VECTORS = 6
PANELS_A_PAPER = 15
PICTURE_BYTES = 20_000
"""Of a kept picture of a published panel; the drawn ones of the benchmark are of another size."""
CORES, MACHINES = 32, 10
BATCH = 2048
CORE_HOUR, GB_MONTH, PUTS = 0.05, 0.023, 0.005
"""Assumed prices in US dollars: an hour of a core on demand, a GB of S3 a month, a thousand requests that write."""


def section(results: Numbers | None) -> Iterator[str]:
    """Yield the lines of the figures: what was measured, and what follows for a hundred million panels."""
    if results is None:
        return
    where, papers, writer = results["circumstances"], results["papers"], results["writer"]
    yield from ("## Measured", "")
    yield (
        f"`python benchmarks/cluster.py`; {where['device']}, with other work on it; commit {where['commit']}, "
        f"{where['date']}."
    )
    yield from ("", *_table(results), "")
    for name, told in (("folder", "a folder"), ("s3", "S3 (moto)")):
        one = results[name]
        yield (
            f"Into {told}: {one['rows']:,} rows by one process and by the cluster: {_same(one['same_ids'])} ids, "
            f"{_same(one['same_rows'])} rows, {_same(one['same_top10'])} ten nearest of {one['queries']} queries."
        )
    core, put = papers["panels_a_second"], writer[f"s3_{BATCH}"]
    yield from ("", f"## {PANELS:,} panels", "", "N panels, from the figures above:", "")
    yield from ("| what | formula | comes to |", "|---|---|---:|")
    hours = PANELS / core / 3600
    yield f"| core hours | N / ({core:g} panels a second and core) / 3,600 | {hours:,.0f} |"
    wall = hours / (CORES * MACHINES - 1)
    yield f"| hours on {MACHINES} machines of {CORES} cores | core hours / ({CORES * MACHINES} - 1) | {wall:,.0f} |"
    yield f"| workers that one writer can serve | {put:,.0f} panels a second / {core:g} | {put / core:,.0f} |"
    size = PANELS * (PICTURE_BYTES + VECTORS * (512 + 40))
    yield (
        f"| bytes of the table | N x ({PICTURE_BYTES:,} of the picture + {VECTORS} x (512 of the vector + 40)) | "
        f"{size / 1e12:.1f} TB |"
    )
    index = PANELS * VECTORS * 24
    yield f"| bytes of the index | N x {VECTORS} x (16 + 8) | {index / 1e9:.1f} GB |"
    yield f"| lists of the index | root of N x {VECTORS} | {math.sqrt(PANELS * VECTORS):,.0f} |"
    built = results["index"]
    sort = PANELS * VECTORS * built["lance_ray_s"] * 2 / built["vectors"] / 3600
    yield (
        f"| core hours of the index, at least: more lists take longer | N x {VECTORS} x {built['lance_ray_s']:g} s x 2 "
        f"workers / {built['vectors']:,} / 3,600 | {sort:,.0f} |"
    )
    yield f"| commits | N / {BATCH:,} (`library.batch`) | {PANELS / BATCH:,.0f} |"
    money = (hours + sort) * CORE_HOUR
    yield f"| money for computing | (core hours + those of the index) x ${CORE_HOUR} | ${money:,.0f} |"
    month = (size + index) / 1e9 * GB_MONTH
    yield f"| money for storage | GB x ${GB_MONTH} a month | ${month:,.0f} a month |"
    puts = PANELS / BATCH * 4 / 1000 * PUTS + size / 5e6 / 1000 * PUTS
    yield f"| money for requests | (4 a commit and one for 5 MB) x ${PUTS} / 1,000 | ${puts:,.0f} |"
    yield from (
        "",
        f"The prices are assumptions, of the order of what large providers ask: ${CORE_HOUR} for an hour of a core,",
        f"${GB_MONTH} for a GB and month, ${PUTS} for a thousand requests that write. The papers (some "
        f"{PANELS / PANELS_A_PAPER / 1e6:.0f} million at {PANELS_A_PAPER} panels each) must be",
        "read once over the network.",
        "",
    )


def _table(results: Numbers) -> Iterator[str]:
    panels, papers, writer, index = results["panels"], results["papers"], results["writer"], results["index"]
    yield from ("| what | panels a second |", "|---|---:|")
    told = f"{papers['papers']} PDFs, {papers['panels']} panels"
    yield f"| whole papers, one core ({told}) | {papers['panels_a_second']:g} |"
    yield f"| pictures read plainly, embedded and written, one core | {panels / results['alone_s']:.1f} |"
    for name, told in (("folder", "a folder"), ("s3", "S3 (moto)")):
        one = results[name]
        rate = panels / one["steady_s"]
        yield f"| the same, {one['workers']} workers, into {told}, from the first group done on | {rate:.1f} |"
    for name, told in (("folder", "a folder"), ("s3", "S3 (moto)")):
        for batch in (256, BATCH):
            yield f"| the writer alone, into {told}, batches of {batch:,} panels | {writer[f'{name}_{batch}']:,.0f} |"
    yield from (
        "",
        f"A run of the cluster takes {results['folder']['whole_s'] - results['folder']['steady_s']:.0f} s to start. "
        f"A drawn panel takes {results['bytes_a_panel']:,} bytes. The index of {index['vectors']:,} vectors "
        f"({index['lists']:,} lists): lance-ray with two workers {index['lance_ray_s']:g} s, LanceDB alone "
        f"{index['lancedb_s']:g} s.",
    )


def _same(value: bool) -> str:
    return "the same" if value else "**not the same**"
