"""Requests of an engine: pairs to score, their progress, and the distinct pairs that they share."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any

from rerankd.engine.batch_admission import BatchAdmission
from rerankd.engine.scheduler import QueuedSequence
from rerankd.errors import RerankdError
from rerankd.scoring.encoder import EncodedPair, TruncationOptions
from rerankd.types import PairScore

QueryGroup = tuple[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Pairs to score.

    Attributes:
        groups: queries, each with its documents.
        truncation: truncation of the pairs.
        tenant: whose turn in the queue it takes; tenants share the model's computing time equally.
        retry_key: the same text when the same request is sent again, see `admission.make_retry_key`.
        deadline: time limit on the engine's clock (monotonic seconds); None for no limit.
        cache: True if scores may be read from the cache and stored there.
        cache_scope: tenant that cached scores and pairs in flight are shared within; empty for no tenant.
        allow_truncation: False rejects the request before any of it is computed, if a text would be cut.
        background: True if nobody waits for it; it takes no room in the queue from requests that somebody waits for.
        priority: urgency; 0 is the most urgent.
        follow_up: most pairs that its result may ask for; `Engine.admit` admits them with it.
    """

    groups: Sequence[QueryGroup]
    truncation: TruncationOptions
    tenant: str = ""
    retry_key: str = ""
    deadline: float | None = None
    cache: bool = True
    cache_scope: str = ""
    allow_truncation: bool = True
    background: bool = False
    priority: int = 0
    follow_up: Sequence[QueryGroup] = ()

    @property
    def all_groups(self) -> Sequence[QueryGroup]:
        """Pairs to score, and those that may follow."""
        return [*self.groups, *self.follow_up] if self.follow_up else self.groups

    @property
    def pairs(self) -> int:
        """Pairs of all groups."""
        return sum(len(documents) for _, documents in self.groups)


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """Scores of a request.

    Attributes:
        scores: one list per group, in order.
        computed_tokens: tokens that were computed for it; cached scores cost none.
        cached: pairs whose score came from the cache.
        timings: milliseconds: `tokenization`, `queue` (until its first pair was computed), `inference`, `total`.
    """

    scores: list[list[PairScore]]
    computed_tokens: int
    cached: int
    timings: dict[str, float]


@dataclass(eq=False, slots=True)
class InFlightPair:
    """One distinct pair that is being computed, for one request or more.

    Attributes:
        key: hash of the pair, see `cache.pair_keys`.
        chunks: its sequences; more than one for a long document that is read in chunks.
        cache: True if its score may be cached.
        logits: logits so far, by the number of the chunk; vectors, where the model embeds texts.
        sequences: its chunks in the scheduler.
        requests: requests that wait for it.
        first_request: request that brought it and is charged for its tokens.
    """

    key: bytes
    chunks: list[EncodedPair]
    cache: bool
    logits: dict[int, Any] = field(default_factory=dict)
    sequences: list[QueuedSequence] = field(default_factory=list)
    requests: list[EngineRequest] = field(default_factory=list)
    first_request: EngineRequest | None = None

    @property
    def tokens(self) -> int:
        """Tokens of all chunks."""
        return sum(map(len, self.chunks))


@dataclass(eq=False, slots=True)
class EngineRequest:
    """A `ScoreRequest` in an engine; its `future` gets the `ScoreResult` or a `RerankdError`.

    Attributes:
        request: pairs to score.
        number: number of the request, unique in its engine.
        estimate: estimated tokens of all its pairs.
        submitted: time of submission on the engine's clock.
        admission: admission that it shares with other requests; None for one of its own.
        future: future of the result.
        positions: (group, document) positions of each pair, by the pair's key.
        scores: scores so far, one list per group.
        pending: pairs that are not scored yet; one more while texts are still being encoded.
        next_pair: first pair of the next slice to encode.
        unencoded: estimated tokens of the texts that are not encoded yet.
        outstanding: tokens that it brought and that are not computed yet.
        computed_tokens: tokens that it brought.
        cached: pairs whose score came from the cache.
        encode_seconds: time spent on tokenization.
        queued: time at which its first pair was queued; None before.
        started: time at which its first pair was computed; None before.
    """

    request: ScoreRequest
    number: int
    estimate: int
    submitted: float
    admission: BatchAdmission | None = None
    future: Future[ScoreResult] = field(default_factory=Future)
    positions: dict[bytes, list[tuple[int, int]]] = field(default_factory=dict)
    scores: list[list[PairScore | None]] = field(default_factory=list)
    pending: int = 1
    next_pair: int = 0
    unencoded: int = 0
    outstanding: int = 0
    computed_tokens: int = 0
    cached: int = 0
    encode_seconds: float = 0.0
    queued: float | None = None
    started: float | None = None

    def __post_init__(self) -> None:
        self.unencoded = self.estimate
        self.scores = [[None] * len(documents) for _, documents in self.request.groups]

    def set_score(self, key: bytes, score: PairScore) -> None:
        """Store a pair's score wherever the request has the pair."""
        for group, position in self.positions[key]:
            self.scores[group][position] = score

    def finish(self, now: float) -> None:
        """Set the result of a request that has all its scores; nothing happens if it was cancelled in this moment."""
        started = self.started or now
        timings = {
            "tokenization": self.encode_seconds * 1000,
            "queue": (started - (self.queued or started)) * 1000,
            "inference": (now - started) * 1000,
            "total": (now - self.submitted) * 1000,
        }
        scores = [[score for score in group if score is not None] for group in self.scores]
        with contextlib.suppress(InvalidStateError):
            self.future.set_result(ScoreResult(scores, self.computed_tokens, self.cached, timings))

    def fail(self, error: RerankdError) -> None:
        """Set the error of a request; nothing happens if it was answered or cancelled in this moment."""
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)
