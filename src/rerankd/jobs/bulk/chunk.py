"""Chunks, the units of bulk work, and their results. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from rerankd._common.error_text import public_message
from rerankd.engine.request import QueryGroup
from rerankd.errors import RerankdError


@dataclass(frozen=True, slots=True)
class RowError:
    """Reason for a missing score: the error's stable `code` and its message."""

    code: str
    message: str

    @classmethod
    def of(cls, error: Exception) -> RowError:
        """Return the public part of an error; only the type of one that is not ours."""
        code = error.code if isinstance(error, RerankdError) else RerankdError.code
        return cls(code, public_message(error, f"Scoring failed ({type(error).__name__}).", hint=True))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Queries with documents that are scored together; the same input is always cut into the same chunks.

    Attributes:
        number: position in the run, from 0.
        groups: one per row: the query and the texts of its documents; may be empty.

    Example:
        >>> chunk = Chunk(0, (("what is a panda?", ("a bear", "a car")),))
        >>> (chunk.pairs, chunk.to_bytes())
        (2, b'[0,[["what is a panda?",["a bear","a car"]]]]')
    """

    number: int
    groups: tuple[QueryGroup, ...]

    @property
    def pairs(self) -> int:
        """Number of pairs in all groups."""
        return sum(len(documents) for _, documents in self.groups)

    def to_bytes(self) -> bytes:
        """Return the chunk as JSON; the idempotency key of its job is made of these bytes."""
        return orjson.dumps([self.number, self.groups])


RowResult = tuple[float, ...] | RowError


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """Result of a chunk.

    Attributes:
        number: number of the chunk.
        outcomes: one per group: the logits of its documents in order, or an error.
        tokens: tokens of the scored pairs.
        truncated: pairs of which some text was cut.

    Example:
        >>> result = ChunkResult(0, ((1.5, -2.0), RowError("scoring_failed", "No.")), tokens=12)
        >>> result.failed
        False
    """

    number: int
    outcomes: tuple[RowResult, ...]
    tokens: int = 0
    truncated: int = 0

    @property
    def failed(self) -> bool:
        """True if the chunk has rows and none of them has a score."""
        return bool(self.outcomes) and all(isinstance(outcome, RowError) for outcome in self.outcomes)
