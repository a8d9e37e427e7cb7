"""Queries, documents and pairs of callers: checked and converted, with errors that name the item at fault."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rerankd.errors import InvalidRequestError
from rerankd.types import Document, Pair

DocumentLike = str | Mapping[str, Any] | Document

_HINT = "A document is a string, a rerankd.Document, or a dict with 'text' and optionally 'id' and 'metadata'."
_LENGTH_HINT = "Use a smaller max_length, or long_documents='chunk'."


def to_query(query: object) -> str:
    """Return a query that can be used.

    Args:
        query: the caller's query.

    Raises:
        InvalidRequestError: not a string, or an empty one.
    """
    if not isinstance(query, str):
        raise InvalidRequestError(f"The query is {_name(query)}, not a string.", hint="Pass the question as a string.")
    if not query.strip():
        raise InvalidRequestError("The query is empty.", hint="Pass the question as a non-empty string.")
    return query


def to_documents(documents: object) -> list[Document]:
    """Convert documents, in their order.

    Args:
        documents: strings, `Document`s, or dicts with `text` and optionally `id` and `metadata`.

    Raises:
        InvalidRequestError: not a list, or an item that is not a document; the message names its position.

    Example:
        >>> to_documents(["a", {"text": "b", "id": "7"}])[1].id
        '7'
    """
    if isinstance(documents, str | bytes | Mapping) or not isinstance(documents, Iterable):
        raise InvalidRequestError(f"documents is {_name(documents)}, not a list.", hint="Pass a list of documents.")
    return [_to_document(item, position) for position, item in enumerate(documents)]


def _to_document(item: object, position: int) -> Document:
    if isinstance(item, str):
        return Document(item)
    if isinstance(item, Document):
        fields: Mapping[str, Any] = {"text": item.text, "id": item.id, "metadata": item.metadata}
    elif isinstance(item, Mapping):
        fields = item
    else:
        raise InvalidRequestError(f"Document {position} is {_name(item)}.", hint=_HINT)
    if "text" not in fields:
        raise InvalidRequestError(f"Document {position} has no 'text'.", hint=_HINT)
    text, identity, metadata = fields["text"], fields.get("id"), fields.get("metadata")
    if not isinstance(text, str):
        raise InvalidRequestError(f"The text of document {position} is {_name(text)}.", hint=_HINT)
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidRequestError(
            f"The metadata of document {position} is {_name(metadata)}.", hint="metadata is a dict."
        )
    if isinstance(item, Document):
        return item
    return Document(text, None if identity is None else str(identity), dict(metadata or {}))


def to_pairs(pairs: object) -> list[Pair]:
    """Convert (query, document) pairs, in their order.

    Args:
        pairs: pairs of strings.

    Raises:
        InvalidRequestError: not a list of pairs of strings; the message names the position of the pair.

    Example:
        >>> to_pairs([("q", "d")])
        [Pair(query='q', document='d')]
    """
    hint = "Pass a list of (query, document) pairs of strings."
    if isinstance(pairs, str | bytes | Mapping) or not isinstance(pairs, Iterable):
        raise InvalidRequestError(f"pairs is {_name(pairs)}, not a list.", hint=hint)
    checked = []
    for position, pair in enumerate(pairs):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InvalidRequestError(f"Pair {position} is {_name(pair)}, not a pair of strings.", hint=hint)
        query, document = pair
        if not isinstance(query, str) or not isinstance(document, str):
            raise InvalidRequestError(f"Pair {position} holds {_name(query)} and {_name(document)}.", hint=hint)
        if not query.strip():
            raise InvalidRequestError(f"The query of pair {position} is empty.", hint=hint)
        checked.append(Pair(query, document))
    return checked


def check_max_length(max_length: int, limit: int, model: str, *, hint: str = _LENGTH_HINT) -> int:
    """Return a `max_length` that the model can read.

    Args:
        max_length: longest pair in tokens, special tokens included.
        limit: longest pair that the model was made for.
        model: name of the model, for the message.
        hint: the fix, for the message.

    Raises:
        InvalidRequestError: not an integer, or above the model's limit.

    Example:
        >>> check_max_length(256, 512, "mini")
        256
    """
    if not isinstance(max_length, int) or isinstance(max_length, bool) or max_length > limit:
        raise InvalidRequestError(f"max_length is {max_length!r}; {model} reads at most {limit} tokens.", hint=hint)
    return max_length


def check_positive(**values: int | None) -> None:
    """Check that each value is an integer of at least 1, or None.

    Raises:
        InvalidRequestError: another value; the message begins with the name of the argument.

    Example:
        >>> check_positive(top_n=5, batch_size=None)
    """
    for name, value in values.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise InvalidRequestError(f"{name} is {value!r}.", hint=f"{name} must be an integer of at least 1.")


def plain_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata in a form that JSON can carry; other values become their text.

    Args:
        metadata: the metadata of a document.

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
