"""Consoles, JSON lines and formatting of table cells."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from rerankd._common.characters import escape_controls, escape_json_controls
from rerankd._common.terminal import TerminalConsole

BAR_WIDTH = 12
EXIT_INCOMPLETE = 7  # finished, but some rows or files were left out


def stdout() -> Console:
    """Return a console for data."""
    return TerminalConsole()


def stderr() -> Console:
    """Return a console for notices, progress and errors."""
    return TerminalConsole(stderr=True)


def wants_json(flag: bool) -> bool:
    """Return True for JSON lines: on request, or if standard output is not a terminal."""
    return flag or not sys.stdout.isatty()


def json_row(record: Any, names: Mapping[str, str]) -> dict[str, Any]:
    """Return a dataclass as a row of JSON.

    Args:
        record: instance of a dataclass.
        names: names in JSON of the fields that have another name in Python, also of nested dataclasses.
    """
    return asdict(record, dict_factory=lambda fields: {names.get(name, name): value for name, value in fields})


def write_rows(rows: Iterable[Mapping[str, Any]], out: TextIO | None = None) -> int:
    """Write one JSON object per line, to standard output or a file.

    Control characters, and text that is not valid UTF-8, are escaped; the values stay the same. Where the output has
    another encoding, all that is not ASCII is escaped.

    Returns:
        Number of rows.
    """
    out = out or sys.stdout
    count, ascii_only = 0, not is_utf8(out)
    for count, row in enumerate(rows, start=1):  # noqa: B007  the last value is returned
        out.write(escape_json_controls(json.dumps(row, ensure_ascii=ascii_only, default=str)) + "\n")
    out.flush()
    return count


def is_utf8(out: TextIO) -> bool:
    """Return True if a stream takes any text: its encoding is UTF-8, or it has none."""
    return not out.encoding or codecs.lookup(out.encoding).name == "utf-8"


def bar(share: float, width: int = BAR_WIDTH) -> Text:
    """Return a bar for a share between 0 and 1."""
    full = round(max(0.0, min(1.0, share)) * width)
    return Text("█" * full, style="green") + Text("░" * (width - full), style="dim")


def movement(before: int, after: int) -> Text:
    """Return the rank before, and whether the document moved up or down."""
    if before == after:
        return Text(f"{before} =", style="dim")
    return Text(f"{before} ▲", style="green") if after < before else Text(f"{before} ▼", style="red")


def tick(passed: bool) -> Text:
    """Return the sign for what passed or failed."""
    return Text("✓", style="green") if passed else Text("✗", style="red")


def cell(text: str, limit: int = 400) -> Text:
    """Return text for a table cell: one line, no markup, control characters shown as escape sequences."""
    return Text(escape_controls(" ".join(text[:limit].split())))


def readable(value: object) -> str:
    """Return a value as people read it: numbers to three decimals, mappings as `name=value`, nothing for None.

    Example:
        >>> readable(24.271982998470776), readable({"top_n": 3, "fusion": {"method": "rrf"}}), readable([0.5, None])
        ('24.272', 'top_n=3, fusion.method=rrf', '0.5, ')
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={readable(item)}" for name, item in _flat(value))
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(readable, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if value == round(value, 3):
            return f"{value:.15g}"
        return f"{value:.3f}" if abs(value) >= 0.001 else f"{value:.2g}"
    return "" if value is None else str(value)


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the entries of a mapping and of those within it, under their path."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def say(sentence: str) -> None:
    """Print a message to standard error, apart from the data."""
    stderr().print(sentence, markup=False, highlight=False, soft_wrap=True)
