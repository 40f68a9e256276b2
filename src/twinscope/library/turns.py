"""A table that several want to make at once on an object store: one makes it, the others wait and open it.

LanceDB looks whether a table is there, and commits a new one a moment later. What another made in between it takes for
a table to write over: an empty one stands there then, and the rows that were acknowledged meanwhile are gone. So who
wants to make it says so first, by a table under a name of its own, and makes it when nobody else says so. Whoever comes
to that point said so before he looked, and does until it is made: no two can both have seen nobody.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pyarrow as pa

WAIT_S = 0.2
"""How long to wait before looking again."""
DEAD_S = 120.0
"""How long another may say that he makes it; then he is taken for dead."""


def made(db: Any, name: str, schema: pa.Schema) -> Any:
    """Return the table of a name of LanceDB's connection `db`; make it if there is none."""
    prefix = f"{name}_made_by_"
    own, since, saying = prefix + uuid4().hex, dict[str, float](), False
    try:
        while True:
            present = [one for one in db.list_tables().tables if one.startswith(prefix)]
            others = [one for one in present if one != own]
            if name in db.list_tables().tables:  # asked after the others: one who is done made it before he left
                return db.open_table(name)
            if own in present and not others:
                return db.create_table(name, schema=schema)
            if own not in present and not others:
                saying = True
                db.create_table(own, schema=pa.schema([("nothing", pa.bool_())]), exist_ok=True)
                continue
            if own in present and min(others) < own:  # of several who say so at once, one stays
                db.drop_table(own, ignore_missing=True)
            now = time.monotonic()
            since = {one: since.get(one, now) for one in others}
            for one in (one for one, began in since.items() if now - began > DEAD_S):
                db.drop_table(one, ignore_missing=True)
            time.sleep(WAIT_S)
    finally:
        if saying:
            db.drop_table(own, ignore_missing=True)
