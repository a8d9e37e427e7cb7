"""Queries, documents and pairs of callers: checked and converted, with errors that name the item at fault."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, TypeGuard

from rerankd._common.error_text import first_line
from rerankd.errors import InvalidRequestError
from rerankd.types import Document, Pair

DocumentLike = str | Mapping[str, Any] | Document

_HINT = "A document is a string, a rerankd.Document, or a dict with 'text' and optionally 'id' and 'metadata'."
_PAIR_HINT = "Pass a list of (query, document) pairs of strings."
_TABLES: Mapping[str, tuple[str, ...]] = {"to_dicts": (), "to_pylist": (), "to_dict": ("records",)}
"""Methods that give the rows of a table: of polars, of Arrow and of pandas."""
_MAX_DEPTH = 100  # JSON libraries read and write between 127 and 1000 levels
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
        documents: strings, `Document`s, or dicts with `text` and optionally `id` and `metadata`; other keys of a dict
            are part of its metadata. The rows of a data frame or Arrow table are dicts.

    Raises:
        InvalidRequestError: not a list, or an item that is not a document; the message names its position.

    Example:
        >>> to_documents(["a", {"text": "b", "id": 7, "score": 0.5}])[1]
        Document(text='b', id=7, metadata={'score': 0.5})
    """
    documents = _rows(documents)
    if isinstance(documents, str | bytes | Mapping) or not isinstance(documents, Iterable):
        raise InvalidRequestError(f"documents is {_name(documents)}, not a list.", hint="Pass a list of documents.")
    return [_to_document(item, position) for position, item in enumerate(documents)]


def to_document(fields: Mapping[str, Any], *, text: str = "text", id_names: tuple[str, ...] = ("id",)) -> Document:
    """Return the document of a row: text and id under their names, everything else as metadata, nothing left out.

    Args:
        fields: the row; its text is a string.
        text: name of the text.
        id_names: names of the id; the first that is there counts.

    Example:
        >>> to_document({"text": "a", "id": 3, "page": 2, "metadata": {"source": "x"}})
        Document(text='a', id=3, metadata={'source': 'x', 'page': 2})
    """
    names = [name for name in id_names if not _is_missing(fields.get(name))]
    nested = fields.get("metadata")
    rest = {name: value for name, value in fields.items() if name not in (text, *names[:1], "metadata")}
    rest = {name: value for name, value in rest.items() if name not in id_names or not _is_missing(value)}
    if not isinstance(nested, Mapping):
        rest |= {} if nested is None else {"metadata": nested}
        nested = {}
    if any(name in nested and nested[name] != value for name, value in rest.items()):
        rest["metadata"] = dict(nested)  # so that neither of two values is lost
    return Document(fields[text], fields[names[0]] if names else None, {**nested, **rest})


def _rows(values: object) -> object:
    """Return the rows of a table as dicts; other values as they are."""
    if hasattr(values, "columns"):
        for method, arguments in _TABLES.items():
            if callable(read := getattr(values, method, None)):
                return read(*arguments)
    return values


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


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
    text, metadata = fields["text"], fields.get("metadata")
    if not isinstance(text, str):
        raise InvalidRequestError(f"The text of document {position} is {_name(text)}.", hint=_HINT)
    if not _is_missing(metadata) and not isinstance(metadata, Mapping):
        raise InvalidRequestError(
            f"The metadata of document {position} is {_name(metadata)}.", hint="metadata is a dict."
        )
    return item if isinstance(item, Document) else to_document(item)


def to_pairs(pairs: object) -> list[Pair]:
    """Convert (query, document) pairs, in their order.

    Args:
        pairs: pairs of strings: tuples, lists, rows of an array, or dicts with `query` and `document`, such as the rows
            of a data frame.

    Raises:
        InvalidRequestError: not a list of pairs of strings; the message names the position of the pair.

    Example:
        >>> to_pairs([("q", "d")])
        [Pair(query='q', document='d')]
    """
    pairs = _rows(pairs)
    if isinstance(pairs, str | bytes | Mapping) or not isinstance(pairs, Iterable):
        raise InvalidRequestError(f"pairs is {_name(pairs)}, not a list.", hint=_PAIR_HINT)
    try:
        return [_to_pair(pair, position) for position, pair in enumerate(pairs)]
    except TypeError as error:  # an array without dimensions
        raise InvalidRequestError(f"pairs is {_name(pairs)}, not a list.", hint=_PAIR_HINT) from error


def _to_pair(item: object, position: int) -> Pair:
    pair = item.tolist() if hasattr(item, "tolist") else item  # a row of a numpy array
    if isinstance(pair, Mapping) and {"query", "document"} <= pair.keys():
        pair = (pair["query"], pair["document"])
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise InvalidRequestError(f"Pair {position} is {_name(item)}, not a pair of strings.", hint=_PAIR_HINT)
    query, document = pair
    if not isinstance(query, str) or not isinstance(document, str):
        raise InvalidRequestError(f"Pair {position} holds {_name(query)} and {_name(document)}.", hint=_PAIR_HINT)
    if not query.strip():
        raise InvalidRequestError(f"The query of pair {position} is empty.", hint=_PAIR_HINT)
    return Pair(query, document)


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
    if not _is_integer(max_length) or max_length > limit:
        raise InvalidRequestError(f"max_length is {max_length!r}; {model} reads at most {limit} tokens.", hint=hint)
    return int(max_length)


def check_positive(**values: int | None) -> None:
    """Check that each value is an integer of at least 1, also one of numpy, or None.

    Raises:
        InvalidRequestError: another value; the message begins with the name of the argument.

    Example:
        >>> check_positive(top_n=5, batch_size=None)
    """
    for name, value in values.items():
        if value is not None and (not _is_integer(value) or value < 1):
            raise InvalidRequestError(f"{name} is {value!r}.", hint=f"{name} must be an integer of at least 1.")


def plain_integer(value: int | None) -> int | None:
    """Return an integer of numpy as Python's own, which JSON can carry; other values as they are.

    Example:
        >>> plain_integer(2)
        2
    """
    return int(value) if value is not None and _is_integer(value) else value


def is_number(value: object) -> TypeGuard[float]:
    """Return True for a real number, also one of numpy, and False for a boolean.

    Example:
        >>> is_number(0.5), is_number(True), is_number("0.5")
        (True, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def plain_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata in a form that JSON can carry everywhere; other values become their text.

    Such are integers of more than 64 bits, which most programs would round, and values nested deeper than 100 levels.

    Args:
        metadata: the metadata of a document.

    Example:
        >>> plain_metadata({"a": 1, "b": {2}, "c": 2**64})
        {'a': 1, 'b': '{2}', 'c': '18446744073709551616'}
    """
    return {name: value if _is_plain(value) else _as_text(value) for name, value in metadata.items()}


def _is_plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, list | dict) and depth == _MAX_DEPTH:
        return False
    if isinstance(value, list):
        return all(_is_plain(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(item, depth + 1) for name, item in value.items())
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    return value is None or isinstance(value, str) or (isinstance(value, float) and math.isfinite(value))


def _as_text(value: Any) -> str:
    try:
        return str(value)
    except (RecursionError, ValueError) as error:  # nested without end, or an integer of thousands of digits
        return f"{type(value).__name__} ({first_line(error)})"


def _name(value: object) -> str:
    if value is None:
        return "None"
    if isinstance(value, float) and value != value:
        return "NaN (a missing value)"
    return f"of type {type(value).__name__}"
