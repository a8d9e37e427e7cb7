"""Result files, and tables in Markdown."""

from __future__ import annotations

import json
from typing import Any

from benchmarks import RESULTS


def exists(name: str) -> bool:
    """Return True if there is a result file of this name."""
    return (RESULTS / name).exists()


def read(name: str) -> Any:
    """Return the content of a result file."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def difference(mean: float, interval: list[float]) -> str:
    """Return a difference with its interval, as text."""
    return f"{mean:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]"


def fill(text: str, name: str, content: str) -> str:
    """Return `text` with `content` between `<!-- name -->` and `<!-- /name -->`."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    head, marker, rest = text.partition(start)
    _, closed, tail = rest.partition(end)
    if not marker or not closed:
        raise ValueError(f"There are no markers for {name!r}.")
    return f"{head}{start}{content}\n{end}{tail}"
