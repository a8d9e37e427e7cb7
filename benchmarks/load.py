"""HTTP load on a rerank endpoint of this machine, from a process of its own: closed loops and Poisson arrivals.

It shares the processor with what it measures, so it is bare: asyncio protocols, bodies made beforehand or joined from
pieces, and of an answer only its status, length and Retry-After are read. It checks no answers; tests do.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from benchmarks.bodies import Bodies
from benchmarks.wire import Connection, Target

MAX_SECONDS = 1800.0
MAX_REQUESTS = 1_000_000
MAX_CONNECTIONS = 4096
ANSWER_SECONDS = 120.0
GIVE_WAY_SECONDS = 0.25
REFUSED = (429, 503)


@dataclass(frozen=True, slots=True)
class Shot:
    """One try of a request; times are seconds since the run began.

    Attributes:
        due: when it should have been sent; latency counts from here, so a late generator hides nothing.
        status: 0 if no answer came.
        retry_after: seconds, of a refusal.
        attempt: 1, or 2 when it is sent again after a refusal.
    """

    serial: int
    attempt: int
    pairs: int
    due: float
    sent: float
    done: float
    status: int
    retry_after: int | None = None

    @property
    def latency(self) -> float:
        """Seconds from when it should have been sent."""
        return self.done - self.due


@dataclass(frozen=True, slots=True)
class Closed:
    """Clients that each send the next request when the last is answered.

    Attributes:
        requests: to send in all; None for as many as fit.
        seconds: time after which none is sent any more; those on their way are waited for.
        background: goes on until all other loads are over, and then drops what is on its way.
        start: seconds after the run's begin.
        pause: seconds of a client between requests.
        first: number of the first body.
    """

    bodies: Bodies
    clients: int
    requests: int | None = None
    seconds: float = MAX_SECONDS
    background: bool = False
    start: float = 0.0
    pause: float = 0.0
    first: int = 0


@dataclass(frozen=True, slots=True)
class Open:
    """Poisson arrivals, whatever the server does; who is refused comes again once, when it was told to.

    Attributes:
        rate: new requests per second.
        seconds: time in which they arrive.
        tail: seconds after it in which those who were told to come later still come.
        retried: share of the refused that come again; all of them unless there are too many to send.
    """

    bodies: Bodies
    rate: float
    seconds: float
    tail: float = 0.0
    retried: float = 1.0
    seed: int = 1
    first: int = 0


Load = Closed | Open


@dataclass(frozen=True, slots=True)
class Report:
    """Shots of each load, in the order of their answers, and what sending them cost this machine."""

    shots: list[list[Shot]]
    seconds: float
    processor_seconds: float
    connections: int


class Generator:
    """Sends loads to one target; lives in one event loop.

    Args:
        target: where to.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._idle: deque[Connection] = deque()
        self._begun = 0.0
        self._flying = 0
        self.opened = 0

    async def run(self, loads: Sequence[Load]) -> list[list[Shot]]:
        """Send all loads at once; returns when all are over but those in the background."""
        self._begun = time.perf_counter()
        results: list[list[Shot]] = [[] for _ in loads]
        tasks = [asyncio.create_task(self._load(load, own)) for load, own in zip(loads, results, strict=True)]
        behind = [isinstance(load, Closed) and load.background for load in loads]
        try:
            await _all([task for task, is_behind in zip(tasks, behind, strict=True) if not is_behind])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for connection in self._idle:
                connection.close()
            self._idle.clear()
        return results

    def _now(self) -> float:
        return time.perf_counter() - self._begun

    async def _until(self, moment: float) -> None:
        await asyncio.sleep(max(0.0, moment - self._now()))

    async def _load(self, load: Load, shots: list[Shot]) -> None:
        if isinstance(load, Open):
            await self._arrivals(load, shots)
            return
        await self._until(load.start)
        numbers = iter(range(load.first, load.first + (MAX_REQUESTS if load.requests is None else load.requests)))
        await _all([asyncio.create_task(self._client(load, numbers, shots)) for _ in range(load.clients)])

    async def _client(self, load: Closed, numbers: Iterable[int], shots: list[Shot]) -> None:
        end = load.start + load.seconds
        for serial in numbers:
            if self._now() >= end and not load.background:
                return
            shot = await self._shoot(load.bodies, serial, self._now())
            shots.append(shot)
            # Whoever is refused here gives way for a moment and goes on with the next.
            await asyncio.sleep(max(load.pause, 0.0 if shot.status == 200 else GIVE_WAY_SECONDS))

    async def _arrivals(self, load: Open, shots: list[Shot]) -> None:
        draw, moment = random.Random(load.seed), 0.0
        end = load.seconds + load.tail
        tasks: set[asyncio.Task[None]] = set()
        for serial in count(load.first):
            moment += draw.expovariate(load.rate)
            if moment > load.seconds or serial - load.first >= MAX_REQUESTS:
                break
            await self._until(moment)
            again = draw.random() < load.retried
            task = asyncio.create_task(self._caller(load, serial, moment, end if again else 0.0, shots))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        async with asyncio.timeout(max(end - self._now(), 0.0) + ANSWER_SECONDS):
            await _all(list(tasks))

    async def _caller(self, load: Open, serial: int, due: float, end: float, shots: list[Shot]) -> None:
        first = await self._shoot(load.bodies, serial, due)
        shots.append(first)
        if first.status not in REFUSED or first.retry_after is None:
            return
        again = first.done + first.retry_after
        if again > end:
            return
        await self._until(again)
        shots.append(await self._shoot(load.bodies, serial, again, attempt=2))

    async def _shoot(self, bodies: Bodies, serial: int, due: float, attempt: int = 1) -> Shot:
        data, pairs = self._target.request(bodies.body(serial)), bodies.pairs(serial)
        sent = self._now()
        self._flying += 1
        try:
            connection = await self._connection()
            sent = self._now()
            try:
                response = await connection.post(data)
            except asyncio.CancelledError:
                connection.close()
                raise
        except (OSError, ValueError):
            return Shot(serial, attempt, pairs, due, sent, self._now(), 0)
        finally:
            self._flying -= 1
        if connection.open:
            self._idle.append(connection)
        return Shot(serial, attempt, pairs, due, sent, self._now(), response.status, response.retry_after)

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        if self._flying > MAX_CONNECTIONS:
            raise ConnectionError(f"{MAX_CONNECTIONS} requests are on their way already.")
        self.opened += 1
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(Connection, self._target.host, self._target.port)
        return made


async def _all(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for all; cancelled or failing, it leaves none behind."""
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


class LoadProcess:
    """A generator in its own process, so that it shares no interpreter with the server.

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


def pairs_per_second(shots: Iterable[Shot], start: float, end: float) -> float:
    """Documents that were answered with 200 between two moments, in a second."""
    return sum(shot.pairs for shot in shots if shot.status == 200 and start <= shot.done < end) / (end - start)
