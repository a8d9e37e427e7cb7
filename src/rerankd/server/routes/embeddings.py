"""Routes that embed texts, in the dialects of OpenAI and of text-embeddings-inference."""

from __future__ import annotations

import asyncio
from functools import partial

import numpy as np
from fastapi import APIRouter, Request, Response

from rerankd.errors import InvalidRequestError
from rerankd.pipeline.scores import ModelScores
from rerankd.scoring.text_vector import TextVector
from rerankd.server.context import current_request
from rerankd.server.disconnect import cancel_on_disconnect
from rerankd.server.ranking_request import read_origin, to_rerank_request
from rerankd.server.request_parsing import read_json, validated
from rerankd.server.routes.rerank import RerankRoutes
from rerankd.server.schemas.embeddings import (
    EmbeddingBody,
    EmbeddingRequestBody,
    EmbedRequestBody,
    SimilarityRequestBody,
)
from rerankd.server.schemas.openapi import SCORING_HEADERS, operation, operation_id
from rerankd.server.schemas.openapi_errors import SCORING
from rerankd.server.schemas.responses.embeddings import EmbeddingResponse
from rerankd.server.service import Service

OPENAI_PATHS = ("/v1/embeddings", "/embeddings", "/v3/embeddings")
EMBED_PATH, SIMILARITY_PATH = "/embed", "/similarity"
EMBEDDING_PATHS = (*OPENAI_PATHS, EMBED_PATH, SIMILARITY_PATH)


class EmbeddingRoutes(RerankRoutes):
    """Handlers of the requests that embed texts. An engine scores texts as pairs; a vector takes the score's place."""

    async def embeddings(self, request: Request) -> Response:
        """Return the vectors of texts, as OpenAI does."""
        return await self._embed(request, EmbeddingRequestBody)

    async def embed(self, request: Request) -> Response:
        """Return the vectors of texts, as text-embeddings-inference does."""
        current_request.get().dialect = "tei"
        return await self._embed(request, EmbedRequestBody)

    async def similarity(self, request: Request) -> Response:
        """Return the cosine of the vectors of a sentence and others, as text-embeddings-inference does."""
        current_request.get().dialect = "tei"
        return await self._embed(request, SimilarityRequestBody)

    async def _embed(self, request: Request, model: type[EmbeddingBody]) -> Response:
        service, context = self._service, current_request.get()
        service.check_started()
        with service.tracing.request(request.url.path, request.headers) as context.span:
            async with self._meter.refund_on_error():
                payload, content = await read_json(request, service.settings)
                body = validated(model, content)
                name, texts = service.pool.find_encoder(body.model), body.texts(service.settings)
                template = to_rerank_request(body, service.settings, read_origin(request, payload, service.settings))
                context.fields["documents"] = len(texts)
                async with cancel_on_disconnect(request):
                    if body.dimensions is not None:
                        await self._check_dimensions(name, body.dimensions)
                    scores = await service.pipeline.score_on(name, [("", texts)], template, self._meter.charge())
                warnings = [*body.warnings, *scores.warnings, *_truncation_warnings(scores)]
                response = await asyncio.to_thread(_content, body, scores, warnings)
                return await self._respond_scores(response, scores, warnings)

    async def _check_dimensions(self, name: str, dimensions: int) -> None:
        async with self._service.pool.lease(name) as model:
            hidden = model.files.manifest.architecture.hidden
        if dimensions != hidden:
            raise InvalidRequestError(
                f"dimensions is {dimensions}, and the vectors of {name} have {hidden}.", hint="Leave dimensions out."
            )


def _content(body: EmbeddingBody, scores: ModelScores, warnings: list[str]) -> object:
    """Return the content of a response; of many vectors it takes a while."""
    (texts,) = scores.result.scores
    vectors = np.stack([text.vector for text in texts if isinstance(text, TextVector)])
    return body.to_response(vectors, scores.model, sum(text.tokens for text in texts), warnings)


def _truncation_warnings(scores: ModelScores) -> list[str]:
    (texts,) = scores.result.scores
    cut, limit = sum(text.truncated for text in texts), scores.truncation.max_length
    return [f"{cut} of {len(texts)} texts were cut: they are longer than {limit} tokens"] if cut else []


def embedding_router(service: Service) -> APIRouter:
    """Return the routes that embed texts."""
    router, routes = APIRouter(tags=["embeddings"]), EmbeddingRoutes(service)
    described = partial(operation, errors=SCORING, headers=SCORING_HEADERS)
    for path in OPENAI_PATHS:
        name = "embed_texts" if path == OPENAI_PATHS[0] else operation_id(path)
        body = described(name, "Embed texts", EmbeddingResponse, bodies=[EmbeddingRequestBody])
        router.add_api_route(path, routes.embeddings, methods=["POST"], **body)
    described = partial(described, dialects=("tei",))
    vectors = described("embed_tei", "Embed texts for clients of TEI", list[list[float]], bodies=[EmbedRequestBody])
    router.add_api_route(EMBED_PATH, routes.embed, methods=["POST"], **vectors)
    cosines = described(
        "similarity_tei", "Compare texts for clients of TEI", list[float], bodies=[SimilarityRequestBody]
    )
    router.add_api_route(SIMILARITY_PATH, routes.similarity, methods=["POST"], **cosines)
    return router
