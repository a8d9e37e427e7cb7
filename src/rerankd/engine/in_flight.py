"""Request coalescing (single-flight): pairs in flight, the requests that wait for them, and the scheduler's queues.

No threads: the engine holds its lock around every call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rerankd.engine.batch_admission import BatchAdmission
from rerankd.engine.request import EngineRequest, InFlightPair
from rerankd.engine.runner import OutputOrError
from rerankd.engine.scheduler import QueuedSequence, Scheduler
from rerankd.errors import RerankdError
from rerankd.scoring.encoder import EncodedPair
from rerankd.scoring.scorer import best_chunk
from rerankd.types import PairScore

Join = Callable[[Sequence[EncodedPair], Sequence[Any]], PairScore]
"""Turns the outputs of a pair's chunks into its score."""


@dataclass(slots=True)
class BatchResult:
    """Effects of computed sequences.

    Attributes:
        scores: scores of pairs whose last chunk was computed and that may be cached, by key.
        finished: requests that have all their scores; they were removed.
        failed: requests of pairs that got no score, with the reason; they were removed.
        dropped: sequences of the failed requests that no other request wants.
    """

    scores: dict[bytes, PairScore] = field(default_factory=dict)
    finished: list[EngineRequest] = field(default_factory=list)
    failed: dict[EngineRequest, RerankdError] = field(default_factory=dict)
    dropped: int = 0


