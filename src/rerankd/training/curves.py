"""Learning curves as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rerankd.evaluation.report.markup import element
from rerankd.evaluation.report.svg_axes import Axes, path

STYLE = (
    "text{font:12px sans-serif;fill:#444}.grid{stroke:#ddd}.middle{text-anchor:middle}.end{text-anchor:end}"
    ".training,.validation{fill:none;stroke-width:2}.training{stroke:#8aa}.validation{stroke:#c40}"
)


def learning_curves(history: Sequence[Mapping[str, float]]) -> str:
    """Draw training loss and validation loss by step.

    Args:
        history: entries with `step` and `loss` or `eval_loss`; losses that are not finite are left out.

    Returns:
        An SVG document.
    """
    lines = {"training": _points(history, "loss"), "validation": _points(history, "eval_loss")}
    points = [point for line in lines.values() for point in line] or [(0.0, 0.0)]
    highest = max(value for _, value in points)
    axes = Axes((0, max(1.0, max(step for step, _ in points))), (0, highest * 1.05 or 1.0), width=640)
    parts = [element("style", STYLE), axes.frame("step", "loss")]
    for row, (name, line) in enumerate(lines.items()):
        if line:
            parts.append(path([(axes.across(x), axes.up(y)) for x, y in line], name))
        parts.append(element("text", name, x=axes.width - 90, y=24 + 16 * row, class_="tick"))
    drawn = str(axes.picture("Learning curves", *parts))
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) if "xmlns" not in drawn else drawn


def _points(history: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    return [(entry["step"], entry[name]) for entry in history if math.isfinite(entry.get(name, math.nan))]
