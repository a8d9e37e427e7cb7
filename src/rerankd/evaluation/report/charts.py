"""Charts of an evaluation report: forest plot, scatter plot, per-query bars and latency curves, as SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rerankd._common.plural import counted
from rerankd.evaluation.bootstrap import Interval
from rerankd.evaluation.report.markup import Markup, element, joined
from rerankd.evaluation.report.svg_axes import COLOURS, LEGEND_ROW, Axes, curve_class, line, path, picture
from rerankd.evaluation.run import Latency

Values = npt.NDArray[np.float64]
_ROW = 30
_BARS = 240


def side(delta: float) -> str:
    """Return the CSS class of a difference: `better`, `worse` or `same`."""
    return "better" if delta > 0 else "worse" if delta < 0 else "same"


def signed(value: float, digits: int = 4) -> str:
    """Format a difference with its sign.

    Example:
        >>> signed(0.01), signed(-0.01), signed(0)
        ('+0.0100', '−0.0100', '0.0000')
    """
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text[1:] if float(f"{value:.{digits}f}") == 0 else text


def forest(rows: Sequence[tuple[str, Interval]], measure: str) -> Markup:
    """Draw a forest plot: the mean difference of each comparison with its confidence interval."""
    low = min(0.0, *(delta.low for _, delta in rows))
    high = max(0.0, *(delta.high for _, delta in rows))
    margin = max(0.005, 0.06 * (high - low))
    names = 24 + 7.2 * max(_width(name) for name, _ in rows)
    axes = Axes(
        (low - margin, high + margin), (0, 1), width=900, height=len(rows) * _ROW + 62, left=min(360, names), right=150
    )
    parts = [axes.frame(f"difference of {measure}, 95 % interval", "", y_ticks=False)]
    parts.append(line(axes.across(0), axes.up(0), axes.across(0), axes.up(1), "zero"))
    for row, (name, delta) in enumerate(rows):
        y = axes.top + (row + 0.5) * _ROW
        kind = side(delta.low if delta.low > 0 else delta.high if delta.high < 0 else 0)
        parts.append(element("text", name, x=axes.left - 10, y=y + 4, class_="name end"))
        parts.append(line(axes.across(delta.low), y, axes.across(delta.high), y, f"interval {kind}"))
        parts.append(element("circle", cx=axes.across(delta.mean), cy=y, r=5, class_=kind))
        caption = f"{signed(delta.mean)} [{signed(delta.low, 3)}, {signed(delta.high, 3)}]"
        parts.append(element("text", caption, x=axes.width - 4, y=y + 4, class_="tick end"))
    return axes.picture(f"Differences of {measure}", *parts)


def scatter(before: Values, after: Values, measure: str, names: tuple[str, str]) -> Markup:
    """Draw one dot for each pair of values; its area grows with the number of queries that have it."""
    axes = Axes((0, 1), (0, 1), height=380)
    spots = Counter(zip(before.round(2).tolist(), after.round(2).tolist(), strict=True))
    parts = [axes.frame(f"{measure}, {names[0]}", f"{measure}, {names[1]}")]
    parts.append(line(axes.across(0), axes.up(0), axes.across(1), axes.up(1), "zero"))
    for (x, y), count in sorted(spots.items(), key=lambda item: -item[1]):
        caption = f"{counted(count, 'query', 'queries')}: {x:.2f} → {y:.2f}"
        radius = min(24.0, 3.4 + 1.5 * (count**0.5 - 1))
        parts.append(
            element(
                "circle",
                element("title", caption),
                cx=axes.across(x),
                cy=axes.up(y),
                r=radius,
                class_=f"spot {side(y - x)}",
            )
        )
    return axes.picture(f"{measure} of each query before and after", *parts)


def delta_bars(deltas: Values, labels: Sequence[str], measure: str) -> Markup:
    """Draw the difference of each query, from the largest gain to the largest loss."""
    order = np.argsort(-deltas, kind="stable")
    reach = max(0.05, float(np.abs(deltas).max(initial=0)))
    axes = Axes((0, len(deltas)), (-reach * 1.05, reach * 1.05), height=380)
    parts = [
        axes.frame(f"{counted(len(deltas), 'query', 'queries')}, sorted", f"difference of {measure}", x_ticks=False)
    ]
    if len(deltas) <= _BARS:
        width = (axes.across(1) - axes.across(0)) * 0.84
        for column, query in enumerate(order.tolist()):
            if value := float(deltas[query]):
                top, bottom = axes.up(max(value, 0)), axes.up(min(value, 0))
                parts.append(
                    element(
                        "rect",
                        element("title", f"{signed(value, 3)} {labels[query]}"),
                        x=axes.across(column),
                        y=top,
                        width=width,
                        height=bottom - top,
                        class_=side(value),
                    )
                )
    else:
        for keep, kind in ((order[deltas[order] > 0], "better"), (order[deltas[order] < 0], "worse")):
            if len(keep):
                start = 0 if kind == "better" else len(deltas) - len(keep)
                outline = [(axes.across(start), axes.up(0))]
                for column, query in enumerate(keep.tolist(), start=start):
                    y = axes.up(float(deltas[query]))
                    outline += [(axes.across(column), y), (axes.across(column + 1), y)]
                outline.append((axes.across(start + len(keep)), axes.up(0)))
                parts.append(path(outline, kind, closed=True))
    parts.append(line(axes.across(0), axes.up(0), axes.across(len(deltas)), axes.up(0), "zero"))
    return axes.picture(f"Difference of {measure} of each query", *parts)


def latency_curves(systems: Sequence[tuple[str, Latency]]) -> Markup:
    """Draw the share of requests answered within a time, per system; dots mark the median and the 95th percentile."""
    longest = max(latency.quantile(0.99) for _, latency in systems) * 1.08
    axes = Axes(
        (0, longest), (0, 1), height=260 + LEGEND_ROW * len(systems), width=900, top=14 + LEGEND_ROW * len(systems)
    )
    parts = [axes.frame("milliseconds for one request", "share of requests answered")]
    for number, (name, latency) in enumerate(systems):
        times = np.sort(np.array(latency.milliseconds))
        shares = np.arange(1, len(times) + 1) / len(times)
        shown = times <= longest
        points = [(axes.across(float(t)), axes.up(float(s))) for t, s in zip(times[shown], shares[shown], strict=True)]
        parts.append(path([(axes.across(float(times[0])), axes.up(0)), *points], curve_class(number)))
        for share in (0.5, 0.95):
            milliseconds = latency.quantile(share)
            parts.append(
                element(
                    "circle",
                    element("title", f"{name}: {share:.0%} within {milliseconds:,.0f} ms"),
                    cx=axes.across(milliseconds),
                    cy=axes.up(share),
                    r=4.5,
                    class_=f"dot c{number % COLOURS}",
                )
            )
        y = LEGEND_ROW * (number + 1) - 4
        parts.append(line(axes.left, y - 4, axes.left + 44, y - 4, curve_class(number)))
        parts.append(element("text", name, x=axes.left + 52, y=y, class_="name"))
    return axes.picture("Time of one request", *parts)


def legend() -> Markup:
    """Return the legend of the colours."""
    entries = [
        picture(12, 12, kind, element("rect", x=0, y=0, width=12, height=12, rx=3, class_=kind)) + f" {caption}"
        for kind, caption in (("better", "better after"), ("worse", "worse after"))
    ]
    return joined(*(element("span", Markup(entry), class_="key") for entry in entries))


def _width(text: str) -> float:
    return sum(2 if ord(char) > 0x2E7F else 1 for char in text)
