"""HTTP load generator for a rerank endpoint on this machine, in a process of its own: closed loop and Poisson arrivals.

It shares the processor with the server under test, so it does as little as possible: asyncio protocols, request bodies
prepared in advance or joined from pieces, and of a response only status, length and Retry-After are parsed. It does not
check the responses; the tests do.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from benchmarks.bodies import Bodies
from benchmarks.wire import Connection, Target

MAX_SECONDS = 1800.0

MAX_REQUESTS = 1_000_000

MAX_CONNECTIONS = 4096

ANSWER_SECONDS = 120.0

GIVE_WAY_SECONDS = 0.25

REFUSED = (429, 503)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a request; times are seconds since the start of the run.

    Attributes:
        due: scheduled time; latency counts from here, so that a late generator hides nothing (no coordinated omission).
        status: HTTP status; 0 without a response.
        retry_after: Retry-After of a refusal, in seconds.
        attempt: 1, or 2 for a retry after a refusal.
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
        """Seconds since the time at which the request was due."""
        return self.done - self.due


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """Closed loop: each client sends its next request when the last is answered.

    Attributes:
        requests: total number of requests; None for as many as fit.
        seconds: time after which no request is sent; those in flight are awaited.
        background: True to continue until all other loads are over, and then drop the requests in flight.
        start: start of the load, in seconds after that of the run.
        pause: seconds that a client waits between requests.
        first: serial number of the first body.
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
class OpenLoop:
    """Open loop: Poisson arrivals independent of the server; refused requests come again once, after Retry-After.

    Attributes:
        rate: new requests per second.
        seconds: duration of the arrivals.
        tail: seconds after the arrivals in which refused requests are still retried.
        retried: share of refused requests that are retried; below 1 if there would be too many to send.
    """

    bodies: Bodies
    rate: float
    seconds: float
    tail: float = 0.0
    retried: float = 1.0
    seed: int = 1
    first: int = 0


Load = ClosedLoop | OpenLoop


class Generator:
    """Sender of loads to one target; lives in one event loop.

    Args:
        target: where to.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._idle: deque[Connection] = deque()
        self._begun = 0.0
        self._flying = 0
        self.opened = 0

    async def run(self, loads: Sequence[Load]) -> list[list[Attempt]]:
        """Send all loads at once and return when all but those in the background are over."""
        self._begun = time.perf_counter()
        results: list[list[Attempt]] = [[] for _ in loads]
        tasks = [asyncio.create_task(self._load(load, own)) for load, own in zip(loads, results, strict=True)]
        behind = [isinstance(load, ClosedLoop) and load.background for load in loads]
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

    async def _load(self, load: Load, shots: list[Attempt]) -> None:
        if isinstance(load, OpenLoop):
            await self._arrivals(load, shots)
            return
        await self._until(load.start)
        numbers = iter(range(load.first, load.first + (MAX_REQUESTS if load.requests is None else load.requests)))
        await _all([asyncio.create_task(self._client(load, numbers, shots)) for _ in range(load.clients)])

    async def _client(self, load: ClosedLoop, numbers: Iterable[int], shots: list[Attempt]) -> None:
        end = load.start + load.seconds
        for serial in numbers:
            if self._now() >= end and not load.background:
                return
            shot = await self._shoot(load.bodies, serial, self._now())
            shots.append(shot)
            # Whoever is refused here gives way for a moment and goes on with the next.
            await asyncio.sleep(max(load.pause, 0.0 if shot.status == 200 else GIVE_WAY_SECONDS))

    async def _arrivals(self, load: OpenLoop, shots: list[Attempt]) -> None:
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

    async def _caller(self, load: OpenLoop, serial: int, due: float, end: float, shots: list[Attempt]) -> None:
        first = await self._shoot(load.bodies, serial, due)
        shots.append(first)
        if first.status not in REFUSED or first.retry_after is None:
            return
        again = first.done + first.retry_after
        if again > end:
            return
        await self._until(again)
        shots.append(await self._shoot(load.bodies, serial, again, attempt=2))

    async def _shoot(self, bodies: Bodies, serial: int, due: float, attempt: int = 1) -> Attempt:
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
            return Attempt(serial, attempt, pairs, due, sent, self._now(), 0)
        finally:
            self._flying -= 1
        if connection.open:
            self._idle.append(connection)
        return Attempt(serial, attempt, pairs, due, sent, self._now(), response.status, response.retry_after)

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
    """Wait for all tasks; cancel the others when one fails or this call is cancelled."""
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def pairs_per_second(shots: Iterable[Attempt], start: float, end: float) -> float:
    """Return the documents per second answered with 200 between two moments."""
    return sum(shot.pairs for shot in shots if shot.status == 200 and start <= shot.done < end) / (end - start)
