"""Health of an engine: crashes and restarts of its threads, batches that hang, probes and warm-up."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rerankd.engine.request import ScoreRequest
from rerankd.errors import UnavailableError
from rerankd.scoring.encoder import TruncationOptions

RESTART_SECONDS = 1.0
STALL_SECONDS = 30.0
FIRST_STEP_SECONDS = 5.0
WARM_UP_SECONDS = 300.0
PROBE_TENANT = "~probe"
WARM_UP_TEXTS = ("What does a panda eat? 熊猫吃什么？", "Pandas eat bamboo. 熊猫吃竹子。 ")


class Health:
    """State of an engine's threads. No lock: the engine holds its own around every change.

    Args:
        clock: monotonic seconds.

    Attributes:
        generation: number of the threads that work; what threads of an earlier generation compute is ignored.
        crashes: crashes since the last score.
        last_success: time of the last score; None before the first.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._crashed_at: float | None = None
        self.generation = 0
        self.crashes = 0
        self.last_success: float | None = None

    @property
    def crashed(self) -> bool:
        """True if a thread crashed and none was started again yet."""
        return self._crashed_at is not None

    def start(self) -> int:
        """Begin a new generation of threads; returns its number."""
        self.generation += 1
        self._crashed_at = None
        return self.generation

    def crash(self) -> None:
        """Count a crash; whatever still runs belongs to an earlier generation."""
        self.generation += 1
        self.crashes += 1
        self._crashed_at = self._clock()

    def succeed(self) -> None:
        """Count a score."""
        self.last_success = self._clock()
        self.crashes = 0

    def check_restart(self, now: float) -> bool:
        """Return True if the threads crashed and are due to be started again.

        Raises:
            UnavailableError: they crashed a moment ago.
        """
        if self._crashed_at is None:
            return False
        if now - self._crashed_at < RESTART_SECONDS:
            raise UnavailableError("The model stopped working and is being restarted.", hint="Send the request again.")
        return True

    def stalled_seconds(self, tokens: int, started: float, tokens_per_second: float) -> float:
        """Return the seconds that a step takes beyond three times the expected time; 0 if it does not.

        Args:
            tokens: tokens of the step.
            started: time at which it was started.
            tokens_per_second: measured speed; 0 if nothing was measured yet.
        """
        expected = tokens / tokens_per_second if tokens_per_second else FIRST_STEP_SECONDS
        return max(0.0, self._clock() - started - 3 * expected)


def probe_request(number: int) -> ScoreRequest:
    """Return a request of one short pair that the cache cannot answer."""
    text = f"probe {number}"
    return ScoreRequest([(text, [text])], TruncationOptions(max_length=64), PROBE_TENANT, cache=False)


def warm_up_requests(workers: int) -> Iterator[ScoreRequest]:
    """Yield requests of short and of long texts, with a document for each worker and at least two."""
    query, text = WARM_UP_TEXTS
    for repeats in (1, 4, 16):
        group = (query, [f"{n} {text * repeats}" for n in range(max(2, workers))])
        yield ScoreRequest([group], TruncationOptions(max_length=256), PROBE_TENANT, cache=False)
