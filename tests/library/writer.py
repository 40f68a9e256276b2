"""A process that changes a library and says what was acknowledged, until it is killed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.library.rows import rows

from twinscope.library import store


def write(uri: str, log: str, start: int, count: int, seed: int) -> None:
    """Add documents `start` and on, and now and then compact or add one again; a line in `log` for each that is safe.

    The line is written after the acknowledgement: what it names must be there.
    """
    rng = np.random.default_rng(seed)
    with Path(log).open("a", encoding="utf-8", buffering=1) as told:
        for k in range(start, start + count):
            with store.writing(uri) as library:
                store.add(library, rows(f"doc{k:06d}"))
                told.write(f"doc{k:06d}\n")
                if rng.random() < 0.3:
                    store.compact(library)
                elif rng.random() < 0.3:
                    store.add(library, rows(f"doc{int(rng.integers(start, k + 1)):06d}"))


def add_only(uri: str, log: str, numbers: list[int]) -> None:
    """Add documents by their numbers, each in a change of its own; a line in `log` for each that is safe."""
    with Path(log).open("a", encoding="utf-8", buffering=1) as told:
        for number in numbers:
            with store.writing(uri) as library:
                store.add(library, rows(f"doc{number:06d}"))
                told.write(f"doc{number:06d}\n")
