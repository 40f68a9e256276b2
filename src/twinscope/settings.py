"""One frozen settings record per stage: the only home of defaults.

Settings come from defaults < TOML < flags; an unknown key is an error.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from twinscope.errors import SettingsError


class _Stage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Stage):
    """What a document may cost. A limit that is hit becomes a status, never silence."""

    pages: int = Field(2000, ge=1)
    images: int = Field(5000, ge=1)
    document_s: float = Field(300.0, gt=0)
    page_s: float = Field(30.0, gt=0)
    worker_bytes: int = Field(1536 * 2**20, ge=2**27, description="memory of the worker process")
    page_px: int = Field(25_000_000, ge=10_000, description="pixels of a rendered page")
    image_px: int = Field(100_000_000, ge=10_000, description="pixels of one picture")
    zip_entries: int = Field(2000, ge=1)
    zip_bytes: int = Field(2**30, ge=1, description="unpacked bytes, counted while unpacking")
    zip_ratio: float = Field(200.0, gt=1, description="refused above this ratio once 10 MB are unpacked")
    zip_nesting: int = Field(2, ge=0)


class Ingest(_Stage):
    """How documents become figures and panels."""

    render_dpi: float = Field(200.0, ge=72, le=600)
    thumbnail_dpi: float = Field(60.0, ge=20, le=200)
    limits: Limits = Limits()


class Settings(_Stage):
    """All settings of a screening."""

    ingest: Ingest = Ingest()
    seed: int = 0
    threads: int = Field(2, ge=1, le=64)

    def sha256(self) -> str:
        """Return the hash of these settings as hex; equal settings have equal hashes."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def load(path: Path | None = None, flags: dict[str, Any] | None = None) -> Settings:
    """Return settings from defaults < the TOML file `path` < `flags` (nested dicts of the same shape).

    Raises SettingsError for a file that cannot be read, an unknown key or a value out of range.
    """
    merged: dict[str, Any] = {}
    if path is not None:
        try:
            merged = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read the settings file {path}: {error}") from error
    merged = _merge(merged, flags or {})
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"setting {where}: {first['msg']}; see docs/settings.md for the known keys") from error


def _merge(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    out = dict(low)
    for key, value in high.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merge(out[key], value) if both else value
    return out
