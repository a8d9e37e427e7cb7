"""rerankd as a Haystack ranker component."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rerankd._common.optional import require
from rerankd.errors import InvalidRequestError
from rerankd.integrations.ranker import LocalRanker, Ranker, kept

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.utils import Secret, deserialize_secrets_inplace
except ImportError:
    require("haystack", "haystack", "RerankdRanker")
    raise


@component
class RerankdRanker:
    """A ranker component that keeps the documents that answer the query, best first, scored by relevance.

    Where Haystack loads a saved pipeline only from trusted modules, name this one:
    `Pipeline.loads(saved, allowed_modules=["rerankd.integrations.haystack"])`.

    Args:
        model: model of the local reranker, or to ask the service for; None for `mini`, or the service's own.
        url: address of a rerankd service; None ranks in this process.
        api_key: the service's key; by default the environment variable RERANKD_API_KEY, if it is set.
        reranker: a `Reranker`, a `Client`, or anything that ranks like them, instead of model, url and api_key; a
            pipeline that holds one cannot be saved.
        top_k: number of documents to keep; None keeps all.
        score_threshold: lowest relevance score to keep; None keeps all.
        instruction: what counts as relevant, for models that read an instruction; None for the model's own.

    Raises:
        MissingDependencyError: on import, if haystack-ai is not installed.
        InvalidRequestError: `reranker` together with `model` or `url`.

    Example:
        >>> ranker = RerankdRanker(top_k=1)
        >>> documents = [Document(content="A car."), Document(content="Pandas eat bamboo.")]
        >>> ranker.run("what do pandas eat?", documents)["documents"][0].content
        'Pandas eat bamboo.'
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        url: str | None = None,
        api_key: Secret | None = Secret.from_env_var("RERANKD_API_KEY", strict=False),  # noqa: B008  immutable
        reranker: Ranker | None = None,
        top_k: int | None = 5,
        score_threshold: float | None = None,
        instruction: str | None = None,
    ) -> None:
        if reranker is not None and (model is not None or url is not None):
            raise InvalidRequestError(
                "RerankdRanker was given a reranker and a model or url.", hint="Pass reranker, or model and url."
            )
        self.model = model
        self.url = url
        self.api_key = api_key
        self.reranker = reranker
        self.top_k = top_k
        self.score_threshold = score_threshold
        self.instruction = instruction
        self._ranker = reranker
        self._close: Callable[[], None] | None = None

    def warm_up(self) -> None:
        """Load the local model or open the client; `run` does so at its first call otherwise."""
        self._opened()

    def close(self) -> None:
        """Close the client's connections and release the model; the next `run` opens them again."""
        if self._close is not None:
            self._close()
        self._ranker, self._close = self.reranker, None

    def _opened(self) -> Ranker:
        if self._ranker is not None:
            return self._ranker
        if self.url is None:
            self._ranker = LocalRanker(self.model or "mini").load()
            return self._ranker
        # A saved pipeline holds an address, not a client, so this one component makes its own. The import is here,
        # because entry packages do not know each other and local ranking needs no HTTP.
        make = importlib.import_module("rerankd.client").Client
        key = None if self.api_key is None else self.api_key.resolve_value()
        client = make(self.url, api_key=key, model=self.model)
        self._ranker, self._close = client, client.close
        return self._ranker

    def to_dict(self) -> dict[str, Any]:
        """Serialize the component; the API key itself is never stored.

        Raises:
            InvalidRequestError: the component was made with `reranker`, an object that cannot be serialized.
        """
        if self.reranker is not None:
            raise InvalidRequestError(
                "A RerankdRanker that was given a reranker cannot be saved.", hint="Make it with model or url instead."
            )
        saved: dict[str, Any] = default_to_dict(
            self,
            model=self.model,
            url=self.url,
            api_key=None if self.api_key is None else self.api_key.to_dict(),
            top_k=self.top_k,
            score_threshold=self.score_threshold,
            instruction=self.instruction,
        )
        return saved

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RerankdRanker:
        """Make a component from what `to_dict` returned."""
        parameters = dict(data["init_parameters"])
        if isinstance(parameters.get("api_key"), dict):
            deserialize_secrets_inplace(parameters, keys=["api_key"])
        made: RerankdRanker = default_from_dict(cls, {**data, "init_parameters": parameters})
        return made

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        score_threshold: float | None = None,
        instruction: str | None = None,
    ) -> dict[str, list[Document]]:
        """Rank documents.

        Args:
            query: the question.
            documents: the candidates; they are not changed.
            top_k: overrides the component's for this run.
            score_threshold: overrides the component's for this run.
            instruction: overrides the component's for this run.

        Returns:
            `documents`: copies of the kept ones, best first.
        """
        if not documents:
            return {"documents": []}
        best = kept(
            self._opened(),
            query,
            [document.content or "" for document in documents],
            self.top_k if top_k is None else top_k,
            self.score_threshold if score_threshold is None else score_threshold,
            self.instruction if instruction is None else instruction,
        )
        return {"documents": [replace(documents[index], score=score) for index, score in best]}
