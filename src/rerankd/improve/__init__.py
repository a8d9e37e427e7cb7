"""The closed loop in one command: collect bad cases, train, gate, register, try on requests, promote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.improve.loop import Loop
    from rerankd.improve.options import ImproveOptions
    from rerankd.improve.resources import Resources
    from rerankd.improve.state import StepResult

__all__ = ["ImproveOptions", "Loop", "Resources", "StepResult"]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.improve.loop": ("Loop",),
        "rerankd.improve.options": ("ImproveOptions",),
        "rerankd.improve.resources": ("Resources",),
        "rerankd.improve.state": ("StepResult",),
    },
)
