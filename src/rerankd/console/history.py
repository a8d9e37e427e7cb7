"""The page of all decisions: on experiments and on the champions of the registry, with who and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, Field
from starlette.requests import Request

from rerankd.console.experiment_view import ACTIONS
from rerankd.console.router import ConsoleRouter, query_of
from rerankd.console.visitor import Visitor
from rerankd.errors import RerankdError
from rerankd.experiments.history import ExperimentEvent
from rerankd.experiments.store import ExperimentStore
from rerankd.registry.version import AliasMove
from rerankd.server.paths import CONSOLE
from rerankd.server.schemas.cases import NO_NUL
from rerankd.server.service import Service
from rerankd.server.store_calls import StoreCaller
from rerankd.wiring.registry import open_registry

PAGE_SIZE = 100
KINDS = ("experiment", "model")
MODEL_ACTIONS = ("promote", "rollback")
ALL_ACTIONS = (*ACTIONS, "rollback")


class HistoryQuery(BaseModel):
    """Parameters of the page."""

    kind: Literal["experiment", "model"] | None = None
    name: str | None = Field(None, max_length=100, pattern=NO_NUL)
    who: str = Field("", max_length=200, pattern=NO_NUL)
    action: str | None = Field(None, max_length=20, pattern=NO_NUL)
    before: float | None = None


class HistoryPages:
    """The page of all decisions, for administrators."""

    def __init__(self, service: Service) -> None:
        self._service = service
        follower = service.follower
        self._registry = open_registry(service.settings) if follower is None else follower.registry
        self._call = StoreCaller("model registry").call

    async def list(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """List decisions, newest first; without the registry those on experiments alone."""
        visitor.require_admin()
        query, fault = query_of(request, HistoryQuery), ""
        entries: list[dict[str, Any]] = []
        if query.kind != "model":
            entries += [
                experiment_entry(event) for event in await self._service.trace_service.call(self._events, query)
            ]
        if query.kind != "experiment" and self._has_registry():
            try:
                entries += [model_entry(move) for move in select_moves(await self._call(self._registry.moves), query)]
            except RerankdError as error:
                fault = error.message
        entries.sort(key=lambda entry: float(entry["time"]), reverse=True)
        listed = entries[:PAGE_SIZE]
        return {
            "entries": listed,
            "older": listed[-1]["time"] if len(entries) > PAGE_SIZE else None,
            "filter": query.model_dump(),
            "kinds": list(KINDS),
            "actions": list(ALL_ACTIONS),
            "fault": fault,
        }

    def _has_registry(self) -> bool:
        store = self._registry.store
        return self._service.settings.registry is not None or store.path is None or store.path.is_file()

    def _events(self, query: HistoryQuery) -> Sequence[ExperimentEvent]:
        store = ExperimentStore(self._service.trace_service.store)
        # One more than are shown tells whether there are older ones.
        return store.events(query.name, PAGE_SIZE + 1, author=query.who, action=query.action, before=query.before)


def select_moves(moves: Sequence[AliasMove], query: HistoryQuery) -> list[AliasMove]:
    """Return the moves that a query asks for."""
    return [
        move
        for move in moves
        if query.name in (None, move.name)
        and query.who in move.user
        and query.action in (None, move.action)
        and (query.before is None or move.when < query.before)
    ]


def experiment_entry(event: ExperimentEvent) -> dict[str, Any]:
    """Return a decision on an experiment."""
    return {
        "time": event.time,
        "kind": "experiment",
        "name": event.experiment,
        "page": f"{CONSOLE}/experiments/{quote(event.experiment)}",
        "action": event.action,
        "is_known": event.action in ACTIONS,
        "author": event.author,
        "reason": event.reason,
        "coverage": event.coverage,
        "before": None,
        "after": None,
        "forced": False,
    }


def model_entry(move: AliasMove) -> dict[str, Any]:
    """Return a decision on a champion."""
    return {
        "time": move.when,
        "kind": "model",
        "name": move.name,
        "page": f"{CONSOLE}/models/{quote(move.name)}",
        "action": move.action,
        "is_known": True,
        "author": move.user,
        "reason": move.reason,
        "coverage": None,
        "before": move.before,
        "after": move.after,
        "forced": move.forced,
    }


def register(router: ConsoleRouter, service: Service) -> None:
    """Register the page of all decisions."""
    router.page("/history", "history.html", HistoryPages(service).list)
