"""The page of traces: what was ranked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, Field
from starlette.requests import Request

from rerankd.console.router import ConsoleRouter, query_of
from rerankd.console.visitor import Visitor
from rerankd.server.service import Service
from rerankd.traces.store import TraceFilter

PAGE_SIZE = 50


class TraceQuery(BaseModel):
    """Parameters of the page."""

    model: str | None = Field(None, max_length=200)


class TracePages:
    """Pages of traces."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def list(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """List traces, the newest first."""
        self._service.check_traces()
        query = query_of(request, TraceQuery)
        return await self._service.trace_service.call(self._list, query, visitor.tenant)

    def _list(self, query: TraceQuery, tenant: str | None) -> Mapping[str, Any]:
        store = self._service.trace_service.store
        traces = store.list_traces(TraceFilter(tenant=tenant, model=query.model), limit=PAGE_SIZE)
        texts = store.read_queries(traces)
        return {
            "traces": [{**asdict(trace), "query_text": texts.get(trace.query)} for trace in traces],
            "filter": query.model_dump(),
        }


def register(router: ConsoleRouter, service: Service) -> None:
    """Register the pages of traces."""
    pages = TracePages(service)
    router.page("/traces", "traces.html", pages.list)
