"""Computes one batch: learns how much fits, and finds out which pairs of a failing batch are to blame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from rerankd._common.logging import logger
from rerankd.engine.admission import RateMeter
from rerankd.engine.observer import EngineObserver
from rerankd.errors import RerankdError, ScoringError
from rerankd.scoring.backend import Backend
from rerankd.scoring.encoder import EncodedPair
from rerankd.scoring.scorer import Scorer, not_finite

_log = logger(__name__)
MIN_BATCH_TOKENS = 256
FIRST_BATCH_TOKENS = 2048
GROWTH = 1.02

Outcome = float | RerankdError


class BatchRunner:
    """A scorer with a budget.

    Args:
        scorer: encoder and backend of one model.
        max_batch_tokens: tokens computed together at most.
        batch_seconds: time that a batch aims at: long enough to be efficient, short enough to let others in.
        rate: shared with admission.
        observer: told of failures.
        model: name for the observer.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        max_batch_tokens: int,
        batch_seconds: float,
        rate: RateMeter,
        observer: EngineObserver | None = None,
        model: str = "",
    ) -> None:
        self._scorer, self._ceiling, self._batch_seconds, self._rate = scorer, max_batch_tokens, batch_seconds, rate
        self._observer, self._model = observer or EngineObserver(), model
        self._fits = float(max_batch_tokens)

    @property
    def budget(self) -> int:
        """Tokens of the next batch at most: what fits, and what is computed in the time that a batch aims at."""
        speed = self._rate.tokens_per_second
        wanted = speed * self._batch_seconds if speed else FIRST_BATCH_TOKENS
        return int(min(max(wanted, MIN_BATCH_TOKENS), self._fits))

    def plan(self, pairs: Sequence[EncodedPair]) -> list[list[int]]:
        """Which pairs go to the backend together."""
        return self._scorer.plan(pairs, max(int(self._fits), 1))

    def run(self, pairs: Sequence[EncodedPair], plan: list[list[int]]) -> list[Outcome]:
        """Logits in the order of the pairs; where there is none, why.

        Args:
            pairs: the batch.
            plan: from `plan`.
        """
        outcomes: dict[int, Outcome] = {}
        for found in self._scorer.worker_pool.map(partial(self._attempt, pairs=pairs), plan):
            outcomes |= found
        self._fits = min(self._fits * GROWTH, float(self._ceiling))
        return [outcomes[place] for place in range(len(pairs))]

    def _attempt(
        self, backend: Backend, part: list[int], pairs: Sequence[EncodedPair], *, again: bool = False
    ) -> dict[int, Outcome]:
        try:
            logits = backend.logits([pairs[place] for place in part]).tolist()
            scored = dict(zip(part, logits, strict=True))
        except Exception as error:  # whatever a backend raises, the batch is searched for who caused it
            return self._failed(error, backend, part, pairs, again=again)
        return {place: logit if math.isfinite(logit) else not_finite(1) for place, logit in scored.items()}

    def _failed(
        self, error: Exception, backend: Backend, part: list[int], pairs: Sequence[EncodedPair], *, again: bool
    ) -> dict[int, Outcome]:
        memory = out_of_memory(error)
        if memory:
            self._shrink(sum(len(pairs[place]) for place in part))
        if len(part) > 1:
            middle = len(part) // 2
            halves = (part[:middle], part[middle:])
            return self._attempt(backend, halves[0], pairs) | self._attempt(backend, halves[1], pairs)
        if memory and not again:
            return self._attempt(backend, part, pairs, again=True)
        return {part[0]: self._blame(error, len(pairs[part[0]]), memory=memory)}

    def _shrink(self, tokens: int) -> None:
        """Half of what did not fit is the budget from now on; it grows again slowly."""
        self._observer.failed(self._model, "out_of_memory")
        self._scorer.backend.release()
        self._fits = float(max(1, min(int(self._fits), tokens) // 2))
        _log.warning("%s: out of memory at %d tokens; batches are cut to %d", self._model, tokens, int(self._fits))

    def _blame(self, error: Exception, tokens: int, *, memory: bool) -> RerankdError:
        self._observer.failed(self._model, "pair")
        if isinstance(error, RerankdError):
            return error
        if memory:
            return ScoringError(
                f"A pair of {tokens} tokens does not fit into memory.",
                hint="Use a smaller max_length, or long_documents=chunk.",
            )
        # What the backend said may hold paths or texts: it goes to the log, not to the caller.
        _log.error("%s: the backend failed on a pair of %d tokens", self._model, tokens, exc_info=error)
        return ScoringError("The model failed on one of the pairs.", hint="The server's log has the cause.")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's own, torch's, or the runtime's.

    Example:
        >>> out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
        True
    """
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(sign in text for sign in ("out of memory", "failed to allocate", "bad allocation", "bad_alloc"))
    )
