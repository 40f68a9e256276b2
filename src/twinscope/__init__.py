"""twinscope finds re-used and altered images in scientific papers."""

from __future__ import annotations

__version__ = "0.1.0"
