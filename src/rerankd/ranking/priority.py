"""Priorities of requests: integers from 0, the most urgent, to 999, as in Cohere v2 and vLLM.

A request without a priority has the most urgent one that it may have, so that nothing changes where nobody uses them.
"""

from __future__ import annotations

from rerankd.errors import InvalidRequestError
from rerankd.types import RerankRequest

MOST_URGENT, LEAST_URGENT = 0, 999


def check_priority(priority: int | None) -> None:
    """Check a priority.

    Raises:
        InvalidRequestError: it is neither None nor an integer from 0 to 999.

    Example:
        >>> check_priority(0)
    """
    usable = isinstance(priority, int) and not isinstance(priority, bool) and MOST_URGENT <= priority <= LEAST_URGENT
    if priority is not None and not usable:
        raise InvalidRequestError(
            f"priority is {priority!r}.",
            hint=f"Pass an integer from {MOST_URGENT}, the most urgent, to {LEAST_URGENT}.",
        )


def clamped_priority(priority: int) -> int:
    """Return the allowed priority that is closest; vLLM allows any integer.

    Example:
        >>> clamped_priority(-5), clamped_priority(7), clamped_priority(5000)
        (0, 7, 999)
    """
    return min(max(priority, MOST_URGENT), LEAST_URGENT)


def served_priority(request: RerankRequest) -> int:
    """Return the priority at which a request is served: the one it asks for, within its API key's right.

    Example:
        >>> served_priority(RerankRequest("q", [], priority=3, best_priority=10))
        10
    """
    return max(MOST_URGENT if request.priority is None else request.priority, request.best_priority)


def priority_warnings(request: RerankRequest) -> tuple[str, ...]:
    """Return a warning if a request asks for a priority that is more urgent than its API key may have.

    Example:
        >>> priority_warnings(RerankRequest("q", [], priority=3, best_priority=10))
        ('priority 3 is more urgent than this API key may ask for; 10 was used',)
    """
    served = served_priority(request)
    if request.priority is None or request.priority == served:
        return ()
    return (f"priority {request.priority} is more urgent than this API key may ask for; {served} was used",)
