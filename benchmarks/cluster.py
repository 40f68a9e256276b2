"""Fill a library by one process and by a Ray cluster of two nodes, and measure what a large one would take.

    python benchmarks/cluster.py --json benchmarks/results/cluster.json [--panels 3334] [--papers 2]

Pictures: drawn ones, six vectors each, so that 3,334 panels are 20,004 rows. They are read plainly and embedded by the
code of `twinscope library add`, in one process with one thread, and by two workers on two nodes (one core is left free)
of ray.cluster_utils on this machine; the rows and the ten nearest of 200 queries are compared. Of whole papers (PDFs of
36 pictures on four pages) the rate is that of `library add` with one thread. The writer alone: batches of 256 and of
2,048 panels with pictures, written with nothing else going on, into a folder and into moto's S3 server. The index:
lance-ray with two workers on a million vectors of 128 dimensions (`--index 0` leaves it out).
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

import common

from twinscope import corpus, pixels
from twinscope.detect import embed
from twinscope.ingest import files
from twinscope.library import cluster, store
from twinscope.settings import Settings, Shelf
from twinscope.types import Origin, Panel

SETTINGS = Settings(threads=1)
NODE = {"object_store_memory": 200 * 2**20}
ORDER = [("document", "ascending"), ("panel", "ascending"), ("crop", "ascending")]


def picture(rng: np.random.Generator) -> np.ndarray:
    """Return a drawn picture, 256x320 grey uint8: smooth blobs, and finer ones over them."""
    coarse, fine = (rng.standard_normal(shape).astype(np.float32) for shape in ((16, 20), (64, 80)))
    both = cv2.resize(coarse, (320, 256), interpolation=cv2.INTER_CUBIC) + 0.3 * cv2.resize(fine, (320, 256))
    return np.uint8(np.clip(128 + 50 * both, 0, 255))


def drawn(folder: Path, count: int) -> list[Path]:
    """Write pictures as PNG files and return their paths."""
    folder.mkdir(parents=True)
    paths = [folder / f"{number:06d}.png" for number in range(count)]
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), picture(np.random.default_rng(number)), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return paths


def plain(paths: Sequence[Path], claim: cluster.Claim, write: cluster.Write) -> int:
    """Take in pictures as `corpus.take_in` does, but read them without the sandbox, a process for each file."""
    names = [files.sha256(path) for path in paths]
    free = claim(names)
    panels = []
    for path, name in zip(paths, names, strict=True):
        if name in free:
            image = pixels.read_png(path)
            source = Origin(path=str(path), sha256=name, page=None)
            size = (image.shape[0], image.shape[1])
            told = {"id": "d1-p1", "figure": "d1-f1", "kind": "micrograph", "label": "", "caption": ""}
            panels.append((Panel(**told, size=size, source=source), image))
    rows = corpus._rows(corpus._Part(len(panels), 0, panels, {"d1-f1": ""}, ()), SETTINGS, {})
    return write(pa.Table.from_pylist(rows, schema=store.SCHEMA)) if rows else 0


def alone(groups: list[list[Path]], uri: str) -> float:
    """Fill a library by this process and return the seconds."""
    began, held = time.perf_counter(), set()

    def claim(names: Sequence[str]) -> dict[str, int]:
        free = set(names) - held
        held.update(free)
        return dict.fromkeys(free, 0)

    def write(rows: pa.Table) -> int:
        with store.writing(uri) as library:
            return store.add(library, rows)

    for group in groups:
        plain(group, claim, write)
    return time.perf_counter() - began


def together(groups: list[list[Path]], uri: str, address: str) -> tuple[float, float]:
    """Fill a library by a cluster; return the seconds of the whole run, and those from the first group done on."""
    at: list[float] = []
    began = time.perf_counter()
    cluster.run(groups, plain, uri, embed.MODEL, SETTINGS.library, address, lambda _: at.append(time.perf_counter()))
    return time.perf_counter() - began, at[-1] - at[0]


def same(one: str, many: str) -> dict[str, Any]:
    """Compare two libraries row by row, and the ten nearest of 200 queries."""
    tables = [store.open_library(uri).table.to_arrow().select(store.SCHEMA.names).sort_by(ORDER) for uri in (one, many)]
    ids = [table.select([name for name, _ in ORDER]) for table in tables]
    queries = embed.embed([picture(np.random.default_rng(number))[:, ::-1] for number in range(200)])
    found = [store.nearest(store.open_library(uri), queries, 10, embed.MODEL, Shelf()) for uri in (one, many)]
    near = [[[hit.key for hit in hits] for hits in told] for told in found]
    return {"rows": len(tables[0]), "same_ids": ids[0].equals(ids[1]), "same_rows": tables[0].equals(tables[1]),
            "same_top10": near[0] == near[1], "queries": len(queries)}  # fmt: skip


def papers(folder: Path, count: int) -> dict[str, float]:
    """Return how many panels a second one core takes in from PDFs of 36 pictures."""
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen import canvas

    folder.mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng(10**6 + number)
        page = canvas.Canvas(str(folder / f"{number}.pdf"), pagesize=(600, 800))
        for k in range(36):
            drawing = ImageReader(io.BytesIO(cv2.imencode(".png", picture(rng))[1].tobytes()))
            page.drawImage(drawing, 30 + 190 * (k % 3), 60 + 240 * (k % 9 // 3), width=170, height=136)
            if k % 9 == 8:
                page.showPage()
        page.save()
    began = time.perf_counter()
    added = corpus.add([folder], str(folder.parent / "papers-library"), SETTINGS)
    took = time.perf_counter() - began
    return {"papers": count, "panels": added.panels, "panels_a_second": round(added.panels / took, 2)}


def written(rows: pa.Table, uri: str, panels: int, times: int) -> float:
    """Return how many panels a second the writer alone writes, in batches of so many panels."""
    writer, vectors = cluster.Writer(uri, embed.MODEL), SETTINGS.library.vectors
    took = 0.0
    for number in range(times):
        part = rows.slice(0, panels * vectors)
        names = pa.array([f"{number}-{name}" for name in part["document"].to_pylist()])
        part = part.set_column(0, store.SCHEMA.field("document"), names)
        began = time.perf_counter()
        writer.write(part)
        took += time.perf_counter() - began
    return round(panels * times / took, 1)


def index(count: int, folder: Path, address: str) -> dict[str, float]:
    """Return the seconds that lance-ray takes for the index of so many vectors, with two workers; and LanceDB alone."""
    import ray

    rng, shelf = np.random.default_rng(0), SETTINGS.library
    same = {"title": "", "file": "", "figure": "", "label": "", "caption": "", "kind": ""}
    with store.writing(str(folder)) as library:
        for start in range(0, count, 50_000):
            points = rng.standard_normal((50_000, store.DIMENSIONS)).astype(np.float32)
            columns = {
                "document": [f"{number:064x}" for number in range(start, start + 50_000)], "panel": ["p"] * 50_000,
                "crop": [0] * 50_000, "box_px": [[0, 0, 1, 1]] * 50_000, "model": [embed.MODEL] * 50_000,
                "vector": list(points), **{name: [value] * 50_000 for name, value in same.items()},
                "page": [None] * 50_000, "height": [1] * 50_000, "width": [1] * 50_000, "picture": [None] * 50_000,
                "partial": [None] * 50_000,
            }  # fmt: skip
            arrays = [pa.array(columns[field.name], field.type) for field in store.SCHEMA]
            store.append(library, pa.table(arrays, schema=store.SCHEMA))
        with cluster._connected(ray, str(folder), address):
            began = time.perf_counter()
            cluster.build(ray, library, shelf, 2)
            many = time.perf_counter() - began
        began = time.perf_counter()
        store._build(library, shelf)
        one = time.perf_counter() - began
    return {"vectors": count, "lists": shelf.lists, "lance_ray_s": round(many, 1), "lancedb_s": round(one, 1)}


def measured(given: argparse.Namespace, room: Path, address: str, bucket: str) -> dict[str, Any]:
    """Measure everything."""
    paths = drawn(room / "pictures", given.panels)
    groups = [paths[start : start + 128] for start in range(0, len(paths), 128)]
    one, folder, there = str(room / "one"), str(room / "many"), f"{bucket}/many"
    embed.embed([picture(np.random.default_rng(0))], threads=1)
    out: dict[str, Any] = {"circumstances": common.circumstances(), "panels": given.panels}
    out["alone_s"] = round(alone(groups, one), 1)
    for name, uri in (("folder", folder), ("s3", there)):
        whole, steady = together(groups, uri, address)
        out[name] = {"whole_s": round(whole, 1), "steady_s": round(steady, 1), "workers": 2, **same(one, uri)}
        print(json.dumps(out), flush=True)
    size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    out["bytes_a_panel"] = round(size / given.panels)
    rows = store.open_library(one).table.to_arrow().select(store.SCHEMA.names)
    out["writer"] = {f"{name}_{panels}": written(rows, f"{base}/writer{panels}", panels, 4)
                     for name, base in (("folder", str(room)), ("s3", bucket)) for panels in (256, 2048)}  # fmt: skip
    out["papers"] = papers(room / "papers", given.papers)
    if given.index:
        out["index"] = index(given.index, room / "index", address)
    return out


def main() -> None:
    """Start two nodes and an object store, measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--panels", type=int, default=3334)
    parser.add_argument("--papers", type=int, default=2)
    parser.add_argument("--index", type=int, default=1_000_000)
    given = parser.parse_args()
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0",
                   "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent / "src")]),
                   "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
                   "AWS_DEFAULT_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"}  # fmt: skip
    warnings.filterwarnings("ignore", "lance.*fork")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    import boto3
    from moto.server import ThreadedMotoServer
    from ray.cluster_utils import Cluster

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    os.environ["AWS_ENDPOINT_URL"] = "http://{}:{}".format(*server.get_host_and_port())
    boto3.client("s3").create_bucket(Bucket="benchmark")
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False, **NODE})
    nodes.add_node(num_cpus=1, **NODE)
    room = Path(tempfile.mkdtemp())
    try:
        out = measured(given, room, nodes.address, "s3://benchmark")
    finally:
        shutil.rmtree(room)
        nodes.shutdown()
        server.stop()
    given.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
