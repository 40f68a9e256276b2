"""The card of a model: what it is, what it learned from, how good it is, and how to check that it works here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from twinscope.errors import ModelError
from twinscope.types import Record

CARDS = Path(__file__).parent / "cards"
WEIGHTS = Path(__file__).parent / "weights"


class Probe(Record):
    """A generated input and what comes out: the first values of the first output for `probe_input(shape, dtype)`."""

    shape: tuple[int, ...]
    dtype: Literal["uint8", "float32"]
    first: tuple[float, ...]
    atol: float = Field(gt=0)


class Card(Record):
    """What is to be known about a model; `file` lies in `models/weights`. A change of output is a new id."""

    id: str
    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    task: str
    input: str
    preprocessing: str
    output: str
    border: float | None = Field(default=None, description="threshold of the output, where it has one")
    border_chosen: str = ""
    training: dict[str, Any] = Field(default_factory=dict, description="data, commit, seed, steps, wall time")
    metrics: dict[str, Any] = Field(default_factory=dict, description="numbers, with `results`: where they come from")
    probe: Probe
    limits: tuple[str, ...] = ()
    licence: str
    attribution: tuple[str, ...] = ()


def cards() -> list[Card]:
    """Return the cards of all models that are here, by id. Raises ModelError for a card that cannot be read."""
    return [read(path) for path in sorted(CARDS.glob("*.json"))]


def read(path: Path) -> Card:
    """Return the card in a JSON file. Raises ModelError where it is missing or does not hold a card."""
    try:
        return Card.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.json"))) or "none"
        raise ModelError(f"cannot read the card of model {path.stem}; models here: {known}") from error
    except (ValidationError, UnicodeDecodeError) as error:
        why = "it is no text"
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            why = ": ".join([".".join(str(part) for part in first["loc"]), str(first["msg"])]).removeprefix(": ")
        raise ModelError(f"cannot read the card {path} ({why}); copy network and card again") from error


def write(card: Card, path: Path) -> None:
    """Write a card as JSON."""
    path.write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")


def probe_input(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return the generated input of a probe: a fixed pattern of whole numbers 0-255 (float32: divided by 255)."""
    k = np.arange(int(np.prod(shape)), dtype=np.int64)
    pattern = ((k * k // 97 + 5 * k // 3) % 256).reshape(shape)
    return pattern.astype(np.uint8) if dtype == "uint8" else (pattern / 255).astype(np.float32)
