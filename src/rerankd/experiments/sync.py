"""The experiments of the database as they are now, on one instance: looked at, loaded, put in force, counted.

A thread of its own talks to the database, so no request waits for it. While the database is away, what was known last
stays in force, and counts are kept until it is back. A challenger is loaded before the first request goes to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from rerankd._common.logging import logger
from rerankd.engine.pool import ModelPool
from rerankd.errors import ModelError, RerankdError
from rerankd.experiments.controller import Controller
from rerankd.experiments.counters import Snapshot
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.router import RoutingTable
from rerankd.experiments.store import ExperimentEvent, ExperimentStore
from rerankd.experiments.traffic import Traffic

MAX_ATTEMPTS = 4
SETTLE_SECONDS = 10.0
CLOSE_SECONDS = 5.0
LONGEST_REST = 300.0
_log = logger(__name__)


class PromotionHandler(Protocol):
    """Carries promotions further, such as `rerankd.registry.promotion_sync.PromotionSync`."""

    @property
    def details(self) -> str:
        """What is not as it should be, in a sentence; empty if nothing."""
        ...

    def poll(self, store: ExperimentStore) -> None:
        """Begin what there is to do; called in the thread that looks at experiments."""
        ...

    def leave(self, store: ExperimentStore) -> None:
        """Leave to others what is not done; called once, at the end."""
        ...


class ExperimentSync:
    """Keeps an instance's traffic as the database says.

    Args:
        open_store: opens the database; called in the thread, again after it failed.
        pool: gets the challengers.
        traffic: gets the experiments.
        seconds: between looks.
        who: name of the instance, in records of decisions.
        decided: told of each decision that this instance made.
        promotions: takes promotions further; None for nobody.
        promoted_only: whether running experiments are others' business, as with workers, which answer nobody.
    """

    def __init__(
        self,
        open_store: Callable[[], ExperimentStore],
        pool: ModelPool,
        traffic: Traffic,
        seconds: float,
        who: str = "",
        decided: Callable[[str], None] = lambda action: None,
        promotions: PromotionHandler | None = None,
        *,
        promoted_only: bool = False,
    ) -> None:
        self._promoted_only = promoted_only
        self._open, self._pool, self._traffic, self._seconds = open_store, pool, traffic, seconds
        self._who, self._decided, self._promotions = who, decided, promotions
        self.experiments: tuple[Experiment, ...] = ()
        self.fault = ""
        self._last: float | None = None
        self._store: ExperimentStore | None = None
        self._controller: Controller | None = None
        self._wake, self._ended = threading.Event(), False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looked = asyncio.Event()
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._attempts: dict[int, tuple[int, float]] = {}
        self._refused: dict[int, str] = {}
        self._added: set[str] = set()

    @property
    def stale(self) -> bool:
        """Whether the database could not be read lately."""
        late = self._last is not None and time.monotonic() - self._last > 3 * self._seconds + CLOSE_SECONDS
        return bool(self.fault) or late

    @property
    def age(self) -> float:
        """Seconds since the database was read; 0 before the first time."""
        return 0.0 if self._last is None else time.monotonic() - self._last

    @property
    def details(self) -> str:
        """What is not as it should be, in a sentence; empty if nothing."""
        known = {one.id: one.name for one in self.experiments}
        said = [f"the challenger of {known[number]} is not loaded" for number in self._attempts if number in known]
        if self.stale:
            since = "since the start" if self._last is None else f"for {self.age:.0f} s"
            said.insert(0, f"the database of experiments was not reached {since}; what was known last is in force")
        if self._promotions is not None and self._promotions.details:
            said.append(self._promotions.details)
        return "; ".join(said)

    def start(self) -> None:
        """Begin to look; call it in the event loop of the pool."""
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="rerankd-rollout", daemon=True)
            self._thread.start()

    async def settled(self, seconds: float = SETTLE_SECONDS) -> None:
        """Return when the first look is done and its challengers are loaded, or when it took too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._looked.wait()
                while self._loads:
                    await asyncio.wait(list(self._loads.values()))

    async def close(self) -> None:
        """Tell the database what was counted last, and end."""
        self._ended = True
        self._wake.set()
        for task in list(self._loads.values()):
            task.cancel()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, CLOSE_SECONDS)

    # -- the thread

    def _run(self) -> None:
        while not self._ended:
            self.poll()
            self._wake.wait(self._seconds)
            self._wake.clear()
        with contextlib.suppress(Exception):  # the last of the counts; without a database they are lost
            self._flush(self._opened(), self.experiments)
        with contextlib.suppress(Exception):  # another instance takes it over later
            if self._store is not None and self._promotions is not None:
                self._promotions.leave(self._store)
        if self._store is not None:
            self._store.close()

    def poll(self) -> None:
        """Look at the database once: take over what changed, tell what was counted, decide."""
        try:
            store = self._opened()
            experiments = store.active()
            if self._promoted_only:
                experiments = [one for one in experiments if one.state == "promoted"]
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
            _log.warning("experiments are read again")
        self.fault, self._last = "", time.monotonic()

    def _failed(self, error: Exception) -> None:
        said = error.message if isinstance(error, RerankdError) else type(error).__name__
        if not isinstance(error, RerankdError):
            _log.exception("experiments could not be looked at", exc_info=error)
        elif not self.fault:
            _log.error("experiments cannot be read now: %s What was known last stays in force.", said)
        self.fault = said
        self._hand_over(None)

    def _opened(self) -> ExperimentStore:
        if self._store is None:
            self._store = self._open()
        return self._store

    def _opened_controller(self, store: ExperimentStore) -> Controller:
        if self._controller is None:
            self._controller = Controller(store, self._who, self._decided)
        return self._controller

    def _flush(self, store: ExperimentStore, experiments: Sequence[Experiment]) -> None:
        counters = self._traffic.counters
        running = {one.id for one in experiments if one.state == "running"}
        snapshot = counters.drain()
        kept = Snapshot(snapshot.sums, {key: arm for key, arm in snapshot.units.items() if key[0] in running})
        try:
            store.add(kept)
        except Exception:
            counters.restore(kept)
            raise
        counters.forget({(one.id, one.step) for one in experiments})

    def _decide(self, store: ExperimentStore, experiments: list[Experiment]) -> bool:
        return self._refuse(store, experiments) or self._opened_controller(store).review(experiments)

    def _refuse(self, store: ExperimentStore, experiments: Sequence[Experiment]) -> bool:
        """End what cannot be loaded here; the share of units that this instance has would get the champion."""
        refused, self._refused = self._refused, {}
        changed = False
        for one in experiments:
            if one.id in refused and one.state == "running":
                event = ExperimentEvent(one.name, "refuse", refused[one.id], self._who, 0.0, {})
                if store.change(one, event, state="stopped", coverage=0.0) is not None:
                    self._decided("refuse")
                    changed = True
        return changed

    # -- the event loop

    def _hand_over(self, experiments: Sequence[Experiment] | None) -> None:
        if self._loop is None or self._ended:
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._take_over, experiments)

    def _take_over(self, experiments: Sequence[Experiment] | None) -> None:
        if experiments is not None and not self._ended:
            self.experiments = tuple(experiments)
            self._attempts = {number: held for number, held in self._attempts.items() if number in self._ids()}
            self._put_in_force()
            self._load_missing()
            self._remove_others()
        self._looked.set()

    def _ids(self) -> set[int]:
        return {one.id for one in self.experiments}

    def _put_in_force(self) -> None:
        """Exchange the routes for those whose challengers are loaded."""
        loaded, unlisted = self._pool.loaded, self._pool.unlisted
        ready = [
            one
            for one in self.experiments
            if one.served_as in loaded and unlisted.get(one.served_as) == one.challenger and not self._loading(one)
        ]
        if tuple(ready) != self._traffic.routes.experiments:
            self._traffic.routes = RoutingTable(ready)
            names = ", ".join(f"{one.name} {one.state} {one.coverage:g}" for one in ready)
            _log.info("experiments in force: %s", names or "none")

    def _loading(self, one: Experiment) -> bool:
        return one.served_as in self._loads

    def _load_missing(self) -> None:
        now = time.monotonic()
        known = {one.served_as for one in self._traffic.routes.experiments}
        served = self._pool.names  # another instance may have the other models
        for one in self.experiments:
            attempts, next_try = self._attempts.get(one.id, (0, 0.0))
            wanted = one.model in served and one.served_as not in known and not self._loading(one)
            if wanted and now >= next_try:
                self._added.add(one.served_as)
                self._loads[one.served_as] = asyncio.create_task(self._load(one, attempts))

    async def _load(self, one: Experiment, attempts: int) -> None:
        try:
            if self._pool.unlisted.get(one.served_as, one.challenger) != one.challenger:
                await self._pool.remove(one.served_as)  # another experiment had the name
            await self._pool.add(one.served_as, one.challenger)
        except Exception as error:
            self._not_loaded(one, attempts + 1, error)
        else:
            self._attempts.pop(one.id, None)
        finally:
            self._loads.pop(one.served_as, None)
            if not self._ended:
                self._put_in_force()
                self._remove_others()

    def _not_loaded(self, one: Experiment, attempts: int, error: Exception) -> None:
        said = str(error) if isinstance(error, RerankdError) else type(error).__name__
        _log.error("%s: its challenger cannot be loaded: %s", one.name, said)
        rest = min(self._seconds * 2**attempts, LONGEST_REST)
        self._attempts[one.id] = (attempts, time.monotonic() + rest)
        if isinstance(error, ModelError) or attempts >= MAX_ATTEMPTS:
            self._refused[one.id] = f"The challenger cannot be loaded: {said}"
            self._wake.set()

    def _remove_others(self) -> None:
        wanted = {one.served_as for one in self.experiments} | set(self._loads)
        for name in self._added & set(self._pool.unlisted):
            if name not in wanted:
                self._loads[name] = asyncio.create_task(self._remove(name))

    async def _remove(self, name: str) -> None:
        try:
            await self._pool.remove(name)
        finally:
            self._loads.pop(name, None)
