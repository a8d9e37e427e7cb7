"""Route of feedback."""

from __future__ import annotations

import asyncio

import orjson
from fastapi import APIRouter, Request, Response

from rerankd.errors import NotFoundError
from rerankd.server.context import current_request
from rerankd.server.request_parsing import parse_json, validated
from rerankd.server.schemas.feedback import FeedbackItem, FeedbackRequestBody
from rerankd.server.service import Service


class FeedbackRoutes:
    """Handler of feedback. A key can give feedback on its own requests only."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def add(self, request: Request) -> Response:
        """Add feedback on rankings: clicks, citations, thumbs or grades; the trace of a request may arrive later."""
        if self._service.traces is None:
            raise NotFoundError("This service writes no traces.", hint="Set traces = true.")
        content = parse_json(await request.body(), self._service.settings.max_json_depth)
        if "items" not in content:
            one = validated(FeedbackItem, content)
            body = FeedbackRequestBody(request_id=None, items=[one])
        else:
            body = validated(FeedbackRequestBody, content)
        key = current_request.get().key
        known = await asyncio.to_thread(self._service.trace_service.add_feedback, body.feedback(key.id if key else ""))
        count = len(body.items)
        self._service.metrics.feedback.inc(count)
        return Response(
            orjson.dumps({"object": "feedback", "accepted": count, "pending": count - known}),
            202,
            media_type="application/json",
        )


def feedback_router(service: Service) -> APIRouter:
    """Return the route of feedback."""
    router, opinions = APIRouter(tags=["feedback"]), FeedbackRoutes(service)
    one, many = FeedbackItem.model_json_schema(), FeedbackRequestBody.model_json_schema()
    del many["$defs"]
    many["properties"]["items"]["items"] = one
    body = {"required": True, "content": {"application/json": {"schema": {"anyOf": [one, many]}}}}
    router.add_api_route(
        "/v1/feedback", opinions.add, methods=["POST"], status_code=202, openapi_extra={"requestBody": body}
    )
    return router
