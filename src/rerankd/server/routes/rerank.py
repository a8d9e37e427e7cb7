"""Routes that rank and score, in every dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from rerankd.pipeline.scores import ModelScores
from rerankd.pipeline.unhonoured import unknown_model_warnings
from rerankd.ranking.activation import activate
from rerankd.ranking.order import usage_of
from rerankd.server.auth.usage import UsageMeter
from rerankd.server.context import current_request
from rerankd.server.disconnect import cancel_on_disconnect
from rerankd.server.ranking_request import read_origin, to_rerank_request
from rerankd.server.request_parsing import read_json, validated
from rerankd.server.responses import json_response, version_headers, warning_headers
from rerankd.server.routes.batch import BATCH_PATHS, add_batch_routes
from rerankd.server.schemas import dialects
from rerankd.server.schemas.base import check_count
from rerankd.server.schemas.dialects import Dialect
from rerankd.server.schemas.openapi import SCORING_HEADERS, operation, operation_id
from rerankd.server.schemas.openapi_errors import SCORING
from rerankd.server.schemas.rerank import InfinityRequestBody, RerankRequestBody, VoyageRequestBody
from rerankd.server.schemas.responses.dialects import (
    InfinityRerankResponse,
    ScoreResponse,
    TeiPrediction,
    TeiRankedText,
    VoyageRerankResponse,
)
from rerankd.server.schemas.responses.rerank import RerankResponse
from rerankd.server.schemas.score import SIDES, ScoreRequestBody
from rerankd.server.schemas.tei import PredictRequestBody, TeiRequestBody
from rerankd.server.service import Service
from rerankd.types import PairScore, RerankRequest, RerankResult

UNION_PATHS = ("/rerank", "/v1/rerank", "/v2/rerank", "/v3/rerank", "/reranking", "/v1/reranking")
INVOCATIONS_PATH = "/invocations"
TEI_PATHS = ("/", INVOCATIONS_PATH)
INFINITY_PATHS = ("/infinity/rerank", "/infinity/v1/rerank")
VOYAGE_PATHS = ("/voyage/rerank", "/voyage/v1/rerank")
SCORE_PATHS = ("/score", "/v1/score")
PREDICT_PATHS = ("/predict",)
SCORING_PATHS = (*UNION_PATHS, *TEI_PATHS, *INFINITY_PATHS, *VOYAGE_PATHS, *SCORE_PATHS, *PREDICT_PATHS, *BATCH_PATHS)
_DIALECTS: dict[str, dialects.Dialect] = {
    **dict.fromkeys(INFINITY_PATHS, "infinity"),
    **dict.fromkeys(VOYAGE_PATHS, "voyage"),
}
_BODIES: dict[dialects.Dialect, type[RerankRequestBody]] = {
    "infinity": InfinityRequestBody,
    "voyage": VoyageRequestBody,
}


@dataclass(frozen=True, slots=True)
class _Cost:
    """Cost of a result, for the response headers, the log and the metrics.

    Attributes:
        model: name of the model that scored.
        version: its exact version.
        experiment: experiment and variant; empty for none.
        tokens: tokens that were computed.
        timings: milliseconds by step.
    """

    model: str
    version: str
    experiment: str
    tokens: int
    timings: Mapping[str, float]


class RerankRoutes:
    """Handlers of the requests that rank and score.

    Args:
        service: the instance.
    """

    def __init__(self, service: Service) -> None:
        self._service, self._meter = service, UsageMeter(service.quotas)

    async def rerank(self, request: Request) -> Response:
        """Rank documents by relevance to a query."""
        service, context = self._service, current_request.get()
        service.check_started()
        with service.tracing.request(request.url.path, request.headers) as context.span:
            async with self._meter.refund_on_error():
                payload, content = await read_json(request, service.settings)
                if request.scope["route"].path == INVOCATIONS_PATH and not SIDES.isdisjoint(content):
                    return await self._score_body(request, payload, validated(ScoreRequestBody, content))
                body = self._validate(request, content)
                ranking = to_rerank_request(body, service.settings, read_origin(request, payload, service.settings))
                context.fields["documents"] = len(ranking.documents)
                async with cancel_on_disconnect(request):
                    result = await service.pipeline.run(ranking, self._meter.charge())
                if context.span is not None:
                    context.span.describe_ranking(ranking, result)
                cost = _Cost(
                    result.model, result.version, result.experiment, result.computed_tokens or 0, result.timings
                )
                warnings = [*body.warnings, *result.warnings, *unknown_model_warnings(service.pool, body.model)]
                warnings += dialects.truncation_warnings(result.usage.truncated, result.usage.scored)
                return await self._respond(self._content(request, body, result, warnings), cost, warnings)

    async def score(self, request: Request) -> Response:
        """Score pairs in the order of the input, as vLLM does."""
        return await self._score(request, ScoreRequestBody)

    async def predict(self, request: Request) -> Response:
        """Score pairs, as text-embeddings-inference's `/predict` does."""
        return await self._score(request, PredictRequestBody)

    def _validate(self, request: Request, content: dict[str, Any]) -> RerankRequestBody | TeiRequestBody:
        """Validate a body in the dialect that its path and its fields tell; errors are in that dialect from now on."""
        context = current_request.get()
        if "texts" in content and "documents" not in content:
            if context.dialect != "voyage":
                context.dialect = "tei"
            return validated(TeiRequestBody, content)
        context.dialect = _DIALECTS.get(request.scope["route"].path, "union")
        return validated(_BODIES.get(context.dialect, RerankRequestBody), content)

    def _content(
        self,
        request: Request,
        body: RerankRequestBody | TeiRequestBody,
        result: RerankResult,
        warnings: Sequence[str],
    ) -> Any:
        """Return the content of the response, in the dialect of the request."""
        if isinstance(body, TeiRequestBody):
            return dialects.tei_response(result, texts=bool(body.return_text))
        dialect, returned = current_request.get().dialect, body.returned_document if body.return_documents else None
        if dialect == "infinity":
            return dialects.infinity_response(result, returned=returned)
        if dialect == "voyage":
            return dialects.voyage_response(result, returned=returned)
        version = "2" if request.url.path.startswith("/v2") else "1"
        return dialects.union_response(
            result, returned=returned, version=version, warnings=warnings, explain=bool(body.explain)
        )

    async def _score(self, request: Request, model: type[ScoreRequestBody] | type[PredictRequestBody]) -> Response:
        """Score pairs; those of one query are scored as one group."""
        service, context = self._service, current_request.get()
        service.check_started()
        with service.tracing.request(request.url.path, request.headers) as context.span:
            async with self._meter.refund_on_error():
                payload, content = await read_json(request, service.settings)
                if model is PredictRequestBody:
                    context.dialect = "tei"
                return await self._score_body(request, payload, validated(model, content))

    async def _score_body(
        self, request: Request, payload: bytes, body: ScoreRequestBody | PredictRequestBody
    ) -> Response:
        service, pairs = self._service, body.pairs()
        check_count(len(pairs), "the request", service.settings)
        positions = _positions_by_query(pairs)
        groups = [(query, [pairs[position][1] for position in group]) for query, group in positions.items()]
        template = to_rerank_request(body, service.settings, read_origin(request, payload, service.settings))
        current_request.get().fields["documents"] = len(pairs)
        async with cancel_on_disconnect(request):
            scores = await service.pipeline.score(groups, template, self._meter.charge())
        result = scores.result
        by_position: dict[int, PairScore] = {}
        for group, group_scores in zip(positions.values(), result.scores, strict=True):
            by_position |= zip(group, group_scores, strict=True)
        usage = usage_of([by_position[position] for position in range(len(pairs))])
        warnings = [*body.warnings, *scores.warnings, *unknown_model_warnings(service.pool, body.model)]
        warnings += dialects.truncation_warnings(usage.truncated, usage.pairs)
        logits = [by_position[position].raw_score for position in range(len(pairs))]
        content = _score_content(body, template, logits, scores.model, usage.tokens, warnings)
        return await self._respond_scores(content, scores, warnings)

    async def _respond_scores(self, content: Any, scores: ModelScores, warnings: Sequence[str]) -> Response:
        """Return the response to a request that was scored and not ranked."""
        tokens, timings = scores.result.computed_tokens, scores.result.timings
        cost = _Cost(scores.model, scores.version, scores.experiment_label, tokens, timings)
        return await self._respond(content, cost, warnings)

    async def _respond(self, content: Any, cost: _Cost, warnings: Sequence[str]) -> Response:
        """Settle the charge, note the cost in log, trace and metrics, and return the response."""
        await self._meter.settle(cost.tokens)
        context, metrics = current_request.get(), self._service.metrics
        documents = context.fields.get("documents", 0)
        context.fields |= {"model": cost.model, "version": cost.version, "tokens": cost.tokens}
        if cost.experiment:
            context.fields["experiment"] = cost.experiment
        if context.span is not None:
            attributes = {
                "rerankd.model": cost.model,
                "rerankd.version": cost.version,
                "rerankd.documents": documents,
                "rerankd.tokens": cost.tokens,
                "rerankd.request_id": context.request_id,
            }
            context.span.describe(attributes, cost.timings)
        metrics.answers.labels(cost.model, cost.version).inc()
        metrics.documents.labels(cost.model).observe(documents)
        metrics.queue.labels(cost.model).observe(cost.timings["queue"] / 1000)
        metrics.inference.labels(cost.model).observe(cost.timings["inference"] / 1000)
        headers = {
            "x-tokenization-time": f"{cost.timings['tokenization']:.3f}",
            "x-queue-time": f"{cost.timings['queue']:.3f}",
            "x-inference-time": f"{cost.timings['inference']:.3f}",
            "x-compute-tokens": str(cost.tokens),
            **version_headers(cost.version, cost.experiment),
            **warning_headers(warnings),
        }
        return json_response(content, headers=headers)


