"""The page on which one ranking is labelled, and what its buttons and keys do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar, TypeVarTuple, Unpack
from urllib.parse import urlencode

from fastapi import Response
from pydantic import BaseModel, Field
from starlette.datastructures import FormData
from starlette.requests import Request

from rerankd.console.label_view import Kind, LabelTarget, LabelView, load_view
from rerankd.console.labeller import labeller_of, require_labeller
from rerankd.console.router import ConsoleRouter, form_of, query_of, redirect
from rerankd.console.visitor import Visitor
from rerankd.errors import NotFoundError
from rerankd.feedback.case_update import update_case
from rerankd.feedback.label_queue import MAX_REASON, Queue, skip_ranking
from rerankd.feedback.label_store import count_changes
from rerankd.feedback.labelling import label_ranking, undo_label
from rerankd.feedback.labels import GRADES
from rerankd.server.paths import CONSOLE
from rerankd.server.service import Service
from rerankd.traces.store import MAX_DIGITS, TraceStore

SHOWN = 50
MAX_SHOWN = 2000
Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


class RankingQuery(BaseModel):
    """Parameters of the page: the queue that it was opened from, and how many documents it shows."""

    queue: Queue = "new"
    shown: int = Field(default=SHOWN, ge=1, le=MAX_SHOWN)


class GradeForm(BaseModel):
    """A grade of a document; without a grade the visitor's own is taken back."""

    position: int = Field(ge=0, lt=2**31)
    grade: int | None = Field(None, ge=min(GRADES), le=max(GRADES))


class SkipForm(BaseModel):
    """Why a ranking is skipped."""

    reason: str = Field(min_length=1, max_length=MAX_REASON)


