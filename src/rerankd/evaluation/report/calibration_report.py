"""The report of a calibration as one HTML file."""

from __future__ import annotations

from rerankd.evaluation.calibration import FOLDS, Calibration
from rerankd.evaluation.reliability import Reliability
from rerankd.evaluation.report.diagrams import reliability_diagram
from rerankd.evaluation.report.markup import element
from rerankd.evaluation.report.page import figure, page

BEFORE, AFTER = "as it is", "calibrated"


def render_calibration_report(found: Calibration, model: str, data: str, balanced: bool) -> str:
    """The HTML document.

    Args:
        found: what to show.
        model: the model's name.
        data: where the pairs come from.
        balanced: whether both labels weighed the same.
    """
    platt, both = found.platt, ((BEFORE, found.before), (AFTER, found.after))
    sign = "+" if platt.offset >= 0 else "−"
    about = (
        f"{found.before.pairs:,} pairs of {found.queries:,} queries from {data}, {found.before.relevant:,} of them "
        f"relevant. probability = sigmoid({platt.scale:.4f} × logit {sign} {abs(platt.offset):.4f})."
    )
    heads = ("", "ECE", "95 % interval", "Brier", "95 % interval")
    head = element("tr", *(element("th", name, class_="number" if n else "") for n, name in enumerate(heads)))
    table = element("table", head, *(_row(name, own) for name, own in both))
    remark = f"{AFTER}: every query's scores were fitted on the other queries; area: number of pairs"
    notes = [
        f"Platt scaling with smoothed targets, checked on {FOLDS} folds of queries. ECE: ten bins of equal width, "
        "biased upwards where pairs are few. Intervals draw whole queries, 2,000 times.",
        "Candidates that nobody judged count as irrelevant. Probabilities hold for candidates like these: another "
        "first stage, or more of them, changes the share of relevant ones.",
    ]
    if balanced:
        notes.append(
            "Both labels weighed the same in the fit: 0.5 is where a pair is as likely to come from either. Scores are "
            "then not shares of relevant candidates, and lie under the diagonal where most candidates are irrelevant."
        )
    return page(
        f"Calibration of {model}",
        element("p", about, class_="verdict"),
        element(
            "div",
            figure("Reliability of scores", reliability_diagram(both), remark),
            element("div", table, class_="wide"),
            class_="charts",
        ),
        element("h2", "How to read this"),
        *(element("p", note) for note in notes),
    )


def _row(name: str, found: Reliability) -> str:
    cells = [
        value for own in (found.ece, found.brier) for value in (f"{own.mean:.4f}", f"{own.low:.4f} to {own.high:.4f}")
    ]
    return element("tr", element("td", name), *(element("td", value, class_="number") for value in cells))
