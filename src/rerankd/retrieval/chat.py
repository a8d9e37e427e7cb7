"""Answers of a language model behind an OpenAI-compatible endpoint, streamed, with retries until text arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx

from rerankd._common.proxies import uses_proxies
from rerankd._common.trace_context import trace_headers
from rerankd.errors import RerankdError, UnavailableError
from rerankd.retrieval.chat_answer import read_answer, reason_of
from rerankd.retrieval.retries import BACKOFF, RETRIED_STATUSES, retry_after_of


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
        trust_env = transport is None and uses_proxies(options.url)
        self._http = httpx.AsyncClient(headers=headers, timeout=timeout, transport=transport, trust_env=trust_env)
        self._names: dict[str, str] = {}  # of parameters that the model takes under another name, or not at all

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
        options, started = self._options, False
        url = f"{options.url.rstrip('/')}/chat/completions"
        try:
            while True:
                async with self._http.stream(
                    "POST", url, json=self._body(messages), headers=trace_headers()
                ) as response:
                    if response.status_code != 200:
                        refused = await response.aread()
                        if response.status_code == 400 and self._adapt(reason_of(refused)):
                            continue
                        raise _refusal(options, response, reason_of(refused))
                    async for delta in read_answer(response):
                        started = True
                        yield delta
                    return
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

    def _body(self, messages: Sequence[dict[str, str]]) -> dict[str, Any]:
        options = self._options
        parameters: dict[str, Any] = {"max_tokens": options.max_tokens, "temperature": options.temperature}
        parameters = {self._names.get(name, name): value for name, value in parameters.items()}
        return {"model": options.model, "messages": list(messages), "stream": True} | {
            name: value for name, value in parameters.items() if name
        }

    def _adapt(self, reason: str) -> bool:
        """Change the parameters as a refusal asks for; return False if it asks for nothing that helps.

        Reasoning models take `max_completion_tokens` for `max_tokens`, and no temperature but their own.
        """
        changes = {"max_tokens": "max_completion_tokens"} if "max_completion_tokens" in reason else {}
        if "temperature" in reason:
            changes["temperature"] = ""
        changes = {name: other for name, other in changes.items() if name not in self._names}
        self._names |= changes
        return bool(changes)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()


def _refusal(options: ChatOptions, response: httpx.Response, reason: str) -> RerankdError:
    status = response.status_code
    because = f"{status}: {reason}" if reason and status not in (401, 403) else str(status)  # those quote keys
    if status in RETRIED_STATUSES:
        return UnavailableError(
            f"The language model {options.model} answers {because}.",
            hint="Try again later.",
            retry_after=retry_after_of(response) or BACKOFF.first,
        )
    hint = "Check llm_api_key." if status in (401, 403) else "Check llm_url and llm_model."
    return ChatError(f"The language model {options.model} refuses the request ({because}).", hint=hint)
