"""Tables that stay readable on a narrow terminal: ids are whole, and the least important columns are left out."""

from __future__ import annotations

import copy
from dataclasses import replace

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Column, Table

WHOLE = frozenset({"id", "request", "case", "experiment", "job", "key"})
"""Headers of columns whose cells people copy."""

LEAST_IMPORTANT_FIRST = (
    *("priority", "first stage", "top before", "docs", "margin", "by", "detector", "who", "owner", "tenant"),
    *("parameters", "precision", "max length", "of", "rules", "entered", "moved", "tau", "p", "tied", "coverage"),
    *("created", "model", "severity", "raw score", "detected", "time", "note"),
)
SHORT, TEXT = 12, 20  # characters: cells up to SHORT are never broken; longer ones need TEXT at least


def fitted(table: Table, console: Console) -> Table:
    """Return a table that fits the width of the console, as far as leaving columns out can make it fit.

    Args:
        table: the table; it is not changed.
        console: the console that it is printed on.
    """
    columns = [_whole(column, console) for column in table.columns]
    widths = {id(column): _needed(column, console) for column in columns}
    left_out: list[str] = []
    for name in LEAST_IMPORTANT_FIRST:
        if sum(widths[id(column)] + 3 for column in columns) + 1 <= console.width:
            break
        kept = [column for column in columns if str(column.header) != name]
        if len(kept) < len(columns):
            left_out.append(name)
        columns = kept
    result = copy.copy(table)
    result.columns = [replace(column, _index=number) for number, column in enumerate(columns)]
    if left_out:
        result.caption = f"left out: {', '.join(left_out)} (a wider terminal or --json shows them)"
    return result


def _whole(column: Column, console: Console) -> Column:
    if str(column.header) in WHOLE:
        return replace(column, no_wrap=True, overflow="fold")
    return replace(column, no_wrap=True) if _longest(column, console) <= SHORT else column


def _needed(column: Column, console: Console) -> int:
    longest = _longest(column, console)
    return longest if column.no_wrap else min(longest, TEXT)


def _longest(column: Column, console: Console) -> int:
    cells: list[RenderableType] = [column.header, *column.cells]
    return max(Measurement.get(console, console.options.update(width=10_000), cell).maximum for cell in cells)
