"""Calls that wait for a server of stores, in threads of their own and with a time limit.

A server that hangs keeps the threads that wait for it. Were they the event loop's, which are few, rankings would wait
too: large bodies are parsed there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

from rerankd.errors import UnavailableError

MAX_CALLS = 32
CALL_SECONDS = 35.0
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class StoreCaller:
    """Runs calls that block in daemon threads, which do not keep the process from ending.

    Args:
        name: name of the store, for messages.
        seconds: time limit for a call, including its wait for a thread. A call that exceeds it goes on unheard.
        limit: most calls at once, those that exceeded the time limit included.
    """

    def __init__(self, name: str, *, seconds: float = CALL_SECONDS, limit: int = MAX_CALLS) -> None:
        self._name, self._seconds = name, seconds
        self._slots = asyncio.Semaphore(limit)

    async def call(
        self, function: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Return the result of a call.

        Raises:
            UnavailableError: it took too long.
            Exception: what the call raised.
        """
        try:
            async with asyncio.timeout(self._seconds) as limit:
                await self._slots.acquire()
                return await self._start(lambda: function(*args, **kwargs))
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise UnavailableError(
                f"The {self._name} did not answer within {self._seconds:g} s.",
                hint="Send the request again later.",
                retry_after=5,
            ) from error

    def _start(self, call: Callable[[], Result]) -> asyncio.Future[Result]:
        """Start a call in a thread, which holds a slot until it ends."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()

        def finish(result: Result | None, error: BaseException | None) -> None:
            self._slots.release()
            if future.done():  # nobody waits any more
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # a result may be None itself

        def run() -> None:
            result, error = None, None
            try:
                result = call()
            except BaseException as raised:  # handed on to the one who waits
                error = raised
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(finish, result, error)

        threading.Thread(target=run, name=self._name, daemon=True).start()
        return future
