"""The call path of POST /v1/rerank: our functions on the stack between the socket and the backend.

`python -m tests.call_path` prints it, `python -m tests.call_path challenger` that of a request which a canary's
challenger serves, and so for the other variants of an experiment. A real instance with the bundled model serves one
request in this process. Every call of a function of ours is looked at; the path is made of the stacks at the places
where a request changes hands:

1. event loop: from the ASGI middleware to the queue of the engine;
2. encoding thread: from its entry to the queue of the scheduler;
3. inference thread: from its entry to the queue of the worker pool, or, for a batch that is computed in one part, down
   to the backend;
4. worker thread: from its entry to the backend: our last function before the network computes.

Functions that return before the hand-over are helpers and not on the path; those of starlette, FastAPI and the
standard library do not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import httpx

import rerankd
from rerankd.engine.engine import Engine
from rerankd.engine.scheduler import Scheduler
from rerankd.experiments.experiment import CHALLENGER, CHAMPION, INTERLEAVED, Experiment
from rerankd.experiments.router import RoutingTable
from rerankd.scoring.parallel import WorkerPool
from rerankd.server.app import create_app
from rerankd.server.service import open_service
from rerankd.settings import load_settings

PACKAGE = Path(rerankd.__file__).parent
BODY = {"query": "What does a panda eat?", "documents": ["Pandas eat bamboo.", "Paris is in France.", "竹子"]}
EXPERIMENTS = {
    CHAMPION: Experiment("tried", "canary", "mini", "mini", coverage=1e-9),
    CHALLENGER: Experiment("tried", "canary", "mini", "mini", coverage=1.0),
    INTERLEAVED: Experiment("tried", "interleave", "mini", "mini", coverage=1.0),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One function on the path.

    Attributes:
        file: its file, relative to the package.
        name: its qualified name.
    """

    file: str
    name: str

    def __str__(self) -> str:
        return f"{self.file}: {self.name}"


@dataclass(frozen=True, slots=True)
class CallPath:
    """The path of one request, thread by thread."""

    event_loop: tuple[Step, ...]
    encoding: tuple[Step, ...]
    inference: tuple[Step, ...]
    worker: tuple[Step, ...] = ()

    @property
    def functions(self) -> tuple[Step, ...]:
        """Distinct functions, in their order."""
        return tuple(dict.fromkeys((*self.event_loop, *self.encoding, *self.inference, *self.worker)))

    @property
    def files(self) -> tuple[str, ...]:
        """Distinct files, in their order."""
        return tuple(dict.fromkeys(step.file for step in self.functions))

    def __str__(self) -> str:
        lines = [f"{len(self.functions)} functions in {len(self.files)} files"]
        for title, steps in (
            ("event loop", self.event_loop),
            ("encoding thread", self.encoding),
            ("inference thread", self.inference),
            ("worker thread", self.worker),
        ):
            lines += [f"{title}:", *(f"  {step}" for step in steps)] if steps else []
        return "\n".join(lines)


class _Recorder:
    """Profile function that keeps the stacks at the hand-overs."""

    def __init__(self) -> None:
        self.is_active = False
        self.stacks: dict[str, tuple[Step, ...]] = {}
        self._threads: dict[CodeType, str] = {
            Engine.submit.__code__: "event_loop",
            Scheduler.add.__code__: "encoding",
            WorkerPool._map_parallel.__code__: "inference",
        }

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if not self.is_active or event != "call" or (file := _file_of(frame)) is None:
            return
        leg = self._threads.get(frame.f_code)
        if leg is None and file.startswith("scoring/") and file.endswith("_backend.py"):
            leg = "backend"
        if leg is not None:
            stack = _stack(frame)
            if (leg == "backend" and len(stack) > len(self.stacks.get(leg, ()))) or leg not in self.stacks:
                self.stacks[leg] = stack


def _file_of(frame: FrameType) -> str | None:
    """Return the file of a frame relative to the package; None for a frame that is not ours."""
    path = Path(frame.f_code.co_filename)
    return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else None


def _stack(frame: FrameType | None) -> tuple[Step, ...]:
    """Return our functions on the stack, outermost first."""
    steps: list[Step] = []
    while frame is not None:
        if (file := _file_of(frame)) is not None:
            steps.append(Step(file, frame.f_code.co_qualname))
        frame = frame.f_back
    return tuple(reversed(steps))


@contextlib.contextmanager
def _profile(function: Callable[[FrameType, str, Any], None]) -> Iterator[None]:
    """Profile this thread and those that are started in the body of the `with` statement."""
    sys.setprofile(function)
    threading.setprofile(function)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


async def record(variant: str | None = None) -> CallPath:
    """Serve one request and return its path.

    Args:
        variant: variant of an experiment that serves the request; None for a request outside of experiments.
    """
    recorder = _Recorder()
    with _profile(recorder):
        service = open_service(load_settings(model="mini", traces=False, rollout=False))
        app = create_app(service)
        await service.start()
        try:
            if variant is not None:
                experiment = EXPERIMENTS[variant]
                await service.pool.add(experiment.served_as, experiment.challenger)
                service.pipeline._traffic.routes = RoutingTable([experiment])
            recorder.is_active = True
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                response = await client.post("/v1/rerank", json=BODY, headers={"x-rerankd-user": "ada"})
            recorder.is_active = False
            response.raise_for_status()
            assert response.headers.get("x-rerankd-experiment") == (f"tried/{variant}" if variant else None)
        finally:
            await service.close()
    stacks = recorder.stacks
    leg = "worker" if "inference" in stacks else "inference"
    return CallPath(**stacks | {leg: stacks.pop("backend")})


if __name__ == "__main__":
    sys.stdout.write(f"{asyncio.run(record(*sys.argv[1:2]))}\n")
