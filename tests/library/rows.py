"""Rows of made-up documents for the tests of the library."""

from __future__ import annotations

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
