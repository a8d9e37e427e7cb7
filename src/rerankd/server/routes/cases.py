"""Routes of bad cases and of recent activity. A key sees its own requests only."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel

from rerankd.errors import NotFoundError
from rerankd.server.context import current_request
from rerankd.server.request_parsing import parse_json, validated
from rerankd.server.schemas.cases import MAX_LISTED, CaseRequestBody, FlagRequestBody, StateName
from rerankd.server.service import Service

Number = Annotated[int, Path(description="Number of the case.")]


class CaseRoutes:
    """Handlers of bad cases and activity."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def flag(self, request: Request) -> Response:
        """Flag a ranking as a bad case."""
        self._check()
        body = validated(FlagRequestBody, parse_json(await request.body(), self._service.settings.max_json_depth))
        desk = self._service.trace_service
        new = await asyncio.to_thread(desk.flag, body.request_id, _tenant(), body.index, body.note)
        return _answer({"object": "case", "new": new}, 202)

    async def list(
        self,
        state: Annotated[StateName | None, Query(description="Only cases in this state.")] = None,
        detector: Annotated[str | None, Query(max_length=40, description="Only cases of this detector.")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_LISTED, description="Maximum number of cases.")] = 50,
    ) -> Response:
        """List cases, the worst first."""
        from rerankd.feedback.case_store import CaseFilter

        self._check()
        wanted = CaseFilter(_tenant(), state, detector)
        found = await asyncio.to_thread(self._service.trace_service.cases, wanted, limit)
        return _answer({"object": "list", "data": [_summary(asdict(one)) for one in found]})

    async def one(self, case: Number) -> Response:
        """Show a case with its candidates and labels."""
        self._check()
        found = await asyncio.to_thread(self._service.trace_service.case, case, _tenant())
        return _answer({"object": "case", **asdict(found)})

    async def change(self, case: Number, request: Request) -> Response:
        """Label a case, or change its state."""
        self._check()
        body = validated(CaseRequestBody, parse_json(await request.body(), self._service.settings.max_json_depth))
        desk = self._service.trace_service
        found = await asyncio.to_thread(desk.change_case, case, _tenant(), body.grades, body.state, body.note)
        return _answer({"object": "case", **asdict(found)})

    async def activity(self) -> Response:
        """Return reranking activity by model and tenant, in the window of the settings."""
        from rerankd.feedback.monitoring import MonitorWindows

        self._check()
        settings = self._service.settings
        windows = MonitorWindows(settings.monitor_window, settings.monitor_reference)
        found = await asyncio.to_thread(self._service.trace_service.activity, _tenant(), windows)
        return _answer({"object": "list", "data": [asdict(row) for row in found]})

    def _check(self) -> None:
        if self._service.traces is None:
            raise NotFoundError("This service writes no traces.", hint="Set traces = true.")


def _tenant() -> str | None:
    """Return the tenant whose cases the request may see; None for all, where no keys are required."""
    key = current_request.get().key
    return key.id if key else None


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "candidates"}


def _answer(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def case_router(service: Service) -> APIRouter:
    """Return the routes of cases and activity."""
    router, cases = APIRouter(tags=["cases"]), CaseRoutes(service)

    def reads(model: type[BaseModel]) -> dict[str, Any]:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        for name, part in schema.pop("$defs", {}).items():  # the only nested one is a list's item
            schema["properties"]["labels"]["items"] = part | {"title": name}
        return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}

    router.add_api_route(
        "/v1/cases", cases.flag, methods=["POST"], status_code=202, openapi_extra=reads(FlagRequestBody)
    )
    router.add_api_route("/v1/cases", cases.list, methods=["GET"])
    router.add_api_route("/v1/cases/{case}", cases.one, methods=["GET"])
    router.add_api_route("/v1/cases/{case}", cases.change, methods=["POST"], openapi_extra=reads(CaseRequestBody))
    router.add_api_route("/v1/activity", cases.activity, methods=["GET"])
    return router
