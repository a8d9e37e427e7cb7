"""Pages of evaluations: start one, watch it, and end it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Response
from starlette.datastructures import FormData
from starlette.requests import Request

from rerankd.console import evaluation_views as views
from rerankd.console.evaluation_forms import CASES, DEPTH, FOLDER, QUERIES, number_in, plan_of
from rerankd.console.evaluation_results import EvaluationResults
from rerankd.console.router import ConsoleRouter, redirect
from rerankd.console.visitor import Visitor
from rerankd.evaluation.saved_store import KEPT
from rerankd.feedback.case_store import CaseFilter, count_cases
from rerankd.server.evaluation_service import MAX_DEPTH, MAX_MODELS, MAX_QUERIES, MAX_WAITING
from rerankd.server.service import Service


class EvaluationPages:
    """Pages and actions of evaluations.

    Args:
        service: the instance.
    """

    def __init__(self, service: Service) -> None:
        self._service, self._evaluations = service, service.evaluations
        self._call = service.trace_service.call

    async def list(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """List datasets and evaluations, the newest first."""
        return await self._call(self._list, visitor)

    def _list(self, visitor: Visitor) -> Mapping[str, Any]:
        cases = count_cases(self._service.trace_service.store, CaseFilter(visitor.tenant))["labelled"]
        runs, positions = self._evaluations.store.list(visitor.tenant), self._evaluations.position
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
            "runs": [views.run_view(each, positions, visitor) for each in runs],
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
        return {"run": views.run_view(saved, self._evaluations.position, visitor)}


def register(router: ConsoleRouter, service: Service) -> None:
    """Register the pages of evaluations."""
    pages, results = EvaluationPages(service), EvaluationResults(service)
    router.page("/evaluation", "evaluation.html", pages.list)
    router.action("/evaluation", "evaluation.html", pages.start)
    router.page("/evaluation/{run}/progress", "_evaluation_progress.html", pages.progress)
    router.action("/evaluation/{run}/cancel", "evaluation.html", pages.cancel)
    router.action("/evaluation/{run}/delete", "evaluation.html", pages.delete)
    router.page("/evaluation/{run}/against/{other}", "evaluation_pair.html", results.pair)
    router.page("/evaluation/{run}/{query}", "evaluation_query.html", results.query)
    router.page("/evaluation/{run}", "evaluation_result.html", results.show)
