"""Content of the pages of evaluations: progress, tables, charts and queries, as plain values."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

from rerankd.console.evaluation_forms import PairQuery, ResultQuery
from rerankd.console.language import Language
from rerankd.console.messages import message
from rerankd.console.visitor import Visitor
from rerankd.errors import NotFoundError
from rerankd.evaluation.bootstrap import LEVEL
from rerankd.evaluation.comparison import TIE
from rerankd.evaluation.saved import SavedEvaluation
from rerankd.server.paths import CONSOLE

PAGE_SIZE = 50
TITLE_LENGTH = 80
LOSS = "loss"
ADDRESS = f"{CONSOLE}/evaluation"
Result = Mapping[str, Any]
Link = Callable[[int], str]
"""Returns the address of a query by its position."""


def run_view(saved: SavedEvaluation, position: Mapping[int, int], visitor: Visitor) -> dict[str, Any]:
    """Return an evaluation for lists and for its own page.

    Args:
        saved: the evaluation.
        position: place in the queue of those that wait.
        visitor: who looks at it; only one who sees all tenants is told whose it is.
    """
    view = asdict(saved) | {
        "is_final": saved.is_final,
        "address": f"{ADDRESS}/{saved.id}",
        "share": saved.done / saved.total if saved.total else 0.0,
        "remaining_seconds": remaining_seconds(saved, time.time()),
        "position": position.get(saved.id),
    }
    return view if visitor.tenant is None else {name: value for name, value in view.items() if name != "tenant"}


def remaining_seconds(saved: SavedEvaluation, now: float) -> int | None:
    """Return about how long an evaluation that runs will take; None while nobody can tell."""
    if saved.state != "running" or saved.started is None or not saved.done:
        return None
    return max(1, round((now - saved.started) * (saved.total - saved.done) / saved.done))


def chosen_system(result: Result, name: str | None) -> str:
    """Return the system whose queries are shown: the one that is asked for, or the first that is compared."""
    compared = compared_systems(result)
    return name if name in compared else next(iter(compared), str(result["baseline"]))


def compared_systems(result: Result) -> list[str]:
    """Return the names of the systems that are compared with the baseline."""
    return [row["system"] for row in result["systems"] if "comparison" in row]


def sorted_positions(result: Result, system: str, order: str) -> list[int]:
    """Return positions of all queries, the largest loss, or gain, by the first measure first; ties by query id."""
    deltas, ids = differences(result, system), result["query_ids"]
    sign = 1 if order == LOSS else -1
    return sorted(range(len(ids)), key=lambda position: (sign * deltas[position], ids[position]))


def differences(result: Result, system: str) -> list[float]:
    """Return the difference of the first measure of each query, system minus baseline; 0 for a tie."""
    before, after = result["values"][result["baseline"]], result["values"][system]
    deltas = [new[0] - old[0] for old, new in zip(before, after, strict=True)]
    return [0.0 if abs(delta) < TIE else delta for delta in deltas]


def query_rows(result: Result, system: str, positions: Sequence[int], link: Link) -> list[dict[str, Any]]:
    """Return rows of the table of queries, without their texts."""
    before, after = result["values"][result["baseline"]], result["values"][system]
    deltas = differences(result, system)
    return [
        {
            "position": position,
            "query_id": result["query_ids"][position],
            "before": before[position][0],
            "after": after[position][0],
            "delta": deltas[position],
            "address": link(position),
        }
        for position in positions
    ]


def result_view(
    result: Result, query: ResultQuery, system: str, titles: Sequence[str], names: Mapping[str, str], link: Link
) -> dict[str, Any]:
    """Return what a page shows of results: tables, charts, and one page of the queries.

    Args:
        result: the results.
        query: order and page of the queries.
        system: the system that is compared with the baseline.
        titles: text of each query, for the charts.
        names: words for the charts, see `scatter_chart`.
        link: returns the address of a query.

    Raises:
        NotFoundError: there is no such page.
    """
    positions, first = sorted_positions(result, system, query.order), (query.page - 1) * PAGE_SIZE
    chosen = positions[first : first + PAGE_SIZE]
    if not chosen:
        raise NotFoundError(f"There is no page {query.page}.", hint="Start at the first.")
    return {
        **{name: result[name] for name in ("measures", "baseline", "dataset", "systems")},
        "system": system,
        "order": query.order,
        "queries": query_rows(result, system, chosen, link),
        "first": first,
        "has_next": first + len(chosen) < len(positions),
        "scatter": scatter_chart(result, system, titles, names, link),
        "deltas": delta_chart(result, system, titles, f"Δ {result['measures'][0]}", link),
        "level": LEVEL,
    }


def chart_names(language: Language, measure: str, before: str, after: str) -> dict[str, str]:
    """Return the words of the charts.

    Args:
        language: language of the page.
        measure: the measure on the axes.
        before: name of the baseline.
        after: name of the system that is compared with it.
    """
    words = {name: message(f"evaluation.{name}", language) for name in ("better", "worse", "same", "no_change")}
    return words | {"before": f"{measure}, {before}", "after": f"{measure}, {after}"}


def address(
    result: Result, number: int, system: str, *, order: str = LOSS, page: int = 1, query: int | None = None
) -> str:
    """Return the address of results, or of one of their queries; it names no more than differs from what is shown.

    Args:
        result: results of the evaluation.
        number: number of the evaluation.
        system: system that is compared with the baseline.
        order: order of the queries.
        page: page of the table of queries.
        query: position of the query; None for the results.
    """
    parameters: dict[str, object] = {}
    if system != chosen_system(result, None):
        parameters["system"] = system
    if order != LOSS:
        parameters["order"] = order
    if page > 1:
        parameters["page"] = page
    path = f"{ADDRESS}/{number}" if query is None else f"{ADDRESS}/{number}/{query}"
    return f"{path}?{urlencode(parameters)}" if parameters else path


def pair_address(number: int, other: int, query: PairQuery, **changes: object) -> str:
    """Return the address of the comparison of two evaluations, with some of its parameters changed."""
    parameters = {**query.model_dump(exclude_defaults=True), **changes}
    return f"{ADDRESS}/{number}/against/{other}?{urlencode(parameters)}"


def scatter_chart(
    result: Result, system: str, titles: Sequence[str], names: Mapping[str, str], link: Link
) -> dict[str, Any]:
    """Return a scatter chart of each query before and after; points link to their queries.

    Args:
        result: results of the evaluation.
        system: the system after.
        titles: text of each query, for the points.
        names: words `better`, `same`, `worse`, `no_change`, `before` and `after`.
        link: returns the address of a query.
    """
    before, after = result["values"][result["baseline"]], result["values"][system]
    deltas = differences(result, system)
    line = {
        "name": names["no_change"],
        "values": [{"x": 0, "y": 0}, {"x": 1, "y": 1}],
        "color": "--soft",
        "line": True,
    }
    series = []
    for side, color in (("better", "--up"), ("worse", "--down"), ("same", "--soft")):
        chosen = [position for position, delta in enumerate(deltas) if _side(delta) == side]
        series.append(
            {
                "name": names[side],
                "color": color,
                "values": [{"x": before[each][0], "y": after[each][0]} for each in chosen],
                "links": [link(each) for each in chosen],
                "titles": [titles[each][:TITLE_LENGTH] for each in chosen],
            }
        )
    return {
        "kind": "scatter",
        "labels": [],
        "series": [*series, line],
        "unit": names["after"],
        "x_title": names["before"],
    }


def delta_chart(result: Result, system: str, titles: Sequence[str], unit: str, link: Link) -> dict[str, Any]:
    """Return a bar chart of the difference of each query, the largest gain first; bars link to their queries."""
    deltas, positions = differences(result, system), sorted_positions(result, system, "gain")
    return {
        "kind": "bar",
        "labels": [str(place) for place in range(1, len(positions) + 1)],
        "series": [
            {
                "name": unit,
                "values": [deltas[position] for position in positions],
                "colors": ["--up" if deltas[position] > 0 else "--down" for position in positions],
                "links": [link(position) for position in positions],
                "titles": [titles[position][:TITLE_LENGTH] for position in positions],
            }
        ],
        "unit": unit,
    }


def _side(delta: float) -> str:
    return "better" if delta > 0 else "worse" if delta < 0 else "same"