class RankingPages:
    """The page of one ranking.

    Args:
        service: the instance.
        kind: what its number is of.
    """

    def __init__(self, service: Service, kind: Kind) -> None:
        self._service, self._kind = service, kind

    async def show(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """Show a ranking with the visitor's grades."""
        query = query_of(request, RankingQuery)
        labeller = labeller_of(request, visitor)
        return await self._call(_show, self._target(request), visitor.tenant, labeller, query)

    async def grade(self, request: Request, visitor: Visitor, form: FormData) -> Mapping[str, Any] | Response:
        """Save a grade at once."""
        query, fields = query_of(request, RankingQuery), form_of(form, GradeForm)
        target, labeller = self._target(request), require_labeller(request, visitor)
        result = await self._call(_grade, target, visitor.tenant, labeller, query, fields)
        return self._answer(request, target, query, result)

    async def undo(self, request: Request, visitor: Visitor, _: FormData) -> Mapping[str, Any] | Response:
        """Undo the visitor's last change in this ranking."""
        query = query_of(request, RankingQuery)
        target, labeller = self._target(request), require_labeller(request, visitor)
        result = await self._call(_undo, target, visitor.tenant, labeller, query)
        return self._answer(request, target, query, result)

    async def skip(self, request: Request, visitor: Visitor, form: FormData) -> Response:
        """Leave the ranking out of the visitor's queue, and open the next."""
        query, fields = query_of(request, RankingQuery), form_of(form, SkipForm)
        target, labeller = self._target(request), require_labeller(request, visitor)
        await self._call(_skip, target, visitor.tenant, labeller, fields.reason)
        return redirect(request, _next_path(target, query).removeprefix(CONSOLE))

    async def _call(self, function: Callable[[TraceStore, Unpack[Arguments]], Result], *args: *Arguments) -> Result:
        self._service.check_traces()
        service = self._service.trace_service
        return await service.call(lambda: function(service.store, *args))

    def _target(self, request: Request) -> LabelTarget:
        number = request.path_params["number"]
        if not (number.isascii() and number.isdecimal() and len(number) <= MAX_DIGITS):
            raise NotFoundError(f"There is no {self._kind} {number[:40]!r}.", hint=f"Start at {CONSOLE}/label.")
        return LabelTarget(self._kind, int(number))

    def _answer(
        self, request: Request, target: LabelTarget, query: RankingQuery, result: Mapping[str, Any]
    ) -> Mapping[str, Any] | Response:
        """Return the result to a script, and the page to a browser without scripts."""
        if "application/json" in request.headers.get("accept", ""):
            return result
        document = result["document"]
        anchor = f"#d{document['index']}" if document else ""
        return redirect(request, f"{_address(target, query).removeprefix(CONSOLE)}{anchor}")


def _show(
    store: TraceStore, target: LabelTarget, tenant: str | None, labeller: str, query: RankingQuery
) -> dict[str, Any]:
    view = load_view(store, target, tenant)
    blind = query.queue == "second"
    documents = [view.document(each, labeller, blind=blind) for each in view.documents[: query.shown]]
    more = min(len(view.documents), MAX_SHOWN, query.shown + SHOWN)
    return {
        "kind": target.kind,
        "number": target.number,
        "address": target.address,
        "parameters": _parameters(query),
        "labeller": labeller,
        "query": view.query,
        "tenant": view.tenant,
        "request_id": view.request_id,
        "model": view.model,
        "version": view.version,
        "time": view.time,
        "trace": view.trace,
        "case": _case(view),
        "documents": documents,
        "total": len(view.documents),
        "more": _address(target, query.model_copy(update={"shown": more})) if more > query.shown else None,
        "coverage": view.coverage,
        "undo": _changes(store, view, labeller),
        "grades": list(GRADES),
        "queue": query.queue,
        "next": _next_path(target, query),
    }


def _grade(
    store: TraceStore,
    target: LabelTarget,
    tenant: str | None,
    labeller: str,
    query: RankingQuery,
    fields: GradeForm,
) -> dict[str, Any]:
    grades = {fields.position: fields.grade}
    if target.kind == "case":
        update_case(store, target.number, tenant, grades, labeller=labeller)
    else:
        view = load_view(store, target, tenant)
        if view.full is not None:
            label_ranking(store, view.full, labeller, grades)
    return _changed(store, target, tenant, labeller, query, fields.position)


def _undo(
    store: TraceStore, target: LabelTarget, tenant: str | None, labeller: str, query: RankingQuery
) -> dict[str, Any]:
    case = load_view(store, target, tenant).case
    undone = undo_label(store, case.id, tenant, labeller) if case else None
    if undone is not None and undone.case is None and target.kind == "case":
        return {"document": None, "gone": True, "undone": True, "undo": 0}
    changed = _changed(store, target, tenant, labeller, query, undone.position if undone else None)
    return changed | {"undone": undone is not None}


def _skip(store: TraceStore, target: LabelTarget, tenant: str | None, labeller: str, reason: str) -> None:
    view = load_view(store, target, tenant)
    skip_ranking(store, view.tenant, view.request_id, labeller, reason)


def _changed(
    store: TraceStore,
    target: LabelTarget,
    tenant: str | None,
    labeller: str,
    query: RankingQuery,
    position: int | None,
) -> dict[str, Any]:
    """Return what a change of a document's grade changes on the page."""
    view = load_view(store, target, tenant)
    blind = query.queue == "second"
    documents = [view.document(each, labeller, blind=blind) for each in view.documents if each.index == position]
    return {
        "document": documents[0] if documents else None,
        "gone": False,
        "coverage": view.coverage,
        "case": _case(view),
        "undo": _changes(store, view, labeller),
    }


def _case(view: LabelView) -> dict[str, Any] | None:
    case = view.case
    if case is None:
        return None
    reasons = [asdict(reason) for reason in case.reasons]
    notes = [line for line in case.note.splitlines() if line not in {reason.note for reason in case.reasons}]
    return {"id": case.id, "state": case.state, "severity": case.severity, "reasons": reasons, "notes": notes}


def _changes(store: TraceStore, view: LabelView, labeller: str) -> int:
    return count_changes(store, view.case.id, labeller) if view.case and labeller else 0


def _parameters(query: RankingQuery) -> str:
    """Return the parameters of the page's address that are not the default."""
    changed = query.model_dump(exclude_defaults=True)
    return f"?{urlencode(changed)}" if changed else ""


def _address(target: LabelTarget, query: RankingQuery) -> str:
    return target.address + _parameters(query)


def _next_path(target: LabelTarget, query: RankingQuery) -> str:
    return f"{CONSOLE}/label/next?{urlencode({'queue': query.queue, f'after_{target.kind}': target.number})}"


def register_rankings(router: ConsoleRouter, service: Service) -> None:
    """Register the pages of one ranking: by number of its trace, and by number of its case."""
    paths: tuple[tuple[Kind, str], ...] = (("case", "/label/case/{number}"), ("trace", "/label/{number}"))
    for kind, path in paths:
        pages = RankingPages(service, kind)
        router.page(path, "label_ranking.html", pages.show)
        for name, handler in (("grade", pages.grade), ("undo", pages.undo), ("skip", pages.skip)):
            router.action(f"{path}/{name}", "label_ranking.html", handler)
