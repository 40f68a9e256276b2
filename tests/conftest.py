"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the folder of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of shared data, `../shared` or $TWINSCOPE_SHARED; skip the test where there is none."""
    folder = Path(os.environ.get("TWINSCOPE_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("the shared data (../shared or $TWINSCOPE_SHARED) is not here")
    return folder
