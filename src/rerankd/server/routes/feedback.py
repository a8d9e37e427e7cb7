"""Route of feedback."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from rerankd.server.auth.feedback_limit import check_feedback_rate, feedback_tokens
from rerankd.server.auth.usage import UsageMeter
from rerankd.server.context import current_request
from rerankd.server.request_parsing import read_json, validated
from rerankd.server.responses import json_response
from rerankd.server.schemas.feedback import FeedbackItem, FeedbackRequestBody
from rerankd.server.schemas.openapi import operation
from rerankd.server.schemas.openapi_errors import TRACES
from rerankd.server.schemas.responses.cases import FeedbackResponse
from rerankd.server.service import Service


class FeedbackRoutes:
    """Handler of feedback. A key can give feedback on its own requests only."""

    def __init__(self, service: Service) -> None:
        self._service, self._meter = service, UsageMeter(service.quotas)

    async def add(self, request: Request) -> Response:
        """Add feedback on rankings: clicks, citations, thumbs or grades; the trace of a request may arrive later."""
        from rerankd.feedback.events import validate_event

        self._service.check_traces()
        _, content = await read_json(request, self._service.settings)
        if "items" in content:
            body = validated(FeedbackRequestBody, content)
        else:
            body = FeedbackRequestBody(request_id=None, items=[validated(FeedbackItem, content)])
        events = [validate_event(event) for event in body.events(current_request.get().tenant)]
        await check_feedback_rate(self._service.quotas, len(events), self._service.settings.feedback_per_minute)
        async with self._meter.refund_on_error():
            if (charge := self._meter.charge()) is not None:
                await charge(feedback_tokens(events))
            stored = await self._service.trace_service.call(self._service.trace_service.add_feedback, events)
        self._service.metrics.feedback.inc(len(events))
        content = {"object": "feedback", "accepted": len(events), "pending": len(events) - stored}
        return json_response(content, 202)


def feedback_router(service: Service) -> APIRouter:
    """Return the route of feedback."""
    router, routes = APIRouter(tags=["feedback"]), FeedbackRoutes(service)
    described = operation(
        "send_feedback",
        "Send feedback",
        FeedbackResponse,
        bodies=[FeedbackItem, FeedbackRequestBody],
        status=202,
        errors=TRACES,
    )
    router.add_api_route("/v1/feedback", routes.add, methods=["POST"], **described)
    return router
