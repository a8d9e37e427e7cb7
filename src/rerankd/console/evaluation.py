"""Pages of evaluations: start one, watch it, read its results, and open its queries."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import Response
from starlette.datastructures import FormData
from starlette.requests import Request

from rerankd.console import evaluation_views as views
from rerankd.console.comparison import Controls, compare_lists
from rerankd.console.evaluation_forms import CASES, DEPTH, FOLDER, ORDERS, QUERIES, ResultQuery, number_in, plan_of
from rerankd.console.evaluation_texts import EvaluationTexts
from rerankd.console.messages import message
from rerankd.console.router import ConsoleRouter, query_of, redirect
from rerankd.console.visitor import Visitor
from rerankd.errors import NotFoundError
from rerankd.evaluation.bootstrap import LEVEL, SAMPLES
from rerankd.evaluation.run import FIRST_STAGE
from rerankd.evaluation.saved import KEPT
from rerankd.feedback.case_store import count_cases
from rerankd.server.evaluation_service import MAX_DEPTH, MAX_MODELS, MAX_QUERIES, MAX_WAITING
from rerankd.server.service import Service


class EvaluationPages:
    """Pages and actions of evaluations."""

    def __init__(self, service: Service) -> None:
        self._service, self._evaluations = service, service.evaluations
        self._call = service.trace_service.call
        self._texts = EvaluationTexts(service.trace_service, service.evaluations)

    async def list(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """List datasets and evaluations, the newest first."""
        return await self._call(self._list, visitor)

    def _list(self, visitor: Visitor) -> Mapping[str, Any]:
        store, pool = self._evaluations.store, self._service.pool
        cases = count_cases(self._service.trace_service.store, visitor.tenant)["labelled"]
        folders = self._evaluations.folders() if visitor.is_admin else []
        sources = [
            {"value": f"{FOLDER}{each.name}", "name": each.name, "has_candidates": each.has_candidates}
            for each in folders
        ]
        positions = self._evaluations.position
        runs = [
            views.run_view(each, positions, all_tenants=visitor.tenant is None) for each in store.list(visitor.tenant)
        ]
        return {
            "cases": {"value": CASES, "count": cases},
            "folders": sources,
            "models": self._evaluations.models(visitor.tenant),
            "default_model": pool.default,
            "defaults": {"depth": DEPTH, "queries": QUERIES},
            "limits": {
                "models": MAX_MODELS,
                "depth": MAX_DEPTH,
                "queries": MAX_QUERIES,
                "waiting": MAX_WAITING,
                "kept": KEPT,
            },
            "runs": runs,
        }

    async def start(self, request: Request, visitor: Visitor, form: FormData) -> Response:
        """Start an evaluation, and show it."""
        plan = plan_of(form, visitor)
        self._service.check_started()
        number = await self._evaluations.submit(plan, visitor.tenant, visitor.key, visitor.name)
        return redirect(request, f"/evaluation/{number}")

    async def cancel(self, request: Request, visitor: Visitor, form: FormData) -> Response:
        """Cancel an evaluation."""
        number = number_in(request, "run")
        await self._evaluations.cancel(number, visitor.tenant)
        return redirect(request, f"/evaluation/{number}")

    async def delete(self, request: Request, visitor: Visitor, form: FormData) -> Response:
        """Delete an evaluation; one that runs is cancelled."""
        number = number_in(request, "run")
        await self._evaluations.cancel(number, visitor.tenant)
        await self._call(lambda: self._evaluations.store.delete(number, visitor.tenant))
        return redirect(request, "/evaluation")

    async def progress(self, request: Request, visitor: Visitor) -> Mapping[str, Any] | Response:
        """Show how far an evaluation is; htmx loads the page again once it has ended."""
        number = number_in(request, "run")
        saved = await self._call(lambda: self._evaluations.store.get(number, visitor.tenant))
        if saved.is_final and "hx-request" in request.headers:
            return Response(status_code=204, headers={"hx-refresh": "true"})
        return {"run": self._view(saved, visitor)}

    def _view(self, saved: Any, visitor: Visitor) -> dict[str, Any]:
        return views.run_view(saved, self._evaluations.position, all_tenants=visitor.tenant is None)

    async def show(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """Show the results of an evaluation, or its progress."""
        query = query_of(request, ResultQuery)
        return await self._call(self._show, number_in(request, "run"), query, visitor)

    def _show(self, number: int, query: ResultQuery, visitor: Visitor) -> Mapping[str, Any]:
        saved = self._evaluations.store.get(number, visitor.tenant)
        shown: dict[str, Any] = {"run": self._view(saved, visitor), "result": None}
        if saved.state != "done":
            return shown
        result = self._evaluations.store.result(number)
        system = views.chosen_system(result, query.system)
        positions = views.sorted_positions(result, system, query.order)
        first = (query.page - 1) * views.PAGE_SIZE
        chosen = positions[first : first + views.PAGE_SIZE]
        if not chosen:
            raise NotFoundError(f"There is no page {query.page}.", hint="Start at the first.")
        rows = views.query_rows(result, number, system, query.order, chosen)
        texts = self._texts.queries(saved, [row["query_id"] for row in rows], visitor.tenant)
        titles = self._texts.titles(saved, result["query_ids"])
        say = partial(message, language=visitor.language)
        tested = result["measures"][0]
        names = {
            **{side: say(f"evaluation.{side}") for side in ("better", "worse", "same", "no_change")},
            "before": f"{tested}, {_name(result['baseline'], visitor)}",
            "after": f"{tested}, {_name(system, visitor)}",
        }
        address = partial(views.address, result, number)
        shown["result"] = {
            **{name: result[name] for name in ("measures", "baseline", "dataset", "systems", "models")},
            "system": system,
            "systems_compared": [{"name": each, "address": address(each)} for each in views.compared_systems(result)],
            "order": query.order,
            "orders": [{"name": each, "address": address(system, order=each)} for each in ORDERS],
            "queries": [row | {"text": texts.get(row["query_id"])} for row in rows],
            "first": first,
            "previous": address(system, order=query.order, page=query.page - 1) if query.page > 1 else None,
            "next": address(system, order=query.order, page=query.page + 1)
            if first + len(chosen) < len(positions)
            else None,
            "scatter": views.scatter_chart(result, system, titles, names, number),
            "deltas": views.delta_chart(result, system, titles, f"Δ {tested}", number),
            "level": LEVEL,
            "samples": SAMPLES,
        }
        return shown

    async def query(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """Show a query before and after, with the grades of its documents."""
        parameters = query_of(request, ResultQuery)
        return await self._call(
            self._query, number_in(request, "run"), number_in(request, "query"), parameters, visitor
        )

    def _query(self, number: int, position: int, parameters: ResultQuery, visitor: Visitor) -> Mapping[str, Any]:
        saved = self._evaluations.store.get(number, visitor.tenant)
        result = self._evaluations.store.result(number)
        found = self._evaluations.store.query(number, position)
        system = views.chosen_system(result, parameters.system)
        query_id = result["query_ids"][position]
        missing = [doc_id for doc_id, grade in found["grades"].items() if grade > 0]
        missing = [doc_id for doc_id in missing if doc_id not in set(found["candidates"])]
        text, texts = self._texts.query(saved, query_id, [*found["candidates"], *missing], visitor.tenant)
        documents, lists = views.compared(
            result["baseline"], system, found, texts, {FIRST_STAGE: _name(FIRST_STAGE, visitor)}
        )
        order = views.sorted_positions(result, system, parameters.order)
        place = order.index(position)
        address = partial(views.address, result, number, system, order=parameters.order)
        return {
            "run": self._view(saved, visitor),
            "query_id": query_id,
            "query": text,
            "system": system,
            "baseline": result["baseline"],
            "measures": [
                {"name": name, "before": before, "after": after}
                for name, before, after in zip(
                    result["measures"],
                    result["values"][result["baseline"]][position],
                    result["values"][system][position],
                    strict=True,
                )
            ],
            "comparison": compare_lists(text or "", documents, *lists, Controls()),
            "missing": [
                {"id": doc_id, "grade": found["grades"][doc_id], "text": texts.get(doc_id)} for doc_id in missing
            ],
            "place": place + 1,
            "count": len(order),
            "order": parameters.order,
            "previous": address(query=order[place - 1]) if place else None,
            "next": address(query=order[place + 1]) if place + 1 < len(order) else None,
            "back": address(),
        }


def _name(system: str, visitor: Visitor) -> str:
    return message("evaluation.first_stage", visitor.language) if system == FIRST_STAGE else system


def register(router: ConsoleRouter, service: Service) -> None:
    """Register the pages of evaluations."""
    pages = EvaluationPages(service)
    router.page("/evaluation", "evaluation.html", pages.list)
    router.action("/evaluation", "evaluation.html", pages.start)
    router.page("/evaluation/{run}/progress", "_evaluation_progress.html", pages.progress)
    router.action("/evaluation/{run}/cancel", "evaluation.html", pages.cancel)
    router.action("/evaluation/{run}/delete", "evaluation.html", pages.delete)
    router.page("/evaluation/{run}/{query}", "evaluation_query.html", pages.query)
    router.page("/evaluation/{run}", "evaluation_result.html", pages.show)
