"""Encoders on AMX or AVX-512, in bfloat16 or int8, computed by kernels of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.scoring.native.backend import NativeBackend

__all__ = ["NativeBackend"]

__getattr__ = lazy_exports(__name__, {"rerankd.scoring.native.backend": ("NativeBackend",)})
