"""A language model behind an OpenAI-compatible endpoint, streamed; tried again as long as nothing has arrived."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from rerankd.errors import RerankdError, UnavailableError

ATTEMPTS = 3
BACKOFF_SECONDS = 0.5
MAX_LINE = 1_000_000
RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504})


class ChatError(RerankdError):
    """The language model gave no whole answer."""

    code = "llm_failed"
    status = 502


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """Which model answers.

    Attributes:
        url: of the endpoint, up to and including `/v1`.
        model: name that it knows.
        key: sent as a bearer token; empty for none.
        timeout: seconds without a sign of life.
        max_tokens: of an answer.
        temperature: 0 for the likeliest words.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    timeout: float = 60.0
    max_tokens: int = 1024
    temperature: float = 0.0


class ChatModel:
    """Streams answers.

    Args:
        options: which model.

    Example:
        >>> ChatModel(ChatOptions("http://localhost:11434/v1", "qwen3")).name
        'qwen3'
    """

    def __init__(self, options: ChatOptions) -> None:
        self._options = options
        headers = {"authorization": f"Bearer {options.key}"} if options.key else {}
        limits = httpx.Timeout(options.timeout, connect=min(10.0, options.timeout))
        self._http = httpx.AsyncClient(headers=headers, timeout=limits)

    @property
    def name(self) -> str:
        """The model's name."""
        return self._options.model

    async def stream(self, messages: Sequence[dict[str, str]]) -> AsyncGenerator[str, None]:
        """Pieces of the answer as they come.

        Raises:
            UnavailableError: the endpoint cannot be reached, or refuses for now, after several attempts.
            ChatError: it refuses for good, or broke off in the middle.
        """
        for attempt in range(1, ATTEMPTS + 1):
            begun = False
            try:
                async with aclosing(self._once(messages)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
            except (UnavailableError, ChatError) as error:
                if begun or attempt == ATTEMPTS or isinstance(error, ChatError):
                    raise
                await asyncio.sleep(error.retry_after or BACKOFF_SECONDS * 2**attempt)
            else:
                return

    async def _once(self, messages: Sequence[dict[str, str]]) -> AsyncGenerator[str, None]:
        options = self._options
        body: dict[str, Any] = {
            "model": options.model,
            "messages": list(messages),
            "stream": True,
            "max_tokens": options.max_tokens,
            "temperature": options.temperature,
        }
        url, begun = f"{options.url.rstrip('/')}/chat/completions", False
        try:
            async with self._http.stream("POST", url, json=body) as answer:
                if answer.status_code != 200:
                    raise _refused(options, answer.status_code)
                ended = False
                async for line in answer.aiter_lines():
                    piece, last = _read(line)
                    ended = ended or last
                    if piece:
                        begun = True
                        yield piece
                if not ended:
                    raise httpx.RemoteProtocolError("the stream ended early")
        except httpx.HTTPError as error:
            why = (
                "it took too long" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__
            )
            if begun:
                raise ChatError(
                    f"The language model {options.model} broke off in the middle of its answer ({why}).",
                    hint="Ask again.",
                ) from error
            raise UnavailableError(
                f"The language model {options.model} cannot be reached ({why}).",
                hint="Check llm_url, and that the model runs.",
                retry_after=BACKOFF_SECONDS,
            ) from error

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()


def _read(line: str) -> tuple[str, bool]:
    """Text in a line of the stream, and whether it is the last that counts."""
    if not line.startswith("data:") or len(line) > MAX_LINE:
        return "", False
    data = line[5:].strip()
    if data == "[DONE]":
        return "", True
    try:
        content = orjson.loads(data)
        if isinstance(content.get("error"), dict):
            raise httpx.RemoteProtocolError(str(content["error"].get("message", "an error"))[:200])
        choices = content.get("choices") or [{}]
        text = (choices[0].get("delta") or {}).get("content") or ""
        return (text if isinstance(text, str) else ""), choices[0].get("finish_reason") is not None
    except (ValueError, AttributeError, TypeError, IndexError, KeyError) as error:
        raise httpx.RemoteProtocolError("a line of the stream is no JSON that is understood") from error


def _refused(options: ChatOptions, status: int) -> RerankdError:
    if status in RETRIED:
        return UnavailableError(
            f"The language model {options.model} answers {status}.",
            hint="Try again later.",
            retry_after=BACKOFF_SECONDS,
        )
    hint = "Check llm_api_key." if status in (401, 403) else "Check llm_url and llm_model."
    return ChatError(f"The language model {options.model} refuses the request ({status}).", hint=hint)
