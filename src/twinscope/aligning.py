"""Local alignment in an audit: are real pictures parts, turned or re-toned versions of generated ones?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from twinscope.detect import features, vectors
from twinscope.detect.features import View
from twinscope.detect.fingerprint import Floats
from twinscope.ingest.files import Source
from twinscope.settings import Settings
from twinscope.types import Progress


class Named(Protocol):
    """Pictures by their names."""

    @property
    def names(self) -> Sequence[str]: ...


def aligned(
    real: Sequence[Source], made: Sequence[Source], sets: tuple[Named, Named], distances: tuple[Floats, Floats, Floats],
    settings: Settings, tell: Progress,
) -> tuple[list[dict[int, float]], Floats]:  # fmt: skip
    """Align each real picture with its nearest generated ones, and with its nearest real one as the null.

    distances: laid over each other (n, m), of the embedding (n, m), real ones laid over each other (n, n). Returns for
    each real picture the probabilities of the same source by generated picture, and the p-value of the largest: its
    rank among those with real pictures, 1 where nothing aligns. progress: hears ("aligned", done, total).
    """
    apart, far, among = distances
    own = _Views(real, settings)
    others = _Views(made, settings)
    out: list[dict[int, float]] = []
    best, null = np.zeros(len(apart)), np.zeros(len(apart))
    among = np.where(np.eye(len(among), dtype=bool), np.inf, among)
    for k, name in enumerate(sets[0].names):
        tell("aligned", k, len(apart))
        both = (apart[k].argsort()[: settings.fingerprint.aligned], far[k].argsort()[: settings.fingerprint.aligned])
        which = sorted({int(g) for part in both for g in part})
        found = _judged(own.of(name), [others.of(sets[1].names[g]) for g in which], settings)
        out.append({g: round(p, 4) for g, p in zip(which, found, strict=True)})
        best[k] = max(found)
        null[k] = max(_judged(own.of(name), [own.of(sets[0].names[int(among[k].argmin())])], settings))
    tell("aligned", len(apart), len(apart))
    chance = (1 + (null[None] >= best[:, None]).sum(1)) / (len(null) + 1)
    return out, np.where(best > 0, chance, 1.0)


class _Views:
    """Views of picture files, each made once."""

    def __init__(self, sources: Sequence[Source], settings: Settings) -> None:
        self.sources = {one.path: one for one in sources}
        self.settings = settings
        self.made: dict[str, View] = {}

    def of(self, name: str) -> View:
        if name not in self.made:
            image, _ = vectors.picture(self.sources[name], self.settings.ingest.limits.image_px)
            if image is None:
                raise FileNotFoundError(f"{name} can no longer be read")
            self.made[name] = features.view(image, self.settings.features)
        return self.made[name]


def _judged(view: View, others: Sequence[View], settings: Settings) -> list[float]:
    """Return how probable it is that each of `others` shows the same source as a view: 0 where nothing aligns."""
    from twinscope.detect import candidates, judge

    ready = candidates.prepare([view, *others], settings, np.zeros((len(others) + 1,) * 2, np.float32))
    pairs = candidates.of_panel(0, ready, settings)
    out = [0.0] * len(others)
    for one in judge.most_probable([(c, judge.measure(view, others[c.b - 1], c, settings)) for c in pairs],
                                   settings.threads):  # fmt: skip
        out[one.b - 1] = max(out[one.b - 1], one.probability)
    return out
