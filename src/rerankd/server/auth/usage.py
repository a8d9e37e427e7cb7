"""Metering: a key's quota is charged with an estimate before scoring, and corrected afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rerankd.errors import DeadlineExceededError, RequestCancelledError
from rerankd.pipeline.scores import Charge, ChargeBatch
from rerankd.server.auth.quotas import QuotaStore
from rerankd.server.context import current_request


class UsageMeter:
    """Tokens that the current request is charged for.

    Args:
        quotas: store of the quotas.
    """

    def __init__(self, quotas: QuotaStore) -> None:
        self._quotas = quotas

    def charge(self) -> Charge | None:
        """Return the function that charges the current request; None where no key is required.

        It takes the estimated tokens, and raises `RateLimitedError` where they exceed the key's quota.
        """
        charge = self.charge_batch()
        if charge is None:
            return None

        async def charge_one(tokens: int) -> None:
            await charge(tokens, 1)

        return charge_one

    def charge_batch(self) -> ChargeBatch | None:
        """Return the function that charges the current request as many; None where no key is required.

        It takes the estimated tokens of all, and their number; otherwise it does what that of `charge` does.
        """
        context = current_request.get()
        key = context.key
        if key is None:
            return None

        async def charge(tokens: int, requests: int) -> None:
            await self._quotas.charge(key, tokens, time.time(), requests=0 if context.counted else requests)
            context.counted, context.charged = True, tokens

        return charge

    async def count(self) -> None:
        """Count the current request, whatever it turns out to compute; its tokens are added with `charge`.

        Raises:
            RateLimitedError: the key has used up its quota.
        """
        context = current_request.get()
        if context.key is not None and not context.counted:
            await self._quotas.charge(context.key, 0, time.time())
            context.counted = True

    async def settle(self, tokens: int) -> None:
        """Replace the estimate with the tokens that were computed; 0 refunds the request."""
        context = current_request.get()
        if context.key is not None and context.charged:
            await self._quotas.correct(context.key, tokens - context.charged, time.time())
            context.charged = 0

    @asynccontextmanager
    async def refund_on_error(self) -> AsyncIterator[None]:
        """Refund the request if the body of the `async with` statement fails.

        A request that its client ended, by a deadline or by disconnecting, may have been computed: it stays charged.
        """
        try:
            yield
        except (DeadlineExceededError, RequestCancelledError, asyncio.CancelledError):
            raise
        except BaseException:
            await self.settle(0)
            raise
