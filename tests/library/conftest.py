"""An object store for the tests: moto's server on a port of this machine, spoken to as S3 is; and a watch on fsync."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """Return the address of an object store that lasts as long as the tests."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


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
