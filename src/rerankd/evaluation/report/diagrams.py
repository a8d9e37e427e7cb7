"""Charts of single things: how one query's documents moved, and whether a model's scores mean what they say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rerankd.evaluation.query_diff import QueryChange, RankChange
from rerankd.evaluation.reliability import Reliability
from rerankd.evaluation.report.markup import Markup, element
from rerankd.evaluation.report.svg_axes import Axes, line, path, picture

SHOWN = 10  # ranks drawn at full distance
_STEP = 22.0
_LEFT, _RIGHT, _WIDTH = 92.0, 228.0, 320.0


def rank_moves(case: QueryChange) -> Markup:
    """Ranks before on the left, after on the right; relevant documents drawn strongly, ranks from 11 pressed close."""
    shown = [move for move in case.documents if move.grade > 0 or _near(move.before) or _near(move.after)]
    deepest = max([SHOWN, *(rank for move in shown for rank in (move.before, move.after) if rank)])
    bottom = _place(deepest + 1, deepest) + 20
    parts = [
        element("text", "before", x=_LEFT, y=14, class_="axis end"),
        element("text", "after", x=_RIGHT, y=14, class_="axis"),
        line(_LEFT - 30, _place(SHOWN, deepest) + 11, _RIGHT + 30, _place(SHOWN, deepest) + 11, "cut"),
    ]
    parts += [_moved(move, deepest) for move in sorted(shown, key=lambda move: move.grade)]
    for x, kind, ranks in (
        (_LEFT - 2, "end", {move.before: move.grade for move in shown}),
        (_RIGHT + 2, "start", {move.after: move.grade for move in shown}),
    ):
        parts += _labels(ranks, x, kind, deepest)
    return picture(_WIDTH, bottom, f"Ranks of {case.query}", *parts)


def _near(rank: int | None) -> bool:
    return rank is not None and rank <= SHOWN


def _place(rank: int | None, deepest: int) -> float:
    """Height of a rank; one that is missing lies below the deepest."""
    rank = rank or deepest + 1
    if rank <= SHOWN:
        return 14 + rank * _STEP
    return 14 + (SHOWN + 0.8) * _STEP + 70 * math.log(rank / SHOWN) / math.log((deepest + 1) / SHOWN)


def _moved(move: RankChange, deepest: int) -> Markup:
    kind = "relevant" if move.grade > 0 else "other"
    before, after = _place(move.before, deepest), _place(move.after, deepest)
    said = f"{move.before or 'not ranked'} → {move.after or 'not ranked'}: {move.text[:160] or move.doc_id}"
    parts = [element("title", said), line(_LEFT + 8, before, _RIGHT - 8, after, f"move {kind}")]
    for x, y in ((_LEFT + 8, before), (_RIGHT - 8, after)):
        parts.append(element("circle", cx=x, cy=y, r=4 if move.grade > 0 else 2.5, class_=kind))
    return element("g", *parts)


def _labels(grades: Mapping[int | None, int], x: float, anchor: str, deepest: int) -> list[Markup]:
    """Ranks beside their marks, where there is room."""
    parts, free = [], -math.inf
    for rank in sorted(grades, key=lambda rank: rank or deepest + 1):
        y = _place(rank, deepest)
        if y >= free and (_near(rank) or grades[rank] > 0):
            kind = "relevant" if grades[rank] > 0 else "other"
            parts.append(element("text", str(rank or "–"), x=x, y=y + 4, class_=f"rank {kind} {anchor}"))
            free = y + 11
    return parts


def reliability_diagram(found: Sequence[tuple[str, Reliability]]) -> Markup:
    """Mean score against share of relevant pairs, by bin; perfect scores lie on the diagonal, area says how many."""
    axes = Axes((0, 1), (0, 1), height=380)
    parts = [axes.frame("score (probability of relevance)", "share that is relevant")]
    parts.append(line(axes.across(0), axes.up(0), axes.across(1), axes.up(1), "zero"))
    for number, (name, one) in enumerate(found):
        points = [(axes.across(own.score), axes.up(own.relevant)) for own in one.bins]
        parts.append(path(points, f"curve c{number}"))
        for own, (x, y) in zip(one.bins, points, strict=True):
            said = f"{name}, {own.pairs:,} pairs: score {own.score:.3f}, relevant {own.relevant:.3f}"
            radius = 3 + 9 * math.sqrt(own.pairs / one.pairs)
            parts.append(element("circle", element("title", said), cx=x, cy=y, r=radius, class_=f"dot c{number}"))
        y = axes.up(0.95 - 0.07 * number)
        parts.append(line(axes.across(0.03), y - 4, axes.across(0.1), y - 4, f"curve c{number}"))
        said = f"{name}: ECE {one.ece.mean:.3f}, Brier {one.brier.mean:.3f}"
        parts.append(element("text", said, x=axes.across(0.12), y=y, class_="name"))
    return axes.picture("Reliability of scores", *parts)