class InFlight:
    """Requests of an engine and the distinct pairs that they wait for.

    Args:
        scheduler: scheduler that orders the pairs' sequences.
        join: turns the outputs of a pair's chunks into its score.
    """

    def __init__(self, scheduler: Scheduler, join: Join = best_chunk) -> None:
        self.scheduler, self._join = scheduler, join
        self.unencoded = 0
        self._requests: dict[EngineRequest, None] = {}
        self._priorities = Counter[int]()  # requests by priority
        self._pairs: dict[bytes, InFlightPair] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def __contains__(self, request: object) -> bool:
        return request in self._requests

    @property
    def waiting_tokens(self) -> int:
        """Tokens that wait for a step; those of texts that are not encoded yet are estimated."""
        return self.unencoded + self.scheduler.waiting_tokens

    @property
    def background_tokens(self) -> int:
        """Tokens of background requests that are not computed yet."""
        return sum(request.unencoded + request.outstanding for request in self._requests if request.request.background)

    def excess_tokens(self, limit: int) -> int:
        """Return the tokens by which single requests exceed a limit; background requests do not count.

        Requests that were admitted together are one.
        """
        excess, batches = 0, Counter[BatchAdmission]()
        for request in self._requests:
            size = 0 if request.request.background else request.unencoded + request.outstanding
            if request.admission is not None:
                batches[request.admission] += size
            elif size > limit:
                excess += size - limit
        return excess + sum(max(0, size - limit) for size in batches.values())

    def less_urgent_tokens(self, priority: int) -> int:
        """Return the tokens of requests that are less urgent than a priority; background requests do not count."""
        if max(self._priorities, default=0) <= priority:
            return 0
        return sum(
            request.unencoded + request.outstanding
            for request in self._requests
            if request.request.priority > priority and not request.request.background
        )

    def add(self, request: EngineRequest) -> None:
        """Add a request whose texts are not encoded yet."""
        self._requests[request] = None
        self._priorities[request.request.priority] += 1
        self.unencoded += request.unencoded

    def finish_slice(self, request: EngineRequest, estimate: int, *, last: bool) -> list[EngineRequest]:
        """Count a slice of a request as encoded.

        Args:
            request: request of the slice.
            estimate: estimated tokens of the slice.
            last: True if nothing of the request is left to encode.

        Returns:
            The request if it has all its scores; it was removed then.
        """
        if request in self._requests:
            self.unencoded -= estimate
            request.unencoded -= estimate
            request.pending -= last
        return self._remove_finished([request])

    def join(self, request: EngineRequest, key: bytes) -> bool:
        """Let a request wait for a pair that is in flight already; False if it is not."""
        pair = self._pairs.get(key)
        if pair is None or request not in self._requests:
            return False
        if request not in pair.requests:
            pair.requests.append(request)
            request.pending += 1
            # Whichever of its requests has its turn first gets the pair computed.
            asked = request.request
            self.scheduler.add(request, asked.tenant, pair.sequences, asked.deadline, asked.priority)
        return True

    def enqueue(self, request: EngineRequest, pairs: Iterable[InFlightPair]) -> None:
        """Queue new pairs of a request."""
        sequences = []
        for pair in pairs:
            pair.sequences = [QueuedSequence(len(chunk), (pair, number)) for number, chunk in enumerate(pair.chunks)]
            pair.requests.append(request)
            pair.first_request = request
            self._pairs[pair.key] = pair
            request.pending += 1
            request.computed_tokens += pair.tokens
            request.outstanding += pair.tokens
            sequences += pair.sequences
        asked = request.request
        self.scheduler.add(request, asked.tenant, sequences, asked.deadline, asked.priority)

    def complete(self, sequences: Iterable[QueuedSequence], outputs: Iterable[OutputOrError]) -> BatchResult:
        """Store the outputs of computed sequences."""
        result = BatchResult()
        scored: list[EngineRequest] = []
        for sequence, output in zip(sequences, outputs, strict=True):
            scored += self._complete_chunk(sequence, output, result)
        result.finished = self._remove_finished(scored)
        result.dropped = sum(self.remove(request) for request in result.failed)
        return result

    def _complete_chunk(
        self, sequence: QueuedSequence, output: OutputOrError, result: BatchResult
    ) -> list[EngineRequest]:
        """Store one output; returns the requests that got a score by it."""
        pair: InFlightPair = sequence.payload[0]
        number: int = sequence.payload[1]
        if isinstance(output, RerankdError):
            result.failed.update(dict.fromkeys(pair.requests, output))
            self._pairs.pop(pair.key, None)
            return []
        pair.logits[number] = output
        if len(pair.logits) < len(pair.chunks):
            return []
        score = self._join(pair.chunks, list(pair.logits.values()))
        if pair.cache:
            result.scores[pair.key] = score
        if self._pairs.get(pair.key) is pair:
            del self._pairs[pair.key]
        if pair.first_request is not None:
            pair.first_request.outstanding -= pair.tokens
        for request in pair.requests:
            request.set_score(pair.key, score)
            request.pending -= 1
        return list(pair.requests)

    def _remove_finished(self, requests: Iterable[EngineRequest]) -> list[EngineRequest]:
        finished = [
            request for request in dict.fromkeys(requests) if request in self._requests and request.pending == 0
        ]
        for request in finished:
            self.remove(request)
        return finished

    def remove(self, request: EngineRequest) -> int:
        """Forget a request; returns how many of its sequences were dropped before they were handed out."""
        if request not in self._requests:
            return 0
        del self._requests[request]
        self._priorities[request.request.priority] -= 1
        if not self._priorities[request.request.priority]:
            del self._priorities[request.request.priority]
        self.unencoded -= request.unencoded
        dropped = self.scheduler.remove(request)
        for key in request.positions:
            pair = self._pairs.get(key)
            if pair is not None and request in pair.requests:
                pair.requests.remove(request)
                if not pair.requests:
                    del self._pairs[key]
        return dropped

    def expired(self, now: float) -> list[EngineRequest]:
        """Return the requests whose deadline has passed."""
        return [request for request in self.scheduler.expire(now) if isinstance(request, EngineRequest)]

    def clear(self) -> list[EngineRequest]:
        """Remove every request; returns them."""
        requests = list(self._requests)
        for request in requests:
            self.remove(request)
        self._pairs.clear()
        return requests
