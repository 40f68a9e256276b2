"""The networks that ship: an `.onnx` file and a card each, checked by hash before use."""

from twinscope.models.card import Card, Probe, cards, probe_input
from twinscope.models.runtime import Model, load, verify

__all__ = ["Card", "Model", "Probe", "cards", "load", "probe_input", "verify"]
