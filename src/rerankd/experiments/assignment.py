"""Who gets what: a unit's place on a line from 0 to 1, the same on every instance, whatever the coverage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rerankd.errors import InvalidRequestError

STEPS = 10_000


def fnv1a32(text: str) -> int:
    """The 32-bit FNV-1a hash of a text's UTF-8 bytes.

    Example:
        >>> fnv1a32(""), fnv1a32("a"), fnv1a32("foobar")
        (2166136261, 3826002220, 3214735720)
    """
    value = 0x811C9DC5
    for byte in text.encode("utf-8", "surrogatepass"):
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def bucket_of(seed: str, unit: str) -> float:
    """Where a unit stands, from 0 to 1 in steps of 1 / `STEPS`; hashed twice, so that seeds do not go together.

    Args:
        seed: of the experiment.
        unit: a user, tenant or session, never a request.

    Example:
        >>> bucket_of("one", "user-7") == bucket_of("one", "user-7") != bucket_of("two", "user-7")
        True
    """
    return fnv1a32(str(fnv1a32(seed + unit))) % STEPS / STEPS


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the versions that share the traffic.

    Attributes:
        name: of the arm.
        weight: its share of the covered units, from 0 to 1.
    """

    name: str
    weight: float


def assign(arms: Sequence[Variant], coverage: float, seed: str, unit: str) -> str | None:
    """The arm of a unit; None for one that is not covered.

    Each arm has a stretch of the line as long as its weight and takes units from its beginning, as much of it as is
    covered: raising the coverage adds units and moves none.

    Args:
        arms: whose weights sum to 1 at most.
        coverage: share of all units that take part, from 0 to 1.
        seed: of the experiment.
        unit: a user, tenant or session.

    Raises:
        InvalidRequestError: weights or a coverage out of range.

    Example:
        >>> arms = [Variant("champion", 0.5), Variant("challenger", 0.5)]
        >>> assign(arms, 1.0, "seed", "user-1") in ("champion", "challenger")
        True
    """
    total = sum(arm.weight for arm in arms)
    if not 0 <= coverage <= 1 or total > 1 + 1e-9 or any(arm.weight < 0 for arm in arms):
        raise InvalidRequestError(
            f"Weights of {total:g} together with a coverage of {coverage:g} cannot be.", hint="Both are at most 1."
        )
    place, start = bucket_of(seed, unit), 0.0
    for arm in arms:
        if start <= place < start + arm.weight * coverage:
            return arm.name
        start += arm.weight
    return None
