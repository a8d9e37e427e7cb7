"""The page of the labelling queue: what to label next, how much is labelled, and how far two labellers agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

from fastapi import Response
from pydantic import BaseModel, Field
from starlette.datastructures import FormData
from starlette.requests import Request

from rerankd.console import label_agreement, label_export
from rerankd.console.label_ranking import register_rankings
from rerankd.console.label_view import LabelTarget
from rerankd.console.labeller import labeller_of, require_labeller, save_name
from rerankd.console.router import ConsoleRouter, form_of, query_of, redirect
from rerankd.console.visitor import Visitor
from rerankd.errors import NotFoundError
from rerankd.feedback.case_store import CaseFilter, count_cases
from rerankd.feedback.cases import BadCase, replace_surrogates
from rerankd.feedback.label_queue import (
    QUEUES,
    Queue,
    QueuePosition,
    queued_cases,
    queued_traces,
    recent_cases,
    skipped_rankings,
    unskip_ranking,
)
from rerankd.feedback.label_store import label_coverage
from rerankd.feedback.labels import POOL_DEPTH
from rerankd.server.paths import CONSOLE
from rerankd.server.service import Service
from rerankd.traces.store import TraceStore
from rerankd.traces.trace import Trace

LISTED = 20
Number = Field(None, ge=1, lt=2**63)


class QueueQuery(BaseModel):
    """Parameters of the queue: which one, and after which case or trace."""

    queue: Queue = "new"
    after_case: int | None = Number
    after_trace: int | None = Number


class UnskipForm(BaseModel):
    """A ranking that is brought again."""

    tenant: str = Field("", max_length=512)
    request_id: str = Field(min_length=1, max_length=512)


class QueuePages:
    """Pages of the queue."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def list(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """Show the queue."""
        self._service.check_traces()
        query, labeller = query_of(request, QueueQuery), labeller_of(request, visitor)
        service = self._service.trace_service
        return await service.call(lambda: _queue(service.store, query, labeller, visitor.tenant))

    async def next(self, request: Request, visitor: Visitor) -> Response:
        """Open the next ranking of the queue, or the queue at its end."""
        self._service.check_traces()
        query, labeller = query_of(request, QueueQuery), labeller_of(request, visitor)
        service = self._service.trace_service
        targets = await service.call(lambda: _next(service.store, query, labeller, visitor.tenant, 1))
        parameters = f"?{urlencode({'queue': query.queue})}" if query.queue != "new" else ""
        path = _target(targets[0]).address.removeprefix(CONSOLE) if targets else "/label"
        return redirect(request, path + parameters)

    async def unskip(self, request: Request, visitor: Visitor, form: FormData) -> Response:
        """Bring a ranking again that the visitor skipped."""
        self._service.check_traces()
        fields, labeller = form_of(form, UnskipForm), require_labeller(request, visitor)
        if visitor.tenant not in (None, fields.tenant):
            raise NotFoundError("There is no such ranking.", hint="Load the page again.")
        service = self._service.trace_service
        await service.call(lambda: unskip_ranking(service.store, fields.tenant, fields.request_id, labeller))
        return redirect(request, "/label")


def _queue(store: TraceStore, query: QueueQuery, labeller: str, tenant: str | None) -> dict[str, Any]:
    queued = _next(store, query, labeller, tenant, LISTED)
    texts = store.read_queries([each for each in queued if isinstance(each, Trace)])
    counts, coverage = count_cases(store, CaseFilter(tenant)), label_coverage(store, tenant)
    total = sum(counts.values())
    parameters = urlencode({"queue": query.queue})
    return {
        "labeller": labeller,
        "queue": query.queue,
        "queues": list(QUEUES),
        "items": [_item(each, texts, query.queue) for each in queued],
        "next": f"{CONSOLE}/label/next?{parameters}" if queued else None,
        "cases": {"done": total - counts["open"], "total": total, **counts},
        "coverage": {"rankings": coverage.rankings, "labelled": coverage.labelled, "of": coverage.pool},
        "agreement": label_agreement.summary(store, tenant),
        "recent": [_item(each, {}, "new") for each in recent_cases(store, labeller, tenant)] if labeller else [],
        "skipped": [asdict(each) for each in skipped_rankings(store, labeller, tenant)] if labeller else [],
    }


def _next(
    store: TraceStore, query: QueueQuery, labeller: str, tenant: str | None, limit: int
) -> Sequence[BadCase | Trace]:
    after = QueuePosition(query.after_case, query.after_trace)
    queued: list[BadCase | Trace] = []
    queued += queued_cases(store, labeller, tenant, queue=query.queue, after=after, limit=limit)
    if query.queue == "new" and len(queued) < limit:
        queued += queued_traces(store, labeller, tenant, after=after, limit=limit - len(queued))
    return queued


def _target(queued: BadCase | Trace) -> LabelTarget:
    return LabelTarget("case" if isinstance(queued, BadCase) else "trace", queued.id)


def _item(queued: BadCase | Trace, texts: Mapping[int, str], queue: Queue) -> dict[str, Any]:
    """Return an entry of the queue."""
    target = _target(queued)
    address = target.address + (f"?{urlencode({'queue': queue})}" if queue != "new" else "")
    item: dict[str, Any] = {"kind": target.kind, "number": target.number, "address": address}
    item |= {"tenant": queued.tenant, "model": queued.model, "time": queued.time}
    if isinstance(queued, Trace):
        return item | {
            "query": replace_surrogates(texts.get(queued.query)),
            "margin": queued.margin,
            "severity": None,
            "detectors": [],
            "state": None,
            "coverage": {"labelled": 0, "of": min(POOL_DEPTH, queued.documents)},
        }
    first = [candidate for candidate in queued.candidates if candidate.rank_after <= POOL_DEPTH]
    labelled = sum(candidate.grade is not None for candidate in first)
    return item | {
        "query": queued.query,
        "margin": None,
        "severity": queued.severity,
        "detectors": list(dict.fromkeys(reason.detector for reason in queued.reasons)),
        "state": queued.state,
        "coverage": {"labelled": labelled, "of": len(first)},
    }


def register(router: ConsoleRouter, service: Service) -> None:
    """Register the pages of labelling."""
    pages = QueuePages(service)
    router.page("/label", "label.html", pages.list)
    router.page("/label/next", "label.html", pages.next)
    router.action("/label/name", "label.html", save_name)
    router.action("/label/unskip", "label.html", pages.unskip)
    label_agreement.register(router, service)
    label_export.register(router, service)
    register_rankings(router, service)
