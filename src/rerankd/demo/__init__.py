"""Bundled examples for a first look at a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.demo.traps import Trap, TrapOutcome, load_pairs, load_traps, run_traps

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.demo.traps": (
            "Trap",
            "TrapOutcome",
            "load_pairs",
            "load_traps",
            "run_traps",
        ),
    },
)

__all__ = ["Trap", "TrapOutcome", "load_pairs", "load_traps", "run_traps"]