def _positions_by_query(pairs: Sequence[tuple[str, str]]) -> dict[str, list[int]]:
    """Return the positions of the pairs of each query."""
    positions: dict[str, list[int]] = {}
    for position, (query, _) in enumerate(pairs):
        positions.setdefault(query, []).append(position)
    return positions


def _score_content(
    body: ScoreRequestBody | PredictRequestBody,
    request: RerankRequest,
    logits: Sequence[float],
    model: str,
    tokens: int,
    warnings: Sequence[str],
) -> Any:
    """Return the content of the response to `/score` or `/predict`."""
    scores = activate(logits, request.activation).tolist()
    if isinstance(body, PredictRequestBody):
        return body.to_response(scores)
    return dialects.score_response(scores, model, tokens, request.request_id, warnings)


@dataclass(frozen=True, slots=True)
class _Family:
    """Routes that take the same bodies and give the same answers."""

    paths: Sequence[str]
    title: str
    description: str
    answer: Any
    bodies: Sequence[type[BaseModel]]
    dialects: Sequence[Dialect]

    def described(self, path: str) -> dict[str, Any]:
        """Return the description of one route."""
        described = operation(
            _NAMES.get(path) or operation_id(path),
            self.title,
            self.answer,
            bodies=self.bodies,
            errors=SCORING,
            dialects=self.dialects,
            headers=SCORING_HEADERS,
        )
        return {"description": self.description, **described}


