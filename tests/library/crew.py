"""What the workers of a test's cluster do: documents that are drawn by their names, a line in a log for each."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
from tests.library.rows import rows

from twinscope.library import cluster
from twinscope.settings import Shelf

MODEL = "m-1"


def draw(
    names: Sequence[str],
    claim: cluster.Claim,
    write: cluster.Write,
    log: str = "",
    pause_s: float = 0.0,
    panels: int = 3,
) -> int:
    """Draw the documents that are new, each as if it took `pause_s`, and write them as one batch."""
    free = claim(names)
    tables = []
    for name in names:
        if name in free:
            time.sleep(pause_s)
            if log:
                with Path(log).open("a", encoding="utf-8") as file:
                    file.write(f"{os.getpid()} {name}\n")
            tables.append(rows(name, panels=panels))
    return write(pa.concat_tables(tables)) if tables else 0


def stall(names: Sequence[str], claim: cluster.Claim, write: cluster.Write) -> int:
    """Draw the documents, but for ever from the third group on."""
    if names[0] >= "doc00020":
        time.sleep(3600)
    return draw(names, claim, write)


def groups(count: int, size: int = 10) -> list[list[str]]:
    """Return the names of documents in groups of ten."""
    return [[f"doc{k:05d}" for k in range(start, start + size)] for start in range(0, count, size)]


if __name__ == "__main__":  # a driver that a test can kill: address, library, log, number of documents
    address, uri, log, count = sys.argv[1:]
    cluster.run(groups(int(count)), partial(draw, log=log, pause_s=0.02), uri, MODEL, Shelf(), address)
