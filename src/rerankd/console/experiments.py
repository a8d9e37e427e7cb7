"""The pages of experiments: what is tried on live traffic, how it goes, and the decisions on it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Literal, get_args

from fastapi import Response
from pydantic import BaseModel
from starlette.datastructures import FormData
from starlette.requests import Request

from rerankd.console.decision_form import ReasonForm, conflict, wants_json
from rerankd.console.experiment_form import experiment_form, form_content, form_fields, start_form
from rerankd.console.experiment_view import experiment_content, interval_charts, interval_history, summary
from rerankd.console.router import ConsoleRouter, form_of, query_of, redirect
from rerankd.console.visitor import Visitor
from rerankd.errors import ConflictError, RerankdError
from rerankd.experiments import decisions
from rerankd.experiments.experiment import Experiment, ExperimentState
from rerankd.experiments.feedback_metrics import FeedbackAggregator
from rerankd.experiments.status import experiment_row, request_counts
from rerankd.experiments.store import ExperimentStore
from rerankd.server.service import Service
from rerankd.server.store_calls import StoreCaller
from rerankd.wiring.experiments import prepare_experiment

LISTED, EVENTS = 50, 200
CHECK_SECONDS = 600.0  # a challenger may have to be downloaded
PAGE, LIST = "/experiments/{name}", "/experiments"
Notice = Literal["started", "advanced", "promoted", "stopped", "stopped_all", "unchanged", "conflict"]
NOTICES: tuple[Notice, ...] = get_args(Notice)
_NOTICE_OF: Mapping[ExperimentState, Notice] = {"running": "advanced", "promoted": "promoted"}


class PageQuery(BaseModel):
    """Parameters of the pages."""

    notice: Notice | None = None


class DecisionForm(ReasonForm):
    """Fields of a decision on an experiment: what the page showed on which it was made."""

    id: int
    step: int
    state: ExperimentState
    keep: bool = False

    @property
    def seen(self) -> decisions.Seen:
        """Return the state that the person looked at."""
        return decisions.Seen(self.id, self.step, self.state)


class ExperimentPages:
    """Pages and actions of experiments. All are for administrators."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._call = service.trace_service.call
        self._check = StoreCaller("check of the challenger", seconds=CHECK_SECONDS, limit=2).call
        self._feedback: dict[int, FeedbackAggregator] = {}
        self._reading = threading.Lock()

    @property
    def _store(self) -> ExperimentStore:
        return ExperimentStore(self._service.trace_service.store)

    async def list(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """List experiments, those in force first."""
        visitor.require_admin()
        query = query_of(request, PageQuery)
        content = await self._call(self._list)
        return content | self._common(query) | {"form": self._form(None)}

    def _list(self) -> dict[str, Any]:
        store = self._store
        active = store.active()
        ids = {experiment.id for experiment in active}
        ended = [experiment for experiment in store.recent(LISTED) if experiment.id not in ids]
        counts = request_counts(store, ended)
        return {
            "active": [summary(experiment, experiment_row(store, experiment), in_force=True) for experiment in active],
            "ended": [
                summary(experiment, {"requests": counts[experiment.id], "reason": ""}, in_force=False)
                for experiment in ended
            ],
        }

    def _common(self, query: PageQuery) -> dict[str, Any]:
        sync = self._service.experiments
        return {
            "notice": query.notice,
            "takes_part": sync is not None,
            "fault": "" if sync is None else sync.details,
            "seconds": self._service.settings.rollout_seconds,
        }

    def _form(self, values: dict[str, Any] | None) -> dict[str, Any]:
        return form_content(self._service.pool.names, values)

    async def show(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """Show one experiment."""
        visitor.require_admin()
        query = query_of(request, PageQuery)
        content = await self._call(self._show, str(request.path_params["name"]))
        return content | self._common(query) | {"charts": interval_charts(content["intervals"], visitor.language)}

    def _show(self, name: str) -> dict[str, Any]:
        store = self._store
        experiment = store.get(name)
        in_force = any(active.id == experiment.id for active in store.active())
        with self._reading:
            row = experiment_row(store, experiment, self._aggregator(experiment))
        events = store.events(name, EVENTS)
        content = experiment_content(experiment, row, events, in_force=in_force)
        return content | {"intervals": interval_history(experiment, row, events)}

    def _aggregator(self, experiment: Experiment) -> FeedbackAggregator:
        """Return the reader of an experiment's feedback; the last few are kept, since each reads only what is new."""
        aggregator = self._feedback.pop(experiment.id, None) or FeedbackAggregator(experiment)
        self._feedback[experiment.id] = aggregator
        while len(self._feedback) > 2:
            del self._feedback[next(iter(self._feedback))]
        return aggregator

    async def review(self, request: Request, visitor: Visitor, form: FormData) -> Mapping[str, Any]:
        """Check an experiment that somebody wants to start, and ask."""
        visitor.require_admin()
        values = form_fields(form)
        try:
            wanted = experiment_form(form)
            experiment = await self._check(
                prepare_experiment, self._service.settings, wanted.experiment(), check=wanted.check_challenger
            )
        except RerankdError as error:
            if wants_json(request):
                raise
            return {"form": self._form(values), "error": {"message": error.message, "hint": error.hint}}
        fields = values | {"challenger": experiment.challenger}
        return {
            "form": self._form(fields),
            "error": None,
            "fields": _flat(fields),
            "experiment": {name: getattr(experiment, name) for name in ("name", "kind", "model", "challenger", "unit")},
            "coverage": experiment.plan.steps[0],
            "steps": list(experiment.plan.steps),
            "min_requests": experiment.plan.min_requests,
            "auto_promote": experiment.plan.auto_promote,
        }

    async def start(self, request: Request, visitor: Visitor, form: FormData) -> Response:
        """Start an experiment."""
        visitor.require_admin()
        wanted = start_form(form)
        settings, check = self._service.settings, wanted.check_challenger
        experiment = await self._check(prepare_experiment, settings, wanted.experiment(), check=check)
        why = decisions.one_line(wanted.reason)
        await self._call(lambda: self._store.start(experiment, visitor.name, why))
        return redirect(request, f"{LIST}/{experiment.name}?notice=started")

    async def advance(self, request: Request, visitor: Visitor, form: FormData) -> Response:
        """Advance an experiment, or promote its challenger."""
        visitor.require_admin()
        name, wanted = str(request.path_params["name"]), form_of(form, DecisionForm)

        def advance() -> Experiment:
            return decisions.advance(
                self._store, name, visitor.name, wanted.reason, seen=wanted.seen, on_decision=self._decided
            )

        try:
            experiment = await self._call(advance)
        except ConflictError as error:
            return conflict(request, f"{LIST}/{name}", error)
        return redirect(request, f"{LIST}/{name}?notice={_NOTICE_OF.get(experiment.state, 'unchanged')}")

    async def stop(self, request: Request, visitor: Visitor, form: FormData) -> Response:
        """Stop an experiment, or roll its promotion back."""
        visitor.require_admin()
        name, wanted = str(request.path_params["name"]), form_of(form, DecisionForm)

        def stop() -> Experiment:
            return decisions.stop(
                self._store,
                name,
                visitor.name,
                wanted.reason,
                keep=wanted.keep,
                seen=wanted.seen,
                on_decision=self._decided,
            )

        try:
            await self._call(stop)
        except ConflictError as error:
            return conflict(request, f"{LIST}/{name}", error)
        return redirect(request, f"{LIST}/{name}?notice=stopped")

    async def stop_all(self, request: Request, visitor: Visitor, form: FormData) -> Response:
        """Stop all experiments in force: the kill switch."""
        visitor.require_admin()
        reason = form_of(form, ReasonForm).reason
        await self._call(lambda: decisions.stop_all(self._store, visitor.name, reason, on_decision=self._decided))
        return redirect(request, f"{LIST}?notice=stopped_all")

    def _decided(self, action: str) -> None:
        self._service.metrics.decided(action)


def _flat(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of a form as its hidden inputs carry them; the challenger was checked already."""
    margins = {f"margin.{name}": value for name, value in fields.get("margins", {}).items()}
    left_out = ("margins", "csrf_token", "check_challenger")
    return {name: str(value) for name, value in fields.items() if name not in left_out} | margins


def register(router: ConsoleRouter, service: Service) -> None:
    """Register the pages of experiments."""
    pages = ExperimentPages(service)
    router.page(LIST, "experiments.html", pages.list)
    router.page(PAGE, "experiment.html", pages.show)
    router.action(f"{LIST}/review", "experiment_review.html", pages.review)
    router.action(f"{LIST}/start", "experiment_review.html", pages.start)
    router.action(f"{LIST}/stop-all", "experiments.html", pages.stop_all)
    router.action(f"{PAGE}/advance", "experiment.html", pages.advance)
    router.action(f"{PAGE}/stop", "experiment.html", pages.stop)
