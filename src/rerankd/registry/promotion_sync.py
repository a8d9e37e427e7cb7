"""Applies promotions and rollbacks of experiments to the model registry; no other module connects the two.

If the challenger is a registry version and the served model follows an alias of the same registered model, promoting
moves the alias and then ends the experiment; the alias followers of all instances serve the version from there on. A
promotion that is rolled back moves the alias back. MLflow is called in a thread of its own, so neither requests nor
polls of experiments wait for it. One instance at a time does the work, and another one takes over if it dies. What
fails temporarily is retried; what the registry refuses is logged and left.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rerankd._common.backoff import Backoff
from rerankd._common.error_text import public_message
from rerankd._common.logging import logger
from rerankd.engine.pool import ModelPool
from rerankd.errors import ConflictError, PromotionRefusedError, RerankdError, UnavailableError
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.history import ExperimentEvent
from rerankd.experiments.promotion_log import CLAIMED, OPEN, PromotionLog, PromotionPhase, Record
from rerankd.experiments.store import ExperimentStore
from rerankd.models.reference import CHAMPION, REGISTRY, parse_reference
from rerankd.registry.alias_follower import AliasFollower
from rerankd.registry.version import PREVIOUS

RETRY = Backoff(attempts=None, first=2.0, longest=300.0, jitter=0.0)
RELEASE_SECONDS = 2.0
# An alias follower sees a move within its interval; then it fetches and loads the version.
INTERVALS_BEFORE_END = 3.0
_TRANSIENT = (UnavailableError, ConflictError, TimeoutError)
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class _Outcome:
    phase: PromotionPhase
    reason: str
    data: dict[str, Any] = field(default_factory=dict)


class PromotionSync:
    """Moves the registry's champion with the promotions of experiments.

    Args:
        follower: alias follower of the instance.
        pool: models of the instance.
        instance: name of the instance, for the history.
        on_outcome: receives the outcome of each promotion, such as `registry_moved`.
    """

    def __init__(
        self,
        follower: AliasFollower,
        pool: ModelPool,
        instance: str,
        on_outcome: Callable[[str], None] = lambda action: None,
    ) -> None:
        self._follower, self._pool = follower, pool
        self._instance, self._on_outcome = instance, on_outcome
        self._worker: threading.Thread | None = None
        self._faults: dict[int, str] = {}
        self._failures: dict[int, tuple[int, float]] = {}  # number of failures and time of the next attempt

    @property
    def details(self) -> str:
        """Promotions that the registry does not know yet, and why; empty if there are none."""
        return "; ".join(dict(self._faults).values())

    def poll(self, store: ExperimentStore) -> None:
        """Start the promotions that are due, in a thread; end experiments whose alias has moved."""
        if self._worker is not None and self._worker.is_alive():
            return
        log = PromotionLog(store)
        experiments = log.candidates()
        known = {experiment.id for experiment in experiments}
        self._faults = {key: fault for key, fault in self._faults.items() if key in known}
        self._failures = {key: failure for key, failure in self._failures.items() if key in known}
        due = []
        for experiment in experiments:
            last = log.last(experiment)
            if self._is_finished(experiment, last):
                _end(store, experiment, self._instance)
            elif self._is_due(experiment, last):
                due.append(experiment)
        if due:
            self._worker = threading.Thread(target=self._work, args=(log, due), name="rerankd-promotions", daemon=True)
            self._worker.start()

    def release(self, store: ExperimentStore) -> None:
        """Release the claims of this instance, so that another one goes on."""
        if self._worker is not None:
            self._worker.join(RELEASE_SECONDS)
        log = PromotionLog(store)
        for experiment in log.candidates():
            last = log.last(experiment)
            if last is not None and last.phase in CLAIMED and last.instance == self._instance:
                log.write(experiment, "left", "this instance stops; another one goes on", self._instance)

    def _is_finished(self, experiment: Experiment, last: Record | None) -> bool:
        """Return whether the alias of a promoted experiment moved so long ago that all instances follow it."""
        if experiment.state != "promoted" or last is None or last.phase != "moved":
            return False
        return time.time() - last.time > INTERVALS_BEFORE_END * self._follower.seconds

    def _is_due(self, experiment: Experiment, last: Record | None) -> bool:
        if not self._is_followed(experiment):
            return False
        if last is not None and last.instance != self._instance:  # another instance goes on with what failed here
            self._faults.pop(experiment.id, None)
            self._failures.pop(experiment.id, None)
        if self._failures.get(experiment.id, (0, 0.0))[1] > time.monotonic():
            return False
        if experiment.state == "promoted" and experiment.served_as not in self._pool.loaded:
            return False  # only an instance that serves the challenger knows its version
        if last is not None and last.phase in OPEN:
            return last.is_claimable(self._instance)
        return experiment.state != "promoted" or last is None

    def _is_followed(self, experiment: Experiment) -> bool:
        """Return whether the challenger is a version of the registered model whose alias the served model follows."""
        if not experiment.challenger.startswith(REGISTRY):
            return False
        followed = self._follower.followed.get(experiment.model)
        return followed is not None and followed.reference.name == parse_reference(experiment.challenger).name

    def _work(self, log: PromotionLog, due: Sequence[Experiment]) -> None:
        for experiment in due:
            try:
                self._apply(log, experiment)
            except Exception as error:  # such as the database of experiments; the next poll tries again
                self._retry_later(experiment, error)

    def _apply(self, log: PromotionLog, experiment: Experiment) -> None:
        """Bring the registry in line with one experiment."""
        is_promoted = experiment.state == "promoted"
        last = log.last(experiment)
        if not is_promoted and last is not None and last.phase == "refused":
            log.forget(experiment)  # nothing was moved, so there is nothing to move back
            return
        is_claimed = last is not None and last.phase in CLAIMED and last.instance == self._instance
        change = "promoted" if is_promoted else "rolled back"
        if not is_claimed and not log.claim(experiment, self._instance, f"the registry is being updated: {change}"):
            return
        try:
            outcome = self._promote(log, experiment) if is_promoted else self._roll_back(log, experiment)
        except _TRANSIENT as error:
            if experiment.id not in self._failures:
                reason = f"the registry cannot be changed now; the change will be retried: {_message(error)}"
                log.write(experiment, "waiting", reason, self._instance)
            self._retry_later(experiment, error)
            return
        except Exception as error:  # refused, or an unexpected error of MLflow; traffic is routed all the same
            if not isinstance(error, RerankdError):
                _log.exception("%s could not be %s in the registry", experiment.name, change, exc_info=error)
            phase: PromotionPhase = "refused" if is_promoted else "not_moved_back"
            outcome = _Outcome(phase, f"the registry keeps its champion: {_message(error)}")
        log.write(experiment, outcome.phase, outcome.reason, self._instance, **outcome.data)
        if not is_promoted:
            log.forget(experiment)
        self._faults.pop(experiment.id, None)
        self._failures.pop(experiment.id, None)
        _log.warning("%s: %s", experiment.name, outcome.reason)
        self._on_outcome(f"registry_{outcome.phase}")

    def _retry_later(self, experiment: Experiment, error: Exception) -> None:
        failures = self._failures.get(experiment.id, (0, 0.0))[0] + 1
        self._failures[experiment.id] = (failures, time.monotonic() + RETRY.pause(failures))
        fault = f"the registry does not know yet that {experiment.name} is {experiment.state}: {_message(error)}"
        if self._faults.get(experiment.id) != fault:
            _log.error("%s", fault)
        self._faults[experiment.id] = fault

    def _promote(self, log: PromotionLog, experiment: Experiment) -> _Outcome:
        """Make the version that the experiment served the champion; errors as `Registry.promote`."""
        reference, registry = parse_reference(experiment.challenger), self._follower.registry
        version = registry.resolve(reference.name, str(reference.revision))
        served = self._pool.loaded.get(experiment.served_as)
        if served is None:
            raise UnavailableError(f"{experiment.challenger} is not loaded.", hint="Wait until it is loaded.")
        if served.files.folder.name != version.content:  # copies are kept by content
            raise PromotionRefusedError(
                f"{reference} is {version} now, and the experiment served another version.",
                hint="Promote the version that was served: rerankd models promote",
            )
        reason = f"{_reason_prefix(experiment)}{log.decision(experiment, 'promote')}"
        move = registry.promote(reference.name, version.version, reason)
        before = f"after {move.before}" if move.changed else "already"
        return _Outcome(
            "moved",
            f"{reference.name} {move.after} is the registry's champion, {before}",
            {"name": reference.name, "before": move.before, "after": move.after},
        )

    def _roll_back(self, log: PromotionLog, experiment: Experiment) -> _Outcome:
        """Undo the experiment's move, unless the champion was moved again since; errors as `Registry.rollback`."""
        name, registry = parse_reference(experiment.challenger).name, self._follower.registry
        prefix = _reason_prefix(experiment)
        moves = registry.history(name).moves
        move = next((move for move in moves if move.action == "promote" and move.reason.startswith(prefix)), None)
        if move is None:
            return _Outcome("not_moved_back", f"the experiment did not move {name}'s champion, so it stays")
        data = {"name": name, "before": move.after, "after": move.before}
        aliases = registry.store.aliases(name)
        if aliases.get(CHAMPION) == move.before:
            return _Outcome("moved_back", f"{name} {move.before} is the registry's champion already", data)
        if (aliases.get(CHAMPION), aliases.get(PREVIOUS)) != (move.after, move.before):
            reason = f"{name}'s champion was moved again since, to {aliases.get(CHAMPION)}, so it stays"
            return _Outcome("not_moved_back", reason)
        undo = registry.rollback(name, f"{prefix}{log.decision(experiment, 'roll_back')}")
        return _Outcome("moved_back", f"{name} {undo.after} is the registry's champion again", data)


def _end(store: ExperimentStore, experiment: Experiment, instance: str) -> None:
    reason = "the registry's champion is the challenger; instances serve it through the alias"
    event = ExperimentEvent(experiment.name, "end", reason, instance, experiment.coverage, {})
    if store.end(experiment, event):
        _log.info("%s: ended, since %s", experiment.name, reason)


def _reason_prefix(experiment: Experiment) -> str:
    """Return the text by which the registry's history names an experiment."""
    return f"experiment {experiment.name} #{experiment.id}: "


def _message(error: Exception) -> str:
    return public_message(error, f"it fails with {type(error).__name__}.")
