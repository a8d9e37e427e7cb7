"""Blocking calls in daemon threads: unlike in asyncio's pool, a call that hangs does not keep the program alive."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_daemon(work: Callable[[], T]) -> T:
    """Run a blocking call in a daemon thread, and return its result."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # a result where there is no error

    def run() -> None:
        result: T | None = None
        failed: BaseException | None = None
        try:
            result = work()
        except BaseException as error:  # is raised in the event loop
            failed = error
        with contextlib.suppress(RuntimeError):  # the event loop was closed
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=run, name="rerankd-registry", daemon=True).start()
    return await future
