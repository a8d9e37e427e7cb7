"""Flags that select traces, and the database that they are in: shared by the commands about traces."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rerankd.cli.output import json_row
from rerankd.cli.tenants import resolve_tenant
from rerankd.errors import InvalidRequestError
from rerankd.settings import Settings, load_settings

if TYPE_CHECKING:
    from rerankd.traces.replay import Replay
    from rerankd.traces.store import TraceFilter, TraceStore
    from rerankd.traces.trace import Trace

Url = Annotated[
    str | None, typer.Option("--traces-url", help="Database with the traces.  [default: setting traces_url]")
]
Tenant = Annotated[
    str | None,
    typer.Option(help='Only this API key, by id or name; "" for requests without a key.', callback=resolve_tenant),
]
Since = Annotated[
    str | None, typer.Option(help="Start of the time range: 90s, 15m, 24h or 7d ago, or an ISO 8601 time.")
]
Until = Annotated[str | None, typer.Option(help="End of the time range.")]
Model = Annotated[str | None, typer.Option(help="Only rankings of this model.")]
DATABASE_KEYS = ("id", "query", "parameters")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def trace_filter(tenant: str | None, since: str | None, until: str | None, model: str | None) -> TraceFilter:
    """Return the filter that the options describe."""
    from rerankd.traces.store import TraceFilter

    return TraceFilter(tenant, moment(since), moment(until), model)


def trace_row(record: Trace | Replay) -> dict[str, Any]:
    """Return a trace or a replay as a row of JSON, under the names of the database."""
    from rerankd.traces.trace import STORED_NAMES

    return json_row(record, STORED_NAMES)


def request_name(trace: Trace) -> str:
    """Return what `rerankd traces show` finds a trace by: its request id, or `#` and a number if it has none."""
    return trace.request_id or f"#{trace.id}"


def listed_row(trace: Trace) -> dict[str, Any]:
    """Return a trace as a row of JSON, without the keys of database rows."""
    row = trace_row(trace) | {"request_id": request_name(trace)}
    return {name: value for name, value in row.items() if name not in DATABASE_KEYS}


def replay_row(replay: Replay) -> dict[str, Any]:
    """Return a replay as a row of JSON, without the keys of database rows."""
    return trace_row(replay) | {"trace": listed_row(replay.trace)}


def moment(text: str | None) -> float | None:
    """Parse a time, `15m` ago or ISO 8601, to seconds since 1970."""
    if text is None:
        return None
    if text[-1:] in _UNITS:
        return time.time() - seconds(text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise InvalidRequestError(
            f"{text!r} is not a time.", hint="Write 90s, 15m, 24h, 7d, or 2026-01-31T12:00."
        ) from None


def seconds(text: str) -> float:
    """Parse a duration such as `90s`, `15m`, `24h` or `7d` to seconds."""
    try:
        length = float(text[:-1]) * _UNITS[text[-1:]]
    except (ValueError, KeyError):
        raise InvalidRequestError(f"{text!r} is not a duration.", hint="Write 90s, 15m, 24h, or 7d.") from None
    if not 0 < length < float("inf"):
        raise InvalidRequestError(f"{text!r} is not a duration.", hint="Write 90s, 15m, 24h, or 7d.")
    return length


def when(seconds: float) -> str:
    """Format a time for people."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


@contextmanager
def opened(url: str | None) -> Iterator[tuple[TraceStore, Settings]]:
    """Open the trace database that options and settings name; yield it and the settings."""
    from rerankd.wiring.traces import open_trace_store

    settings = load_settings(traces_url=url)
    store = open_trace_store(settings)
    try:
        yield store, settings
    finally:
        store.close()
