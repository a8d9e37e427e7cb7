"""What every request that scores has in common: it is charged, ends when its caller goes away, says who answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from rerankd.errors import DeadlineExceededError, RequestCancelledError
from rerankd.pipeline.pipeline import Charge
from rerankd.server.context import RequestContext, current_request
from rerankd.server.service import Service

Result = TypeVar("Result")


class UsageMeter:
    """Charges keys for tokens."""

    def __init__(self, service: Service) -> None:
        self._quotas = service.quotas

    def charge(self, log: RequestContext) -> Charge | None:
        """What is called with the estimated tokens of a request; None where no key is needed."""
        key = log.key
        if key is None:
            return None

        async def charge(tokens: int) -> None:
            await self._quotas.charge(key, tokens, time.time())
            log.charged = tokens

        return charge

    async def refund_on_error(self, work: Awaitable[Result]) -> Result:
        """Wait for the work; tokens of a request that we failed or refused are given back.

        What the caller ended itself, by a deadline or by going away, may have been computed, and stays charged.
        """
        try:
            return await work
        except (DeadlineExceededError, RequestCancelledError, asyncio.CancelledError):
            raise
        except BaseException:
            await self.settle(0)
            raise

    async def settle(self, tokens: int) -> None:
        """Say how many tokens it were in truth; 0 gives all back."""
        log = current_request.get()
        if log.key is not None and log.charged:
            await self._quotas.correct(log.key, tokens - log.charged, time.time())
            log.charged = 0


def version_headers(version: str, experiment: str) -> dict[str, str]:
    """Which version answered, and in which experiment; nothing of what is empty."""
    named = {"x-rerankd-model-version": version, "x-rerankd-experiment": experiment}
    return {name: value for name, value in named.items() if value}


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Do the work; stop it when the caller goes away."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise RequestCancelledError("The caller went away.")
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
