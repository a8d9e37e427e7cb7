"""Cancellation of work for clients that disconnect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from rerankd.errors import RequestCancelledError


@asynccontextmanager
async def cancel_on_disconnect(request: Request) -> AsyncIterator[None]:
    """Cancel the body of the `async with` statement as soon as the client disconnects.

    The body of the HTTP request must have been read: the next message can only be the disconnect.

    Raises:
        RequestCancelledError: the client disconnected.
    """
    task, is_disconnected = asyncio.current_task(), False

    async def watch() -> None:
        nonlocal is_disconnected
        while (await request.receive())["type"] != "http.disconnect":
            pass
        is_disconnected = True
        if task is not None:
            task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if is_disconnected and task is not None and task.uncancel() == 0:  # nobody else cancelled it as well
            raise RequestCancelledError("The client disconnected.") from None
        raise
    finally:
        watcher.cancel()
