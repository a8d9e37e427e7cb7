"""Sticky assignment: a unit hashes to a fixed bucket, so every instance gives it the same variant."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from rerankd.errors import InvalidRequestError

BUCKETS = 10_000


def bucket_of(seed: str, unit: str) -> float:
    """Return the bucket of a unit as a number from 0 up to 1, in steps of 1 / `BUCKETS`.

    Assignment is sticky: it hashes experiment and unit (BLAKE2b, keyed by the experiment's seed), never the request.
    Different seeds give independent buckets, so experiments do not share their users.

    Args:
        seed: seed of the experiment.
        unit: id of a user, tenant or session.

    Example:
        >>> bucket_of("one", "user-7") == bucket_of("one", "user-7") != bucket_of("two", "user-7")
        True
    """
    digest = hashlib.blake2b(f"{seed}\0{unit}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % BUCKETS / BUCKETS


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the models that share an experiment's traffic.

    Attributes:
        name: `champion`, `challenger` or `interleaved`.
        weight: share of the covered units, from 0 to 1.
    """

    name: str
    weight: float


def assign(variants: Sequence[Variant], coverage: float, seed: str, unit: str) -> str | None:
    """Return the variant of a unit, or None if the unit is not covered.

    Each variant owns a range of buckets as long as its weight and takes units from the start of that range, in
    proportion to the coverage. Raising the coverage adds units and moves none.

    Args:
        variants: variants whose weights sum to 1 at most.
        coverage: share of all units that take part, from 0 to 1.
        seed: seed of the experiment.
        unit: id of a user, tenant or session.

    Raises:
        InvalidRequestError: a weight or the coverage is out of range.

    Example:
        >>> variants = [Variant("champion", 0.5), Variant("challenger", 0.5)]
        >>> assign(variants, 1.0, "seed", "user-1") in ("champion", "challenger")
        True
    """
    total = sum(variant.weight for variant in variants)
    if not 0 <= coverage <= 1 or total > 1 + 1e-9 or any(variant.weight < 0 for variant in variants):
        raise InvalidRequestError(
            f"The variants' weights sum to {total:g} and the coverage is {coverage:g}.",
            hint="Use weights of 0 or more that sum to 1 at most, and a coverage from 0 to 1.",
        )
    bucket, start = bucket_of(seed, unit), 0.0
    for variant in variants:
        if start <= bucket < start + variant.weight * coverage:
            return variant.name
        start += variant.weight
    return None
