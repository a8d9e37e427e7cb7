"""Entry points of model sources in higher layers, imported when a reference needs them.

`rerankd.registry` imports `rerankd.models`, never the reverse; therefore its entry point is given here by name. It is
an exception to the layers in pyproject.toml, and is named there.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from rerankd.models.reference import ModelReference

Source = Callable[[ModelReference, str | None, str | None], Path]
"""A function from reference, registry address and cache folder to the folder of the model's files."""

SOURCES = {"registry": "rerankd.registry.source:locate"}


def source(kind: str) -> Source:
    """Return the function that finds the files of a kind of reference."""
    module, _, name = SOURCES[kind].partition(":")
    return cast(Source, getattr(import_module(module), name))
