"""The page that compares two rankings: of pasted documents, of a file, or of a trace."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import Response
from starlette.datastructures import FormData
from starlette.requests import Request

from rerankd.console.compare_form import (
    MAX_DOCUMENTS,
    MAX_QUERY,
    MAX_RULES,
    MODES,
    CompareForm,
    CompareQuery,
    read_file,
    read_pasted,
    shown_in_field,
    uploaded,
)
from rerankd.console.compare_models import ComparedModels
from rerankd.console.compared import Compared
from rerankd.console.comparer import Comparer
from rerankd.console.router import ConsoleRouter, form_of, query_of, wants_json
from rerankd.console.trace_comparer import TraceComparer, TraceView
from rerankd.console.trace_content import judged_documents, other_model
from rerankd.console.visitor import Visitor
from rerankd.errors import NotFoundError, RerankdError
from rerankd.feedback.store import feedback_on
from rerankd.server.disconnect import cancel_on_disconnect
from rerankd.server.service import Service
from rerankd.types import Document

TEMPLATE = "compare.html"
SERVICE = "http://127.0.0.1:8000"  # where `rerankd serve` listens unless told otherwise
_LINE = re.compile(r"\bline (\d+)")


class ComparePages:
    """The page, and the form on it.

    Args:
        router: router of the console.
        service: the instance.
    """

    def __init__(self, router: ConsoleRouter, service: Service) -> None:
        self._router, self._service, models = router, service, ComparedModels(service)
        self._comparer, self._traces = Comparer(service, models), TraceComparer(service, models)

    async def show(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """Show the empty form, or a trace: as it was, or replayed on another model."""
        query = query_of(request, CompareQuery)
        if query.trace is None:
            return await self._content(CompareForm(), visitor)
        view = await self._trace(query.trace, visitor)
        form = CompareForm(mode="models" if query.model else "before_after", model=query.model or "", trace=query.trace)
        started = time.perf_counter()
        if query.model:
            compared = await self._traces.replayed(view, query.model, visitor)
        else:
            compared = await self._traces.recorded(view, visitor)
        return await self._content(form, visitor, view, compared, started)

    async def compare(self, request: Request, visitor: Visitor, form: FormData) -> Mapping[str, Any] | Response:
        """Compare what the form asks for; the page keeps what was entered, also where something in it is wrong."""
        started = time.perf_counter()
        fields = CompareForm(documents=str(form.get("documents", "")))
        view: TraceView | None = None
        try:
            fields = form_of(form, CompareForm)
            view = None if fields.trace is None else await self._trace(fields.trace, visitor)
            async with cancel_on_disconnect(request):
                if view is not None:
                    compared = await self._traces.replayed_with_rules(view, fields.rules, visitor)
                else:
                    documents, fields = await self._documents(form, fields)
                    compared = await self._compared(fields, documents, visitor)
        except RerankdError as error:
            if wants_json(request):
                raise
            content = await self._content(fields, visitor, view, error=error)
            return self._router.response(request, visitor, TEMPLATE, content, error.status)
        return await self._content(fields, visitor, view, compared, started)

    async def _compared(self, form: CompareForm, documents: Sequence[Document], visitor: Visitor) -> Compared:
        query = form.checked_query()
        if form.mode == "models":
            return await self._comparer.models(query, documents, (form.model, form.other_model), visitor)
        if form.mode == "rules":
            return await self._comparer.rules(query, documents, form.model, form.rules, visitor)
        return await self._comparer.before_after(query, documents, form.model, visitor)

    async def _documents(self, form: FormData, fields: CompareForm) -> tuple[Sequence[Document], CompareForm]:
        """Return the documents, and the form with those of a file in its field."""
        most = int(self._service.settings.max_body_mb * 1_000_000)
        file, pasted = await uploaded(form, most), fields.documents
        if file is None:
            documents = await asyncio.to_thread(read_pasted, pasted)
        else:
            documents, pasted = await asyncio.to_thread(read_file, *file, most), ""
        shown = await asyncio.to_thread(shown_in_field, pasted, documents)
        return documents, fields.model_copy(update={"documents": shown})

    async def _trace(self, number: int, visitor: Visitor) -> TraceView:
        self._service.check_traces()
        view = await self._service.trace_service.call(self._read, number, visitor)
        if view is None:
            raise NotFoundError(f"There is no trace {number}.", hint="Choose one at /console/traces.")
        return view

    def _read(self, number: int, visitor: Visitor) -> TraceView | None:
        store = self._service.trace_service.store
        full = store.get_trace(number, visitor.tenant)
        if full is None:
            return None
        feedback = judged_documents(full, feedback_on(store, full.trace))
        return TraceView.of(full, feedback, only_shown=visitor.tenant is not None)

    async def _content(
        self,
        form: CompareForm,
        visitor: Visitor,
        view: TraceView | None = None,
        compared: Compared | None = None,
        started: float = 0.0,
        error: RerankdError | None = None,
    ) -> Mapping[str, Any]:
        line = _LINE.search(error.message) if error is not None else None
        return {
            "form": form.model_dump() | {"rules": form.rules or await self._rules_in_force(visitor)},
            "modes": MODES,
            "models": self._service.pool.names,
            "any_model": visitor.is_admin,
            "limits": {"documents": MAX_DOCUMENTS, "query": MAX_QUERY, "rules": MAX_RULES},
            "trace": None if view is None else asdict(view.full.trace),
            "replay": None if view is None else other_model(view.full.trace, self._service.pool.names),
            "comparison": compared and compared.comparison,
            "documents": compared.documents if compared else 0,
            "warnings": list(compared.warnings) if compared else [],
            "request": compared and compared.request,
            "needs_key": self._service.keys.required,
            "service": SERVICE if self._service.pages_only else None,
            "milliseconds": round((time.perf_counter() - started) * 1000, 1) if compared else None,
            "error": error and {"message": error.message, "hint": error.hint, "line": line and int(line[1])},
        }

    async def _rules_in_force(self, visitor: Visitor) -> str:
        """Return the rule file, from which a draft starts; it is shown to admins only, since it names tenants."""
        path = self._service.settings.rules
        if path is None or not visitor.is_admin:
            return ""
        try:
            text = await asyncio.to_thread(Path(path).read_text, "utf-8-sig")
        except (OSError, UnicodeDecodeError):
            return ""
        return text if len(text) <= MAX_RULES else ""


def register(router: ConsoleRouter, service: Service) -> None:
    """Register the page."""
    pages = ComparePages(router, service)
    router.page("/compare", TEMPLATE, pages.show)
    router.action("/compare", TEMPLATE, pages.compare)
