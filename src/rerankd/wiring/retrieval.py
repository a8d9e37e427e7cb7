"""The first stage and the language model that settings name."""

from __future__ import annotations

from pathlib import Path

from rerankd._common.paths import state_folder
from rerankd.errors import InvalidRequestError
from rerankd.models.files import load_model
from rerankd.retrieval.chat import ChatModel, ChatOptions
from rerankd.retrieval.embedding import Embedder, EndpointEmbedder, parse_prefixes
from rerankd.retrieval.retriever import Index, Retriever
from rerankd.retrieval.splitting import TokenOffsets
from rerankd.settings import Settings


def index_folder(settings: Settings) -> Path:
    """Where the index is: the setting, or a folder of the user's."""
    return Path(settings.index) if settings.index else state_folder() / "index"


def open_embedder(settings: Settings) -> Embedder | None:
    """What makes vectors; None for keywords alone.

    Raises:
        InvalidRequestError: settings that contradict each other.
        ModelError: the encoder cannot be loaded.
    """
    prefixes = parse_prefixes(settings.embedding_prefixes)
    if settings.embedding_url:
        if not settings.embedding_model:
            raise InvalidRequestError("embedding_url has no model.", hint="Set embedding_model too.")
        key = settings.embedding_api_key or ""
        return EndpointEmbedder(settings.embedding_url, settings.embedding_model, key, prefixes)
    if settings.embedding_model:
        from rerankd.retrieval.encoder import open_encoder

        return open_encoder(settings.embedding_model, settings.threads, prefixes, settings.cache_dir)
    return None


def open_retriever(settings: Settings) -> Retriever:
    """The first stage.

    Raises:
        NotFoundError: there is no index yet.
        InvalidRequestError: settings that cannot be used.
        MissingDependencyError: an extra is missing.
    """
    if settings.retriever == "external":
        from rerankd.retrieval.external import ExternalRetriever, parse_mapping

        return ExternalRetriever(parse_mapping(settings.external))
    if settings.retriever == "milvus":
        from rerankd.retrieval.milvus import MilvusIndex

        return MilvusIndex(settings.milvus_url, settings.milvus_token or "", open_embedder(settings))
    from rerankd.retrieval.lance import LanceIndex

    return LanceIndex(index_folder(settings), open_embedder(settings))


def open_index(settings: Settings) -> Index:
    """The first stage to put documents into; made where it is not there yet.

    Raises:
        InvalidRequestError: it is a service of the user's own.
        MissingDependencyError: an extra is missing.
    """
    if settings.retriever == "external":
        raise InvalidRequestError("The first stage is a service of your own.", hint="Put documents in there.")
    if settings.retriever == "milvus":
        from rerankd.retrieval.milvus import MilvusIndex

        return MilvusIndex(settings.milvus_url, settings.milvus_token or "", open_embedder(settings), create=True)
    from rerankd.retrieval.lance import LanceIndex

    return LanceIndex(index_folder(settings), open_embedder(settings), create=True)


def open_chat(settings: Settings) -> ChatModel | None:
    """The language model; None without one.

    Raises:
        InvalidRequestError: an endpoint without a model's name.
    """
    if not settings.llm_url:
        return None
    if not settings.llm_model:
        raise InvalidRequestError("llm_url has no model.", hint="Set llm_model too.")
    named = (settings.llm_url, settings.llm_model, settings.llm_api_key or "")
    return ChatModel(ChatOptions(*named, settings.llm_timeout, settings.llm_max_tokens))


def open_token_offsets(settings: Settings) -> TokenOffsets:
    """Tokens as the reranking model counts them."""
    tokenizer = load_model(settings.model, cache_dir=settings.cache_dir, registry=settings.registry).tokenizer()

    def offsets(text: str) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = tokenizer.encode(text, add_special_tokens=False).offsets
        return found

    return offsets
