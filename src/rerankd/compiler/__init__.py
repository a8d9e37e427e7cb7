"""Compiler: a checkpoint to one verified ONNX file, and the calibration of its scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.compiler.calibrate import write_calibrated
    from rerankd.compiler.compile import CompileOptions, compile_model
    from rerankd.compiler.platt import Platt, fit_platt

__all__ = [
    "CompileOptions",
    "Platt",
    "compile_model",
    "fit_platt",
    "write_calibrated",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.compiler.calibrate": ("write_calibrated",),
        "rerankd.compiler.compile": ("CompileOptions", "compile_model"),
        "rerankd.compiler.platt": ("Platt", "fit_platt"),
    },
)
