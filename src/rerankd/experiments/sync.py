"""Synchronization of an instance with the experiments in the database.

A thread of its own polls the database, so no request waits for it. While the database is unreachable, the last known
experiments stay in force and counts are kept until it is back. A challenger is loaded before it gets a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from rerankd._common.error_text import public_message
from rerankd._common.logging import logger
from rerankd.engine.pool import ModelPool
from rerankd.errors import RerankdError
from rerankd.experiments.challengers import Challengers
from rerankd.experiments.controller import Controller
from rerankd.experiments.counters import Snapshot
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.history import ExperimentEvent
from rerankd.experiments.store import ExperimentStore
from rerankd.experiments.traffic import Traffic

SETTLE_SECONDS = 10.0
CLOSE_SECONDS = 5.0
_log = logger(__name__)


class PromotionHandler(Protocol):
    """Carries promotions to the registry, such as `rerankd.registry.promotion_sync.PromotionSync`."""

    @property
    def details(self) -> str:
        """Faults, in a sentence; empty if there are none."""
        ...

    def poll(self, store: ExperimentStore) -> None:
        """Start what there is to do; called in the thread that polls experiments."""
        ...

    def release(self, store: ExperimentStore) -> None:
        """Leave unfinished promotions to other instances; called once, at the end."""
        ...


class ExperimentSync:
    """Keeps an instance's traffic in step with the experiments in the database.

    Args:
        open_store: opens the database; called in the thread, and again after a failure.
        pool: models of the instance; challengers are added to it.
        traffic: traffic of the instance; its routes are replaced.
        seconds: interval between polls.
        instance: name of the instance, for the history of experiments.
        on_decision: receives the action of each decision that this instance made.
        promotions: carries promotions to the registry; None if there is none.
        promoted_only: True to ignore running experiments, as workers do: they answer no user.
    """

    def __init__(
        self,
        open_store: Callable[[], ExperimentStore],
        pool: ModelPool,
        traffic: Traffic,
        seconds: float,
        instance: str = "",
        on_decision: Callable[[str], None] = lambda action: None,
        promotions: PromotionHandler | None = None,
        *,
        promoted_only: bool = False,
    ) -> None:
        self._promoted_only = promoted_only
        self._open, self._traffic, self._seconds = open_store, traffic, seconds
        self._instance, self._on_decision, self._promotions = instance, on_decision, promotions
        self._challengers = Challengers(pool, traffic, seconds, self._wake_up)
        self.fault = ""
        self._last_poll: float | None = None
        self._store: ExperimentStore | None = None
        self._controller: Controller | None = None
        self._wake, self._closed = threading.Event(), False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._polled = asyncio.Event()

    @property
    def stale(self) -> bool:
        """True if the database could not be read lately."""
        late = self._last_poll is not None and time.monotonic() - self._last_poll > 3 * self._seconds + CLOSE_SECONDS
        return bool(self.fault) or late

    @property
    def age(self) -> float:
        """Seconds since the database was read; 0 before the first time."""
        return 0.0 if self._last_poll is None else time.monotonic() - self._last_poll

    @property
    def details(self) -> str:
        """Faults, in a sentence; empty if there are none."""
        faults = [f"the challenger of {name} is not loaded" for name in self._challengers.failing]
        if self.stale:
            since = "since the start" if self._last_poll is None else f"for {self.age:.0f} s"
            faults.insert(
                0, f"the database of experiments was not reached {since}; the last known experiments stay in force"
            )
        if self._promotions is not None and self._promotions.details:
            faults.append(self._promotions.details)
        return "; ".join(faults)

    def start(self) -> None:
        """Start polling; must be called in the event loop of the pool."""
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="rerankd-experiments", daemon=True)
            self._thread.start()

    async def wait_ready(self, seconds: float = SETTLE_SECONDS) -> None:
        """Wait for the first poll and its challengers, at most for some seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._polled.wait()
                await self._challengers.wait_idle()

    async def close(self) -> None:
        """Write the last counts to the database, and stop."""
        self._closed = True
        self._wake.set()
        self._challengers.close()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, CLOSE_SECONDS)

    # -- in the thread

    def _run(self) -> None:
        while not self._closed:
            self.poll()
            self._wake.wait(self._seconds)
            self._wake.clear()
        with contextlib.suppress(Exception):  # without a database the last counts are lost
            self._flush(self._opened_store(), self._challengers.experiments)
        with contextlib.suppress(Exception):  # another instance takes over later
            if self._store is not None and self._promotions is not None:
                self._promotions.release(self._store)
        if self._store is not None:
            self._store.close()

    def _wake_up(self) -> None:
        self._wake.set()

    def poll(self) -> None:
        """Read the experiments, write the counts, and decide."""
        try:
            store = self._opened_store()
            experiments = store.active()
            if self._promoted_only:
                experiments = [experiment for experiment in experiments if experiment.state == "promoted"]
            self._hand_over(experiments)
            self._flush(store, experiments)
            if not self._promoted_only and self._decide(store, experiments):
                self._hand_over(store.active())
            if self._promotions is not None:
                self._promotions.poll(store)
        except Exception as error:
            self._failed(error)
            return
        if self.fault:
            _log.warning("the database of experiments is reachable again")
        self.fault, self._last_poll = "", time.monotonic()

    def _failed(self, error: Exception) -> None:
        message = public_message(error)
        if not isinstance(error, RerankdError):
            _log.exception("polling the experiments failed", exc_info=error)
        elif not self.fault:
            _log.error("experiments cannot be read: %s The last known experiments stay in force.", message)
        self.fault = message
        self._hand_over(None)

    def _opened_store(self) -> ExperimentStore:
        if self._store is None:
            self._store = self._open()
        return self._store

    def _flush(self, store: ExperimentStore, experiments: Sequence[Experiment]) -> None:
        counters = self._traffic.counters
        running = {experiment.id for experiment in experiments if experiment.state == "running"}
        drained = counters.drain()
        snapshot = Snapshot(drained.sums, {key: variant for key, variant in drained.units.items() if key[0] in running})
        try:
            store.add_counts(snapshot)
        except Exception:
            counters.restore(snapshot)
            raise
        counters.forget({(experiment.id, experiment.step) for experiment in experiments})

    def _decide(self, store: ExperimentStore, experiments: Sequence[Experiment]) -> bool:
        if self._controller is None:
            self._controller = Controller(store, self._instance, self._on_decision)
        return self._refuse(store, experiments) or self._controller.review(experiments)

    def _refuse(self, store: ExperimentStore, experiments: Sequence[Experiment]) -> bool:
        """Stop experiments whose challengers cannot be loaded here: their units would get the champion."""
        reasons = self._challengers.take_refused()
        changed = False
        for experiment in experiments:
            if experiment.id in reasons and experiment.state == "running":
                event = ExperimentEvent(experiment.name, "refuse", reasons[experiment.id], self._instance, 0.0, {})
                if store.update(experiment, event, state="stopped", coverage=0.0) is not None:
                    self._on_decision("refuse")
                    changed = True
        return changed

    def _hand_over(self, experiments: Sequence[Experiment] | None) -> None:
        if self._loop is None or self._closed:
            return
        with contextlib.suppress(RuntimeError):  # the event loop was closed
            self._loop.call_soon_threadsafe(self._take_over, experiments)

    # -- in the event loop

    def _take_over(self, experiments: Sequence[Experiment] | None) -> None:
        if experiments is not None and not self._closed:
            self._challengers.reconcile(experiments)
        self._polled.set()
