"""The pages of models: what is served, what is registered, and the decisions on the champion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from fastapi import Response
from pydantic import BaseModel, Field
from starlette.datastructures import FormData
from starlette.requests import Request

from rerankd.console.decision_form import ReasonForm, conflict
from rerankd.console.model_view import difference_rows, memory, model_content, served_models, version_content
from rerankd.console.router import ConsoleRouter, form_of, query_of, redirect
from rerankd.console.visitor import Visitor
from rerankd.errors import ConflictError, NotFoundError, RerankdError
from rerankd.registry.registry import Registry
from rerankd.registry.version import AliasMove, validate_name
from rerankd.server.service import Service
from rerankd.server.store_calls import StoreCaller
from rerankd.wiring.registry import open_registry

LIST, PAGE = "/models", "/models/{name}"
MOVE_SECONDS = 900.0  # a promotion downloads the version and checks its files
Notice = Literal["promoted", "rolled_back", "unchanged", "conflict"]
NOTICES: tuple[Notice, ...] = get_args(Notice)


class ModelQuery(BaseModel):
    """Parameters of the page of a registered model: two versions or aliases to compare."""

    a: str | None = Field(None, max_length=100)
    b: str | None = Field(None, max_length=100)
    notice: Notice | None = None


class MoveForm(ReasonForm):
    """Fields of a decision on the champion; `champion` is the version that the page showed, 0 for none."""

    champion: int = Field(ge=0)
    force: bool = False


class PromoteForm(MoveForm):
    """Fields of a promotion."""

    version: int = Field(ge=1)


class ModelPages:
    """Pages and actions of models. All are for administrators."""

    def __init__(self, service: Service) -> None:
        self._service = service
        follower = service.follower
        self._registry: Registry = open_registry(service.settings) if follower is None else follower.registry
        self._needs_signature = service.settings.gate_key is not None
        self._call = StoreCaller("model registry").call
        self._move = StoreCaller("model registry", seconds=MOVE_SECONDS, limit=4).call

    async def list(self, _: Request, visitor: Visitor) -> Mapping[str, Any]:
        """List the served models and the registered ones."""
        visitor.require_admin()
        return {
            "served": served_models(self._service),
            "memory": memory(self._service),
            "registry": await self._registered(),
        }

    async def _registered(self) -> dict[str, Any]:
        store, is_set = self._registry.store, self._service.settings.registry is not None
        content = {"where": store.where, "is_set": is_set, "exists": True, "error": None, "models": []}
        if not is_set and store.path is not None and not store.path.is_file():
            return content | {"exists": False}
        try:
            models = await self._call(self._registry.models)
        except RerankdError as error:
            return content | {"error": {"message": error.message, "hint": error.hint}}
        return content | {
            "models": [
                {"name": name, "aliases": dict(aliases), "is_usable": _is_usable(name)}
                for name, aliases in models.items()
            ]
        }

    async def show(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """Show a registered model: versions, history, and the difference of two versions."""
        visitor.require_admin()
        query, name = query_of(request, ModelQuery), _name_of(request)
        content = await self._call(self._show, name, query)
        followers = [
            model["name"]
            for model in served_models(self._service)
            if (model["alias"] or "").startswith(f"registry:{name}@")
        ]
        return content | {"followers": followers, "notice": query.notice, "a": query.a, "b": query.b}

    def _show(self, name: str, query: ModelQuery) -> dict[str, Any]:
        content = model_content(name, self._registry.history(name), needs_signature=self._needs_signature)
        if not (query.a and query.b):
            return content | {"differences": None}
        return content | {"differences": difference_rows(self._registry.diff(name, query.a, query.b))}

    async def version(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """Show a version: its metrics, origin, files and gate record."""
        visitor.require_admin()
        number = str(request.path_params["number"])
        if not (number.isascii() and number.isdecimal()):
            raise NotFoundError(f"There is no version {number[:40]!r}.", hint="See the list of versions.")
        return await self._call(self._version, _name_of(request), number)

    def _version(self, name: str, number: str) -> dict[str, Any]:
        version = self._registry.resolve(name, number)
        gate = self._registry.gate_record(version)
        champion = self._registry.store.aliases(name).get("champion")
        content = version_content(version, gate, needs_signature=self._needs_signature)
        return content | {"champion": champion}

    async def promote(self, request: Request, visitor: Visitor, form: FormData) -> Response:
        """Make a version the champion."""
        visitor.require_admin()
        name, wanted = _name_of(request), form_of(form, PromoteForm)

        def promote() -> AliasMove:
            return self._registry.promote(
                name, wanted.version, wanted.reason, force=wanted.force, user=visitor.name, seen=wanted.champion
            )

        return await self._decide(request, name, promote, "promoted")

    async def rollback(self, request: Request, visitor: Visitor, form: FormData) -> Response:
        """Make the previous version the champion again."""
        visitor.require_admin()
        name, wanted = _name_of(request), form_of(form, MoveForm)

        def rollback() -> AliasMove:
            return self._registry.rollback(
                name, wanted.reason, force=wanted.force, user=visitor.name, seen=wanted.champion
            )

        return await self._decide(request, name, rollback, "rolled_back")

    async def _decide(self, request: Request, name: str, move: Callable[[], AliasMove], notice: Notice) -> Response:
        try:
            made = await self._move(move)
        except ConflictError as error:
            return conflict(request, f"{LIST}/{name}", error)
        return redirect(request, f"{LIST}/{name}?notice={notice if made.changed else 'unchanged'}")


def _name_of(request: Request) -> str:
    return validate_name(str(request.path_params["name"]))


def _is_usable(name: str) -> bool:
    """Return True for a name that rerankd could have given; others belong to other programs."""
    try:
        return bool(validate_name(name))
    except RerankdError:
        return False


def register(router: ConsoleRouter, service: Service) -> None:
    """Register the pages of models."""
    pages = ModelPages(service)
    router.page(LIST, "models.html", pages.list)
    router.page(f"{PAGE}/versions/{{number}}", "model_version.html", pages.version)
    router.page(PAGE, "model.html", pages.show)
    router.action(f"{PAGE}/promote", "model.html", pages.promote)
    router.action(f"{PAGE}/rollback", "model.html", pages.rollback)
