"""Route that ranks for many queries in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response

from rerankd.errors import InvalidRequestError, RerankdError
from rerankd.pipeline.batch import run_batch
from rerankd.pipeline.unhonoured import unknown_model_warnings
from rerankd.server.auth.usage import UsageMeter
from rerankd.server.context import current_request
from rerankd.server.disconnect import cancel_on_disconnect
from rerankd.server.ranking_request import RequestOrigin, read_origin, shortest, to_rerank_request
from rerankd.server.request_parsing import LARGE_BODY, read_content
from rerankd.server.responses import json_response
from rerankd.server.schemas import dialects
from rerankd.server.schemas.batch import Batch, BatchRequestBody, read_batch
from rerankd.server.schemas.openapi import SCORING_HEADERS, operation, reference, request_body
from rerankd.server.schemas.openapi_errors import SCORING
from rerankd.server.schemas.rerank import RerankRequestBody
from rerankd.server.schemas.responses.batch import BatchResponse
from rerankd.server.service import Service
from rerankd.types import RerankRequest, RerankResult

BATCH_PATHS = ("/v1/rerank/batch",)
STEPS = ("tokenization", "queue", "inference")
Parsed = tuple[RerankRequestBody, RerankRequest] | RerankdError


class BatchRoutes:
    """Handler of many rankings in one call.

    Args:
        service: the instance.
    """

    def __init__(self, service: Service) -> None:
        self._service, self._meter = service, UsageMeter(service.quotas)

    async def rank(self, request: Request) -> Response:
        """Rank documents for many queries; each ranking has results or an error, in the order of the request."""
        service, context = self._service, current_request.get()
        service.check_started()
        with service.tracing.request(request.url.path, request.headers) as context.span:
            async with self._meter.refund_on_error():
                payload, content = await read_content(request, service.settings)
                batch = read_batch(content, service.settings)
                origin = read_origin(request, payload, service.settings)
                if len(payload) > LARGE_BODY:  # other requests wait on this thread
                    parsed = await asyncio.to_thread(self._parse, batch, origin)
                else:
                    parsed = self._parse(batch, origin)
                async with cancel_on_disconnect(request):
                    done = await run_batch(
                        service.pipeline,
                        service.pool,
                        [one if isinstance(one, RerankdError) else one[1] for one in parsed],
                        timeout=shortest(batch.timeout, origin.timeout),
                        charge=self._meter.charge_batch(),
                    )
                await self._meter.settle(done.tokens)
                return self._response(parsed, done.outcomes)

    def _parse(self, batch: Batch, origin: RequestOrigin) -> list[Parsed]:
        """Return each ranking with its body, or the error of one whose input cannot be used."""
        parsed: list[Parsed] = []
        for position in range(len(batch.rows)):
            try:
                body = batch.body(position)
                own = replace(origin, request_id=item_id(origin.request_id, position), timeout=None)
                parsed.append((body, to_rerank_request(body, self._service.settings, own)))
            except RerankdError as error:
                parsed.append(error)
        return parsed

    def _response(self, parsed: Sequence[Parsed], outcomes: Sequence[RerankResult | RerankdError]) -> Response:
        request_id = current_request.get().request_id
        rows = []
        for position, (one, outcome) in enumerate(zip(parsed, outcomes, strict=True)):
            if isinstance(outcome, RerankdError) or isinstance(one, RerankdError):
                error = outcome if isinstance(outcome, RerankdError) else InvalidRequestError("The ranking is invalid.")
                rows.append(_error_row(error, position, item_id(request_id, position)))
            else:
                rows.append(self._result_row(one[0], outcome, position))
        results = [outcome for outcome in outcomes if isinstance(outcome, RerankResult)]
        self._note(results, len(outcomes))
        tokens = sum(result.usage.tokens for result in results)
        content = {
            "id": request_id,
            "results": rows,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "meta": {"succeeded": len(results), "failed": len(outcomes) - len(results)},
        }
        longest = {step: max((result.timings[step] for result in results), default=0.0) for step in STEPS}
        headers = {f"x-{step}-time": f"{longest[step]:.3f}" for step in STEPS}
        return json_response(content, headers=headers | {"x-compute-tokens": str(_computed(results))})

    def _result_row(self, body: RerankRequestBody, result: RerankResult, position: int) -> dict[str, Any]:
        warnings = [*body.warnings, *result.warnings, *unknown_model_warnings(self._service.pool, body.model)]
        warnings += dialects.truncation_warnings(result.usage.truncated, result.usage.scored)
        returned = body.returned_document if body.return_documents else None
        row = dialects.union_response(
            result, returned=returned, version="1", warnings=warnings, explain=bool(body.explain)
        )
        return {"index": position, "status": 200, **row}

    def _note(self, results: Sequence[RerankResult], requests: int) -> None:
        """Note the cost in log, trace and metrics."""
        context, metrics = current_request.get(), self._service.metrics
        documents = sum(result.usage.pairs for result in results)
        models = ", ".join(sorted({result.model for result in results}))
        context.fields |= {"documents": documents, "requests": requests, "failed": requests - len(results)}
        context.fields |= {"model": models, "tokens": _computed(results)}
        if context.span is not None:
            attributes: dict[str, str | int] = {
                "rerankd.model": models,
                "rerankd.documents": documents,
                "rerankd.requests": requests,
            }
            attributes |= {"rerankd.tokens": _computed(results), "rerankd.request_id": context.request_id}
            context.span.describe(attributes, {})
        for result in results:
            metrics.answers.labels(result.model, result.version).inc()
            metrics.documents.labels(result.model).observe(result.usage.pairs)
            metrics.queue.labels(result.model).observe(result.timings["queue"] / 1000)
            metrics.inference.labels(result.model).observe(result.timings["inference"] / 1000)


def item_id(request_id: str, position: int) -> str:
    """Return the request id of one ranking, under which it is traced and gets feedback: that of the call and a number.

    Example:
        >>> item_id("nightly", 3)
        'nightly.3'
    """
    return f"{request_id}.{position}"


def _error_row(error: RerankdError, position: int, request_id: str) -> dict[str, Any]:
    status, body = dialects.error_body(error, "union", request_id)
    return {"index": position, "status": status, "id": request_id, "error": body["error"]}


def _computed(results: Sequence[RerankResult]) -> int:
    return sum(result.computed_tokens or 0 for result in results)


def add_batch_routes(router: APIRouter, service: Service) -> None:
    """Add the route that ranks for many queries in one call."""
    array = {"type": "array", "items": reference(RerankRequestBody), "minItems": 1, "title": "Rankings"}
    description = operation(
        "rerank_batch",
        "Rank documents for many queries",
        BatchResponse,
        errors=SCORING,
        headers=SCORING_HEADERS,
        extra=request_body(reference(BatchRequestBody), array),
    )
    for path in BATCH_PATHS:
        router.add_api_route(path, BatchRoutes(service).rank, methods=["POST"], **description)
