"""SVG diagrams: rank changes of one query (slope graph), and calibration of a model (reliability diagram)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rerankd._common.plural import counted
from rerankd.evaluation.query_diff import QueryChange, RankChange
from rerankd.evaluation.reliability import Reliability
from rerankd.evaluation.report.markup import Markup, element
from rerankd.evaluation.report.svg_axes import COLOURS, Axes, curve_class, line, path, picture

SHOWN = 10  # ranks drawn at full distance
_STEP = 22.0
_LEFT, _RIGHT, _WIDTH = 92.0, 228.0, 320.0


def rank_changes(change: QueryChange) -> Markup:
    """Draw ranks before on the left, after on the right; relevant documents stand out, ranks from 11 are compressed."""
    shown = [
        document
        for document in change.documents
        if document.grade > 0 or _near(document.before) or _near(document.after)
    ]
    deepest = max([SHOWN, *(rank for document in shown for rank in (document.before, document.after) if rank)])
    bottom = _height(deepest + 1, deepest) + 20
    parts = [
        element("text", "before", x=_LEFT, y=14, class_="axis end"),
        element("text", "after", x=_RIGHT, y=14, class_="axis"),
        line(_LEFT - 30, _height(SHOWN, deepest) + 11, _RIGHT + 30, _height(SHOWN, deepest) + 11, "cut"),
    ]
    parts += [_rank_line(document, deepest) for document in sorted(shown, key=lambda document: document.grade)]
    for x, kind, ranks in (
        (_LEFT - 2, "end", {document.before: document.grade for document in shown}),
        (_RIGHT + 2, "start", {document.after: document.grade for document in shown}),
    ):
        parts += _labels(ranks, x, kind, deepest)
    return picture(_WIDTH, bottom, f"Ranks of {change.query}", *parts)


def _near(rank: int | None) -> bool:
    return rank is not None and rank <= SHOWN


def _height(rank: int | None, deepest: int) -> float:
    """Return the height of a rank; a missing rank lies below the deepest."""
    rank = rank or deepest + 1
    if rank <= SHOWN:
        return 14 + rank * _STEP
    return 14 + (SHOWN + 0.8) * _STEP + 70 * math.log(rank / SHOWN) / math.log((deepest + 1) / SHOWN)


def _rank_line(document: RankChange, deepest: int) -> Markup:
    kind = "relevant" if document.grade > 0 else "other"
    before, after = _height(document.before, deepest), _height(document.after, deepest)
    ranks = f"{document.before or 'not ranked'} → {document.after or 'not ranked'}"
    title = f"{ranks}: {document.text[:160] or document.doc_id}"
    parts = [element("title", title), line(_LEFT + 8, before, _RIGHT - 8, after, f"move {kind}")]
    for x, y in ((_LEFT + 8, before), (_RIGHT - 8, after)):
        parts.append(element("circle", cx=x, cy=y, r=4 if document.grade > 0 else 2.5, class_=kind))
    return element("g", *parts)


def _labels(grades: Mapping[int | None, int], x: float, anchor: str, deepest: int) -> list[Markup]:
    """Label the marks with their ranks where there is room."""
    parts, free = [], -math.inf
    for rank in sorted(grades, key=lambda rank: rank or deepest + 1):
        y = _height(rank, deepest)
        if y >= free and (_near(rank) or grades[rank] > 0):
            kind = "relevant" if grades[rank] > 0 else "other"
            parts.append(element("text", str(rank or "–"), x=x, y=y + 4, class_=f"rank {kind} {anchor}"))
            free = y + 11
    return parts


def reliability_diagram(curves: Sequence[tuple[str, Reliability]]) -> Markup:
    """Draw mean score against share of relevant pairs by bin; calibrated scores lie on the diagonal, area is count."""
    axes = Axes((0, 1), (0, 1), height=380)
    parts = [axes.frame("score (probability of relevance)", "share that is relevant")]
    parts.append(line(axes.across(0), axes.up(0), axes.across(1), axes.up(1), "zero"))
    for number, (name, reliability) in enumerate(curves):
        points = [(axes.across(group.score), axes.up(group.relevant)) for group in reliability.bins]
        parts.append(path(points, curve_class(number)))
        for group, (x, y) in zip(reliability.bins, points, strict=True):
            title = f"{name}, {counted(group.pairs, 'pair')}: score {group.score:.3f}, relevant {group.relevant:.3f}"
            radius = 3 + 9 * math.sqrt(group.pairs / reliability.pairs)
            parts.append(
                element("circle", element("title", title), cx=x, cy=y, r=radius, class_=f"dot c{number % COLOURS}")
            )
        y = axes.up(0.95 - 0.07 * number)
        parts.append(line(axes.across(0.03), y - 4, axes.across(0.1), y - 4, curve_class(number)))
        label = f"{name}: ECE {reliability.ece.mean:.3f}, Brier {reliability.brier.mean:.3f}"
        parts.append(element("text", label, x=axes.across(0.12), y=y, class_="name"))
    return axes.picture("Reliability of scores", *parts)
