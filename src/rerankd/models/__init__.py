"""Models: from a reference to a checked folder of model files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.models.architecture import Architecture
    from rerankd.models.checkpoint import Checkpoint
    from rerankd.models.files import ModelFiles, load_model
    from rerankd.models.hub import cached_models
    from rerankd.models.manifest import Manifest, read_manifest, write_manifest
    from rerankd.models.reference import ModelReference, parse_reference
    from rerankd.models.template import PairTemplate, PromptTemplate

__all__ = [
    "Architecture",
    "Checkpoint",
    "Manifest",
    "ModelFiles",
    "ModelReference",
    "PairTemplate",
    "PromptTemplate",
    "cached_models",
    "load_model",
    "parse_reference",
    "read_manifest",
    "write_manifest",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.models.architecture": ("Architecture",),
        "rerankd.models.checkpoint": ("Checkpoint",),
        "rerankd.models.files": ("ModelFiles", "load_model"),
        "rerankd.models.hub": ("cached_models",),
        "rerankd.models.manifest": ("Manifest", "read_manifest", "write_manifest"),
        "rerankd.models.reference": ("ModelReference", "parse_reference"),
        "rerankd.models.template": ("PairTemplate", "PromptTemplate"),
    },
)
