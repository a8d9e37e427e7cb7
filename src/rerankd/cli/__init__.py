"""The command line: tables on a terminal, JSON lines when piped, notices on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.cli.main import app

__all__ = ["app"]

__getattr__ = lazy_exports(__name__, {"rerankd.cli.main": ("app",)})
