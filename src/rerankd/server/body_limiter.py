"""Limits on size and time of request bodies, enforced while they arrive. Compressed bodies count decompressed."""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import Headers
from starlette.types import Message, Receive

from rerankd.errors import BodyTimeoutError, PayloadTooLargeError, UnavailableError
from rerankd.server.content_encoding import BodyDecoder, body_decoder
from rerankd.settings import Settings

BODY_PAUSE_SECONDS = 20.0
BODY_SECONDS = 120.0


class BodyBudget:
    """Bytes of all request bodies that are in memory at the moment.

    Args:
        max_bytes: upper bound.
    """

    def __init__(self, max_bytes: float) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0

    def add(self, size: int) -> None:
        """Count bytes that arrived, or with a negative size those that were released.

        Raises:
            UnavailableError: the bound is exceeded.
        """
        self._bytes += size
        if size > 0 and self._bytes > self._max_bytes:
            raise UnavailableError(
                "Too many large requests are in progress.", hint="Send the request again.", retry_after=2
            )


class BodyLimiter:
    """ASGI `receive` that enforces the limits on size and time of one request body.

    Args:
        receive: the server's `receive`.
        settings: settings of the service, which name the largest body.
        headers: headers of the request.
        budget: budget that all requests share.
    """

    def __init__(self, receive: Receive, settings: Settings, headers: Headers, budget: BodyBudget) -> None:
        self._receive, self._headers, self._budget = receive, headers, budget
        self._max_bytes = int(settings.max_body_mb * 1_000_000)
        self._size = 0
        self._complete = False
        self._decoder: BodyDecoder | None = None
        self._deadline = time.monotonic() + BODY_SECONDS

    def check_declared(self) -> None:
        """Check `Content-Encoding` and `Content-Length` before anything is read.

        Raises:
            UnsupportedMediaTypeError: the body is compressed in an unknown way.
            PayloadTooLargeError: the declared body exceeds the limit.
        """
        self._decoder = body_decoder(self._headers.get("content-encoding", ""))
        declared = self._headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            raise self._too_large()

    async def __call__(self) -> Message:
        """Receive the next message.

        Raises:
            PayloadTooLargeError: the body exceeds the limit.
            InvalidRequestError: the body is not compressed as its headers say.
            BodyTimeoutError: the client stopped sending.
            UnavailableError: the bodies of all requests exceed the budget.
        """
        message = await (self._receive() if self._complete else self._receive_in_time())
        self._complete = self._complete or not message.get("more_body", False)
        if message["type"] == "http.request":
            body = message.get("body", b"")
            if self._decoder is None:
                self._count(len(body))
            else:
                message = {**message, "body": await self._decompressed(self._decoder, body)}
        return message

    async def _decompressed(self, decoder: BodyDecoder, body: bytes) -> bytes:
        """Return the plain bytes of a part of the body; other requests are served between the steps."""
        plain = []
        for step in decoder.decode(body):
            self._count(len(step))
            plain.append(step)
            await asyncio.sleep(0)
        if self._complete:
            decoder.check_complete()
        return b"".join(plain)

    def _count(self, size: int) -> None:
        self._size += size
        self._budget.add(size)
        if self._size > self._max_bytes:
            raise self._too_large()

    def release(self) -> None:
        """Return the bytes of this body to the budget."""
        self._budget.add(-self._size)
        self._size = 0

    async def _receive_in_time(self) -> Message:
        """Receive a part of the body; a client that stops sending must not keep in memory what it has sent."""
        try:
            async with asyncio.timeout(min(BODY_PAUSE_SECONDS, self._deadline - time.monotonic())):
                return await self._receive()
        except TimeoutError:
            raise BodyTimeoutError(
                "The body did not arrive in time.", hint="Send the whole body without a pause."
            ) from None

    def _too_large(self) -> PayloadTooLargeError:
        return PayloadTooLargeError(
            f"The body is larger than {self._max_bytes / 1e6:g} MB.", hint="Send fewer documents, or raise max_body_mb."
        )
