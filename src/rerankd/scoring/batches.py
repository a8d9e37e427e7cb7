"""Which sequences are computed together."""

from __future__ import annotations

from collections.abc import Sequence

from rerankd.errors import InvalidRequestError


def plan(
    lengths: Sequence[int],
    max_batch_tokens: int,
    *,
    max_batch_pairs: int | None = None,
    max_padding: float | None = None,
) -> list[list[int]]:
    """Group sequences into batches, longest first.

    The longest come first, so that memory is at its peak at once and not after an hour. A sequence longer than the
    budget gets a batch of its own.

    Args:
        lengths: tokens of each sequence.
        max_batch_tokens: tokens of a batch at most; padding counts, unless `max_padding` is None.
        max_batch_pairs: sequences of a batch at most; None for no limit.
        max_padding: share of a batch that may be padding, 0 to 1; None for packed batches, which have none.

    Returns:
        Positions in `lengths`, each exactly once; longest first inside a batch.

    Raises:
        InvalidRequestError: a limit is not positive.

    Example:
        >>> plan([5, 9, 5, 1], max_batch_tokens=10)
        [[1], [0, 2], [3]]
    """
    if max_batch_tokens < 1 or (max_batch_pairs is not None and max_batch_pairs < 1):
        raise InvalidRequestError("max_batch_tokens and max_batch_pairs must be at least 1.")
    batches: list[list[int]] = []
    tokens = longest = 0
    for position in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[position]
        batch = batches[-1] if batches else []
        padded = longest * (len(batch) + 1)
        full = (
            not batch
            or (max_batch_pairs is not None and len(batch) >= max_batch_pairs)
            or (padded if max_padding is not None else tokens + length) > max_batch_tokens
            or (max_padding is not None and padded - tokens - length > max_padding * padded)
        )
        if full:
            batches.append([position])
            tokens, longest = length, length
        else:
            batch.append(position)
            tokens += length
    return batches
