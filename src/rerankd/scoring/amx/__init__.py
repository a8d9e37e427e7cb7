"""Encoders on Intel's Advanced Matrix Extensions (AMX), in bfloat16 or int8, computed by kernels of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.scoring.amx.backend import AmxBackend

__all__ = ["AmxBackend"]

__getattr__ = lazy_exports(__name__, {"rerankd.scoring.amx.backend": ("AmxBackend",)})
