"""Time the library at a million vectors, and FAISS beside it on the same vectors.

    python benchmarks/library.py --json benchmarks/results/library.json [--vectors 1000000] [--folder .cache/library]

Vectors: those of windows of the micrographs (test and validation groups) and of 40,000 random crops of the training
groups by the shipped network, and, up to the number wanted, made ones on the same sphere, as far away as other
specimens are (see `vectors`). Queries: 500 of the windows under the `figure` manipulations. Exact answers come from a
plain product of matrices. One process, two threads. FAISS (flat; IVF 1024, PQ 16 and exact distances of the first 10
k, as the library is set) runs if `faiss-cpu` is installed. The rate of adding is that of `twinscope library add` from
picture files: panels found, embedded and on the disk.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

import common

from twinscope import corpus
from twinscope import manipulate as m
from twinscope.detect import embed
from twinscope.library import store
from twinscope.settings import Settings, Shelf
from twinscope.train import data

SETTINGS = Settings(threads=2)
SHELF = SETTINGS.library.model_copy(update={"crops": False})
PAPER = SHELF.model_copy(update={"probed": 10})
"""Ten lists are looked through for a query, as in black-2021."""
QUERIES, K = 500, 10
CHILD = """
import sys, time
from pathlib import Path
import numpy as np
from twinscope.library import store
from twinscope.settings import Shelf
start = time.perf_counter()
library = store.open_library(sys.argv[1])
opened = time.perf_counter() - start
queries = np.load(sys.argv[2])
store.nearest(library, queries, 10, sys.argv[3], Shelf(crops=False))
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(opened, int(peak.split()[1]) / 1024)  # what the system calls ru_maxrss begins with the parent's
"""


def windows(seed: int) -> list[np.ndarray]:
    """Return windows of the test and validation groups, RGB uint8."""
    rng = np.random.default_rng(seed)
    rows = data.micrographs("test") + data.micrographs("val")
    return list(data.cut(rows, rng, 12)[0])


def crops(count: int, kept: Path, threads: int) -> np.ndarray:
    """Return the vectors (about `count`, d) of random square crops of the training groups, and keep them in a file."""
    if kept.is_file():
        return np.asarray(np.load(kept), np.float32)
    rng = np.random.default_rng(5)
    rows = data.micrographs("train")
    out = []
    for done, row in enumerate(rows):
        image = data.read_rgb(row["path"])
        short = min(image.shape[:2])
        small = []
        for _ in range(-(-count // len(rows))):
            side = int(rng.integers(min(96, short), short + 1))
            y, x = (int(rng.integers(size - side + 1)) for size in image.shape[:2])
            part = image[y : y + side, x : x + side]
            if not data.blank(part):
                small.append(embed.prepare(np.rot90(part, int(rng.integers(4)))))
        out.append(embed.embed(small, embed.MODEL, threads))
        if done % 50 == 0:
            print(f"crops of {done} of {len(rows)} pictures", file=sys.stderr, flush=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.save(kept, np.concatenate(out))
    return np.concatenate(out)


def vectors(windows: np.ndarray, crops: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, float]:
    """Return (count, d) float32: the vectors of windows and crops, then made ones on their sphere; and how far these
    were moved.

    A made vector is that of a crop moved along the difference of two others, so far that what is nearest to it among
    the crops, its own origin included, is as far away in the median as what is nearest to a window among them: they
    show other specimens.
    """
    rng = np.random.default_rng(seed)
    radius = np.linalg.norm(crops, axis=1).mean()

    def made(wanted: int, weight: float) -> np.ndarray:
        origin, a, b = rng.integers(len(crops), size=(3, wanted))
        moved = crops[origin] + np.float32(weight) * (crops[a] - crops[b])
        return np.asarray(radius * moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float32)

    def nearest(points: np.ndarray) -> float:
        near = 2 * points @ crops.T - (crops**2).sum(1)
        return float(np.median(np.sqrt(np.maximum((points**2).sum(1) - near.max(1), 0))))

    wanted = nearest(windows[rng.permutation(len(windows))[:1000]])
    low, high = 0.0, 2.0
    for _ in range(12):
        weight = (low + high) / 2
        low, high = (weight, high) if nearest(made(1000, weight)) < wanted else (low, weight)
    known = np.concatenate([windows, crops])
    out = np.empty((count, known.shape[1]), np.float32)
    out[: len(known)] = known[:count]
    for start in range(len(known), count, 100_000):
        stop = min(start + 100_000, count)
        out[start:stop] = made(stop - start, weight)
    return out, round(weight, 3)


def exact(points: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the numbers of the nearest vector of each query, by comparing with all of them."""
    best = np.full(len(queries), -np.inf, np.float32)
    where = np.zeros(len(queries), np.int64)
    for start in range(0, len(points), 100_000):
        part = points[start : start + 100_000]
        near = 2 * queries @ part.T - (part**2).sum(1)
        k = near.argmax(1)
        value = near[np.arange(len(queries)), k]
        where = np.where(value > best, start + k, where)
        best = np.maximum(best, value)
    return where


