"""Promotions of experiments, taken to the registry: the alias moves with them, and back when they are taken back.

Does: a challenger from the registry, of a model that follows an alias of the same name here. MLflow is asked in a
thread of its own, so neither requests nor looks at experiments wait; one instance at a time does it, another goes on
where that one died. What cannot be done now is tried again, what the registry refuses is said and left. Does not:
change an experiment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rerankd._common.logging import logger
from rerankd.engine.pool import ModelPool
from rerankd.errors import ConflictError, PromotionRefusedError, RerankdError, UnavailableError
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.promotion_log import HELD, OPEN, Phase, PromotionLog
from rerankd.experiments.store import ExperimentStore
from rerankd.models.reference import CHAMPION, REGISTRY, parse_reference
from rerankd.registry.alias_follower import AliasFollower
from rerankd.registry.version import PREVIOUS

FIRST_REST, LONGEST_REST = 1.0, 300.0
LEAVE_SECONDS = 2.0
_TRANSIENT = (UnavailableError, ConflictError, TimeoutError)
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it, for the ledger."""

    phase: Phase
    reason: str
    data: dict[str, Any] = field(default_factory=dict)


class PromotionSync:
    """Moves the registry's champion with the promotions of experiments.

    Args:
        follower: knows the registry, and which models follow it.
        pool: of the same instance.
        who: name of the instance, in the records.
        decided: told of each end, such as `registry_moved`.
    """

    def __init__(
        self, follower: AliasFollower, pool: ModelPool, who: str, decided: Callable[[str], None] = lambda action: None
    ) -> None:
        self._follower, self._pool, self._who, self._decided = follower, pool, who, decided
        self._worker: threading.Thread | None = None
        self._faults: dict[int, str] = {}
        self._rests: dict[int, tuple[int, float]] = {}

    @property
    def details(self) -> str:
        """What could not be done yet, and why; empty if nothing."""
        return "; ".join(dict(self._faults).values())

    def poll(self, store: ExperimentStore) -> None:
        """Begin what there is to do, in a thread; what is under way is waited for by nobody."""
        if self._worker is not None and self._worker.is_alive():
            return
        ledger = PromotionLog(store)
        candidates = ledger.candidates()
        known = {one.id for one in candidates}
        self._faults = {number: said for number, said in self._faults.items() if number in known}
        self._rests = {number: rest for number, rest in self._rests.items() if number in known}
        if due := [one for one in candidates if self._due(ledger, one)]:
            self._worker = threading.Thread(
                target=self._work, args=(ledger, due), name="rerankd-promotions", daemon=True
            )
            self._worker.start()

    def leave(self, store: ExperimentStore) -> None:
        """Give back what is claimed and not done."""
        if self._worker is not None:
            self._worker.join(LEAVE_SECONDS)
        ledger = PromotionLog(store)
        for one in ledger.candidates():
            last = ledger.last(one)
            if last is not None and last.phase in HELD and last.who == self._who:
                ledger.note(one, "left", "this instance ends; another goes on", self._who)

    def _due(self, ledger: PromotionLog, one: Experiment) -> bool:
        if not self._followed(one):
            return False
        last = ledger.last(one)
        if last is not None and last.who != self._who:  # another goes on with what this one could not do
            self._faults.pop(one.id, None)
            self._rests.pop(one.id, None)
        if self._rests.get(one.id, (0, 0.0))[1] > time.monotonic():
            return False
        if one.state == "promoted" and one.served_as not in self._pool.loaded:
            return False  # only where it is served is known which version that is
        if last is not None and last.phase in OPEN:
            return last.free(self._who)
        return one.state != "promoted" or last is None

    def _followed(self, one: Experiment) -> bool:
        """Whether challenger and served model are versions of one registered model here, the latter by an alias."""
        if not one.challenger.startswith(REGISTRY):
            return False
        followed = self._follower.followed.get(one.model)
        return followed is not None and followed.reference.name == parse_reference(one.challenger).name

    def _work(self, ledger: PromotionLog, due: Sequence[Experiment]) -> None:
        for one in due:
            try:
                self._tell(ledger, one)
            except Exception as error:  # the database of experiments; whatever it is, looks go on
                self._rest(one, error)

    def _tell(self, ledger: PromotionLog, one: Experiment) -> None:
        last = ledger.last(one)
        if one.state != "promoted" and last is not None and last.phase == "refused":
            ledger.forget(one)  # nothing was moved, so nothing is taken back
            return
        held = last is not None and last.phase in HELD and last.who == self._who
        doing = "promoted" if one.state == "promoted" else "taken back"
        if not held and not ledger.claim(one, self._who, f"it is {doing} in the registry"):
            return
        try:
            found = self._promoted(ledger, one) if one.state == "promoted" else self._taken_back(ledger, one)
        except _TRANSIENT as error:
            if one.id not in self._rests:
                said = f"the registry cannot be changed now, it is tried again: {_said(error)}"
                ledger.note(one, "waiting", said, self._who)
            self._rest(one, error)
            return
        except Exception as error:  # refused, or whatever MLflow raises; requests are routed all the same
            if not isinstance(error, RerankdError):
                _log.exception("%s could not be %s in the registry", one.name, doing, exc_info=error)
            phase: Phase = "refused" if one.state == "promoted" else "not_moved_back"
            found = Outcome(phase, f"the registry keeps its champion: {_said(error)}")
        ledger.note(one, found.phase, found.reason, self._who, **found.data)
        if one.state != "promoted":
            ledger.forget(one)
        self._faults.pop(one.id, None)
        self._rests.pop(one.id, None)
        _log.warning("%s: %s", one.name, found.reason)
        self._decided(f"registry_{found.phase}")

    def _rest(self, one: Experiment, error: Exception) -> None:
        attempts = self._rests.get(one.id, (0, 0.0))[0] + 1
        self._rests[one.id] = (attempts, time.monotonic() + min(FIRST_REST * 2**attempts, LONGEST_REST))
        said = f"the registry does not know yet that {one.name} is {one.state}: {_said(error)}"
        if self._faults.get(one.id) != said:
            _log.error("%s", said)
        self._faults[one.id] = said

    def _promoted(self, ledger: PromotionLog, one: Experiment) -> Outcome:
        """Make the version that the experiment served the champion; errors as `Registry.promote`."""
        wanted, registry = parse_reference(one.challenger), self._follower.registry
        version = registry.resolve(wanted.name, str(wanted.revision))
        served = self._pool.loaded.get(one.served_as)
        if served is None:
            raise UnavailableError(f"{one.challenger} is not loaded.", hint="Wait until it is.")
        if served.files.folder.name != version.content:  # copies are kept by content
            raise PromotionRefusedError(
                f"{wanted} is {version} now, and the experiment served another version.",
                hint="Promote the right one: rerankd models promote",
            )
        move = registry.promote(wanted.name, version.version, f"{_mark(one)}{ledger.decision(one, 'promote')}")
        was = "already" if not move.changed else f"after {move.before}"
        return Outcome(
            "moved",
            f"{wanted.name} {move.after} is the registry's champion, {was}",
            {"name": wanted.name, "before": move.before, "after": move.after},
        )

    def _taken_back(self, ledger: PromotionLog, one: Experiment) -> Outcome:
        """Undo the experiment's own move, unless somebody moved on since; errors as `Registry.rollback`."""
        name, registry = parse_reference(one.challenger).name, self._follower.registry
        moves = registry.history(name).moves
        own = next((move for move in moves if move.action == "promote" and move.reason.startswith(_mark(one))), None)
        if own is None:
            return Outcome("not_moved_back", f"the experiment did not move {name}'s champion, so it stays")
        data = {"name": name, "before": own.after, "after": own.before}
        aliases = registry.store.aliases(name)
        if aliases.get(CHAMPION) == own.before:
            return Outcome("moved_back", f"{name} {own.before} is the registry's champion already", data)
        if (aliases.get(CHAMPION), aliases.get(PREVIOUS)) != (own.after, own.before):
            said = f"{name}'s champion was moved again since, to {aliases.get(CHAMPION)}, so it stays"
            return Outcome("not_moved_back", said)
        move = registry.rollback(name, f"{_mark(one)}{ledger.decision(one, 'roll_back')}")
        return Outcome("moved_back", f"{name} {move.after} is the registry's champion again", data)


def _mark(one: Experiment) -> str:
    """How the registry's history names an experiment."""
    return f"experiment {one.name} #{one.id}: "


def _said(error: Exception) -> str:
    return error.message if isinstance(error, RerankdError) else f"it fails with {type(error).__name__}."
