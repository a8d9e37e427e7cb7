"""A load generator in a process of its own, which shares no interpreter with the server under test."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.load import Attempt, Generator, Load
from benchmarks.wire import Target


@dataclass(frozen=True, slots=True)
class Report:
    """Shots of each load in the order of their responses, and the cost of sending them."""

    shots: list[list[Attempt]]
    seconds: float
    processor_seconds: float
    connections: int


class LoadProcess:
    """A generator in a process of its own, which shares no interpreter with the server.

    Args:
        url: the endpoint; loopback only.
    """

    def __init__(self, url: str) -> None:
        target = Target.parse(url)
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(target, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> LoadProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.join(10)
        self._process.kill()

    def run(self, *loads: Load) -> Report:
        """Send loads, all at once, and wait for their end.

        Raises:
            RuntimeError: the generator failed.
        """
        self._connection.send(loads)
        answer = self._connection.recv()
        if isinstance(answer, Report):
            return answer
        raise RuntimeError(answer)


def _serve(target: Target, connection: Any) -> None:
    gc.freeze()
    while True:
        try:
            loads = connection.recv()
        except EOFError:
            return
        try:
            connection.send(_measured(target, loads))
        except Exception as error:  # the parent says it
            connection.send(f"The load generator failed: {error!r}")


def _measured(target: Target, loads: Sequence[Load]) -> Report:
    generator = Generator(target)
    wall, processor = time.perf_counter(), time.process_time()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        shots = runner.run(generator.run(loads))
    return Report(shots, time.perf_counter() - wall, time.process_time() - processor, generator.opened)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # Windows
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
