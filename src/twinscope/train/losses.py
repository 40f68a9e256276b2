"""Losses of the metric: contrast within a batch, with the border between same and different at a fixed distance."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Memory:
    """The last `size` points that a network gave, as further negatives (cross-batch memory), and what they show.

    `place` numbers say what may share content: equal ones may. The first `skip` batches, of a network that knows
    nothing yet, are not kept.
    """

    def __init__(self, size: int, skip: int = 0) -> None:
        self.size, self.skip = size, skip
        self.points = torch.empty(0)
        self.places = torch.empty(0, dtype=torch.int64)

    def add(self, points: Tensor, places: Tensor) -> None:
        """Remember points (n, d) and their places (n,); the oldest beyond the size are forgotten."""
        self.skip -= 1
        if self.size and self.skip < 0:
            self.points = torch.cat([self.points.reshape(-1, points.shape[1]), points.detach()])[-self.size :]
            self.places = torch.cat([self.places, places])[-self.size :]


class Contrast(nn.Module):
    """Contrast of all pairs of a batch, as logits l = slope (cos - border); a memory gives more negatives.

    The sum of: InfoNCE over each positive against all negatives; log(1 + sum of exp(l) over negatives) +
    log(1 + sum of exp(-l) over positives), which sets the border; and, weighted by `spread`, minus the logarithm of
    the distance to the nearest negative (KoLeo), which uses the sphere evenly.
    """

    def __init__(self, slope: float = 16.0, border: float = 0.6, spread: float = 0.2) -> None:
        super().__init__()
        self.log_slope = nn.Parameter(torch.tensor(slope).log())
        self.border = nn.Parameter(torch.tensor(border))
        self.spread = spread

    def forward(
        self, points: Tensor, same: Tensor, unsure: Tensor, places: Tensor | None = None, memory: Memory | None = None
    ) -> Tensor:
        """Return the loss of unit vectors (n, d); `same` and `unsure` are (n, n) bool, the diagonal is left out.

        places: (n,) int64, for what lies in the memory.
        """
        itself = torch.eye(len(points), dtype=torch.bool, device=points.device)
        positive, negative = same & ~itself, ~(same | unsure | itself)
        cosines = points @ points.T
        slope = self.log_slope.clamp(max=4.2).exp()
        logits = slope * (cosines - self.border)
        strangers = logits.masked_fill(~negative, -1e4)
        if memory is not None and places is not None and len(memory.points):
            kept = slope * (points @ memory.points.T - self.border)
            strangers = torch.cat([strangers, kept.masked_fill(places[:, None] == memory.places, -1e4)], 1)
        against = torch.logsumexp(strangers, 1)
        contrast = F.softplus(against[:, None] - logits)[positive].mean()
        pulled = torch.logsumexp((-logits).masked_fill(~positive, -1e4), 1)
        bordered = (F.softplus(against) + F.softplus(pulled)).mean()
        nearest = cosines.masked_fill(~negative, -1.0).amax(1)
        lonely = -0.5 * torch.log((2 - 2 * nearest).clamp(min=1e-3)).mean()
        return contrast + 0.5 * bordered + self.spread * lonely

    def radius(self) -> float:
        """Return the sphere's radius at which the learned border is the distance 1."""
        return float((2 * (1 - self.border.detach().clamp(-0.9, 0.99))).rsqrt())
