"""The request body of `/v1/rerank/batch`: many rankings, as an object with `requests` or as a bare array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field

from rerankd.errors import InvalidRequestError, PayloadTooLargeError
from rerankd.server.request_parsing import validated
from rerankd.server.schemas.base import Seconds
from rerankd.server.schemas.rerank import RerankRequestBody
from rerankd.settings import Settings

HINT = 'Send {"requests": [{"query": "...", "documents": ["..."]}]}, or the array alone.'


class BatchRequestBody(BaseModel):
    """Request to rank documents for many queries; other fields are defaults of all rankings."""

    requests: list[RerankRequestBody] = Field(description="The rankings, as for /v1/rerank.", min_length=1)
    timeout: Seconds | None = Field(None, description="Time limit of all rankings together, in seconds.")


class _Options(BaseModel):
    timeout: Seconds | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Rankings of one call, not validated yet.

    Attributes:
        rows: the rankings as they were sent.
        timeout: seconds for all of them; None for no limit.
        defaults: fields that count where a ranking does not have them.
    """

    rows: Sequence[Any]
    timeout: float | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def body(self, position: int) -> RerankRequestBody:
        """Return one ranking.

        Raises:
            InvalidRequestError: it is invalid; the message names the field.
        """
        row = self.rows[position]
        if not isinstance(row, dict):
            raise InvalidRequestError("It is not a JSON object.", hint=HINT)
        return validated(RerankRequestBody, {**self.defaults, **row})


def read_batch(content: Any, settings: Settings) -> Batch:
    """Read the content of a body.

    Raises:
        InvalidRequestError: it is no array and has none, or the array is empty.
        PayloadTooLargeError: there are more rankings than `max_queries`, or more documents than `max_documents`.

    Example:
        >>> read_batch([{"query": "q", "documents": ["d"]}], Settings()).body(0).query
        'q'
    """
    fields = content if isinstance(content, dict) else {}
    rows = fields.get("requests") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not rows:
        raise InvalidRequestError("requests is not a list of rankings.", hint=HINT)
    if len(rows) > settings.max_queries:
        raise PayloadTooLargeError(
            f"The request holds {len(rows)} rankings; {settings.max_queries} are allowed.",
            hint="Split the request, or raise max_queries.",
        )
    count = sum(map(_documents_in, rows))
    if count > settings.max_documents:
        raise PayloadTooLargeError(
            f"The rankings hold {count} documents; {settings.max_documents} are allowed in all.",
            hint="Split the request, or raise max_documents.",
        )
    options = validated(_Options, fields)
    defaults = {name: value for name, value in fields.items() if name not in ("requests", "timeout")}
    return Batch(rows, options.timeout, defaults)


def _documents_in(row: Any) -> int:
    documents = row.get("documents") if isinstance(row, dict) else None
    return len(documents) if isinstance(documents, list) else 1
