"""The columns of a library's table, and conditions on them as LanceDB reads them."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

DIMENSIONS = 128
SCHEMA = pa.schema([
    pa.field("document", pa.string(), nullable=False),  # sha256 of its file
    pa.field("panel", pa.string(), nullable=False),  # its id in the document
    pa.field("crop", pa.int16(), nullable=False),
    pa.field("box_px", pa.list_(pa.float32(), 4), nullable=False),
    pa.field("model", pa.string(), nullable=False),
    pa.field("vector", pa.list_(pa.float32(), DIMENSIONS), nullable=False),
    pa.field("title", pa.string()),
    pa.field("file", pa.string()),
    pa.field("page", pa.int32()),
    pa.field("figure", pa.string()),  # as the document calls it, "Figure 2"
    pa.field("label", pa.string()),
    pa.field("caption", pa.string()),
    pa.field("kind", pa.string()),
    pa.field("height", pa.int32()),
    pa.field("width", pa.int32()),
    pa.field("picture", pa.binary()),
    pa.field("partial", pa.string()),  # why its document was read only in part; older libraries lack it
])  # fmt: skip
TOLD = ("document", "panel", "crop", "title", "file", "page", "figure", "label", "caption", "kind", "height", "width")


def among(documents: Iterable[str]) -> str:
    """Return the condition that a row is of one of some documents."""
    return f"document IN ({', '.join(map(quoted, documents))})"


def quoted(text: str) -> str:
    """Return text as a literal of a condition."""
    return "'" + text.replace("'", "''") + "'"
