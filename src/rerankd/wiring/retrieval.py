"""The first stage and the language model, built from settings."""

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
    """Return the folder of the index: the setting, or a folder in the user's state folder."""
    return Path(settings.index) if settings.index else state_folder() / "index"


def open_embedder(settings: Settings) -> Embedder | None:
    """Return the embedder of the first stage; None for keyword search alone.

    Raises:
        InvalidRequestError: settings contradict each other.
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
    """Return the first stage of search.

    Raises:
        NotFoundError: there is no index yet.
        InvalidRequestError: a setting cannot be used.
        MissingDependencyError: an extra is not installed.
    """
    if settings.retriever == "external":
        from rerankd.retrieval.external import ExternalRetriever, parse_mapping

        return ExternalRetriever(parse_mapping(settings.external))
    if settings.retriever == "milvus":
        from rerankd.retrieval.milvus import MilvusIndex

        return MilvusIndex(settings.milvus_url, settings.milvus_token or "", open_embedder(settings))
    from rerankd.retrieval.lance import LanceIndex

    return LanceIndex(index_folder(settings), open_embedder(settings))


def open_index(settings: Settings, *, create: bool = True) -> Index:
    """Return the index that documents are added to.

    Args:
        settings: the settings.
        create: True to create it if it does not exist; False to look into it, without the embedding model.

    Raises:
        NotFoundError: the index does not exist and `create` is False.
        InvalidRequestError: the first stage is an external service.
        MissingDependencyError: an extra is not installed.
    """
    if settings.retriever == "external":
        raise InvalidRequestError("The first stage is a service of your own.", hint="Put documents in there.")
    embedder = open_embedder(settings) if create else None
    if settings.retriever == "milvus":
        from rerankd.retrieval.milvus import MilvusIndex

        return MilvusIndex(settings.milvus_url, settings.milvus_token or "", embedder, create=create)
    from rerankd.retrieval.lance import LanceIndex

    return LanceIndex(index_folder(settings), embedder, create=create)


def open_chat(settings: Settings) -> ChatModel | None:
    """Return the language model; None if the settings name none.

    Raises:
        InvalidRequestError: `llm_url` is set without `llm_model`.
    """
    if not settings.llm_url:
        return None
    if not settings.llm_model:
        raise InvalidRequestError("llm_url has no model.", hint="Set llm_model too.")
    options = ChatOptions(
        settings.llm_url,
        settings.llm_model,
        settings.llm_api_key or "",
        settings.llm_timeout,
        settings.llm_max_tokens,
    )
    return ChatModel(options)


def open_token_offsets(settings: Settings) -> TokenOffsets:
    """Return the function that finds the offsets of the reranking model's tokens in a text."""
    tokenizer = load_model(settings.model, cache_dir=settings.cache_dir, registry=settings.registry).tokenizer()

    def offsets(text: str) -> list[tuple[int, int]]:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        return list(encoding.offsets)

    return offsets