def timed(work: Callable[[], Any], times: int) -> tuple[Any, float]:
    """Return what a function gives, and the median of its times, s."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        out = work()
        took.append(time.perf_counter() - start)
    return out, float(np.median(took))


def filled(folder: Path, points: np.ndarray) -> dict[str, float]:
    """Make a library of vectors, and its index; return the seconds that each took."""
    shutil.rmtree(folder, ignore_errors=True)
    start = time.perf_counter()
    with store.writing(str(folder)) as library:
        for first in range(0, len(points), 50_000):
            library.table.add(rows(points, first, min(first + 50_000, len(points))))
            store.acknowledge(library)
        written = time.perf_counter() - start
        store.refresh(library, SHELF)
    return {"write_s": round(written, 1), "index_s": round(time.perf_counter() - start - written, 1)}


def rows(points: np.ndarray, first: int, stop: int) -> pa.Table:
    """Return rows without pictures, one a vector; the panel's id is the vector's number."""
    count = stop - first
    same = {"title": "", "file": "made up", "figure": "", "label": "", "caption": "", "kind": "micrograph"}
    columns = {
        "document": [f"{number // 10:064x}" for number in range(first, stop)],
        "panel": [str(number) for number in range(first, stop)],
        "crop": np.zeros(count, np.int16),
        "box_px": [[0, 0, 256, 256]] * count,
        "model": [embed.MODEL] * count,
        "vector": list(points[first:stop]),
        **{name: [value] * count for name, value in same.items()},
        "page": [None] * count, "height": [256] * count, "width": [256] * count, "picture": [None] * count,
        "partial": [None] * count,
    }  # fmt: skip
    return pa.table([pa.array(columns[field.name], field.type) for field in store.SCHEMA], schema=store.SCHEMA)


def searched(folder: Path, queries: np.ndarray, truth: np.ndarray, whole: np.ndarray, shelf: Shelf) -> dict[str, float]:
    """Return the times and the hits of the library: all queries in one call, and one by one."""
    library = store.open_library(str(folder))

    def ask(part: np.ndarray) -> list[list[store.Hit]]:
        return store.nearest(library, part, K, embed.MODEL, shelf)

    def place(part: np.ndarray) -> object:
        return store._proposed(library, part, K, embed.MODEL, shelf, ())

    ask(queries)
    found, batch = timed(lambda: ask(queries), 3)
    first = np.array([int(hits[0].row["panel"]) for hits in found])
    single = [timed(lambda k=k: ask(queries[k : k + 1]), 1)[1] for k in range(100)]
    bare = [timed(lambda k=k: place(queries[k : k + 1]), 1)[1] for k in range(100)]
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file, queries)
        file.flush()
        child = subprocess.run(
            [sys.executable, "-c", CHILD, str(folder), file.name, embed.MODEL],
            capture_output=True, text=True, check=True, cwd=HERE.parent,
            env={"PYTHONPATH": str(HERE.parent / "src"), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    opened, memory = map(float, child.stdout.split())
    index = sum(path.stat().st_size for path in folder.glob("*.lance/_indices/**/*") if path.is_file())
    return {
        "batch_s": round(batch, 3), "one_ms": round(1000 * float(np.median(bare)), 2),
        "one_told_ms": round(1000 * float(np.median(single)), 2), "probed": shelf.probed, "refined": shelf.refined,
        "ir1": share(first, truth), "same_as_exact": share(first, whole), "open_s": round(opened, 3),
        "memory_mib": round(memory),
        "index_bytes_a_vector": round(index / library.table.count_rows(), 1),
    }  # fmt: skip


def share(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the share of queries whose first answer is the true one."""
    return round(float((found == truth).mean()), 4)


