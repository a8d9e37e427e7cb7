"""Work that waits until the response to the current request was sent."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

Callback = Callable[[], None]
pending_callbacks: ContextVar[list[Callback]] = ContextVar("pending_callbacks")


def after_response(callback: Callback) -> None:
    """Call `callback` after the response to the current request; at once where no request is being served."""
    callbacks = pending_callbacks.get(None)
    if callbacks is None:
        callback()
    else:
        callbacks.append(callback)
