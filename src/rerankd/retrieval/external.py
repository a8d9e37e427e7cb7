"""Retrieval from an existing search service over HTTP: Elasticsearch, OpenSearch, Typesense or your own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from rerankd._common.json_parsing import parse_json
from rerankd._common.logging import logger
from rerankd._common.proxies import uses_proxies
from rerankd._common.trace_context import trace_headers
from rerankd._common.validation import plain_metadata
from rerankd.errors import InvalidRequestError, UnavailableError
from rerankd.retrieval.retriever import DEFAULT_K, with_score
from rerankd.types import Document

_log = logger(__name__)

MAX_RESPONSE = 64_000_000  # bytes
KEYS = ("url", "method", "body", "header", "hits", "text", "id", "score", "metadata", "timeout")


@dataclass(frozen=True, slots=True)
class ExternalMapping:
    """Request to a search service, and paths into its response.

    Attributes:
        url: URL, in which `{query}` and `{k}` are replaced, percent-encoded.
        method: GET or POST.
        body: JSON body for POST, in which `"{query}"` and `"{k}"` are replaced.
        header: one header, such as `Authorization: ApiKey ...`; empty for none.
        hits: path to the list of hits, such as `hits.hits`.
        text: path to a hit's text, such as `_source.content`; several are separated by commas and joined if present.
        id: path to a hit's id; empty for none.
        score: path to a hit's score; empty for the reciprocal of its rank.
        metadata: path to an object with other fields; empty for none.
        timeout: timeout in seconds.
    """

    url: str
    method: str = "POST"
    body: str = '{"query": "{query}", "k": "{k}"}'
    header: str = field(default="", repr=False)
    hits: str = "hits.hits"
    text: str = "_source.text"
    id: str = "_id"
    score: str = "_score"
    metadata: str = "_source"
    timeout: float = 10.0


def parse_mapping(values: Mapping[str, str]) -> ExternalMapping:
    """Parse the setting `external`.

    Raises:
        InvalidRequestError: a key is missing or unknown, or a value is invalid.

    Example:
        >>> parse_mapping({"url": "http://localhost:9200/docs/_search", "text": "_source.body"}).text
        '_source.body'
    """
    unknown = [name for name in values if name not in KEYS]
    if unknown or not values.get("url", "").startswith(("http://", "https://")):
        problem = f"external has no key {unknown[0]!r}." if unknown else "external.url is missing or not an HTTP URL."
        raise InvalidRequestError(
            problem, hint=f"The keys are {', '.join(KEYS)}; url must begin with http:// or https://."
        )
    method = values.get("method", "POST").upper()
    if method not in ("GET", "POST"):
        raise InvalidRequestError(f"external.method is {method!r}.", hint="Use GET or POST.")
    try:
        parse_json(values.get("body", "{}"))
        timeout = float(values["timeout"]) if values.get("timeout") else 10.0
    except ValueError as error:
        raise InvalidRequestError(
            f"external cannot be parsed ({error}).", hint="body must be JSON, and timeout a number of seconds."
        ) from error
    if values.get("header") and ":" not in values["header"]:
        raise InvalidRequestError("external.header has no colon.", hint="Write it as Name: value.")
    fields: dict[str, Any] = {**values, "method": method, "timeout": timeout}
    return ExternalMapping(**fields)


class ExternalRetriever:
    """A retriever that queries a search service.

    Args:
        mapping: request, and paths into the response.
        transport: HTTP transport, for tests; None for the network.

    Example:
        >>> ExternalRetriever(ExternalMapping("http://localhost:9200/docs/_search")).close()
    """

    def __init__(self, mapping: ExternalMapping, transport: httpx.BaseTransport | None = None) -> None:
        self._mapping = mapping
        name, _, value = mapping.header.partition(":")
        headers = {name.strip(): value.strip()} if name else {}
        trust_env = transport is None and uses_proxies(mapping.url)
        self._http = httpx.Client(headers=headers, timeout=mapping.timeout, transport=transport, trust_env=trust_env)
        self._body = parse_json(mapping.body)

    def search(self, query: str, k: int = DEFAULT_K) -> list[Document]:
        """Return the service's hits as documents.

        Hits without a text are left out, and the log says how many.

        Raises:
            UnavailableError: the service cannot be reached, or its response does not match the mapping.
        """
        mapping = self._mapping
        address = mapping.url.replace("{k}", str(k)).replace("{query}", quote(query, safe=""))
        body = _fill(self._body, query, k) if mapping.method == "POST" else None
        try:
            response = self._http.request(mapping.method, address, json=body, headers=trace_headers())
            response.raise_for_status()
            if len(response.content) > MAX_RESPONSE:
                raise self._unavailable(f"its response exceeds {MAX_RESPONSE // 1_000_000} MB")
            content = orjson.loads(response.content)
        except httpx.HTTPStatusError as error:
            raise self._unavailable(f"status {error.response.status_code}") from error
        except (httpx.HTTPError, orjson.JSONDecodeError) as error:
            raise self._unavailable(type(error).__name__) from error
        hits = _get_path(content, mapping.hits)
        if not isinstance(hits, list):
            raise self._unavailable(f"its response has no list at {mapping.hits!r}")
        found = [self._document(hit, rank) for rank, hit in enumerate(hits[:k], 1)]
        documents = [document for document in found if document is not None]
        if found and not documents:
            raise self._unavailable(f"none of its {len(found)} hits has a text at {mapping.text!r}")
        if len(documents) < len(found):
            _log.warning("%d of %d hits have no text at %r.", len(found) - len(documents), len(found), mapping.text)
        return documents

    def _document(self, hit: Any, rank: int) -> Document | None:
        mapping = self._mapping
        parts = [_get_path(hit, path.strip()) for path in mapping.text.split(",")]
        text = "\n".join(part for part in parts if isinstance(part, str) and part.strip())
        if not text:
            return None
        id_ = _get_path(hit, mapping.id) if mapping.id else None
        score = _get_path(hit, mapping.score) if mapping.score else None
        fields = _get_path(hit, mapping.metadata) if mapping.metadata else None
        metadata = (
            plain_metadata({str(key): value for key, value in fields.items()}) if isinstance(fields, dict) else {}
        )
        if not isinstance(score, int | float) or isinstance(score, bool):
            score = 1.0 / rank
        return with_score(Document(text, None if id_ is None else str(id_), metadata), float(score))

    def _unavailable(self, reason: str) -> UnavailableError:
        return UnavailableError(
            f"The search service returned no hits ({reason}).", hint="Check the setting external.", retry_after=5
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def _get_path(content: Any, path: str) -> Any:
    """Return the value at a path such as `hits.0._source`; the empty path is the whole content."""
    for step in path.split(".") if path else ():
        if isinstance(content, dict):
            content = content.get(step)
        elif isinstance(content, list) and step.isdigit() and int(step) < len(content):
            content = content[int(step)]
        else:
            return None
    return content


def _fill(body: Any, query: str, k: int) -> Any:
    """Return the body with its placeholders replaced; the query remains a string, whatever its content."""
    if isinstance(body, dict):
        return {name: _fill(value, query, k) for name, value in body.items()}
    if isinstance(body, list):
        return [_fill(value, query, k) for value in body]
    if body == "{k}":
        return k
    return body.replace("{query}", query) if isinstance(body, str) else body
