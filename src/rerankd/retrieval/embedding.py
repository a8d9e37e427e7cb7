"""Embeddings of texts: from an OpenAI-compatible endpoint, or from an encoder in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import httpx
import numpy as np
import numpy.typing as npt

from rerankd._common.trace_context import trace_headers
from rerankd.errors import InvalidRequestError, UnavailableError
from rerankd.retrieval.retries import BACKOFF, RETRIED_STATUSES, retry_after_of

Kind = Literal["query", "passage"]
"""Kind of a text; models such as e5 embed queries and passages differently."""

Vectors = npt.NDArray[np.float32]
BATCH = 64


class Embedder(Protocol):
    """Embeds texts. Its methods may be called from any thread."""

    @property
    def name(self) -> str:
        """Name that an index is marked with: vectors of embedders with different names do not mix."""
        ...

    @property
    def dimensions(self) -> int:
        """Number of dimensions of a vector."""
        ...

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """Embed texts.

        Returns:
            Unit vectors, shape (texts, dimensions), float32.

        Raises:
            UnavailableError: the embedder cannot answer now.
        """
        ...

    def close(self) -> None:
        """Release connections and memory."""
        ...


class EndpointEmbedder:
    """Embeddings from `POST {url}/embeddings`, as OpenAI, vLLM, TEI, Infinity, Ollama and Xinference serve them.

    Rate limits and server errors are retried with exponential backoff; `Retry-After` is honoured.

    Args:
        url: base URL, up to and including `/v1`.
        model: name of the model at the endpoint.
        key: API key, sent as a bearer token; empty for none.
        prefixes: texts put before queries and before passages, for models such as e5.
        timeout: timeout of a request in seconds.
        transport: HTTP transport; None for the network.
        sleep: sleeps between attempts.

    Example:
        >>> EndpointEmbedder("http://localhost:11434/v1", "bge-m3").name
        'bge-m3'
    """

    def __init__(
        self,
        url: str,
        model: str,
        key: str = "",
        prefixes: tuple[str, str] = ("", ""),
        timeout: float = 60.0,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._prefixes = {"query": prefixes[0], "passage": prefixes[1]}
        self._model, self._url = model, url.rstrip("/") + "/embeddings"
        headers = {"authorization": f"Bearer {key}"} if key else {}
        transport = transport or httpx.HTTPTransport(retries=BACKOFF.attempts or 0)  # of connecting
        self._http = httpx.Client(headers=headers, timeout=timeout, transport=transport)
        self._sleep, self._dimensions = sleep, 0

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._model

    @property
    def dimensions(self) -> int:
        """Number of dimensions of a vector; the first use sends a request."""
        if not self._dimensions:
            self._dimensions = self.embed(["dimensions"], "passage").shape[1]
        return self._dimensions

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """Embed texts, a batch in each request.

        Returns:
            Unit vectors, shape (texts, dimensions), float32.

        Raises:
            UnavailableError: the endpoint cannot be reached, or gave no vectors after several attempts.
        """
        prefixed = [self._prefixes[kind] + text for text in texts]
        batches = [self._request(prefixed[start : start + BATCH]) for start in range(0, len(prefixed), BATCH)]
        vectors = np.concatenate(batches) if batches else np.empty((0, self._dimensions), np.float32)
        unit: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return unit

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def _request(self, texts: list[str]) -> Vectors:
        try:
            response = self._post({"model": self._model, "input": texts, "encoding_format": "float"})
            response.raise_for_status()
            rows = sorted(response.json()["data"], key=lambda row: row["index"])
            vectors = np.asarray([row["embedding"] for row in rows], np.float32)
        except httpx.HTTPStatusError as error:
            raise _unavailable(self._url, f"it answered {error.response.status_code}") from error
        except httpx.HTTPError as error:
            raise _unavailable(self._url, type(error).__name__) from error
        except (ValueError, KeyError, TypeError) as error:
            raise _unavailable(self._url, "its response contains no vectors") from error
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise _unavailable(self._url, "its response has the wrong number of vectors, or values that are not finite")
        return vectors

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        """Send a request, and again while the endpoint is busy and attempts are left."""
        failures = 0
        while True:
            response = self._http.post(self._url, json=body, headers=trace_headers())
            failures += 1
            if response.status_code not in RETRIED_STATUSES or failures == BACKOFF.attempts:
                return response
            self._sleep(BACKOFF.pause(failures, retry_after_of(response)))


def _unavailable(url: str, reason: str) -> UnavailableError:
    return UnavailableError(
        f"The embedding endpoint {url} gave no vectors ({reason}).",
        hint="Check embedding_url and embedding_api_key.",
        retry_after=5,
    )


def parse_prefixes(text: str) -> tuple[str, str]:
    """Split `query: |passage: ` into the prefixes of queries and of passages.

    Raises:
        InvalidRequestError: the text does not have two parts.

    Example:
        >>> parse_prefixes("query: |passage: ")
        ('query: ', 'passage: ')
    """
    if not text:
        return "", ""
    parts = text.split("|")
    if len(parts) != 2:
        raise InvalidRequestError(
            f"embedding_prefixes is {text!r}, which is not two prefixes.", hint="Write it as 'query: |passage: '."
        )
    return parts[0], parts[1]
