"""What is done once a request's answer is sent."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

Call = Callable[[], None]
pending: ContextVar[list[Call]] = ContextVar("afterwards")


def after_response(call: Call) -> None:
    """Call something once the current request's answer is sent; at once where no request is being answered."""
    calls = pending.get(None)
    if calls is None:
        call()
    else:
        calls.append(call)