_NAMES = {"/": "rerank_tei", "/rerank": "rerank_unversioned", "/v1/rerank": "rerank"}
_NAMES |= {"/score": "score_unversioned", "/v1/score": "score"}
_FAMILIES = (
    _Family(
        UNION_PATHS,
        "Rank documents",
        "Rank documents for clients of Cohere v1 and v2, Jina, vLLM, Xinference, llama.cpp and OpenVINO Model Server; "
        "with texts, of TEI.",
        RerankResponse | list[TeiRankedText],
        (RerankRequestBody, TeiRequestBody),
        ("union", "tei"),
    ),
    _Family(
        TEI_PATHS[:1],
        "Rank texts for clients of TEI",
        "Rank texts for clients of text-embeddings-inference; with documents, as /v1/rerank does.",
        list[TeiRankedText] | RerankResponse,
        (TeiRequestBody, RerankRequestBody),
        ("tei", "union"),
    ),
    _Family(
        TEI_PATHS[1:],
        "Rank or score for clients of SageMaker",
        "Rank texts or documents, or score pairs like `/score`, whichever the fields of the body ask for.",
        list[TeiRankedText] | RerankResponse | ScoreResponse,
        (TeiRequestBody, RerankRequestBody, ScoreRequestBody),
        ("tei", "union"),
    ),
    _Family(
        INFINITY_PATHS,
        "Rank documents for clients of Infinity",
        "Rank documents for clients of Infinity; texts are plain strings.",
        InfinityRerankResponse | list[TeiRankedText],
        (RerankRequestBody, TeiRequestBody),
        ("infinity", "tei"),
    ),
    _Family(
        VOYAGE_PATHS,
        "Rank documents for clients of Voyage",
        "Rank documents for clients of Voyage.",
        VoyageRerankResponse | list[TeiRankedText],
        (RerankRequestBody, TeiRequestBody),
        ("voyage",),
    ),
)
_SCORE = _Family(
    SCORE_PATHS,
    "Score pairs",
    "Score pairs in the order of the input, as vLLM does.",
    ScoreResponse,
    (ScoreRequestBody,),
    ("union",),
)
_PREDICT = _Family(
    PREDICT_PATHS,
    "Score pairs for clients of TEI",
    "Score pairs, as text-embeddings-inference's `/predict` does.",
    list[list[TeiPrediction]] | list[TeiPrediction],
    (PredictRequestBody,),
    ("tei",),
)


def rerank_router(service: Service) -> APIRouter:
    """Return the routes that rank and score."""
    router, routes = APIRouter(tags=["rerank"]), RerankRoutes(service)
    handlers = {**dict.fromkeys(_FAMILIES, routes.rerank), _SCORE: routes.score, _PREDICT: routes.predict}
    for family, handler in handlers.items():
        for path in family.paths:
            router.add_api_route(path, handler, methods=["POST"], **family.described(path))
    add_batch_routes(router, service)
    return router
