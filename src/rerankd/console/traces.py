"""The pages of traces: a list with filters, one trace with all its facts, and export."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import Response
from starlette.requests import Request

from rerankd._common.characters import escape_json_controls
from rerankd.console.router import ConsoleRouter, query_of
from rerankd.console.trace_content import listed_traces, trace_details
from rerankd.console.trace_facets import FacetCache
from rerankd.console.trace_query import TraceQuery
from rerankd.console.visitor import Visitor
from rerankd.errors import InvalidRequestError, NotFoundError
from rerankd.server.paths import CONSOLE
from rerankd.server.service import Service
from rerankd.traces.export import exported_trace
from rerankd.traces.pages import ORDERS, read_page
from rerankd.traces.store import MAX_DIGITS, FullTrace, TraceStore

PAGE_SIZE = 50
MAX_EXPORTED = 200
MAX_EXPORT_BYTES = 64_000_000


class TracePages:
    """Pages of traces."""

    def __init__(self, service: Service) -> None:
        self._service, self._facets = service, FacetCache()

    @property
    def _store(self) -> TraceStore:
        return self._service.trace_service.store

    async def list_traces(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """List traces."""
        self._service.check_traces()
        query = query_of(request, TraceQuery)
        return await self._service.trace_service.call(self._list, query, visitor)

    async def show_trace(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """Show one trace."""
        self._service.check_traces()
        query, number = query_of(request, TraceQuery), trace_number(request.path_params["number"])
        return await self._service.trace_service.call(self._show, number, query, visitor)

    async def export_traces(self, request: Request, visitor: Visitor) -> Mapping[str, Any] | Response:
        """Return selected traces with their texts: JSON lines, or JSON under the other address."""
        self._service.check_traces()
        selected = request.query_params.getlist("id")
        if not 1 <= len(selected) <= MAX_EXPORTED:
            raise InvalidRequestError(
                f"{len(selected)} traces are selected.", hint=f"Select 1 to {MAX_EXPORTED} traces."
            )
        numbers = [trace_number(text) for text in selected]
        lines = await self._service.trace_service.call(self._lines, numbers, visitor)
        if request.url.path.endswith(".json"):
            return {"traces": [json.loads(line) for line in lines]}
        headers = {"content-disposition": 'attachment; filename="traces.jsonl"'}
        content = "".join(f"{line}\n" for line in lines).encode()
        return Response(content, media_type="application/x-ndjson", headers=headers)

    def _list(self, query: TraceQuery, visitor: Visitor) -> Mapping[str, Any]:
        models = self._service.pool.names
        where = query.select(visitor, time.time())
        page = read_page(self._store, where, order=query.order, cursor=query.cursor, limit=PAGE_SIZE)
        return {
            "traces": listed_traces(self._store, page.traces, query.replay, models),
            "filter": query.shown(visitor),
            "is_filtered": query.is_filtered,
            "is_first_page": query.page is None,
            "choices": asdict(self._facets.read(self._store, visitor.tenant)),
            "models": models,
            "links": {
                "previous": None if page.previous is None else query.address(page=str(page.previous)),
                "next": None if page.next is None else query.address(page=str(page.next)),
                "orders": {order: query.address(order=order, page=None) for order in ORDERS},
                "all": f"{CONSOLE}/traces",
            },
        }

    def _show(self, number: int, query: TraceQuery, visitor: Visitor) -> Mapping[str, Any]:
        (full,) = self._load([number], visitor)
        only_shown = visitor.tenant is not None
        models = self._service.pool.names
        return trace_details(self._store, full, only_shown=only_shown, replay=query.replay, models=models)

    def _lines(self, numbers: list[int], visitor: Visitor) -> list[str]:
        lines, size = [], 0
        for number in dict.fromkeys(numbers):  # one after the other: texts are large
            (full,) = self._load([number], visitor)
            row = exported_trace(full, only_shown=visitor.tenant is not None)
            lines.append(escape_json_controls(json.dumps(row, ensure_ascii=False, default=str)))
            size += len(lines[-1])
            if size > MAX_EXPORT_BYTES:
                raise InvalidRequestError("The selected traces are too large.", hint="Select fewer of them.")
        return lines

    def _load(self, numbers: list[int], visitor: Visitor) -> list[FullTrace]:
        full = self._store.load(self._store.get_traces(numbers, visitor.tenant))
        if len(full) < len(numbers):
            raise not_found(", ".join(map(str, numbers)))
        return full


def trace_number(text: str) -> int:
    """Return the number of a trace from an address.

    Raises:
        NotFoundError: it is no number of a trace.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        raise not_found(text)
    return int(text)


def not_found(text: str) -> NotFoundError:
    """Return the error for a trace that does not exist, or is another tenant's."""
    return NotFoundError(f"There is no trace {text[:100]}.", hint="It may have been deleted. See the list of traces.")


def register(router: ConsoleRouter, service: Service) -> None:
    """Register the pages of traces."""
    pages = TracePages(service)
    router.page("/traces", "traces.html", pages.list_traces)
    router.page("/traces/export", "traces.html", pages.export_traces)
    router.page("/traces/{number}", "trace.html", pages.show_trace)
