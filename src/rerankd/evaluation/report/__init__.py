"""Evaluation reports: HTML pages and SVG charts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.evaluation.report.calibration_report import render_calibration_report
    from rerankd.evaluation.report.page import write_report
    from rerankd.evaluation.report.report import render_report

__all__ = ["render_calibration_report", "render_report", "write_report"]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.evaluation.report.calibration_report": ("render_calibration_report",),
        "rerankd.evaluation.report.page": ("write_report",),
        "rerankd.evaluation.report.report": ("render_report",),
    },
)