def faiss_peers(points: np.ndarray, queries: np.ndarray, truth: np.ndarray, whole: np.ndarray) -> dict[str, Any]:
    """Return the same of FAISS, or why there is none."""
    try:
        import faiss
    except ImportError:
        return {"missing": "faiss-cpu is not installed"}
    faiss.omp_set_num_threads(2)
    out = {"version": faiss.__version__}
    d = points.shape[1]
    for name in ("Flat", "IVF1024,PQ16,RFlat"):
        start = time.perf_counter()
        index = faiss.index_factory(d, name)
        if name != "Flat":
            inner = faiss.extract_index_ivf(index)
            inner.nprobe, index.k_factor = SHELF.probed, SHELF.refined
            index.train(points[np.random.default_rng(0).permutation(len(points))[: 256 * 1024]])
        index.add(points)
        built = time.perf_counter() - start
        size = 0 if name == "Flat" else len(faiss.serialize_index(index.base_index))
        (_, found), batch = timed(lambda index=index: index.search(queries, K), 3)
        single = [timed(lambda k=k, index=index: index.search(queries[k : k + 1], K), 1)[1] for k in range(100)]
        out[name] = {"build_s": round(built, 1), "batch_s": round(batch, 3),
                     "one_ms": round(1000 * float(np.median(single)), 2), "ir1": share(found[:, 0], truth),
                     "same_as_exact": share(found[:, 0], whole),
                     "index_bytes_a_vector": round(size / len(points), 1)}  # fmt: skip
    return out


def added(parts: list[np.ndarray], count: int = 500) -> dict[str, float]:
    """Return how many panels a second go from picture files into a new library."""
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "pictures"
        folder.mkdir()
        for k, part in enumerate(parts[:count]):
            cv2.imwrite(str(folder / f"{k:04d}.png"), cv2.cvtColor(part, cv2.COLOR_RGB2BGR))
        start = time.perf_counter()
        told = corpus.add([folder], str(Path(room) / "library"), SETTINGS)
        took = time.perf_counter() - start
    return {
        "files": count,
        "panels": told.panels,
        "vectors": told.vectors,
        "panels_a_second": round(told.panels / took, 1),
    }


def main() -> None:
    """Measure everything and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path(".cache/library/million"))
    given = parser.parse_args()
    parts = windows(1)
    rng = np.random.default_rng(2)
    chosen = rng.permutation(len(parts))[:QUERIES]
    known = embed.embed(parts, embed.MODEL, 2), crops(40_000, given.folder.with_name("crops.npy"), 2)
    changed = [m.figure(parts[k].astype(np.float32) / 255, rng).image for k in chosen]
    queries = embed.embed([np.uint8(np.clip(255 * image + 0.5, 0, 255)) for image in changed], embed.MODEL, 2)
    points, moved = vectors(*known, given.vectors, 3)
    whole, plain = timed(lambda: exact(points, queries), 1)
    out: dict[str, Any] = {
        "circumstances": common.circumstances(), "vectors": len(points),
        "of_windows": sum(map(len, known)), "moved": moved, "queries": QUERIES,
        "exact": {"ir1": share(whole, chosen), "batch_s": round(plain, 2)}, "added": added(parts),
    }  # fmt: skip
    print(json.dumps(out), flush=True)
    out["library"] = {**filled(given.folder, points), **searched(given.folder, queries, chosen, whole, SHELF)}
    out["as_paper"] = searched(given.folder, queries, chosen, whole, PAPER)
    print(json.dumps([out["library"], out["as_paper"]]), flush=True)
    out["faiss"] = faiss_peers(points, queries, chosen, whole)
    out["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    given.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
