"""Runner: computes the batches of a step, learns how much fits into memory, and isolates pairs that fail."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from rerankd._common.logging import logger
from rerankd.engine.admission import RateMeter
from rerankd.engine.observer import EngineObserver
from rerankd.errors import RerankdError, ScoringError
from rerankd.scoring.backend import Backend
from rerankd.scoring.batches import BatchLimits
from rerankd.scoring.encoder import EncodedPair
from rerankd.scoring.scorer import Scorer, non_finite_error

_log = logger(__name__)
MIN_STEP_TOKENS = 256
FIRST_STEP_TOKENS = 2048
GROWTH = 1.02

Output = float | npt.NDArray[np.float32]
"""Output of the model for one sequence: a logit, or the vector of a text."""
OutputOrError = Output | RerankdError


class BatchRunner:
    """A scorer with a token budget.

    Args:
        scorer: encoder and backend of one model.
        max_batch_tokens: tokens computed together at most.
        step_seconds: target computing time of a step: long enough to be efficient, short enough to let others in.
        rate: measured speed, shared with admission control.
        observer: observer of batches and failures.
        model: name of the model, for the observer and the log.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        max_batch_tokens: int,
        step_seconds: float,
        rate: RateMeter,
        observer: EngineObserver | None = None,
        model: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scorer, self._ceiling, self._step_seconds, self._rate = scorer, max_batch_tokens, step_seconds, rate
        self._observer, self._model, self._clock = observer or EngineObserver(), model, clock
        self._fits = float(max_batch_tokens)

    @property
    def budget(self) -> int:
        """Tokens of the next step at most: limited by memory and by the target computing time."""
        speed = self._rate.tokens_per_second
        wanted = speed * self._step_seconds if speed else FIRST_STEP_TOKENS
        return int(min(max(wanted, MIN_STEP_TOKENS), self._fits))

    @property
    def limits(self) -> BatchLimits:
        """Limits of one backend call; out-of-memory errors lower the number of tokens."""
        return self._scorer.batch_limits(max(int(self._fits), 1))

    def measure(self, tokens: int, seconds: float) -> None:
        """Learn the speed from a step. Small quick steps measure the overhead of a call, unless they are faster."""
        large = 2 * tokens >= self.budget or 2 * seconds >= self._step_seconds
        if large or tokens > self._rate.tokens_per_second * seconds:
            self._rate.observe(tokens, seconds)

    def run(self, batches: Sequence[Sequence[EncodedPair]]) -> list[list[OutputOrError]]:
        """Compute batches, each in one backend call unless it fails.

        Args:
            batches: pairs of each batch, within `limits`.

        Returns:
            One list per batch, in order: the output of each sequence, or the error that kept it from getting one.
        """
        outputs = list(self._scorer.worker_pool.map(self._compute, batches))
        self._fits = min(self._fits * GROWTH, float(self._ceiling))
        return outputs

    def _compute(
        self, backend: Backend, batch: Sequence[EncodedPair], *, is_retry: bool = False
    ) -> list[OutputOrError]:
        started = self._clock()
        try:
            computed = backend.logits(batch)
            outputs: list[Output] = computed.tolist() if computed.ndim == 1 else list(computed)
            if len(outputs) != len(batch):
                raise ValueError(f"the backend returned {len(outputs)} logits for {len(batch)} pairs")
        except Exception as error:  # any error of a backend: the batch is searched for the pair that causes it
            return self._bisect(error, backend, batch, is_retry=is_retry)
        self._observe(backend, batch, self._clock() - started)
        return [output if _is_finite(output) else non_finite_error(1) for output in outputs]

    def _observe(self, backend: Backend, batch: Sequence[EncodedPair], seconds: float) -> None:
        tokens = sum(map(len, batch))
        padded = tokens if backend.max_padding is None else len(batch) * max(map(len, batch))
        self._observer.batch(self._model, len(batch), tokens, padded, seconds)

    def _bisect(
        self, error: Exception, backend: Backend, batch: Sequence[EncodedPair], *, is_retry: bool
    ) -> list[OutputOrError]:
        """Compute the halves of a batch that failed, down to the single pairs that cannot be computed."""
        memory = out_of_memory(error)
        if memory:
            self._shrink(sum(map(len, batch)))
        if len(batch) > 1:
            middle = len(batch) // 2
            return self._compute(backend, batch[:middle]) + self._compute(backend, batch[middle:])
        if memory and not is_retry:
            return self._compute(backend, batch, is_retry=True)
        return [self._pair_error(error, len(batch[0]), memory=memory)]

    def _shrink(self, tokens: int) -> None:
        """Halve the budget after an out-of-memory error; it grows again slowly."""
        self._observer.failed(self._model, "out_of_memory")
        self._scorer.backend.release()
        self._fits = float(max(1, min(int(self._fits), tokens) // 2))
        _log.warning(
            "%s: out of memory at %d tokens; batches are limited to %d tokens", self._model, tokens, int(self._fits)
        )

    def _pair_error(self, error: Exception, tokens: int, *, memory: bool) -> RerankdError:
        self._observer.failed(self._model, "pair")
        if isinstance(error, RerankdError):
            return error
        if memory:
            return ScoringError(
                f"A pair of {tokens} tokens does not fit into memory.",
                hint="Use a smaller max_length, or long_documents=chunk.",
            )
        # A backend's message may contain paths or texts: it goes to the log, not to the client.
        _log.error("%s: the backend failed on a pair of %d tokens", self._model, tokens, exc_info=error)
        return ScoringError("The model failed on one of the pairs.", hint="The server's log has the cause.")


def _is_finite(output: Output) -> bool:
    return math.isfinite(output) if isinstance(output, float) else bool(np.isfinite(output).all())


def out_of_memory(error: BaseException) -> bool:
    """Return True if an error means that memory ran out: Python's own, torch's, or ONNX Runtime's.

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
