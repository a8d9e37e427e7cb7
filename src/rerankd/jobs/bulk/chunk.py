"""The unit of bulk work, small enough to be sent anywhere as bytes, and what comes back of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from rerankd.engine.request import QueryGroup
from rerankd.errors import RerankdError


@dataclass(frozen=True, slots=True)
class RowError:
    """Why a row has no score: the error's stable `code`, and a sentence."""

    code: str
    message: str

    @classmethod
    def of(cls, error: Exception) -> RowError:
        """Return the public part of an error; only the type of one that is not ours."""
        if isinstance(error, RerankdError):
            return cls(error.code, str(error))
        return cls("internal_error", f"Scoring failed ({type(error).__name__}).")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Queries with documents that are scored together; the same input is always cut into the same chunks.

    Attributes:
        number: place in the run, from 0.
        groups: one per row: the query and its documents' texts. There may be none.

    Example:
        >>> chunk = Chunk(0, (("what is a panda?", ("a bear", "a car")),))
        >>> (chunk.pairs, Chunk.from_bytes(chunk.to_bytes()) == chunk)
        (2, True)
    """

    number: int
    groups: tuple[QueryGroup, ...]

    @property
    def pairs(self) -> int:
        """Pairs of all groups."""
        return sum(len(documents) for _, documents in self.groups)

    def to_bytes(self) -> bytes:
        """The chunk as JSON."""
        return orjson.dumps([self.number, self.groups])

    @classmethod
    def from_bytes(cls, data: bytes) -> Chunk:
        """The chunk that `to_bytes` wrote."""
        number, groups = orjson.loads(data)
        return cls(number, tuple((query, tuple(documents)) for query, documents in groups))


RowResult = tuple[float, ...] | RowError


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """Result of a chunk.

    Attributes:
        number: the chunk's.
        outcomes: one per group: the logits of its documents in order, or why there are none.
        tokens: tokens of the scored pairs.
        truncated: pairs of which something was not read.

    Example:
        >>> result = ChunkResult(0, ((1.5, -2.0), RowError("scoring_failed", "No.")), tokens=12)
        >>> ChunkResult.from_bytes(result.to_bytes()) == result
        True
    """

    number: int
    outcomes: tuple[RowResult, ...]
    tokens: int = 0
    truncated: int = 0

    def to_bytes(self) -> bytes:
        """The result as JSON; logits keep every bit."""
        outcomes = [[one.code, one.message] if isinstance(one, RowError) else one for one in self.outcomes]
        return orjson.dumps([self.number, outcomes, self.tokens, self.truncated])

    @classmethod
    def from_bytes(cls, data: bytes) -> ChunkResult:
        """The result that `to_bytes` wrote."""
        number, outcomes, tokens, truncated = orjson.loads(data)
        return cls(number, tuple(_outcome(one) for one in outcomes), tokens, truncated)

    @property
    def failed(self) -> bool:
        """True if the chunk has rows and none of them has a score."""
        return bool(self.outcomes) and all(isinstance(one, RowError) for one in self.outcomes)


def _outcome(one: Sequence[float | str]) -> RowResult:
    if one and isinstance(one[0], str):
        return RowError(str(one[0]), str(one[1]))
    return tuple(float(value) for value in one)
