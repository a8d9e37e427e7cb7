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
from rerankd.console.evaluation_forms import (
    CASES,
    DEPTH,
    FOLDER,
    ORDERS,
    QUERIES,
    PairQuery,
    ResultQuery,
    number_in,
    plan_of,
)
from rerankd.console.evaluation_lists import compared
from rerankd.console.evaluation_texts import EvaluationTexts
from rerankd.console.messages import message
from rerankd.console.router import ConsoleRouter, query_of, redirect
from rerankd.console.visitor import Visitor
from rerankd.errors import InvalidRequestError
from rerankd.evaluation import bootstrap, paired
from rerankd.evaluation.run import FIRST_STAGE
from rerankd.evaluation.saved import KEPT, SavedEvaluation
from rerankd.feedback.case_store import CaseFilter, count_cases
from rerankd.server.evaluation_service import MAX_DEPTH, MAX_MODELS, MAX_QUERIES, MAX_WAITING
from rerankd.server.service import Service

MAX_OTHERS = 20
MARKED_QUERY = 10_000  # characters of a query whose words are marked in the documents


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
        cases = count_cases(self._service.trace_service.store, CaseFilter(visitor.tenant))["labelled"]
        folders = self._evaluations.datasets.folders() if visitor.is_admin else []
        return {
            "cases": {"value": CASES, "count": cases},
            "folders": [
                {"value": f"{FOLDER}{each.name}", "name": each.name, "has_candidates": each.has_candidates}
                for each in folders
            ],
            "models": self._evaluations.models(visitor.tenant),
            "default_model": self._service.pool.default,
            "defaults": {"depth": DEPTH, "queries": QUERIES},
            "limits": {
                "models": MAX_MODELS,
                "depth": MAX_DEPTH,
                "queries": MAX_QUERIES,
                "waiting": MAX_WAITING,
                "kept": KEPT,
            },
            "runs": [self._view(each, visitor) for each in self._evaluations.store.list(visitor.tenant)],
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

    def _view(self, saved: SavedEvaluation, visitor: Visitor) -> dict[str, Any]:
        return views.run_view(saved, self._evaluations.position, all_tenants=visitor.tenant is None)

    async def show(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """Show the results of an evaluation, or its progress."""
        query = query_of(request, ResultQuery)
        return await self._call(self._show, number_in(request, "run"), query, visitor)

    def _show(self, number: int, query: ResultQuery, visitor: Visitor) -> Mapping[str, Any]:
        saved = self._evaluations.store.get(number, visitor.tenant)
        if saved.state != "done":
            return {"run": self._view(saved, visitor), "result": None}
        result = self._evaluations.store.result(number)
        system = views.chosen_system(result, query.system)
        names = views.chart_names(
            visitor.language, result["measures"][0], *(_name(each, visitor) for each in (result["baseline"], system))
        )
        address = partial(views.address, result, number)
        titles = self._texts.titles(saved, result["query_ids"])
        shown = views.result_view(
            result, query, system, titles, names, lambda position: address(system, order=query.order, query=position)
        )
        page = partial(address, system, order=query.order)
        return {
            "run": self._view(saved, visitor),
            "others": self._others(saved, visitor),
            "result": {
                **shown,
                "queries": self._with_texts(saved, shown["queries"], visitor),
                "models": result["models"],
                "samples": bootstrap.SAMPLES,
                "systems_compared": [
                    {"name": each, "address": address(each)} for each in views.compared_systems(result)
                ],
                "orders": [{"name": each, "address": address(system, order=each)} for each in ORDERS],
                "previous": page(page=query.page - 1) if query.page > 1 else None,
                "next": page(page=query.page + 1) if shown["has_next"] else None,
            },
        }

    def _with_texts(self, saved: SavedEvaluation, rows: Any, visitor: Visitor) -> Any:
        texts = self._texts.queries(saved, [row["query_id"] for row in rows], visitor.tenant)
        return [row | {"text": texts.get(row["query_id"])} for row in rows]

    def _others(self, saved: SavedEvaluation, visitor: Visitor) -> Any:
        """Return earlier evaluations of the same dataset."""
        return [
            {
                "id": each.id,
                "created": each.created,
                "models": each.plan.models,
                "address": f"{views.ADDRESS}/{saved.id}/against/{each.id}",
            }
            for each in self._evaluations.store.list(visitor.tenant)
            if each.state == "done" and each.id < saved.id and _is_same_dataset(each, saved)
        ][:MAX_OTHERS]

    async def pair(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """Compare an evaluation with an earlier one of the same dataset."""
        query = query_of(request, PairQuery)
        numbers = number_in(request, "run"), number_in(request, "other")
        return await self._call(self._pair, *numbers, query, visitor)

    def _pair(self, number: int, other: int, query: PairQuery, visitor: Visitor) -> Mapping[str, Any]:
        store = self._evaluations.store
        later, earlier = store.get(number, visitor.tenant), store.get(other, visitor.tenant)
        if not _is_same_dataset(later, earlier):
            raise InvalidRequestError("These are evaluations of two datasets.", hint="Choose two of the same dataset.")
        after, before = store.result(number), store.result(other)
        systems = views.chosen_system(before, query.before), views.chosen_system(after, query.system)
        names = f"#{other} {_name(systems[0], visitor)}", f"#{number} {_name(systems[1], visitor)}"
        result = paired.paired_result(before, after, systems, names)
        positions = {query_id: position for position, query_id in enumerate(after["query_ids"])}

        def link(position: int) -> str:
            return views.address(after, number, systems[1], query=positions[result["query_ids"][position]])

        words = views.chart_names(visitor.language, result["measures"][0], *names)
        titles = self._texts.titles(later, result["query_ids"])
        shown = views.result_view(result, query, names[1], titles, words, link)
        page = partial(views.pair_address, number, other, query)
        return {
            "run": self._view(later, visitor),
            "other": self._view(earlier, visitor),
            "systems": {"before": systems[0], "after": systems[1]},
            "choices": {"before": [*before["values"]], "after": [*after["values"]]},
            "result": {
                **shown,
                "queries": self._with_texts(later, shown["queries"], visitor),
                "samples": paired.SAMPLES,
                "orders": [{"name": each, "address": page(order=each, page=1)} for each in ORDERS],
                "previous": page(page=query.page - 1) if query.page > 1 else None,
                "next": page(page=query.page + 1) if shown["has_next"] else None,
            },
        }

    async def query(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """Show a query before and after, with the grades of its documents."""
        parameters = query_of(request, ResultQuery)
        numbers = number_in(request, "run"), number_in(request, "query")
        return await self._call(self._query, *numbers, parameters, visitor)

    def _query(self, number: int, position: int, parameters: ResultQuery, visitor: Visitor) -> Mapping[str, Any]:
        saved = self._evaluations.store.get(number, visitor.tenant)
        result, found = self._evaluations.store.result(number), self._evaluations.store.query(number, position)
        system, baseline = views.chosen_system(result, parameters.system), result["baseline"]
        query_id, candidates, grades = result["query_ids"][position], found["candidates"], found["grades"]
        missing = [doc_id for doc_id, grade in grades.items() if grade > 0 and doc_id not in set(candidates)]
        text, texts = self._texts.query(saved, query_id, [*candidates, *missing], visitor.tenant)
        documents, lists = compared(baseline, system, found, texts, {FIRST_STAGE: _name(FIRST_STAGE, visitor)})
        values = result["values"][baseline][position], result["values"][system][position]
        order = views.sorted_positions(result, system, parameters.order)
        place = order.index(position)
        address = partial(views.address, result, number, system, order=parameters.order)
        return {
            "run": self._view(saved, visitor),
            "query_id": query_id,
            "query": text,
            "system": system,
            "baseline": baseline,
            "measures": [
                {"name": name, "before": before, "after": after}
                for name, before, after in zip(result["measures"], *values, strict=True)
            ],
            "comparison": compare_lists((text or "")[:MARKED_QUERY], documents, *lists, Controls()),
            "missing": [{"id": doc_id, "grade": grades[doc_id], "text": texts.get(doc_id)} for doc_id in missing],
            "place": place + 1,
            "count": len(order),
            "order": parameters.order,
            "previous": address(query=order[place - 1]) if place else None,
            "next": address(query=order[place + 1]) if place + 1 < len(order) else None,
            "back": address(),
        }


def _name(system: str, visitor: Visitor) -> str:
    return message("evaluation.first_stage", visitor.language) if system == FIRST_STAGE else system


def _is_same_dataset(one: SavedEvaluation, other: SavedEvaluation) -> bool:
    return (one.plan.source, one.plan.dataset) == (other.plan.source, other.plan.dataset)


def register(router: ConsoleRouter, service: Service) -> None:
    """Register the pages of evaluations."""
    pages = EvaluationPages(service)
    router.page("/evaluation", "evaluation.html", pages.list)
    router.action("/evaluation", "evaluation.html", pages.start)
    router.page("/evaluation/{run}/progress", "_evaluation_progress.html", pages.progress)
    router.action("/evaluation/{run}/cancel", "evaluation.html", pages.cancel)
    router.action("/evaluation/{run}/delete", "evaluation.html", pages.delete)
    router.page("/evaluation/{run}/against/{other}", "evaluation_pair.html", pages.pair)
    router.page("/evaluation/{run}/{query}", "evaluation_query.html", pages.query)
    router.page("/evaluation/{run}", "evaluation_result.html", pages.show)
