"""Metrics of an experiment as people read them: latency is measured as a logarithm and shown in milliseconds."""

from __future__ import annotations

import math

LATENCY, RANK_LOSS = "latency", "misplaced"
UNKNOWN = "not known yet"
_LABELS = {
    LATENCY: "latency (geometric mean)",
    RANK_LOSS: "reciprocal rank loss",
    "thumbs_down": "negative feedback",
    "empty": "empty results",
    "slow": "slow requests",
}


def metric_label(name: str) -> str:
    """Return a metric's name for people.

    Example:
        >>> metric_label("errors"), metric_label("thumbs_down")
        ('errors', 'negative feedback')
    """
    return _LABELS.get(name, name)


def format_mean(name: str, mean: float) -> str:
    """Format the mean of a metric: milliseconds, a share in percent, or the loss of reciprocal rank.

    Example:
        >>> format_mean("latency", math.log(20.0)), format_mean("errors", 0.0125)
        ('20.0 ms', '1.25 %')
    """
    if name == LATENCY:
        return f"{math.exp(mean):,.1f} ms"
    return f"{mean:.4f}" if name == RANK_LOSS else f"{mean:.2%}".replace("%", " %")


def format_change(name: str, change: float) -> str:
    """Format the difference of two means; an infinite bound says that nothing is known.

    Example:
        >>> format_change("latency", math.log(1.25)), format_change("errors", 0.01), format_change("errors", math.inf)
        ('+25.0 %', '+0.0100', 'not known yet')
    """
    if not math.isfinite(change):
        return UNKNOWN
    return f"{math.expm1(change):+.1%}".replace("%", " %") if name == LATENCY else f"{change:+.4f}"
