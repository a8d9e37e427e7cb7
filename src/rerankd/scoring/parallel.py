"""Worker pool: batches computed side by side where a single batch does not keep all cores busy."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import TypeVar

from rerankd.scoring.backend import Backend

Item = TypeVar("Item")
Result = TypeVar("Result")
TaskQueue = SimpleQueue[Callable[[], None] | None]


class WorkerPool:
    """Daemon threads that compute batches with single-threaded copies of a backend.

    Ctrl-C may interrupt at any point, so every wait uses a `SimpleQueue`, whose operations are atomic. An interrupt can
    leave the lock of a future held, and the program would then never exit. Threads are daemons for the same reason, and
    `map` returns or raises only when all of them are idle.

    Args:
        backend: backend to compute with; see `Backend.workers`.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._starting = threading.Lock()
        self._tasks: TaskQueue | None = None
        self._process = 0  # threads do not follow into a forked one

    def map(self, compute: Callable[[Backend, Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield the results in the order of the items.

        At least `Backend.workers` items run in parallel, one core each; fewer run one after the other on all cores, but
        several packed ones also in parallel, since a call for a packed batch uses one core anyway. The first failure is
        raised, and items that were not begun are skipped.

        Args:
            compute: function of the backend to use and an item.
            items: batches to compute.
        """
        backend = self._backend.single_thread
        fewest = 2 if self._backend.max_padding is None else self._backend.workers
        if backend is None or len(items) < fewest:
            return (compute(self._backend, item) for item in items)
        return self._map_parallel(backend, compute, items)

    def _map_parallel(
        self, backend: Backend, compute: Callable[[Backend, Item], Result], items: Sequence[Item]
    ) -> Iterator[Result]:
        tasks, halted = self._started(), list[bool]()
        finished: SimpleQueue[tuple[int, Result | None, BaseException | None]] = SimpleQueue()

        def task(position: int) -> Callable[[], None]:
            def run() -> None:
                result, failure = None, None
                try:
                    if not halted:
                        result = compute(backend, items[position])
                except BaseException as error:  # raised in the thread that waits
                    failure = error
                finished.put((position, result, failure))

            return run

        results: dict[int, tuple[Result | None, BaseException | None]] = {}
        put = taken = 0
        try:
            for position in range(len(items)):
                tasks.put(task(position))
                put += 1
            for position in range(len(items)):
                while position not in results:
                    finished_position, result, failure = finished.get()
                    taken += 1
                    results[finished_position] = result, failure
                result, failure = results.pop(position)
                if failure is not None:
                    raise failure
                yield result  # type: ignore[misc]  # None only if `compute` returned it
        finally:
            halted.append(True)
            while taken < put:
                finished.get()
                taken += 1

    def _started(self) -> TaskQueue:
        """Return the queue that the threads read from; start them at the first use."""
        with self._starting:
            if self._tasks is None or self._process != os.getpid():
                self._tasks, self._process = SimpleQueue(), os.getpid()
                for number in range(self._backend.workers):
                    name = f"rerankd worker {number}"
                    threading.Thread(target=_run_tasks, args=(self._tasks,), name=name, daemon=True).start()
                weakref.finalize(self, _stop_threads, self._tasks, self._backend.workers)
            return self._tasks


def _run_tasks(tasks: TaskQueue) -> None:
    while (task := tasks.get()) is not None:
        task()
        del task


def _stop_threads(tasks: TaskQueue, threads: int) -> None:
    for _ in range(threads):
        tasks.put(None)
