"""Challengers of experiments in a pool of models: loaded, put in force, and removed. Belongs to the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from rerankd._common.backoff import Backoff
from rerankd._common.error_text import public_message
from rerankd._common.logging import logger
from rerankd.engine.pool import ModelPool
from rerankd.errors import ModelError
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.router import RoutingTable
from rerankd.experiments.traffic import Traffic

MAX_ATTEMPTS = 4
LONGEST_PAUSE = 300.0
_log = logger(__name__)


class Challengers:
    """Keeps the challengers of the known experiments loaded, and routes traffic to those that are.

    Args:
        pool: models of the instance.
        traffic: traffic of the instance; its routes are replaced.
        seconds: interval between polls, and the first pause after a failed load.
        on_refused: called when a challenger is given up.
    """

    def __init__(self, pool: ModelPool, traffic: Traffic, seconds: float, on_refused: Callable[[], None]) -> None:
        self._pool, self._traffic, self._on_refused = pool, traffic, on_refused
        self._backoff = Backoff(attempts=None, first=2 * seconds, longest=LONGEST_PAUSE, jitter=0.0)
        self.experiments: tuple[Experiment, ...] = ()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[int, tuple[int, float]] = {}  # number of failures and time of the next attempt
        self._refused: dict[int, str] = {}
        self._added: set[str] = set()
        self._closed = False

    @property
    def failing(self) -> list[str]:
        """Names of the experiments whose challengers could not be loaded yet."""
        names = {experiment.id: experiment.name for experiment in self.experiments}
        return [names[experiment_id] for experiment_id in dict(self._failures) if experiment_id in names]

    def take_refused(self) -> dict[int, str]:
        """Return the reasons, by experiment id, of challengers that were given up since the last call."""
        refused, self._refused = self._refused, {}
        return refused

    def reconcile(self, experiments: Sequence[Experiment]) -> None:
        """Load the challengers of these experiments, put loaded ones in force, and remove all others."""
        self.experiments = tuple(experiments)
        known = {experiment.id for experiment in experiments}
        self._failures = {key: failure for key, failure in self._failures.items() if key in known}
        self._update_routes()
        self._load_missing()
        self._remove_others()

    async def wait_idle(self) -> None:
        """Wait until nothing is being loaded or removed."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    def close(self) -> None:
        """Cancel what is being loaded."""
        self._closed = True
        for task in list(self._tasks.values()):
            task.cancel()

    def _update_routes(self) -> None:
        loaded, unlisted = self._pool.loaded, self._pool.unlisted
        ready = [
            experiment
            for experiment in self.experiments
            if experiment.served_as in loaded
            and unlisted.get(experiment.served_as) == experiment.challenger
            and experiment.served_as not in self._tasks
        ]
        if tuple(ready) != self._traffic.routes.experiments:
            self._traffic.routes = RoutingTable(ready)
            names = ", ".join(f"{experiment.name} {experiment.state} {experiment.coverage:g}" for experiment in ready)
            _log.info("experiments in force: %s", names or "none")

    def _load_missing(self) -> None:
        now = time.monotonic()
        in_force = {experiment.served_as for experiment in self._traffic.routes.experiments}
        served = self._pool.names  # other models belong to other instances
        for experiment in self.experiments:
            name = experiment.served_as
            failures, next_attempt = self._failures.get(experiment.id, (0, 0.0))
            is_missing = experiment.model in served and name not in in_force and name not in self._tasks
            if is_missing and now >= next_attempt:
                self._added.add(name)
                self._tasks[name] = asyncio.create_task(self._load(experiment, failures))

    async def _load(self, experiment: Experiment, failures: int) -> None:
        name = experiment.served_as
        try:
            if self._pool.unlisted.get(name, experiment.challenger) != experiment.challenger:
                await self._pool.remove(name)  # another experiment had this name
            await self._pool.add(name, experiment.challenger)
        except Exception as error:
            self._load_failed(experiment, failures + 1, error)
        else:
            self._failures.pop(experiment.id, None)
        finally:
            self._tasks.pop(name, None)
            if not self._closed:
                self._update_routes()
                self._remove_others()

    def _load_failed(self, experiment: Experiment, failures: int, error: Exception) -> None:
        message = public_message(error, hint=True)
        _log.error("%s: the challenger cannot be loaded: %s", experiment.name, message)
        self._failures[experiment.id] = (failures, time.monotonic() + self._backoff.pause(failures))
        if isinstance(error, ModelError) or failures >= MAX_ATTEMPTS:
            self._refused[experiment.id] = f"The challenger cannot be loaded: {message}"
            self._on_refused()

    def _remove_others(self) -> None:
        in_use = {experiment.served_as for experiment in self.experiments} | set(self._tasks)
        for name in self._added & set(self._pool.unlisted):
            if name not in in_use:
                self._tasks[name] = asyncio.create_task(self._remove(name))

    async def _remove(self, name: str) -> None:
        try:
            await self._pool.remove(name)
        finally:
            self._tasks.pop(name, None)
