"""Load and run models with ONNX Runtime, on the processor, offline."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinscope.errors import ModelError
from twinscope.models import card as cards_of
from twinscope.models.card import Card


class Model(NamedTuple):
    """A card and the session that runs its graph."""

    card: Card
    session: Any

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Return the graph's first output for a batch given to its first input."""
        return self.outputs(batch, (self.session.get_outputs()[0].name,))[0]

    def outputs(self, batch: NDArray[Any], names: Sequence[str]) -> list[NDArray[Any]]:
        """Return the named outputs for a batch given to the first input. Raises ModelError for one it does not have."""
        has = {output.name for output in self.session.get_outputs()}
        if missing := [name for name in names if name not in has]:
            raise ModelError(f"model {self.card.id} gives no {missing[0]}; use one whose card says that it does")
        return [np.asarray(out) for out in self.session.run(list(names), {self.session.get_inputs()[0].name: batch})]


@lru_cache(maxsize=8)
def load(id: str, threads: int = 2) -> Model:
    """Return a model ready to run on `threads` threads; the second call returns the first one's.

    An id that ends in `.onnx` is the path of a graph that is not ours, such as `train metric` writes, with its card
    (`.json`) beside it. Raises ModelError for an unknown id, a missing file, or a file that is not the one its card
    names.
    """
    card, graph = _read(id)
    return Model(card, _session(graph, threads))


def _read(id: str) -> tuple[Card, bytes]:
    """Return a model's card and the bytes of the file that it names, whose hash is the card's."""
    card = _card(id)
    own = id.endswith(".onnx")
    path = Path(id) if own else cards_of.WEIGHTS / card.file
    remedy = "train it again, or name another" if own else "install twinscope again"
    try:
        graph = path.read_bytes()
    except OSError as error:
        raise ModelError(f"the weights of model {id} are missing ({path.name}); {remedy}") from error
    if hashlib.sha256(graph).hexdigest() != card.sha256:
        raise ModelError(f"{path.name} is not the file that the card of model {id} names; {remedy}")
    return card, graph


def _card(id: str) -> Card:
    """Return the card of a model by its id, or by the path of its graph; see `load`."""
    return cards_of.read(Path(id).with_suffix(".json") if id.endswith(".onnx") else cards_of.CARDS / f"{id}.json")


def verify(id: str) -> float:
    """Run a model's probe and return the largest difference to the card. Raises ModelError where it exceeds the card's.

    The file's hash is checked first, as in `load`.
    """
    card = _card(id)
    probe = card.probe
    given = cards_of.probe_input(probe.shape, probe.dtype)
    answer = (
        forest_shares(_read(id)[1], given) if card.file.endswith(".safetensors") else load(id, threads=1).run(given)
    )
    out = answer.ravel()[: len(probe.first)]
    difference = float(np.abs(out - np.array(probe.first, np.float64)).max())
    if not difference <= probe.atol:
        raise ModelError(f"model {id} answers its probe with a difference of {difference:.2g} on this machine, "
                         f"more than {probe.atol:.2g}; report the processor and the onnxruntime version")  # fmt: skip
    return difference


def forest_shares(weights: bytes, values: NDArray[Any]) -> NDArray[Any]:
    """Return what a forest kept as arrays (feature, threshold, left, right: trees x nodes; share: x kinds) answers.

    values: one vector of features. Returns the mean share of each kind over the trees.
    """
    from safetensors.numpy import load as arrays_of  # here, as listing cards needs none of it

    trees = arrays_of(weights)
    index = np.arange(trees["feature"].shape[0])
    node = np.zeros(len(index), np.int64)
    while ((asked := trees["feature"][index, node]) >= 0).any():
        low = values[np.maximum(asked, 0)] <= trees["threshold"][index, node]
        below = np.where(low, trees["left"][index, node], trees["right"][index, node])
        node = np.where(asked >= 0, below, node)
    return np.asarray(trees["share"][index, node].mean(axis=0))


def _session(graph: bytes, threads: int) -> Any:
    import onnxruntime  # here, because listing cards must not load it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it would take cores from what comes next
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
