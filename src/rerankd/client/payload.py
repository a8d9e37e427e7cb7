"""Texts, documents and header values in the form in which requests carry them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from rerankd._common.validation import plain_metadata
from rerankd.errors import InvalidRequestError
from rerankd.ranking.order import SCORE, first_score
from rerankd.types import Document

MAX_UNIT_CHARACTERS = 256


def document_payload(document: Document, *, with_metadata: bool = False) -> str | dict[str, Any]:
    """Return a document as a request carries it: the text alone, or an object with what else is sent.

    Args:
        document: the document; its id and the first stage's score always travel, for the service's traces.
        with_metadata: True to send the rest of its metadata too, for the service's rules.

    Example:
        >>> document_payload(Document("a", "7", {"score": 2.0}))
        {'text': 'a', 'id': '7', 'score': 2.0}
    """
    text, score = json_text(document.text), first_score(document)
    metadata = {str(name): value for name, value in document.metadata.items() if name != SCORE} if with_metadata else {}
    if document.id is None and not metadata and math.isnan(score):
        return text
    payload: dict[str, Any] = {"text": text}
    if document.id is not None:
        payload["id"] = json_text(str(document.id))
    if not math.isnan(score):
        payload["score"] = score
    if metadata:
        payload["metadata"] = json.loads(json_text(json.dumps(plain_metadata(metadata), ensure_ascii=False)))
    return payload


def json_text(text: str) -> str:
    r"""Return the text with lone surrogates replaced by U+FFFD, as the tokenizer does; JSON cannot carry them.

    Example:
        >>> json_text("a\ud800")
        'a�'
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def check_unit_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers that name the user and the session of a request, which keep experiments sticky.

    Args:
        headers: values by the name of the header.

    Raises:
        InvalidRequestError: a value that an HTTP header cannot carry, or one that is too long.
    """
    for name, value in headers.items():
        if len(value) > MAX_UNIT_CHARACTERS or not (value.isascii() and value.isprintable()):
            raise InvalidRequestError(
                f"{name} cannot carry this value.",
                hint=f"Pass at most {MAX_UNIT_CHARACTERS} printable ASCII characters, such as a hash.",
            )
    return headers
