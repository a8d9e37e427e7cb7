"""What callers pass as queries and documents, turned into our own types or refused with the place of the fault."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rerankd.errors import InvalidRequestError
from rerankd.types import Document, Pair

DocumentLike = str | Mapping[str, Any] | Document

_HINT = "A document is a string, a rerankd.Document, or a dict with 'text' and optionally 'id' and 'metadata'."


def to_query(query: object) -> str:
    """Check a query.

    Raises:
        InvalidRequestError: not a string, or nothing in it.
    """
    if not isinstance(query, str):
        raise InvalidRequestError(f"The query is {_name(query)}, not a string.", hint="Pass the question as a string.")
    if not query.strip():
        raise InvalidRequestError("The query is empty.", hint="Pass the question as a non-empty string.")
    return query


def to_documents(documents: object) -> list[Document]:
    """Check documents; each keeps its place.

    Raises:
        InvalidRequestError: not a list, or an item that is no document; the message says which.

    Example:
        >>> to_documents(["a", {"text": "b", "id": "7"}])[1].id
        '7'
    """
    if isinstance(documents, str | bytes | Mapping) or not isinstance(documents, Iterable):
        raise InvalidRequestError(f"documents is {_name(documents)}, not a list.", hint="Pass a list of documents.")
    return [_to_document(item, place) for place, item in enumerate(documents)]


def _to_document(item: object, place: int) -> Document:
    if isinstance(item, str):
        return Document(item)
    if isinstance(item, Document):
        fields: Mapping[str, Any] = {"text": item.text, "id": item.id, "metadata": item.metadata}
    elif isinstance(item, Mapping):
        fields = item
    else:
        raise InvalidRequestError(f"Document {place} is {_name(item)}.", hint=_HINT)
    if "text" not in fields:
        raise InvalidRequestError(f"Document {place} has no 'text'.", hint=_HINT)
    text, identity, metadata = fields["text"], fields.get("id"), fields.get("metadata")
    if not isinstance(text, str):
        raise InvalidRequestError(f"The text of document {place} is {_name(text)}.", hint=_HINT)
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidRequestError(f"The metadata of document {place} is {_name(metadata)}.", hint="metadata is a dict.")
    if isinstance(item, Document):
        return item
    return Document(text, None if identity is None else str(identity), dict(metadata or {}))


def to_pairs(pairs: object) -> list[Pair]:
    """Check (query, document) pairs.

    Raises:
        InvalidRequestError: not a list of pairs of strings; the message says which.

    Example:
        >>> to_pairs([("q", "d")])
        [Pair(query='q', document='d')]
    """
    hint = "Pass a list of (query, document) pairs of strings."
    if isinstance(pairs, str | bytes | Mapping) or not isinstance(pairs, Iterable):
        raise InvalidRequestError(f"pairs is {_name(pairs)}, not a list.", hint=hint)
    checked = []
    for place, pair in enumerate(pairs):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InvalidRequestError(f"Pair {place} is {_name(pair)}, not a pair of strings.", hint=hint)
        query, document = pair
        if not isinstance(query, str) or not isinstance(document, str):
            raise InvalidRequestError(f"Pair {place} holds {_name(query)} and {_name(document)}.", hint=hint)
        if not query.strip():
            raise InvalidRequestError(f"The query of pair {place} is empty.", hint=hint)
        checked.append(Pair(query, document))
    return checked


def check_max_length(max_length: int, limit: int, model: str) -> int:
    """Return a `max_length` that the model can read.

    Args:
        max_length: longest pair in tokens, special tokens included.
        limit: longest pair that the model was made for.
        model: name of the model, for the message.

    Raises:
        InvalidRequestError: not a whole number, or above the model's limit.

    Example:
        >>> check_max_length(256, 512, "mini")
        256
    """
    if not isinstance(max_length, int) or isinstance(max_length, bool) or max_length > limit:
        raise InvalidRequestError(
            f"max_length is {max_length!r}; {model} reads at most {limit} tokens.",
            hint="Use a smaller max_length, or long_documents='chunk'.",
        )
    return max_length


def plain_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as JSON can hold it.

    Example:
        >>> plain_metadata({"a": 1, "b": {2}})
        {'a': 1, 'b': '{2}'}
    """
    return {name: value if _is_plain(value) else str(value) for name, value in metadata.items()}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(item) for name, item in value.items())
    return value is None or isinstance(value, str | int | bool) or (isinstance(value, float) and math.isfinite(value))


def _name(value: object) -> str:
    if value is None:
        return "None"
    if isinstance(value, float) and value != value:
        return "NaN (a missing value)"
    return f"of type {type(value).__name__}"
