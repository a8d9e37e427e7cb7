"""Texts as clients write them: a string, an object with `text`, or a list of content parts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field


def read_text(value: Any) -> Any:
    """Return the text of `"..."`, `{"text": "..."}` or `{"content": [{"type": "text", "text": "..."}]}`.

    Values that are neither a string nor an object are returned as they are, for the validator to refuse.

    Raises:
        ValueError: an object that holds no text.
    """
    if isinstance(value, str) or not isinstance(value, dict):
        return value
    if isinstance(text := value.get("text"), str):
        return text
    content = value.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        parts = [text for text in texts if isinstance(text, str)]
        if parts and len(parts) == len(texts):
            return "\n".join(parts)
    raise ValueError('a text is a string, {"text": "..."}, or {"content": [{"type": "text", "text": "..."}]}')


def list_of_one(value: Any) -> Any:
    """Return a list of a single text, in whichever form; other values as they are, for the validator.

    Example:
        >>> list_of_one({"text": "a"})
        [{'text': 'a'}]
    """
    return [value] if isinstance(value, str | dict) else value


TEXT_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {"title": "TextObject", "type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        {
            "title": "TextContent",
            "type": "object",
            "properties": {
                "content": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "title": "TextPart",
                        "type": "object",
                        "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
                        "required": ["type", "text"],
                    },
                }
            },
            "required": ["content"],
        },
    ]
}
Text = Annotated[str, BeforeValidator(read_text), Field(json_schema_extra=TEXT_SCHEMA)]
Texts = Annotated[
    list[Text],
    BeforeValidator(list_of_one),
    Field(json_schema_extra={"anyOf": [{"type": "string"}, {"type": "array", "items": TEXT_SCHEMA}]}),
]
