"""The report of a calibration as one HTML file."""

from __future__ import annotations

from rerankd.evaluation.calibration import FOLDS, Calibration
from rerankd.evaluation.report.diagrams import reliability_diagram
from rerankd.evaluation.report.page import render_page

BEFORE, AFTER = "as it is", "calibrated"


def render_calibration_report(calibration: Calibration, model: str, data: str, balanced: bool) -> str:
    """Return the HTML document of a calibration.

    Args:
        calibration: the calibration.
        model: name of the model.
        data: names of the data that the pairs come from.
        balanced: True if both labels weighed the same in the fit.

    Raises:
        MissingDependencyError: the extra `eval` is not installed.
    """
    curves = ((BEFORE, calibration.before), (AFTER, calibration.after))
    return render_page(
        "calibration.html",
        f"Calibration of {model}",
        calibration=calibration,
        curves=curves,
        diagram=reliability_diagram(curves),
        data=data,
        balanced=balanced,
        folds=FOLDS,
    )
