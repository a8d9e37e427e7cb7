"""Answers of an OpenAI-compatible endpoint as they arrive: an event stream, or one JSON object; and its refusals."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx
import orjson

MAX_BODY = 8_000_000
MAX_REASON = 300


async def read_answer(response: httpx.Response) -> AsyncGenerator[str, None]:
    """Yield the parts of an answer.

    Args:
        response: response with status 200, not read yet.

    Raises:
        httpx.RemoteProtocolError: the answer breaks off, reports an error, or is no chat completion.
    """
    if response.headers.get("content-type", "").lower().startswith("application/json"):
        if text := _whole_answer(await response.aread()):
            yield text
        return
    finished = False
    async for line in _lines(response.aiter_text()):
        delta, last = _parse_event(line)
        finished = finished or last
        if delta:
            yield delta
    if not finished:
        raise httpx.RemoteProtocolError("the stream ended early")


def reason_of(body: bytes) -> str:
    """Return the reason in the body of a refusal, on one line; empty if it gives none.

    Example:
        >>> reason_of(b'{"error": {"message": "no such model"}}')
        'no such model'
    """
    try:
        content: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body[:10_000].decode("utf-8", "replace")
        return "" if text.lstrip()[:1] == "<" else _one_line(text)  # a page of a proxy tells nothing
    for name in ("error", "detail", "message", "msg"):
        while isinstance(content, list) and content:
            content = content[0]
        if isinstance(content, dict) and content.get(name):
            content = content[name]
    return _one_line(content) if isinstance(content, str) else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())[:MAX_REASON]


async def _lines(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    """Yield the lines of an event stream; other separators than CR and LF are part of the text (WHATWG, 9.2.5)."""
    pending = ""
    async for text in texts:
        *lines, pending = re.split(r"\r\n|\n|\r(?!$)", pending + text)
        for line in lines:
            yield line
        if len(pending) > MAX_BODY:
            raise httpx.RemoteProtocolError("a line of the stream is too long")
    yield pending.rstrip("\r")


def _parse_event(line: str) -> tuple[str, bool]:
    """Return the text of a line of the event stream, and True if the answer ends with it."""
    if not line.startswith("data:"):
        return "", False
    data = line[5:].strip()
    if data == "[DONE]":
        return "", True
    try:
        content = orjson.loads(data)
        _check_error(content)
        choices = content.get("choices") or [{}]
        return _text(choices[0].get("delta")), choices[0].get("finish_reason") is not None
    except (ValueError, AttributeError, TypeError, IndexError, KeyError) as error:
        raise httpx.RemoteProtocolError("a line of the stream is not a chat completion chunk") from error


def _whole_answer(body: bytes) -> str:
    try:
        content = orjson.loads(body)
        _check_error(content)
        return _text(content["choices"][0]["message"])
    except (ValueError, AttributeError, TypeError, IndexError, KeyError) as error:
        raise httpx.RemoteProtocolError("the answer is not a chat completion") from error


def _check_error(content: dict[str, Any]) -> None:
    if content.get("error"):
        raise httpx.RemoteProtocolError(reason_of(orjson.dumps(content)) or "an error")


def _text(message: dict[str, Any] | None) -> str:
    """Return the text of a message or delta: a string, or the text parts of a list."""
    content = (message or {}).get("content") or ""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""
