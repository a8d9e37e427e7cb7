"""Batches: sequences that go to the backend in one call."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from rerankd.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Limits of one backend call.

    Attributes:
        max_tokens: tokens of a batch at most; padding counts, unless `max_padding` is None.
        max_pairs: sequences of a batch at most; None for no limit.
        max_padding: share of a batch that may be padding, 0 to 1; None for packed batches, which have none.
        workers: packed batches that are computed side by side; they get equal shares of the tokens.
    """

    max_tokens: int
    max_pairs: int | None = None
    max_padding: float | None = None
    workers: int = 1


def plan_batches(lengths: Sequence[int], limits: BatchLimits) -> list[list[int]]:
    """Group sequences into batches, longest first.

    The longest come first, so that memory use peaks at once and not after an hour. A sequence longer than the limit
    gets a batch of its own.

    Args:
        lengths: tokens of each sequence.
        limits: limits of a batch.

    Returns:
        Positions in `lengths`, each exactly once; longest first inside a batch.

    Raises:
        InvalidRequestError: a limit is not positive.

    Example:
        >>> plan_batches([5, 9, 5, 1], BatchLimits(max_tokens=10))
        [[1], [0, 2], [3]]
    """
    if limits.max_tokens < 1 or (limits.max_pairs is not None and limits.max_pairs < 1):
        raise InvalidRequestError(
            "A batch must hold at least one token and one pair.", hint="Use a max_batch_tokens and batch_size from 1."
        )
    if limits.workers > 1 and limits.max_padding is None:
        return _equal_batches(lengths, limits)
    batches: list[list[int]] = []
    tokens = longest = 0
    for position in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[position]
        batch = batches[-1] if batches else []
        padded = longest * (len(batch) + 1)
        full = (
            not batch
            or (limits.max_pairs is not None and len(batch) >= limits.max_pairs)
            or (padded if limits.max_padding is not None else tokens + length) > limits.max_tokens
            or (limits.max_padding is not None and padded - tokens - length > limits.max_padding * padded)
        )
        if full:
            batches.append([position])
            tokens, longest = length, length
        else:
            batch.append(position)
            tokens += length
    return batches


def _equal_batches(lengths: Sequence[int], limits: BatchLimits) -> list[list[int]]:
    """Divide sequences into a multiple of `workers` batches of nearly equal tokens: longest first, to the emptiest."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    count = limits.workers * max(1, -(-sum(lengths) // (limits.workers * limits.max_tokens)))
    while count < len(order):
        batches: list[list[int]] = [[] for _ in range(count)]
        emptiest = [(0, number) for number in range(count)]
        for position in order:
            tokens, number = heapq.heappop(emptiest)
            batches[number].append(position)
            heapq.heappush(emptiest, (tokens + lengths[position], number))
        if all(_fits([lengths[i] for i in batch], limits) for batch in batches):
            return sorted(batches, key=lambda batch: -lengths[batch[0]])
        count += limits.workers * max(1, count // (8 * limits.workers))
    return [[position] for position in order]


def _fits(lengths: Sequence[int], limits: BatchLimits) -> bool:
    return len(lengths) == 1 or (
        sum(lengths) <= limits.max_tokens and (limits.max_pairs is None or len(lengths) <= limits.max_pairs)
    )
