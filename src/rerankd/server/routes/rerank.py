"""The paths that score, in every dialect."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from rerankd._common.validation import to_query
from rerankd.engine.admission import make_retry_key
from rerankd.errors import UnavailableError
from rerankd.pipeline.scores import ModelScores
from rerankd.ranking.activation import activate
from rerankd.server.auth.usage import UsageMeter, cancel_on_disconnect, version_headers
from rerankd.server.context import current_request
from rerankd.server.request_parsing import (
    SESSION_HEADER,
    USER_HEADER,
    check_count,
    fusion_of,
    parse_json,
    timeout_of,
    unit_header,
    validated,
)
from rerankd.server.schemas import dialects
from rerankd.server.schemas.rerank import (
    BaseRequestBody,
    PredictRequestBody,
    RerankRequestBody,
    ScoreRequestBody,
    TeiRequestBody,
)
from rerankd.server.service import Service
from rerankd.types import Activation, Document, RerankRequest, RerankResult, TruncationOverrides

Result = TypeVar("Result")
UNION_PATHS = ("/rerank", "/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking")
TEI_PATHS = ("/", "/invocations")
INFINITY_PATHS = ("/infinity/rerank", "/infinity/v1/rerank")
VOYAGE_PATHS = ("/voyage/rerank", "/voyage/v1/rerank")
SCORE_PATHS = ("/score", "/v1/score")
PREDICT_PATHS = ("/predict",)
SCORING_PATHS = (*UNION_PATHS, *TEI_PATHS, *INFINITY_PATHS, *VOYAGE_PATHS, *SCORE_PATHS, *PREDICT_PATHS)
LARGE_BODY = 256 * 1024


def _described(model: type[BaseModel], *others: type[BaseModel]) -> dict[str, Any]:
    """The request body for OpenAPI; it is read by hand, because its bytes tell the dialect."""
    schemas = [one.model_json_schema(ref_template="#/components/schemas/{model}") for one in (model, *others)]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


class RerankRoutes:
    """Runs the scoring requests of one instance."""

    def __init__(self, service: Service) -> None:
        self._service, self._meter = service, UsageMeter(service)

    async def union(self, request: Request) -> Response:
        """Rank documents: Cohere v1 and v2, Jina, vLLM, Xinference, llama.cpp, Infinity; with `texts`, TEI."""
        return await self._rerank(request, "union")

    async def tei(self, request: Request) -> Response:
        """Rank texts as text-embeddings-inference does."""
        return await self._rerank(request, "tei")

    async def infinity(self, request: Request) -> Response:
        """Rank documents as Infinity does: texts come back as plain strings."""
        return await self._rerank(request, "infinity")

    async def voyage(self, request: Request) -> Response:
        """Rank documents as Voyage does."""
        return await self._rerank(request, "voyage")

    async def score(self, request: Request) -> Response:
        """Score pairs in their order, as vLLM does."""
        return await self._traced(request, self._score_pairs(request))

    async def predict(self, request: Request) -> Response:
        """Score pairs as text-embeddings-inference's `/predict` does."""
        return await self._traced(request, self._predict_pairs(request))

    async def _traced(self, request: Request, answer: Coroutine[Any, Any, Response]) -> Response:
        """Answer inside a span; what we failed or refused costs nothing."""
        log = current_request.get()
        if not self._service.started:  # a proxy goes to the next instance, rather than wait for the model
            answer.close()
            raise UnavailableError("The service is starting.", hint="Send the request again.")
        with self._service.tracing.request(request.url.path, request.headers) as log.span:
            return await self._meter.refund_on_error(answer)

    async def _rerank(self, request: Request, dialect: dialects.Dialect) -> Response:
        return await self._traced(request, self._ranked(request, dialect))

    async def _ranked(self, request: Request, dialect: dialects.Dialect) -> Response:
        log = current_request.get()
        body, content = await self._read(request)  # what is wrong before the body is known is said in the union
        if "texts" in content and "documents" not in content:
            log.dialect = "tei"
            return await self._tei(request, body, validated(TeiRequestBody, content))
        log.dialect = "union" if dialect == "tei" else dialect
        return await self._documents(request, body, validated(RerankRequestBody, content))

    async def _documents(self, request: Request, body: bytes, given: RerankRequestBody) -> Response:
        log = current_request.get()
        warnings: list[str] = []
        if not given.documents:
            raise dialects.EmptyDocumentsError("documents")
        check_count(len(given.documents), "documents", self._service.settings)
        documents = given.read_documents()
        work = self._work(
            request, body, given, given.query, documents, given.kept, given.truncation_overrides(warnings)
        )
        work = replace(work, threshold=given.threshold, fusion=fusion_of(given, self._service.settings))
        result = await self._run(request, work)
        if given.model and given.model != result.model and self._service.pool.resolve(given.model) != given.model:
            warnings.append(f"model {given.model[:100]!r} is not known here; {result.model!r} answered")
        texts = bool(given.return_documents)
        if log.dialect == "infinity":
            return await self._respond(dialects.infinity_response(result, texts=texts), result)
        if log.dialect == "voyage":
            return await self._respond(dialects.voyage_response(result, texts=texts), result)
        version = "2" if request.url.path.startswith("/v2") else "1"
        answer = dialects.union_response(
            result, texts=texts, version=version, warnings=warnings, explain=bool(given.explain)
        )
        return await self._respond(answer, result)

    async def _tei(self, request: Request, body: bytes, given: TeiRequestBody) -> Response:
        if not given.texts:
            raise dialects.EmptyDocumentsError("texts")
        check_count(len(given.texts), "texts", self._service.settings)
        documents = [Document(text) for text in given.texts]
        work = self._work(request, body, given, given.query, documents, given.kept, given.truncation_overrides())
        result = await self._run(request, work)
        return await self._respond(dialects.tei_response(result, texts=bool(given.return_text)), result)

    async def _score_pairs(self, request: Request) -> Response:
        body, content = await self._read(request)
        given = validated(ScoreRequestBody, content)
        pairs = given.pairs()
        scores, found = await self._score(request, body, given, pairs, given.truncation_overrides())
        tokens = sum(score.tokens for group in found.result.scores for score in group)
        answer = dialects.score_response(scores, found.model, tokens, current_request.get().request_id)
        return await self._scored(answer, found)

    async def _predict_pairs(self, request: Request) -> Response:
        body, content = await self._read(request)
        current_request.get().dialect = "tei"
        given = validated(PredictRequestBody, content)
        if not given.inputs:
            raise dialects.EmptyDocumentsError("inputs")
        truncation = TruncationOverrides(max_length=given.max_length, allow_truncation=given.truncate is not False)
        pairs = [(query, text) for query, text in given.inputs]
        scores, found = await self._score(request, body, given, pairs, truncation)
        return await self._scored([[{"score": score, "label": "LABEL_0"}] for score in scores], found)

    async def _score(
        self,
        request: Request,
        body: bytes,
        given: BaseRequestBody,
        pairs: Sequence[tuple[str, str]],
        truncation: TruncationOverrides,
    ) -> tuple[list[float], ModelScores]:
        check_count(len(pairs), "the request", self._service.settings)
        places: dict[str, list[int]] = {}
        for place, (query, _) in enumerate(pairs):
            places.setdefault(to_query(query), []).append(place)
        groups = [(query, [pairs[place][1] for place in own]) for query, own in places.items()]
        work = self._work(request, body, given, "", [], None, truncation)
        log = current_request.get()
        log.fields["documents"] = len(pairs)
        charge = self._meter.charge(log)
        found = await cancel_on_disconnect(request, self._service.pipeline.score(groups, work, charge))
        logits = [0.0] * len(pairs)
        for own, group in zip(places.values(), found.result.scores, strict=True):
            for place, score in zip(own, group, strict=True):
                logits[place] = score.raw_score
        return activate(logits, work.activation).tolist(), found

    async def _read(self, request: Request) -> tuple[bytes, dict[str, Any]]:
        body = await request.body()
        depth = self._service.settings.max_json_depth
        if len(body) > LARGE_BODY:  # the loop goes on with others meanwhile
            return body, await asyncio.to_thread(parse_json, body, depth)
        return body, parse_json(body, depth)

    def _work(
        self,
        request: Request,
        body: bytes,
        given: BaseRequestBody,
        query: str,
        documents: list[Document],
        top_n: int | None,
        truncation: TruncationOverrides,
    ) -> RerankRequest:
        log = current_request.get()
        who = log.key.id if log.key else (request.client.host if request.client else "")
        activation: Activation = "none" if given.raw else "sigmoid"
        return RerankRequest(
            to_query(query) if documents else query,
            documents,
            top_n,
            activation,
            given.model,
            truncation,
            timeout_of(request, given.timeout, self._service.settings),
            who,
            make_retry_key(who, body),
            given.cache is not False,
            request_id=log.request_id,
            tenant=log.key.id if log.key else "",
            source="http",
            user=unit_header(request, USER_HEADER),
            session=unit_header(request, SESSION_HEADER),
        )

    async def _run(self, request: Request, work: RerankRequest) -> RerankResult:
        log = current_request.get()
        log.fields["documents"] = len(work.documents)
        return await cancel_on_disconnect(request, self._service.pipeline.run(work, self._meter.charge(log)))

    async def _respond(self, answer: Any, result: RerankResult) -> Response:
        who = (result.model, result.version, result.experiment)
        return await self._finish(answer, *who, result.computed_tokens or 0, result.timings)

    async def _scored(self, answer: Any, found: ModelScores) -> Response:
        who = (found.model, found.version, found.experiment_label)
        return await self._finish(answer, *who, found.result.computed_tokens, found.result.timings)

    async def _finish(
        self, answer: Any, model: str, version: str, experiment: str, tokens: int, timings: Mapping[str, float]
    ) -> Response:
        log, metrics = current_request.get(), self._service.metrics
        await self._meter.settle(tokens)
        log.fields |= {"model": model, "version": version, "tokens": tokens}
        if experiment:
            log.fields["experiment"] = experiment
        if log.span is not None:
            about = {"model": model, "version": version, "documents": log.fields.get("documents", 0), "tokens": tokens}
            named = {f"rerankd.{name}": value for name, value in about.items()}
            log.span.describe(named | {"rerankd.request_id": log.request_id}, timings)
        metrics.answers.labels(model, version).inc()
        metrics.documents.labels(model).observe(log.fields.get("documents", 0))
        metrics.queue.labels(model).observe(timings["queue"] / 1000)
        metrics.inference.labels(model).observe(timings["inference"] / 1000)
        headers = {
            "x-tokenization-time": f"{timings['tokenization']:.3f}",
            "x-queue-time": f"{timings['queue']:.3f}",
            "x-inference-time": f"{timings['inference']:.3f}",
            "x-compute-tokens": str(tokens),
        } | version_headers(version, experiment)
        return Response(orjson.dumps(answer), media_type="application/json", headers=headers)


def rerank_router(service: Service) -> APIRouter:
    """The paths that score."""
    router, answers = APIRouter(tags=["rerank"]), RerankRoutes(service)
    plain, tei = _described(RerankRequestBody, TeiRequestBody), _described(TeiRequestBody)
    for path in UNION_PATHS:
        router.add_api_route(path, answers.union, methods=["POST"], openapi_extra=plain, name=f"rerank {path}")
    for path in TEI_PATHS:
        router.add_api_route(path, answers.tei, methods=["POST"], openapi_extra=tei, name=f"rerank {path}")
    for paths, own in ((INFINITY_PATHS, answers.infinity), (VOYAGE_PATHS, answers.voyage)):
        for path in paths:
            router.add_api_route(
                path, own, methods=["POST"], openapi_extra=_described(RerankRequestBody), name=f"rerank {path}"
            )
    for path in SCORE_PATHS:
        router.add_api_route(
            path, answers.score, methods=["POST"], openapi_extra=_described(ScoreRequestBody), name=f"score {path}"
        )
    for path in PREDICT_PATHS:
        router.add_api_route(
            path, answers.predict, methods=["POST"], openapi_extra=_described(PredictRequestBody), name="predict"
        )
    return router
