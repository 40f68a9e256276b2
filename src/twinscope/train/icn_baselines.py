"""The baselines of table 2 of black-2021 (section 4.5): pictures in, a heat-map of what was edited out.

Each takes `original` and `query`, (S, S, 3) uint8 RGB of one size, and, for the rows "+ F_A", the `flow` of an
alignment, (S, S, 2) float32 px: the displacement (dx, dy) such that query[y + dy, x + dx] shows what original[y, x]
does. It gives (S, S) float32 in [0, 1] in the original's frame, normalised to its largest value; without a flow the
query's pixels are taken for the original's. Where a flow leaves the query nothing can be said, and the map is 0.

With a flow, SSD and ResNetConv compare the original with the resampled query. The two blind ones (they look at the
query alone) look at it as it came, and their map is resampled: resampling first would wipe out what they look for.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from twinscope.train import icn
from twinscope.train.icn_scores import heatmap, normalised

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Baseline = Callable[[Bytes, Bytes, Floats | None], Floats]

GRID = 7
QUALITY = 90
RESNET_PX = 224
BARE = 0.5
"""A deviation in grey values (of 255) below which a place has no noise to speak of."""


def ssd(original: Bytes, query: Bytes, flow: Floats | None = None) -> Floats:
    """Show squared differences of pixels, summed over colours and brought to 7x7 and back (bicubic)."""
    moved, valid = carried(query.astype(np.float32), flow)
    gap = np.square(original.astype(np.float32) - moved).sum(-1) * valid
    coarse = cv2.resize(gap, (GRID, GRID), interpolation=cv2.INTER_AREA)
    return normalised(heatmap(np.asarray(coarse, np.float32), len(gap)) * valid)


def resnet_conv(weights: Path) -> Baseline:
    """Return the baseline of ImageNet features: the mean |difference| of ResNet50's 2048x7x7 maps, at full size.

    weights: a file of torchvision's resnet50 (its state_dict). Raises UsageError ("weights not present") where there
    is none, or where it is of another network. Pictures are looked at in 224x224.
    """
    network = icn.backbone("resnet50", weights).eval()
    layers = torch.nn.Sequential(*list(network.children())[:-2])
    middle, spread = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

    def features(picture: Floats) -> torch.Tensor:
        small = cv2.resize(picture, (RESNET_PX, RESNET_PX), interpolation=cv2.INTER_AREA)
        scaled = np.asarray((small / 255 - middle) / spread, np.float32)
        out: torch.Tensor = layers(torch.from_numpy(scaled).permute(2, 0, 1)[None])
        return out

    @torch.inference_mode()
    def show(original: Bytes, query: Bytes, flow: Floats | None = None) -> Floats:
        moved, valid = carried(query.astype(np.float32), flow)
        first = original.astype(np.float32) * valid[..., None]  # outside, both are black
        gap = (features(first) - features(moved)).abs().mean((0, 1)).numpy()
        return normalised(heatmap(gap, len(original)) * valid)

    return show


def error_analysis(original: Bytes, query: Bytes, flow: Floats | None = None) -> Floats:
    """Show what another JPEG compression (quality 90) changes in the query: the mean |residual| of its colours.

    It is blind: the original gives the frame alone. What was put in after the last compression changes more than what
    has been through it.
    """
    done, data = cv2.imencode(".jpg", cv2.cvtColor(query, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise ValueError(f"a picture of {query.shape} cannot be compressed")
    again = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    residual = np.abs(query.astype(np.float32) - again).mean(-1)
    moved, _ = carried(np.asarray(residual, np.float32), flow)
    return normalised(moved)


def noise_residual(original: Bytes, query: Bytes, flow: Floats | None = None) -> Floats:
    """Show where the query's noise is not the picture's own: it stands in for MantraNet, which has no weights here.

    Three high-pass residuals of the grey picture (SRM's 5x5 and 3x3 square filters, and the second derivative); of
    each the deviation in a box of 1/14 of the side; its |log| against the median over the picture; their mean. It is
    blind: the original gives the frame alone.
    """
    grey = cv2.cvtColor(query, cv2.COLOR_RGB2GRAY).astype(np.float32)
    side = max(5, len(grey) // 14) | 1
    strange = np.zeros_like(grey)
    for kernel in _SRM:
        residual = np.clip(cv2.filter2D(grey, -1, kernel, borderType=cv2.BORDER_REFLECT_101), -20, 20)
        deviation = np.sqrt(cv2.blur(np.square(residual), (side, side)) + BARE**2)
        strange += np.abs(np.log(deviation / np.median(deviation))) / len(_SRM)
    moved, _ = carried(strange, flow)
    return normalised(moved)


_SRM = [
    np.array(
        [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]], np.float32
    ) / 12,
    np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]], np.float32) / 4,
    np.array([[0, 0, 0], [1, -2, 1], [0, 0, 0]], np.float32) / 2,
]  # fmt: skip

BASELINES: dict[str, Baseline] = {"SSD": ssd, "ErrAnalysis": error_analysis, "noise residual": noise_residual}
"""Those that need nothing; `resnet_conv` needs weights."""


def carried(picture: Floats, flow: Floats | None) -> tuple[Floats, NDArray[np.bool_]]:
    """Resample (S, S) or (S, S, c) float32 where a flow points: out[y, x] = picture[y + dy, x + dx], bilinear.

    Returns it, 0 outside, and (S, S) bool where the place lies on the picture. No flow leaves it as it is.
    """
    height, width = picture.shape[:2]
    if flow is None:
        return picture, np.ones((height, width), np.bool_)
    x = np.arange(width, dtype=np.float32) + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    valid = (x >= -1e-3) & (x <= width - 1 + 1e-3) & (y >= -1e-3) & (y <= height - 1 + 1e-3)
    out = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.where(valid[..., None] if picture.ndim == 3 else valid, out, np.float32(0)), valid
