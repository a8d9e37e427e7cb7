"""The page of agreement: how far two labellers give the same grades, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import select
from starlette.requests import Request

from rerankd.console.label_view import LabelTarget
from rerankd.console.router import ConsoleRouter, query_of
from rerankd.console.visitor import Visitor
from rerankd.database import tables
from rerankd.feedback.agreement import Agreement, Disagreement, most_common_pair, read_agreement
from rerankd.feedback.case_store import CaseFilter, select_cases
from rerankd.feedback.cases import BadCase
from rerankd.feedback.label_store import read_labellers
from rerankd.feedback.labels import MAX_LABELLER
from rerankd.server.service import Service
from rerankd.traces.store import TraceStore


class AgreementQuery(BaseModel):
    """Names of two labellers; the two with the most documents in common by default."""

    first: str | None = Field(None, max_length=MAX_LABELLER)
    second: str | None = Field(None, max_length=MAX_LABELLER)


class AgreementPages:
    """The page of agreement."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def show(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """Compare two labellers."""
        self._service.check_traces()
        query, service = query_of(request, AgreementQuery), self._service.trace_service
        return await service.call(lambda: _content(service.store, query, visitor.tenant))


def summary(store: TraceStore, tenant: str | None) -> dict[str, Any] | None:
    """Return the agreement of the two labellers with the most documents in common; None if no two have one."""
    pair = most_common_pair(store, tenant)
    return _without_list(read_agreement(store, *pair, tenant, limit=0)) if pair else None


def _content(store: TraceStore, query: AgreementQuery, tenant: str | None) -> dict[str, Any]:
    pair = most_common_pair(store, tenant)
    if query.first and query.second:
        pair = query.first, query.second
    agreement = read_agreement(store, *pair, tenant) if pair else None
    labellers = read_labellers(store, tenant)
    return {
        "labellers": [{"name": name, "documents": count} for name, count in labellers.items()],
        "agreement": _without_list(agreement) if agreement else None,
        "disagreements": _disagreements(store, agreement, tenant) if agreement else [],
    }


def _without_list(agreement: Agreement) -> dict[str, Any]:
    content = asdict(agreement)
    del content["disagreements"]
    return content


def _disagreements(store: TraceStore, agreement: Agreement, tenant: str | None) -> list[dict[str, Any]]:
    numbers = {each.case for each in agreement.disagreements}
    query = CaseFilter(tenant).apply(select(tables.bad_case)).where(tables.bad_case.c.id.in_(numbers))
    cases = {case.id: case for case in select_cases(store, query)}
    return [_row(each, cases[each.case]) for each in agreement.disagreements if each.case in cases]


def _row(each: Disagreement, case: BadCase) -> dict[str, Any]:
    candidate = next((candidate for candidate in case.candidates if candidate.index == each.position), None)
    address = f"{LabelTarget('case', case.id).address}#d{each.position}"
    return asdict(each) | {
        "query": case.query,
        "text": candidate.text if candidate else None,
        "rank": candidate.rank_after if candidate else None,
        "decided": candidate.grade if candidate else None,
        "address": address,
    }


def register(router: ConsoleRouter, service: Service) -> None:
    """Register the page."""
    router.page("/label/agreement", "label_agreement.html", AgreementPages(service).show)
