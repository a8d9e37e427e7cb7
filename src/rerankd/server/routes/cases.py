"""Routes of bad cases and of recent activity. A key sees its own requests only."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from rerankd.feedback.labels import ANONYMOUS
from rerankd.server.context import current_request
from rerankd.server.request_parsing import read_body
from rerankd.server.responses import json_response
from rerankd.server.schemas.cases import MAX_LISTED, NO_NUL, CaseRequestBody, FlagRequestBody, StateName
from rerankd.server.schemas.openapi import operation
from rerankd.server.schemas.openapi_errors import TRACES
from rerankd.server.schemas.responses.cases import ActivityList, CaseList, CaseResponse, FlagResponse
from rerankd.server.service import Service

Number = Annotated[int, Path(description="Number of the case.")]


class CaseRoutes:
    """Handlers of bad cases and activity."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def flag(self, request: Request) -> Response:
        """Flag a ranking as a bad case."""
        self._service.check_traces()
        body = await read_body(request, FlagRequestBody, self._service.settings)
        flag = self._service.trace_service.flag
        new = await self._service.trace_service.call(flag, body.request_id, _tenant(), body.index, body.note)
        return json_response({"object": "case", "new": new}, 202)

    async def list(
        self,
        state: Annotated[StateName | None, Query(description="Only cases in this state.")] = None,
        detector: Annotated[
            str | None, Query(max_length=40, pattern=NO_NUL, description="Only cases of this detector.")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_LISTED, description="Maximum number of cases.")] = 50,
    ) -> Response:
        """List cases, the worst first."""
        from rerankd.feedback.case_store import CaseFilter

        self._service.check_traces()
        case_filter = CaseFilter(_tenant(), state, detector)
        cases = await self._service.trace_service.call(self._service.trace_service.cases, case_filter, limit)
        return json_response({"object": "list", "data": [_summary(asdict(case)) for case in cases]})

    async def get(self, case: Number) -> Response:
        """Show a case with its candidates and labels."""
        self._service.check_traces()
        bad_case = await self._service.trace_service.call(self._service.trace_service.case, case, _tenant())
        return json_response({"object": "case", **asdict(bad_case)})

    async def change(self, case: Number, request: Request) -> Response:
        """Label a case, or change its state."""
        self._service.check_traces()
        body = await read_body(request, CaseRequestBody, self._service.settings)
        update = self._service.trace_service.update_case
        key = current_request.get().key
        labeller = key.owner if key else ANONYMOUS
        updated = await self._service.trace_service.call(
            update, case, _tenant(), body.grades, body.state, body.note, labeller
        )
        return json_response({"object": "case", **asdict(updated)})

    async def activity(self) -> Response:
        """Return reranking activity by model and tenant, in the window of the settings."""
        from rerankd.feedback.monitoring import MonitorWindows

        self._service.check_traces()
        settings = self._service.settings
        windows = MonitorWindows(settings.monitor_window, settings.monitor_reference)
        rows = await self._service.trace_service.call(self._service.trace_service.activity, _tenant(), windows)
        return json_response({"object": "list", "data": [asdict(row) for row in rows]})


def _tenant() -> str | None:
    """Return the tenant whose cases the request may see; None for all, where no keys are required."""
    return current_request.get().tenant or None


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "candidates"}


def case_router(service: Service) -> APIRouter:
    """Return the routes of cases and activity."""
    router, routes = APIRouter(tags=["cases"]), CaseRoutes(service)
    flag = operation(
        "flag_ranking", "Flag a ranking", FlagResponse, bodies=[FlagRequestBody], status=202, errors=TRACES
    )
    change = operation("change_case", "Label or close a case", CaseResponse, bodies=[CaseRequestBody], errors=TRACES)
    activity = operation("get_activity", "Get statistics of recent rankings", ActivityList, errors=TRACES)
    cases, case = "/v1/cases", "/v1/cases/{case}"
    router.add_api_route(cases, routes.flag, methods=["POST"], **flag)
    router.add_api_route(
        cases, routes.list, methods=["GET"], **operation("list_cases", "List cases", CaseList, errors=TRACES)
    )
    router.add_api_route(
        case, routes.get, methods=["GET"], **operation("get_case", "Get a case", CaseResponse, errors=TRACES)
    )
    router.add_api_route(case, routes.change, methods=["POST"], **change)
    router.add_api_route("/v1/activity", routes.activity, methods=["GET"], **activity)
    return router
