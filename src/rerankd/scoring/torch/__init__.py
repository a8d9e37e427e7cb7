"""Packed torch backend: a network for each family of models, on CPU and CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.scoring.torch.backend import TorchBackend

__all__ = ["TorchBackend"]

__getattr__ = lazy_exports(__name__, {"rerankd.scoring.torch.backend": ("TorchBackend",)})
