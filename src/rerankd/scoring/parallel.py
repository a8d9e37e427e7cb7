"""Parts of a batch, computed side by side where a part alone does not keep all cores at work."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import TypeVar

from rerankd.scoring.backend import Backend

Part = TypeVar("Part")
Result = TypeVar("Result")
Work = SimpleQueue[Callable[[], None] | None]


class WorkerPool:
    """Computes parts with a backend: at least as many as it has lanes side by side, one core each; fewer in turn.

    Ctrl-C may interrupt at any point. Whoever waits does so in queues that are one step to the interpreter; futures
    have locks that an interrupt can leave closed, and a program that then waits for its threads never ends. Threads
    are daemons for the same reason, and idle before `map` is left, however it is left.

    Args:
        backend: what computes; see `Backend.workers`.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._starting = threading.Lock()
        self._work: Work | None = None
        self._process = 0  # threads do not follow into a forked one

    def map(self, compute: Callable[[Backend, Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
        """Results in the order of the parts; the first failure is raised, and parts that have not begun are left out.

        Args:
            compute: called with the backend to use and a part.
            parts: what is to be computed.
        """
        single_thread = self._backend.single_thread
        if lane is None or len(parts) < self._backend.workers:
            return (compute(self._backend, part) for part in parts)
        return self._side_by_side(lane, compute, parts)

    def _side_by_side(
        self, lane: Backend, compute: Callable[[Backend, Part], Result], parts: Sequence[Part]
    ) -> Iterator[Result]:
        work, halted = self._started(), list[bool]()
        done: SimpleQueue[tuple[int, Result | None, BaseException | None]] = SimpleQueue()

        def task(place: int) -> Callable[[], None]:
            def run() -> None:
                found, failure = None, None
                try:
                    if not halted:
                        found = compute(lane, parts[place])
                except BaseException as error:  # of whoever waits
                    failure = error
                done.put((place, found, failure))

            return run

        found: dict[int, tuple[Result | None, BaseException | None]] = {}
        put = taken = 0
        try:
            for place in range(len(parts)):
                work.put(task(place))
                put += 1
            for place in range(len(parts)):
                while place not in found:
                    at, result, failure = done.get()
                    taken += 1
                    found[at] = result, failure
                result, failure = found.pop(place)
                if failure is not None:
                    raise failure
                yield result  # type: ignore[misc]  # None only if it is what was computed
        finally:
            halted.append(True)
            while taken < put:
                done.get()
                taken += 1

    def _started(self) -> Work:
        """The queue that threads take from."""
        with self._starting:
            if self._work is None or self._process != os.getpid():
                self._work, self._process = SimpleQueue(), os.getpid()
                for number in range(self._backend.workers):
                    threading.Thread(target=_serve, args=(self._work,), name=f"lane {number}", daemon=True).start()
                weakref.finalize(self, _end, self._work, self._backend.workers)
            return self._work


def _serve(work: Work) -> None:
    while (task := work.get()) is not None:
        task()
        del task


def _end(work: Work, threads: int) -> None:
    for _ in range(threads):
        work.put(None)
