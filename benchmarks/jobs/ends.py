"""End times of jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from rerankd.jobs.queue import JobQueue

END_SECONDS = 120.0


class JobEndListener:
    """Listener for the end times of jobs.

    Args:
        queue: of the jobs.
    """

    def __init__(self, queue: JobQueue) -> None:
        self._queue, self._ended = queue, dict[str, float]()
        self._heard = threading.Condition()
        self._stop = queue.store.subscribe(self._hear)

    def _hear(self, job: str) -> None:
        with self._heard:
            self._ended.setdefault(job, time.perf_counter())
            self._heard.notify_all()

    def wait(self, jobs: Iterable[str]) -> float:
        """Wait for all jobs and return the time at which the last of them ended.

        Raises:
            RuntimeError: one did not succeed, or not in time.
        """
        names = set(jobs)
        with self._heard:
            if not self._heard.wait_for(lambda: names <= self._ended.keys(), END_SECONDS):
                raise RuntimeError(f"{len(names - self._ended.keys())} jobs did not end in {END_SECONDS:.0f} s.")
            last = max(self._ended[name] for name in names)
        for name in names:
            job = self._queue.store.get(name)
            if job is None or job.state != "succeeded":
                raise RuntimeError(f"A job ended as {job.state if job else 'nothing'}.")
        return last

    def close(self) -> None:
        """Stop listening."""
        self._stop()
