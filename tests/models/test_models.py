"""Cards, hashes and probes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from twinscope import models
from twinscope.errors import ModelError
from twinscope.models import card as card_module
from twinscope.models import runtime


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a copy of embedder-0 and its card, in place of the shipped ones."""
    for name, suffix in (("CARDS", "json"), ("WEIGHTS", "onnx")):
        source = getattr(card_module, name) / f"embedder-0.{suffix}"
        (tmp_path / source.name).write_bytes(source.read_bytes())
        monkeypatch.setattr(card_module, name, tmp_path)
    runtime.load.cache_clear()
    yield tmp_path
    runtime.load.cache_clear()


def test_every_card_names_its_file_and_passes_its_probe() -> None:
    found = models.cards()
    assert "embedder-0" in [card.id for card in found]
    for card in found:
        path = card_module.WEIGHTS / card.file
        assert hashlib.sha256(path.read_bytes()).hexdigest() == card.sha256
        assert models.verify(card.id) <= card.probe.atol
        assert card.licence
        assert card.limits


def test_all_weights_are_small() -> None:
    assert sum(path.stat().st_size for path in card_module.WEIGHTS.iterdir()) <= 40 * 2**20


def test_a_changed_file_is_refused(copied: Path) -> None:
    path = copied / "embedder-0.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ModelError, match=r"embedder-0\.onnx is not the file"):
        models.load("embedder-0")


def test_a_missing_file_is_told(copied: Path) -> None:
    (copied / "embedder-0.onnx").unlink()
    with pytest.raises(ModelError, match="missing"):
        models.load("embedder-0")


def test_an_unknown_model_is_told_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match="embedder-0"):
        models.load("embedder-99")


def test_a_broken_card_is_told(copied: Path) -> None:
    for held, why in (
        (b'{"id": "embedder-0"}', r"file: Field required"),
        (b"xx", "Invalid JSON"),
        (b"\xff", "it is no text"),
    ):
        (copied / "embedder-0.json").write_bytes(held)
        with pytest.raises(
            ModelError, match=rf"cannot read the card .*embedder-0\.json \({why}.*; copy network and card"
        ):
            models.cards()


def test_verify_notices_another_answer(copied: Path) -> None:
    card = card_module.read(copied / "embedder-0.json")
    probe = card.probe.model_copy(update={"first": (card.probe.first[0] + 0.1, *card.probe.first[1:])})
    card_module.write(card.model_copy(update={"probe": probe}), copied / "embedder-0.json")
    with pytest.raises(ModelError, match="answers its probe with a difference"):
        models.verify("embedder-0")


def test_probe_input_is_fixed() -> None:
    assert models.probe_input((1, 2, 4), "uint8").ravel().tolist() == [0, 1, 3, 5, 6, 8, 10, 11]
    assert np.allclose(models.probe_input((3,), "float32"), [0, 1 / 255, 3 / 255])
    assert models.probe_input((2, 128, 128), "uint8").std() > 60


def test_listing_cards_loads_no_runtime() -> None:
    code = "import sys; from twinscope import models; models.cards(); print('onnxruntime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_outputs_are_asked_for_by_name() -> None:
    model = models.load("embedder-1", 1)
    given = models.probe_input((2, 96, 96), "uint8")
    points, maps = model.outputs(given, ("points", "maps_8"))
    assert np.array_equal(points, model.run(given))
    assert maps.shape == (2, 128, 12, 12)
    with pytest.raises(ModelError, match="embedder-1 gives no dreams"):
        model.outputs(given, ("points", "dreams"))
