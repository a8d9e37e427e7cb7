"""The cost of feedback, and how much of it one key may send in a minute."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rerankd.errors import RateLimitedError
from rerankd.server.auth.keys import ApiKey
from rerankd.server.auth.quotas import QuotaStore
from rerankd.server.context import current_request

if TYPE_CHECKING:
    from rerankd.feedback.events import FeedbackEvent

EVENT_BYTES = 100
BYTES_PER_TOKEN = 4
_NOBODY = ApiKey("nobody", "nobody", "0" * 64)


def feedback_tokens(events: Sequence[FeedbackEvent]) -> int:
    """Return the tokens that a key is charged for feedback: one for every four bytes that are stored.

    Example:
        >>> from rerankd.feedback.events import FeedbackEvent
        >>> feedback_tokens([FeedbackEvent("r" * 32, "click", 0)])
        33
    """
    names = "".join(name for event in events for name in (event.request_id, event.document_id or ""))
    size = len(names.encode("utf-8", "surrogatepass")) + EVENT_BYTES * len(events)
    return size // BYTES_PER_TOKEN


async def check_feedback_rate(quotas: QuotaStore, items: int, per_minute: int) -> None:
    """Count items of feedback of the current request's key; without keys, of everybody together.

    Args:
        quotas: store of the quotas, which instances may share.
        items: items of the request.
        per_minute: items that a key may send in a minute; 0 for no limit.

    Raises:
        RateLimitedError: the key has sent too many.
    """
    if not per_minute:
        return
    context = current_request.get()
    bucket = replace(
        context.key or _NOBODY,
        id=f"feedback:{context.tenant}",
        tenant="",
        requests_per_minute=None,
        tokens_per_minute=per_minute,
        requests_per_day=None,
        tokens_per_day=None,
    )
    try:
        await quotas.charge(bucket, items, time.time())
    except RateLimitedError as error:
        sender = f"Key {context.key.name}" if context.key else "This service"
        raise RateLimitedError(
            f"{sender} takes {per_minute} items of feedback a minute (feedback_per_minute).",
            hint=error.hint,
            retry_after=error.retry_after,
        ) from None
