"""Desks for the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import argon2
import pytest
from fastapi import FastAPI
from tests.web.desks import PASSWORD, STAND_IN, open_desk

from twinscope.web import jobs, users


@pytest.fixture
def desk(tmp_path: Path) -> FastAPI:
    """Return a desk for one user, whose jobs wait."""
    return open_desk(tmp_path / "cases")


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords quickly."""
    users._nobody.cache_clear()
    monkeypatch.setattr(users, "_hasher", lambda: argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def people(tmp_path: Path, cheap: None) -> Path:
    """Return a file of users: olga and rita are reviewers, adam is an admin."""
    path = tmp_path / "users.json"
    users.add(path, "olga", "reviewer", PASSWORD)
    users.add(path, "rita", "reviewer", PASSWORD)
    users.add(path, "adam", "admin", PASSWORD)
    return path


@pytest.fixture
def team(tmp_path: Path, people: Path) -> FastAPI:
    """Return a desk for a team, whose jobs wait."""
    return open_desk(tmp_path / "cases", users=people)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let jobs be what stand_in.py plays."""
    monkeypatch.setattr(jobs, "COMMAND", (sys.executable, "-S", STAND_IN))
