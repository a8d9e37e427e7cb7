"""Routes that show the tokens of a served model: `/tokenize`, and `/decode` and `/detokenize`, its inverse."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from rerankd.engine.pool import ServedModel
from rerankd.errors import InvalidRequestError, ModelNotFoundError, PayloadTooLargeError
from rerankd.scoring.encoder import replace_surrogates
from rerankd.server.context import current_request
from rerankd.server.request_parsing import read_body, read_json, validated
from rerankd.server.responses import json_response
from rerankd.server.schemas.base import check_count
from rerankd.server.schemas.openapi import operation
from rerankd.server.schemas.openapi_errors import LOADING
from rerankd.server.schemas.responses.tokens import DetokenizeResponse, TeiToken, TokenizeResponse
from rerankd.server.schemas.tokenize import (
    DecodeRequestBody,
    DetokenizeRequestBody,
    TeiTokenizeRequestBody,
    TokenizeRequestBody,
)
from rerankd.server.service import Service

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_CHARACTERS = 500_000  # of one request; a model reads a few thousand


class TokenizeRoutes:
    """Handlers of texts and their tokens.

    Args:
        service: the instance.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def tokenize(self, request: Request) -> Response:
        """Return the tokens of texts: with `inputs` as text-embeddings-inference does, with `prompt` as vLLM does."""
        settings = self._service.settings
        _, content = await read_json(request, settings)
        if "inputs" in content:
            current_request.get().dialect = "tei"
            texts = validated(TeiTokenizeRequestBody, content)
            check_count(len(texts.inputs), "inputs", settings)
            model = await self._model(texts.model)
            special = texts.add_special_tokens is not False
            return json_response(await _in_thread(_tei_tokens, model, texts.inputs, special=special))
        text = validated(TokenizeRequestBody, content)
        return json_response(await _in_thread(_vllm_tokens, await self._model(text.model), [text.prompt], body=text))

    async def decode(self, request: Request) -> Response:
        """Return the texts of ids, as text-embeddings-inference does."""
        current_request.get().dialect = "tei"
        body = await read_body(request, DecodeRequestBody, self._service.settings)
        tokenizer = _tokenizer(await self._model(body.model))
        skip = body.skip_special_tokens is not False
        texts = await asyncio.to_thread(lambda: [_text(tokenizer, ids, skip=skip) for ids in body.ids])
        return json_response(texts)

    async def detokenize(self, request: Request) -> Response:
        """Return the text of ids, as vLLM does."""
        body = await read_body(request, DetokenizeRequestBody, self._service.settings)
        tokenizer = _tokenizer(await self._model(body.model))
        text = await asyncio.to_thread(_text, tokenizer, body.tokens, skip=False)
        return json_response({"prompt": text})

    async def _model(self, requested: str | None) -> ServedModel:
        """Return the model of a name: an embedding model, or the reranker that a ranking with that name would use."""
        self._service.check_started()
        pool = self._service.pool
        try:
            name = pool.find_encoder(requested) if requested else pool.default
        except ModelNotFoundError:
            name = pool.resolve(requested)
        async with pool.lease(name) as model:
            return model


async def _in_thread(tokens: Any, model: ServedModel, texts: Sequence[str], **options: Any) -> Any:
    """Tokenize texts in a thread, so that the event loop serves others meanwhile.

    Raises:
        PayloadTooLargeError: the texts are too long together.
    """
    if (characters := sum(map(len, texts))) > MAX_CHARACTERS:
        raise PayloadTooLargeError(
            f"The texts have {characters} characters; {MAX_CHARACTERS} are tokenized in one request.",
            hint="Split the request.",
        )
    return await asyncio.to_thread(tokens, model, [replace_surrogates(text) for text in texts], **options)


def _tokenizer(model: ServedModel) -> Tokenizer:
    return model.engine.scorer.encoder.tokenizer


def _text(tokenizer: Tokenizer, ids: Sequence[int], *, skip: bool) -> str:
    """Return the text of ids; where the tokenizer's file does not say how tokens are joined, as it divided the text."""
    from tokenizers import decoders, pre_tokenizers

    if tokenizer.decoder is not None or not isinstance(tokenizer.pre_tokenizer, pre_tokenizers.Metaspace):
        return str(tokenizer.decode(list(ids), skip_special_tokens=skip))
    special = tokenizer.get_added_tokens_decoder() if skip else {}
    kept = [token_id for token_id in ids if not (token_id in special and special[token_id].special)]
    tokens = [token for token_id in kept if (token := tokenizer.id_to_token(token_id)) is not None]
    return str(decoders.Metaspace().decode(tokens))


def _tei_tokens(model: ServedModel, texts: Sequence[str], *, special: bool) -> list[list[dict[str, Any]]]:
    encodings = _tokenizer(model).encode_batch(list(texts), add_special_tokens=special)
    rows = []
    for text, encoding in zip(texts, encodings, strict=True):
        tokens = zip(encoding.ids, encoding.tokens, encoding.special_tokens_mask, encoding.offsets, strict=True)
        rows.append([_tei_token(text, *token) for token in tokens])
    return rows


def _tei_token(text: str, token_id: int, token: str, special: int, offsets: tuple[int, int]) -> dict[str, Any]:
    start, stop = (None, None) if special else offsets
    return {
        "id": token_id,
        "text": token if special else text[offsets[0] : offsets[1]],
        "special": bool(special),
        "start": start,
        "stop": stop,
    }


def _vllm_tokens(model: ServedModel, texts: Sequence[str], *, body: TokenizeRequestBody) -> dict[str, Any]:
    encoding = _tokenizer(model).encode(texts[0], add_special_tokens=body.add_special_tokens is not False)
    return {
        "count": len(encoding.ids),
        "max_model_len": model.files.manifest.architecture.max_length,
        "tokens": encoding.ids,
        "token_strs": encoding.tokens if body.return_token_strs else None,
    }


def tokenize_router(service: Service) -> APIRouter:
    """Return the routes of tokens."""
    router, routes = APIRouter(tags=["tokens"]), TokenizeRoutes(service)
    errors = (*LOADING, InvalidRequestError, PayloadTooLargeError)
    tokens = operation(
        "tokenize",
        "Split texts into tokens",
        TokenizeResponse | list[list[TeiToken]],
        bodies=(TokenizeRequestBody, TeiTokenizeRequestBody),
        errors=errors,
        dialects=("union", "tei"),
    )
    router.add_api_route("/tokenize", routes.tokenize, methods=["POST"], **tokens)
    texts = operation(
        "decode_tei", "Join tokens for clients of TEI", list[str], bodies=[DecodeRequestBody], errors=errors,
        dialects=("tei",),
    )  # fmt: skip
    router.add_api_route("/decode", routes.decode, methods=["POST"], **texts)
    text = operation("detokenize", "Join tokens", DetokenizeResponse, bodies=[DetokenizeRequestBody], errors=errors)
    router.add_api_route("/detokenize", routes.detokenize, methods=["POST"], **text)
    return router
