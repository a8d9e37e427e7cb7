"""Answers of a language model behind an OpenAI-compatible endpoint, streamed, with retries until text arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from rerankd.errors import RerankdError, UnavailableError
from rerankd.retrieval.retries import BACKOFF, RETRIED_STATUSES, retry_after_of

MAX_LINE = 1_000_000


class ChatError(RerankdError):
    """The language model gave no complete answer."""

    code = "llm_failed"
    status = 502


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """Endpoint and parameters of a language model.

    Attributes:
        url: base URL of the endpoint, up to and including `/v1`.
        model: name of the model at the endpoint.
        key: API key, sent as a bearer token; empty for none.
        timeout: seconds without data after which a request fails.
        max_tokens: maximum number of tokens of an answer.
        temperature: sampling temperature; 0 for greedy decoding.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    timeout: float = 60.0
    max_tokens: int = 1024
    temperature: float = 0.0


class ChatModel:
    """A language model behind an OpenAI-compatible endpoint; its answers are streamed.

    Args:
        options: endpoint and parameters.
        transport: HTTP transport; None for the network.
        sleep: sleeps between attempts.

    Example:
        >>> ChatModel(ChatOptions("http://localhost:11434/v1", "qwen3")).name
        'qwen3'
    """

    def __init__(
        self,
        options: ChatOptions,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._options, self._sleep = options, sleep
        headers = {"authorization": f"Bearer {options.key}"} if options.key else {}
        timeout = httpx.Timeout(options.timeout, connect=min(10.0, options.timeout))
        self._http = httpx.AsyncClient(headers=headers, timeout=timeout, transport=transport)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._options.model

    async def stream(self, messages: Sequence[dict[str, str]]) -> AsyncGenerator[str, None]:
        """Yield the parts of the answer as they arrive.

        A busy or unreachable endpoint is retried with exponential backoff, as long as nothing has arrived;
        `Retry-After` is honoured.

        Raises:
            UnavailableError: the endpoint cannot be reached, or is busy after several attempts.
            ChatError: the endpoint refused the request, or the stream broke off.
        """
        failures = 0
        while True:
            started = False
            try:
                async with aclosing(self._stream_once(messages)) as deltas:
                    async for delta in deltas:
                        started = True
                        yield delta
                return
            except UnavailableError as error:
                failures += 1
                if started or failures == BACKOFF.attempts:
                    raise
                await self._sleep(BACKOFF.pause(failures, error.retry_after))

    async def _stream_once(self, messages: Sequence[dict[str, str]]) -> AsyncGenerator[str, None]:
        options = self._options
        body: dict[str, Any] = {
            "model": options.model,
            "messages": list(messages),
            "stream": True,
            "max_tokens": options.max_tokens,
            "temperature": options.temperature,
        }
        url, started = f"{options.url.rstrip('/')}/chat/completions", False
        try:
            async with self._http.stream("POST", url, json=body) as response:
                if response.status_code != 200:
                    raise _refusal(options, response)
                finished = False
                async for line in response.aiter_lines():
                    delta, last = _parse_event(line)
                    finished = finished or last
                    if delta:
                        started = True
                        yield delta
                if not finished:
                    raise httpx.RemoteProtocolError("the stream ended early")
        except httpx.HTTPError as error:
            reason = (
                "it took too long" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__
            )
            if started:
                raise ChatError(
                    f"The language model {options.model} broke off in the middle of its answer ({reason}).",
                    hint="Ask again.",
                ) from error
            raise UnavailableError(
                f"The language model {options.model} cannot be reached ({reason}).",
                hint="Check llm_url, and that the model is running.",
            ) from error

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()


def _parse_event(line: str) -> tuple[str, bool]:
    """Return the text of a line of the event stream, and True if the answer ends with it."""
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
        raise httpx.RemoteProtocolError("a line of the stream is not a chat completion chunk") from error


def _refusal(options: ChatOptions, response: httpx.Response) -> RerankdError:
    status = response.status_code
    if status in RETRIED_STATUSES:
        return UnavailableError(
            f"The language model {options.model} answers {status}.",
            hint="Try again later.",
            retry_after=retry_after_of(response) or BACKOFF.first,
        )
    hint = "Check llm_api_key." if status in (401, 403) else "Check llm_url and llm_model."
    return ChatError(f"The language model {options.model} refuses the request ({status}).", hint=hint)
