"""Where models come from that this floor does not know: a table of names, imported when a reference needs them.

Imports point down, and a registry stands above the models that it holds; so what finds its files is named here, as
programs name their plug-ins, and neither floor needs the other to be loaded or to be there.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from rerankd.models.reference import ModelReference

Source = Callable[[ModelReference, str | None, str | None], Path]
"""From a reference, the registry's address and the cache folder to a folder that holds the files."""

SOURCES = {"registry": "rerankd.registry.source:locate"}


def source(kind: str) -> Source:
    """What finds the files of references of a kind."""
    module, _, name = SOURCES[kind].partition(":")
    return cast(Source, getattr(import_module(module), name))
