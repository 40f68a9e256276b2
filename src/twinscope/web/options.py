"""What a desk is told when it starts."""

from __future__ import annotations

import secrets
from pathlib import Path

from pydantic import Field

from twinscope.settings import Desk, Settings
from twinscope.types import Record


class Options(Record):
    """How a desk runs.

    `hosts` are the names under which it answers, `address` is what its links begin with, `callbacks` are the hosts that
    it may tell of a screening's end. Without a file of `users` there is one, who shows the `token`. With `proxy` it
    stands behind one that speaks TLS.
    """

    library: str | None = None
    settings: Settings = Settings()
    desk: Desk = Desk()
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost")
    address: str = "http://127.0.0.1:8765"
    callbacks: tuple[str, ...] = ()
    users: Path | None = None
    token: str = Field(default_factory=lambda: secrets.token_urlsafe(24))
    proxy: bool = False
