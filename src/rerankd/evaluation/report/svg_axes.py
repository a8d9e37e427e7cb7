"""Axes of a chart as SVG: scales, grid lines, ticks and titles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rerankd.evaluation.report.markup import Markup, element, joined

COLOURS, DASHES = 4, 4
LEGEND_ROW = 18  # height of a line of a legend


def curve_class(number: int) -> str:
    """Return the classes of a curve: its dashes tell it from the others, without its colour too.

    Example:
        >>> curve_class(0), curve_class(5)
        ('curve c0 dash0', 'curve c1 dash2')
    """
    return f"curve c{number % COLOURS} dash{(number + number // COLOURS) % DASHES}"


@dataclass(frozen=True, slots=True)
class Axes:
    """Linear scales from values to positions in an image, in pixels.

    Attributes:
        x: range of the horizontal axis.
        y: range of the vertical axis.
        width: width of the image.
        height: height of the image.
        left: left margin, for the labels of the vertical axis.
        bottom: bottom margin, for the labels of the horizontal axis.
        top: top margin.
        right: right margin.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    width: float = 420
    height: float = 300
    left: float = 46
    bottom: float = 42
    top: float = 14
    right: float = 14

    def across(self, value: float) -> float:
        """Return the horizontal position of a value."""
        return self.left + (value - self.x[0]) / (self.x[1] - self.x[0]) * (self.width - self.left - self.right)

    def up(self, value: float) -> float:
        """Return the vertical position of a value."""
        return (
            self.height
            - self.bottom
            - (value - self.y[0]) / (self.y[1] - self.y[0]) * (self.height - self.top - self.bottom)
        )

    def frame(self, across: str, up: str, *, x_ticks: bool = True, y_ticks: bool = True) -> Markup:
        """Draw grid lines, ticks and the titles of both axes."""
        parts = []
        low, high = self.up(self.y[0]), self.up(self.y[1])
        first, last = self.across(self.x[0]), self.across(self.x[1])
        for value in ticks(*self.x) if x_ticks else ():
            x = self.across(value)
            parts.append(line(x, low, x, high, "grid"))
            parts.append(element("text", label(value), x=x, y=low + 15, class_="tick middle"))
        for value in ticks(*self.y) if y_ticks else ():
            y = self.up(value)
            parts.append(line(first, y, last, y, "grid"))
            parts.append(element("text", label(value), x=first - 6, y=y + 4, class_="tick end"))
        parts.append(element("text", across, x=(first + last) / 2, y=self.height - 6, class_="axis middle"))
        middle = (low + high) / 2
        parts.append(
            element("text", up, x=12, y=middle, class_="axis middle", transform=f"rotate(-90 12 {middle:.1f})")
        )
        return joined(*parts)

    def picture(self, title: str, *parts: str) -> Markup:
        """Return the SVG image; screen readers read its title."""
        return picture(self.width, self.height, title, *parts)


def picture(width: float, height: float, title: str, *parts: str) -> Markup:
    """Return an SVG image."""
    return element(
        "svg", element("title", title), *parts, viewBox=f"0 0 {width:.0f} {height:.0f}", role="img", width=width
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """Draw a line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def path(points: Sequence[tuple[float, float]], kind: str, *, closed: bool = False) -> Markup:
    """Draw a line through points."""
    moves = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return element("path", d=f"M{moves}{'Z' if closed else ''}", class_=kind)


def ticks(low: float, high: float, count: int = 5) -> tuple[float, ...]:
    """Return round values between two limits.

    Example:
        >>> ticks(0, 1)
        (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    """
    step = 10 ** math.floor(math.log10((high - low) / count))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(number * step, 10) + 0.0 for number in range(first, last + 1))


def label(value: float) -> str:
    """Format the label of a tick.

    Example:
        >>> label(-0.05), label(1500.0)
        ('−0.05', '1,500')
    """
    return f"{value:,.10g}".replace("-", "−")
