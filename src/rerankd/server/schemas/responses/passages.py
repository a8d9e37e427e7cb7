"""Answers of `/v1/passages`: the passages of the index."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, with_config
from pydantic.config import JsonDict
from typing_extensions import TypedDict

INDEXED_PASSAGE_EXAMPLE: JsonDict = {
    "object": "passage",
    "id": "serve.md#3",
    "text": "The service drains for 30 seconds before it exits.",
    "metadata": {"source": "serve.md", "heading": "Shutdown"},
}


@with_config(ConfigDict(json_schema_extra={"examples": [INDEXED_PASSAGE_EXAMPLE]}))
class IndexedPassage(TypedDict):
    """A passage of the index.

    Attributes:
        object: always `passage`.
        id: id of the passage.
        text: its text.
        metadata: facts about it, such as its source.
    """

    object: Literal["passage"]
    id: str
    text: str
    metadata: dict[str, Any]


@with_config(
    ConfigDict(
        json_schema_extra={"examples": [{"object": "list", "data": [INDEXED_PASSAGE_EXAMPLE], "next_cursor": None}]}
    )
)
class PassageList(TypedDict):
    """A page of the passages of the index.

    Attributes:
        object: always `list`.
        data: the passages.
        next_cursor: where the next page begins; null on the last page.
    """

    object: Literal["list"]
    data: list[IndexedPassage]
    next_cursor: str | None
