"""An object store for the tests: moto's server on a port of this machine, spoken to as S3 is; and a watch on fsync."""

from __future__ import annotations

import io
import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from threading import Lock, Thread
from typing import Any

import boto3
import pytest
from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wsgi import get_input_stream

NUMBERS = itertools.count()


class OneByOne:
    """Moto's object store, one request after the other; `before` is called with each, outside of the turn.

    Moto looks whether a new object is there (If-None-Match: *) and then writes it: of two requests at once both may be
    told that they made it. With S3 that is one step.
    """

    def __init__(self) -> None:
        self.app = DomainDispatcherApplication(create_backend_app)
        self.turn = Lock()
        self.before: Callable[[dict[str, Any]], None] = lambda _: None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["wsgi.input"] = io.BytesIO(get_input_stream(environ).read())  # who sends slowly holds nobody up
        self.before(environ)
        with self.turn:
            return self.app(environ, start_response)


@pytest.fixture(scope="session")
def moto() -> OneByOne:
    """Return the object store that `endpoint` serves."""
    return OneByOne()


@pytest.fixture(scope="session")
def endpoint(moto: OneByOne) -> Iterator[str]:
    """Return the address of an object store that lasts as long as the tests."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, moto, threaded=True, request_handler=MotoRequestHandler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a new bucket, s3://NAME; the environment says how to reach it."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    name = f"bucket{next(NUMBERS)}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the files and folders that were brought to the disk since the test began, in turn."""
    out: list[str] = []
    fsync = os.fsync

    def watched(handle: int) -> None:
        out.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    return out
