"""Results of evaluations: one of them, two compared, and a query of one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.requests import Request

from rerankd.console import evaluation_views as views
from rerankd.console.comparison import Controls, compare_lists
from rerankd.console.evaluation_forms import ORDERS, PairQuery, ResultQuery, number_in
from rerankd.console.evaluation_lists import compared
from rerankd.console.evaluation_texts import EvaluationTexts
from rerankd.console.messages import message
from rerankd.console.router import query_of
from rerankd.console.visitor import Visitor
from rerankd.errors import InvalidRequestError
from rerankd.evaluation import bootstrap, paired
from rerankd.evaluation.run import FIRST_STAGE
from rerankd.evaluation.saved import SavedEvaluation
from rerankd.server.service import Service

MAX_OTHERS = 20
MARKED_QUERY = 10_000  # characters of a query whose words are marked in the documents


class EvaluationResults:
    """Pages of results.

    Args:
        service: the instance.
    """

    def __init__(self, service: Service) -> None:
        self._evaluations, self._call = service.evaluations, service.trace_service.call
        self._texts = EvaluationTexts(service.trace_service, service.evaluations)

    def _run(self, saved: SavedEvaluation, visitor: Visitor) -> dict[str, Any]:
        return views.run_view(saved, self._evaluations.position, visitor)

    async def show(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """Show the results of an evaluation, or its progress."""
        query = query_of(request, ResultQuery)
        return await self._call(self._show, number_in(request, "run"), query, visitor)

    def _show(self, number: int, query: ResultQuery, visitor: Visitor) -> Mapping[str, Any]:
        saved = self._evaluations.store.get(number, visitor.tenant)
        if saved.state != "done":
            return {"run": self._run(saved, visitor), "result": None}
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
            "run": self._run(saved, visitor),
            "others": self._others(saved, visitor),
            "result": {
                **shown,
                "queries": self._with_texts(saved, shown["queries"], visitor),
                "models": result["models"],
                "samples": bootstrap.SAMPLES,
                "between": self._between(saved, result),
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

    def _between(self, saved: SavedEvaluation, result: views.Result) -> Any:
        """Return addresses that compare each model of an evaluation with the first one."""
        first, *others = views.compared_systems(result) or [""]
        return [
            {
                "before": first,
                "after": each,
                "address": views.pair_address(saved.id, saved.id, PairQuery(before=first, system=each, page=1)),
            }
            for each in others
        ]

    async def pair(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """Compare an evaluation with an earlier one of the same dataset, or two of its own systems."""
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
            "run": self._run(later, visitor),
            "other": self._run(earlier, visitor),
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
            "run": self._run(saved, visitor),
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
