"""The map of the distance in colours, outlines and words."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from twinscope.detect.embed import MODEL, distances, embed
from twinscope.report import why
from twinscope.types import Finding, Provenance

IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def spots() -> np.ndarray:
    """A map with a strong disc that makes two pictures differ, one that makes them alike, and a weak one."""
    field = np.zeros((100, 200), np.float32)
    for x, y, value in ((150, 20, 1.0), (30, 80, -0.8), (100, 50, 0.4)):
        cv2.circle(field, (x, y), 10, value, -1)
    return field


def test_colours_rise_in_lightness_from_alike_to_differ() -> None:
    ramp = why.coloured(np.linspace(-1, 1, 41, dtype=np.float32)[None])[0]
    grey = cv2.cvtColor(ramp[None], cv2.COLOR_RGB2GRAY)[0].astype(int)
    assert (np.diff(grey) >= 0).all()
    assert grey[-1] - grey[0] > 150
    assert np.ptp(ramp[20].astype(int)) < 20  # zero is grey
    assert ramp[0][2] > 2 * ramp[0][0]  # blue
    assert ramp[-1][0] > 2 * ramp[-1][2]  # yellow


def test_strong_parts_are_outlined_in_the_pixels_of_the_picture() -> None:
    found = why.outlines(spots(), (200, 600))
    assert [one.does for one in found] == ["differ", "alike"]
    for one, (x, y) in zip(found, ((150, 20), (30, 80)), strict=True):
        low, high = one.points.min(0), one.points.max(0)
        assert np.allclose((low + high) / 2, ((x + 0.5) * 3, (y + 0.5) * 2), atol=2)
        assert np.allclose(high - low, (60, 40), atol=4)


def test_places_are_told_in_words() -> None:
    assert why.in_words(spots()) == (
        "what makes them differ is strongest at the upper right; what makes them alike is strongest at the lower left"
    )
    assert why.in_words(0.4 * spots()) == "no place is strong beside those of the other picture"
    assert why.in_words(0 * spots()) == "to the network both are the same picture"
    assert [(peak.sign, peak.does) for peak in why.peaks(spots(), (100, 200))] == [("+", "differ"), ("−", "alike")]


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (0.5, 0.5, "in the middle"),
        (0.1, 0.5, "at the left"),
        (0.5, 0.9, "at the bottom"),
        (1.0, 0.0, "at the upper right"),
    ],
)
def test_whereabouts(x: float, y: float, words: str) -> None:
    assert why.whereabouts(x, y) == words


def test_findings_are_explained_by_the_network_that_made_them_alone() -> None:
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (80, 120), np.uint8) for name in "abc"}
    fields = {
        "kind": "duplicate", "verdict": "benign", "probability": 0.9, "expected_false": 0.1,
        "region_a": (0, 0, 9, 9), "region_b": (0, 0, 9, 9), "transform": IDENTITY,
    }  # fmt: skip
    findings = [Finding(id=f"f{k}", a=a, b=b, **fields) for k, (a, b) in enumerate(("ab", "bc", "ax"))]
    sha = next(card.sha256 for card in why.models.cards() if card.id == why.embed.MODEL)
    told = why.of_findings(findings, images, Provenance(twinscope="0", settings_sha256="0", models={MODEL: sha}))
    assert list(told) == ["f0", "f1"]
    far = distances(embed([images["a"]]), embed([images["b"]]))[0, 0]
    assert told["f0"].distance == pytest.approx(float(far), abs=1e-4)
    other = Provenance(twinscope="0", settings_sha256="0", models={MODEL: "f" * 64})
    assert why.of_findings(findings, images, other) == {}
