"""Vectors of texts: from an OpenAI-compatible endpoint, or from an encoder that runs here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import httpx
import numpy as np
import numpy.typing as npt

from rerankd.errors import InvalidRequestError, UnavailableError

Kind = Literal["query", "passage"]
Vectors = npt.NDArray[np.float32]
BATCH = 64
ATTEMPTS = 3


class Embedder(Protocol):
    """Makes vectors. Called from any thread."""

    @property
    def name(self) -> str:
        """What an index is marked with: vectors of different names do not mix."""
        ...

    @property
    def dimensions(self) -> int:
        """Numbers of a vector."""
        ...

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """Unit vectors, shape (texts, dimensions), float32.

        Raises:
            UnavailableError: no answer.
        """
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class EndpointEmbedder:
    """Vectors from `POST {url}/embeddings`, as OpenAI, vLLM, TEI, Infinity, Ollama and Xinference answer.

    Args:
        url: up to and including `/v1`.
        model: name that the endpoint knows.
        key: sent as a bearer token; empty for none.
        prefixes: put before queries and passages, as models such as e5 want it.
        timeout: seconds of a call.

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
    ) -> None:
        self._prefixes = {"query": prefixes[0], "passage": prefixes[1]}
        self._model, self._url = model, url.rstrip("/") + "/embeddings"
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(headers=headers, timeout=timeout, transport=httpx.HTTPTransport(retries=ATTEMPTS))
        self._dimensions = 0

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model

    @property
    def dimensions(self) -> int:
        """Numbers of a vector; asks once."""
        if not self._dimensions:
            self._dimensions = self.embed(["dimensions"], "passage").shape[1]
        return self._dimensions

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """Unit vectors, shape (texts, dimensions), float32."""
        prefix = self._prefixes[kind]
        parts = [self._asked([prefix + text for text in texts[i : i + BATCH]]) for i in range(0, len(texts), BATCH)]
        found = np.concatenate(parts) if parts else np.empty((0, self._dimensions), np.float32)
        unit: Vectors = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return unit

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def _asked(self, texts: list[str]) -> Vectors:
        body: dict[str, Any] = {"model": self._model, "input": texts, "encoding_format": "float"}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = self._http.post(self._url, json=body)
                if answer.status_code in (429, 500, 502, 503, 504) and attempt < ATTEMPTS:
                    continue
                answer.raise_for_status()
                rows = sorted(answer.json()["data"], key=lambda row: row["index"])
                vectors = np.asarray([row["embedding"] for row in rows], np.float32)
            except httpx.HTTPStatusError as error:
                raise _unavailable(self._url, f"it answered {error.response.status_code}") from error
            except httpx.HTTPError as error:
                raise _unavailable(self._url, type(error).__name__) from error
            except (ValueError, KeyError, TypeError) as error:
                raise _unavailable(self._url, "its answer holds no vectors") from error
            if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
                raise _unavailable(self._url, "its answer does not fit the question")
            return vectors
        raise AssertionError("unreachable")


def _unavailable(url: str, why: str) -> UnavailableError:
    return UnavailableError(
        f"The embedding endpoint {url} gave no vectors ({why}).", hint="Check embedding_url and its key.", retry_after=5
    )


def parse_prefixes(text: str) -> tuple[str, str]:
    """`query: |passage: ` as the two prefixes.

    Raises:
        InvalidRequestError: not two of them.

    Example:
        >>> parse_prefixes("query: |passage: ")
        ('query: ', 'passage: ')
    """
    if not text:
        return "", ""
    parts = text.split("|")
    if len(parts) != 2:
        raise InvalidRequestError(f"embedding_prefixes is {text!r}.", hint="Write it as 'query: |passage: '.")
    return parts[0], parts[1]
