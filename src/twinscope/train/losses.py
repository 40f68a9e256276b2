"""Losses of the metric: contrast within a batch, with the border between same and different at a fixed distance."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Contrast(nn.Module):
    """Contrast of all pairs of a batch, as logits l = slope (cos - border).

    The sum of: InfoNCE over each positive against all negatives; log(1 + sum of exp(l) over negatives) +
    log(1 + sum of exp(-l) over positives), which sets the border; and, weighted by `spread`, minus the logarithm of
    the distance to the nearest negative (KoLeo), which uses the sphere evenly.

    With `memory`, the newest so many points of earlier batches are negatives of the first term too, where their place
    is another (cross-batch memory, Wang et al. 2020): rare look-alikes, which low false-positive rates are made of.
    """

    def __init__(self, slope: float = 16.0, border: float = 0.6, spread: float = 0.2, memory: int = 0) -> None:
        super().__init__()
        self.log_slope = nn.Parameter(torch.tensor(slope).log())
        self.border = nn.Parameter(torch.tensor(border))
        self.spread = spread
        self.memory = memory
        self.kept: tuple[Tensor, Tensor] | None = None

    def forward(self, points: Tensor, same: Tensor, unsure: Tensor, places: Tensor | None = None) -> Tensor:
        """Return the loss of unit vectors (n, d); `same` and `unsure` are (n, n) bool, the diagonal is left out.

        `places` (n,) int64 are numbers that are equal where points of other batches may show the same.
        """
        itself = torch.eye(len(points), dtype=torch.bool, device=points.device)
        positive, negative = same & ~itself, ~(same | unsure | itself)
        cosines = points @ points.T
        logits = self.log_slope.clamp(max=4.2).exp() * (cosines - self.border)
        against = torch.logsumexp(logits.masked_fill(~negative, -1e4), 1)
        of_all = against if places is None else torch.logaddexp(against, self._remembered(points, places))
        contrast = F.softplus(of_all[:, None] - logits)[positive].mean()
        pulled = torch.logsumexp((-logits).masked_fill(~positive, -1e4), 1)
        bordered = (F.softplus(against) + F.softplus(pulled)).mean()
        nearest = cosines.masked_fill(~negative, -1.0).amax(1)
        lonely = -0.5 * torch.log((2 - 2 * nearest).clamp(min=1e-3)).mean()
        return contrast + 0.5 * bordered + self.spread * lonely

    def _remembered(self, points: Tensor, places: Tensor) -> Tensor:
        """Return the log sum over earlier points as negatives, (n,), and keep these points for the next batches."""
        out = points.new_full((len(points),), -1e4)
        if self.kept is not None:
            earlier, where = self.kept
            logits = self.log_slope.clamp(max=4.2).exp() * (points @ earlier.T - self.border)
            out = torch.logsumexp(logits.masked_fill(places[:, None] == where, -1e4), 1)
            self.kept = torch.cat([points.detach(), earlier])[: self.memory], torch.cat([places, where])[: self.memory]
        elif self.memory:
            self.kept = points.detach()[: self.memory], places[: self.memory]
        return out

    def radius(self) -> float:
        """Return the sphere's radius at which the learned border is the distance 1."""
        return float((2 * (1 - self.border.detach().clamp(-0.9, 0.99))).rsqrt())
