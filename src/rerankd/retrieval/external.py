"""A search service that is there already, asked over HTTP: Elasticsearch, OpenSearch, Typesense or one of your own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from rerankd._common.validation import plain_metadata
from rerankd.errors import InvalidRequestError, UnavailableError
from rerankd.retrieval.retriever import DEFAULT_K, with_score
from rerankd.types import Document

MAX_ANSWER = 64_000_000
KEYS = ("url", "method", "body", "header", "hits", "text", "id", "score", "metadata", "timeout")


@dataclass(frozen=True, slots=True)
class ExternalMapping:
    """How a search service is asked, and where in its answer things are.

    Attributes:
        url: where; `{query}` and `{k}` in it are replaced, percent-encoded.
        method: GET or POST.
        body: JSON to send with POST; `"{query}"` and `"{k}"` in it are replaced.
        header: one header, as `Authorization: ApiKey ...`; empty for none.
        hits: path to the list of hits, as `hits.hits`.
        text: path to a hit's text, as `_source.content`; several with commas, of which those that are there are joined.
        id: path to its name; empty for none.
        score: path to its score; empty for its place.
        metadata: path to a table of anything else; empty for none.
        timeout: seconds.
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


def parse_mapping(given: Mapping[str, str]) -> ExternalMapping:
    """A mapping as settings hold it.

    Raises:
        InvalidRequestError: something is missing, unknown or no JSON.

    Example:
        >>> parse_mapping({"url": "http://localhost:9200/docs/_search", "text": "_source.body"}).text
        '_source.body'
    """
    unknown = [name for name in given if name not in KEYS]
    if unknown or not given.get("url", "").startswith(("http://", "https://")):
        what = f"external does not know {unknown[0]!r}." if unknown else "external names no url."
        raise InvalidRequestError(what, hint=f"It has {', '.join(KEYS)}; url begins with http:// or https://.")
    values: dict[str, Any] = dict(given)
    method = values.get("method", "POST").upper()
    if method not in ("GET", "POST"):
        raise InvalidRequestError(f"external.method is {method!r}.", hint="It is GET or POST.")
    try:
        json.loads(values.get("body", "{}"))
        values["timeout"] = float(given["timeout"]) if given.get("timeout") else 10.0
    except ValueError as error:
        raise InvalidRequestError(
            f"external cannot be read ({error}).", hint="body is JSON, and timeout a number of seconds."
        ) from error
    if values.get("header") and ":" not in values["header"]:
        raise InvalidRequestError("external.header has no colon.", hint="Write it as Name: value.")
    return ExternalMapping(**(values | {"method": method}))


class ExternalRetriever:
    """Asks a search service.

    Args:
        mapping: how.
        transport: carries requests; None for the network.

    Example:
        >>> ExternalRetriever(ExternalMapping("http://localhost:9200/docs/_search")).close()
    """

    def __init__(self, mapping: ExternalMapping, transport: httpx.BaseTransport | None = None) -> None:
        self._mapping = mapping
        name, _, value = mapping.header.partition(":")
        headers = {name.strip(): value.strip()} if name else {}
        self._http = httpx.Client(headers=headers, timeout=mapping.timeout, transport=transport)
        self._body = json.loads(mapping.body)

    def search(self, query: str, k: int = DEFAULT_K) -> list[Document]:
        """What the service finds.

        Raises:
            UnavailableError: it cannot be reached, or its answer is not as the mapping says.
        """
        mapping = self._mapping
        address = mapping.url.replace("{k}", str(k)).replace("{query}", quote(query, safe=""))
        sent = _filled(self._body, query, k) if mapping.method == "POST" else None
        try:
            answer = self._http.request(mapping.method, address, json=sent)
            answer.raise_for_status()
            if len(answer.content) > MAX_ANSWER:
                raise self._unavailable(f"it sent more than {MAX_ANSWER // 1_000_000} MB")
            content = orjson.loads(answer.content)
        except httpx.HTTPStatusError as error:
            raise self._unavailable(f"it answered {error.response.status_code}") from error
        except (httpx.HTTPError, orjson.JSONDecodeError) as error:
            raise self._unavailable(f"{type(error).__name__}") from error
        hits = _at(content, mapping.hits)
        if not isinstance(hits, list):
            raise self._unavailable(f"its answer has no list at {mapping.hits!r}")
        return [found for place, hit in enumerate(hits[:k]) if (found := self._document(hit, place)) is not None]

    def _document(self, hit: Any, place: int) -> Document | None:
        mapping = self._mapping
        parts = [_at(hit, path.strip()) for path in mapping.text.split(",")]
        text = "\n".join(part for part in parts if isinstance(part, str) and part.strip())
        if not text:
            return None
        name, score = _at(hit, mapping.id) if mapping.id else None, _at(hit, mapping.score) if mapping.score else None
        about = _at(hit, mapping.metadata) if mapping.metadata else None
        metadata = plain_metadata({str(key): value for key, value in about.items()}) if isinstance(about, dict) else {}
        first = 1.0 / (place + 1)
        if isinstance(score, int | float) and not isinstance(score, bool):
            first = float(score)
        return with_score(Document(text, None if name is None else str(name), metadata), first)

    def _unavailable(self, why: str) -> UnavailableError:
        return UnavailableError(
            f"The search service gave no hits ({why}).", hint="Check the setting external.", retry_after=5
        )

    def close(self) -> None:
        """Close its connections."""
        self._http.close()


def _at(content: Any, path: str) -> Any:
    """What stands at a path such as `hits.0._source`; the empty path is everything."""
    for step in path.split(".") if path else ():
        if isinstance(content, dict):
            content = content.get(step)
        elif isinstance(content, list) and step.isdigit() and int(step) < len(content):
            content = content[int(step)]
        else:
            return None
    return content


def _filled(body: Any, query: str, k: int) -> Any:
    """A body with its placeholders filled; the query stays a string, whatever it holds."""
    if isinstance(body, dict):
        return {name: _filled(value, query, k) for name, value in body.items()}
    if isinstance(body, list):
        return [_filled(value, query, k) for value in body]
    if body == "{k}":
        return k
    return body.replace("{query}", query) if isinstance(body, str) else body
