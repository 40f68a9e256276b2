"""Manipulations of pictures, each with its exact transform and the mask of its local edits.

Every manipulation is a function `(image, rng, **strength) -> Manipulated`: `image` is float32 in [0, 1], HxW or HxWx3
RGB; `rng` alone decides what is not given as a strength. Training, tests and benchmarks use the same functions.

Points are (x, y), the centre of the first pixel is (0, 0). A transform maps source px to result px. A mask is True
where local content was edited; outside it a purely local edit changes nothing.

Presets chain them: `v01`, `v02` and `geometric` as the papers state, `figure` with all that real figures suffer.
"""

from twinscope.manipulate.figures import figure, figure_transform, panel_letter, repeated_jpeg, screenshot, sharpen
from twinscope.manipulate.local import (
    arrow,
    clone,
    clutter,
    erase,
    letters,
    local_contrast,
    outline,
    retouch,
    scale_bar,
    splice,
)
from twinscope.manipulate.place import (
    corner_transform,
    crop,
    perspective,
    reflect,
    rotate,
    scale,
    similarity,
    warp,
    warp_mask,
)
from twinscope.manipulate.presets import chain, geometric, v01, v02, v02_transform
from twinscope.manipulate.record import Image, Manipulated, Mask, Rng, Step, Transform
from twinscope.manipulate.tone import (
    blur,
    brightness,
    contrast,
    false_colour,
    gamma,
    invert,
    jpeg,
    merge_channel,
    noise,
    one_channel,
    resample,
)

__all__ = [
    "Image",
    "Manipulated",
    "Mask",
    "Rng",
    "Step",
    "Transform",
    "arrow",
    "blur",
    "brightness",
    "chain",
    "clone",
    "clutter",
    "contrast",
    "corner_transform",
    "crop",
    "erase",
    "false_colour",
    "figure",
    "figure_transform",
    "gamma",
    "geometric",
    "invert",
    "jpeg",
    "letters",
    "local_contrast",
    "merge_channel",
    "noise",
    "one_channel",
    "outline",
    "panel_letter",
    "perspective",
    "reflect",
    "repeated_jpeg",
    "resample",
    "retouch",
    "rotate",
    "scale",
    "scale_bar",
    "screenshot",
    "sharpen",
    "similarity",
    "splice",
    "v01",
    "v02",
    "v02_transform",
    "warp",
    "warp_mask",
]
