"""Rows of made-up documents for the tests of the library, and libraries of them: filled, read and damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from twinscope.library import store


def rows(document: str, panels: int = 3, model: str = "m-1", crops: int = 2) -> pa.Table:
    """Return the rows of a document: `crops` vectors a panel, drawn by its name alone, the whole with a picture."""
    out = []
    for panel in range(panels):
        rng = np.random.default_rng([ord(c) for c in f"{document}/{panel}"])
        for crop in range(crops):
            place = {"document": document, "panel": f"p1-f1-{panel}", "crop": crop, "box_px": [0, 0, 100, 80]}
            source = {"title": f"On {document}", "file": f"{document}.pdf", "page": 1, "figure": "p1-f1", "label": "A"}
            shown = {"caption": "", "kind": "blot", "height": 80, "width": 100}
            vector = rng.standard_normal(store.DIMENSIONS).astype(np.float32)
            picture = None if crop else f"picture {document} {panel}".encode()
            out.append({**place, "model": model, "vector": vector, **source, **shown, "picture": picture})
    return pa.Table.from_pylist(out, schema=store.SCHEMA)


def vector(table: pa.Table, row: int) -> np.ndarray:
    """Return the vector of a row."""
    return np.asarray(table["vector"][row].as_py(), np.float32)


def put(uri: Path | str, *documents: str, model: str = "m-1") -> int:
    """Add documents, each in a change of its own; return how many rows are new."""
    with store.writing(str(uri)) as library:
        return sum(store.add(library, rows(name, model=model)) for name in documents)


def names(uri: Path | str) -> list[str]:
    """Return the documents of a library."""
    return [one["document"] for one in store.documents(store.open_library(str(uri)))]


def zeroed(path: Path) -> None:
    """Overwrite a file with zeros, as many as it has bytes."""
    path.write_bytes(bytes(path.stat().st_size))


def on_disk(folder: Path, text: str) -> bool:
    """Say whether a text stands in any file of a folder."""
    return any(text.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())
