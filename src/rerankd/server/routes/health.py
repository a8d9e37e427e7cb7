"""Routes for operators: liveness, readiness, metrics."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Response

from rerankd.server.observability import metrics
from rerankd.server.responses import json_response
from rerankd.server.schemas.openapi import operation, operation_id
from rerankd.server.schemas.openapi_errors import RETRY_AFTER
from rerankd.server.schemas.responses.health import InfinityHealth, LivenessResponse, ReadinessResponse
from rerankd.server.service import Service


class HealthRoutes:
    """Handlers of liveness and readiness probes and of metrics."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def livez(self) -> Response:
        """Liveness probe: 200 while the process works, 503 when only a restart helps."""
        alive = self._service.alive
        return _probe_response({"status": "ok" if alive else "stuck"}, alive)

    async def infinity(self) -> Response:
        """Readiness probe as Infinity's: 200 with the time while the service is ready."""
        readiness = await self._service.ready()
        return _probe_response({"unix": time.time()}, readiness.ready)

    async def readyz(self) -> Response:
        """Readiness probe that scores a real pair: 200, or 503 with the reason."""
        readiness = await self._service.ready()
        body: dict[str, Any] = (
            {"status": "ready"} if readiness.ready else {"status": "not ready", "reason": readiness.reason}
        )
        follower = self._service.follower
        if follower is not None and follower.followed:
            body["registry"] = follower.details()
        if details := self._service.details:
            body["details"] = details
        return _probe_response(body, readiness.ready)

    async def metrics(self) -> Response:
        """Return the metrics in the Prometheus text format."""
        return Response(self._service.metrics.text(), media_type=metrics.CONTENT_TYPE)


def _probe_response(content: dict[str, Any], healthy: bool) -> Response:
    return json_response(content) if healthy else json_response(content, 503, {"retry-after": "1"})


def _probe(name: str, title: str, answer: Any) -> dict[str, Any]:
    """Return the description of a probe; its answer has the same form when it fails."""
    described = operation(name, title, answer, is_open=True)
    failed = {"description": "It is not; a proxy asks the next instance.", "headers": RETRY_AFTER}
    described["responses"] |= {503: {**described["responses"][200], **failed}}
    return described


def health_router(service: Service) -> APIRouter:
    """Return the routes for operators; `/health` and `/ping` are `/readyz` by the names that TEI uses."""
    router, health = APIRouter(tags=["health"]), HealthRoutes(service)
    router.add_api_route("/livez", health.livez, methods=["GET"], **_probe("livez", "Liveness", LivenessResponse))
    router.add_api_route("/livez", health.livez, methods=["HEAD"], include_in_schema=False)
    for path in ("/readyz", "/health", "/ping"):
        described = _probe(path[1:], "Readiness", ReadinessResponse)
        router.add_api_route(path, health.readyz, methods=["GET"], **described)
        router.add_api_route(path, health.readyz, methods=["HEAD"], include_in_schema=False)
    for path in ("/infinity/health", "/infinity/v1/health"):
        described = _probe(operation_id(path), "Readiness for clients of Infinity", InfinityHealth)
        router.add_api_route(path, health.infinity, methods=["GET"], **described)
    text = {metrics.CONTENT_TYPE.partition(";")[0]: {"type": "string"}}
    described = operation("get_metrics", "Metrics for Prometheus", None, media=text)
    router.add_api_route("/metrics", health.metrics, methods=["GET"], **described)
    return router
