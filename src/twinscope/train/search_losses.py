"""Losses of the search network of black-2021 (section 3.1), and of the two hashing heads that its table 1 compares.

`same` and `unsure` are (n, n) bool: which codes are of one picture, and which may be (neither positive nor negative).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import hadamard
from torch import Tensor
from torch.nn import functional as F

TEMPERATURE = 0.1
"""The contrastive temperature, which the paper takes from SimCLR without a number."""
LOW = -1e4


def several_positives(codes: Tensor, same: Tensor, unsure: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return the contrastive loss with several positives (equations 1 and 2), the mean over the codes (n, d).

    Of each code: the log of the sum over its negatives, less that over its positives, of exp(cosine / temperature). The
    positives are the benign and the manipulated versions of the same picture, all in one sum. As in the paper they are
    not part of the sum below, so that it can fall under 0. Raises ValueError where a code lacks positives or negatives.
    """
    itself = torch.eye(len(codes), dtype=torch.bool, device=codes.device)
    positive, negative = same & ~itself, ~(same | unsure | itself)
    if not (positive.any(1).all() and negative.any(1).all()):
        raise ValueError("each code needs another one of its picture and one of another picture in the batch")
    unit = F.normalize(codes, dim=1)
    logits = unit @ unit.T / temperature
    above = torch.logsumexp(logits.masked_fill(~positive, LOW), 1)
    below = torch.logsumexp(logits.masked_fill(~negative, LOW), 1)
    return (below - above).mean()


# ---------------------------------------------------------------------------------------------------- hashing heads


def hashnet(raw: Tensor, same: Tensor, unsure: Tensor, beta: float, slope: float | None = None) -> Tensor:
    """Return HashNet's weighted pairwise likelihood (Cao et al. 2017, equation 4) of raw codes (n, bits).

    h = tanh(beta raw), beta grows during training until h is all but a sign. Of each pair i < j that is surely same
    (s = 1) or different (s = 0), with t = slope <h_i, h_j>: log(1 + exp(t)) - s t, weighted by all pairs / pairs of its
    kind, so that the few same ones count as much as the many different. slope: 10 / bits, where none is given. Returns
    the mean over pairs.
    """
    codes = torch.tanh(beta * raw)
    slope = 10 / raw.shape[1] if slope is None else slope
    first, second = torch.triu_indices(len(raw), len(raw), 1)
    sure = ~unsure[first, second] | same[first, second]
    first, second = first[sure], second[sure]
    alike = same[first, second].float()
    inner = slope * (codes @ codes.T)[first, second]
    each = F.softplus(inner) - alike * inner
    count, kin = float(len(alike)), float(alike.sum())
    weight = torch.where(alike > 0, count / max(kin, 1.0), count / max(count - kin, 1.0))
    return (weight * each).mean()


def central(raw: Tensor, centres: Tensor, share: float = 1e-4) -> Tensor:
    """Return CSQ's loss (Yuan et al. 2020, equations 4 to 6) of raw codes (n, bits) and their centres (n, bits; 0, 1).

    h = (tanh(raw) + 1) / 2. The central similarity: the binary cross entropy of h and the centre, the mean over bits.
    The quantisation: the mean of log cosh(|2 h - 1| - 1), weighted by `share`.
    """
    codes = (torch.tanh(raw) + 1) / 2
    nearness = F.binary_cross_entropy(codes.clamp(1e-6, 1 - 1e-6), centres)
    rest = torch.log(torch.cosh((2 * codes - 1).abs() - 1)).mean()
    return nearness + share * rest


def hash_centres(count: int, bits: int, seed: int) -> NDArray[np.float32]:
    """Return CSQ's centres, (count, bits) of 0 and 1: rows of a Hadamard matrix and of its negative, then random ones.

    Any two of the first 2 x bits differ in half of their bits or in all; of the rest, in half on the average. `bits` is
    a power of 2.
    """
    rows = np.concatenate([hadamard(bits), -hadamard(bits)]) > 0
    rng = np.random.default_rng([seed, bits])
    more = rng.random((max(0, count - len(rows)), bits))
    balanced = np.argsort(np.argsort(more, axis=1), axis=1) < bits // 2
    return np.asarray(np.concatenate([rows, balanced])[:count], np.float32)
