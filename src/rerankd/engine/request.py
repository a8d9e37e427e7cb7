"""What travels through an engine: a request's job, and the flight of each pair, computed for one or more jobs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from rerankd.engine.scheduler import QueuedSequence
from rerankd.scoring.encoder import EncodedPair, TruncationOptions
from rerankd.types import PairScore

QueryGroup = tuple[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Pairs to score.

    Attributes:
        groups: queries, each with its documents.
        truncation: how pairs are cut.
        tenant: whose turn in the queue it takes; tenants share the model's computing time equally.
        retry_key: the same text when the same request is sent again, see `admission.make_retry_key`.
        deadline: in the engine's clock (monotonic seconds); None for no limit.
        cache: whether scores may be read from the cache and kept there.
        allow_truncation: False fails the request before anything of it is computed, if a text would be cut.
        background: nobody waits for it; it takes no place in the queue from requests that somebody waits for.
    """

    groups: Sequence[QueryGroup]
    truncation: TruncationOptions
    tenant: str = ""
    retry_key: str = ""
    deadline: float | None = None
    cache: bool = True
    allow_truncation: bool = True
    background: bool = False

    @property
    def pairs(self) -> int:
        """Pairs of all groups."""
        return sum(len(documents) for _, documents in self.groups)


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """What came of a request.

    Attributes:
        scores: one list per group, in order.
        computed_tokens: tokens that were computed for it, not those found in the cache.
        cached: pairs that were found in the cache.
        timings: milliseconds: `tokenization`, `queue` (until its first pair was computed), `inference`, `total`.
    """

    scores: list[list[PairScore]]
    computed_tokens: int
    cached: int
    timings: dict[str, float]


@dataclass(eq=False, slots=True)
class InFlightPair:
    """One distinct pair that is being computed, and who waits for it."""

    key: bytes
    windows: list[EncodedPair]
    cache: bool
    logits: dict[int, float] = field(default_factory=dict)
    tickets: list[QueuedSequence] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    bringer: Job | None = None

    @property
    def tokens(self) -> int:
        """Tokens of all windows."""
        return sum(map(len, self.windows))


@dataclass(eq=False, slots=True)
class Job:
    """A request on its way.

    `missing` counts flights that have not landed and, while texts are still being encoded, one more.
    """

    request: ScoreRequest
    number: int
    estimate: int
    submitted: float
    future: Future[ScoreResult] = field(default_factory=Future)
    places: dict[bytes, list[tuple[int, int]]] = field(default_factory=dict)
    scores: list[list[PairScore | None]] = field(default_factory=list)
    missing: int = 1
    next_slice: int = 0
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

    def land(self, key: bytes, score: PairScore) -> None:
        """Write a pair's score wherever the request has it."""
        for group, place in self.places[key]:
            self.scores[group][place] = score

    def scored(self, now: float) -> ScoreResult:
        """The finished answer."""
        started = self.started or now
        timings = {
            "tokenization": self.encode_seconds * 1000,
            "queue": (started - (self.queued or started)) * 1000,
            "inference": (now - started) * 1000,
            "total": (now - self.submitted) * 1000,
        }
        scores = [[score for score in group if score is not None] for group in self.scores]
        return ScoreResult(scores, self.computed_tokens, self.cached, timings)
