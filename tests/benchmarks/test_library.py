"""The library's benchmark runs on what the library is today: it fills one with vectors, and asks it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import library as benchmark


def test_a_library_of_vectors_is_filled_and_asked(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(500, 128)).astype(np.float32)
    queries, truth = points[40:140] + np.float32(0.01), np.arange(40, 140)
    taken = benchmark.filled(tmp_path / "library", points)
    assert taken.keys() == {"write_s", "index_s"}
    found = benchmark.searched(tmp_path / "library", queries, truth, truth, benchmark.SHELF)
    assert (found["ir1"], found["same_as_exact"]) == (1.0, 1.0)
    assert found["memory_mib"] > 10
