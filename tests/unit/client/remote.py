"""Either client with a scripted server."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx

from rerankd import (
    AsyncClient,
    Client,
)
from rerankd.ranking.activation import activate

KEY = "rk-very-secret"
LOGITS = [-1.0, 3.0, 0.5]
Handler = Callable[[httpx.Request], httpx.Response]


class Remote:
    """Either client with its server: methods are awaited, sleeps advance a clock and take no time."""

    def __init__(self, kind: type[Client] | type[AsyncClient], handler: Handler, options: dict[str, Any]) -> None:
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []
        self.now = 1000.0
        self.handler = handler
        self.client = kind("http://server:8000", transport=httpx.MockTransport(self._answer), **options)
        self.client._exchange.clock = lambda: self.now
        self.client._exchange.backoff = replace(self.client._exchange.backoff, jitter=0.0)
        self.client._sleep = self._sleep_async if kind is AsyncClient else self._sleep  # type: ignore[assignment]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.handler(request)

    def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    async def _sleep_async(self, seconds: float) -> None:
        self._sleep(seconds)

    async def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        result = getattr(self.client, name)(*arguments, **options)
        return await result if inspect.isawaitable(result) else result

    async def rank(self, *arguments: Any, **options: Any) -> Any:
        return await self.call("rank", *arguments, **options)

    @property
    def body(self) -> Any:
        return json.loads(self.requests[-1].content)


Connect = Callable[..., Remote]


def answered(request: httpx.Request) -> httpx.Response:
    """Return the service's response with made-up logits."""
    body = json.loads(request.content)
    logits = LOGITS[: len(body["documents"])]
    shown = logits if body["raw_scores"] else activate(logits, "sigmoid").tolist()
    order = sorted(range(len(logits)), key=lambda i: -logits[i])[: body["top_n"]]
    results = [
        {"index": i, "relevance_score": shown[i], "raw_score": logits[i], "truncated": i == 0, "chunks": i + 1}
        for i in order
    ]
    usage = {"prompt_tokens": 70, "total_tokens": 70, "pairs": len(logits), "truncated": 1}
    timings = {"tokenization": 0.5, "queue": 1, "inference": 2.5, "total": 4.0}
    return httpx.Response(
        200, json={"id": "req-1", "model": "mini", "results": results, "usage": usage, "timings": timings, "meta": {}}
    )


def refused(status: int, code: str, headers: dict[str, str] | None = None) -> httpx.Response:
    error = {"message": f"Sorry: {code}.", "type": "error", "param": None, "code": code}
    return httpx.Response(status, json={"error": error}, headers=headers)


def one_after_the_other(*outcomes: httpx.Response | Exception | Handler) -> Handler:
    left = list(outcomes)

    def handler(request: httpx.Request) -> httpx.Response:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome if isinstance(outcome, httpx.Response) else outcome(request)

    return handler


def giving(response: Any) -> Handler:
    return lambda request: httpx.Response(200, json=response)
