"""Decisions of people on experiments: advance, stop, and the kill switch; with who and why in the history.

Whoever decides may say what they looked at. A decision on an older state is refused, so that two people who decide at
the same time, or one who sends a form twice, change an experiment once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rerankd.errors import ConflictError
from rerankd.experiments.controller import apply_decision
from rerankd.experiments.experiment import ACTIVE, Experiment, ExperimentState
from rerankd.experiments.feedback_metrics import FeedbackAggregator
from rerankd.experiments.guardrails import ExperimentDecision, next_step
from rerankd.experiments.history import MAX_REASON
from rerankd.experiments.status import experiment_row, registry_status
from rerankd.experiments.store import ExperimentStore

ATTEMPTS = 5
DEFAULT_REASON = "by hand"
OnDecision = Callable[[str], None]
_RECORDED = ("requests", "units", "coverage_before", "step_seconds", "wins", "losses", "bounds")


@dataclass(frozen=True, slots=True)
class Seen:
    """State that a person looked at before a decision.

    Attributes:
        id: id of the experiment: a name may belong to another one later.
        step: its step.
        state: its state.
    """

    id: int
    step: int
    state: ExperimentState


def following_action(experiment: Experiment) -> Literal["advance", "promote"] | None:
    """Return what advancing would do now: the next step, or promotion after the last one; None if it is refused.

    Example:
        >>> following_action(Experiment("new", "canary", "mini", "org/name", coverage=1.0))
        'promote'
    """
    if experiment.state != "running" or experiment.kind == "shadow":
        return None
    is_last = experiment.kind == "interleave" or next_step(experiment.plan, experiment.coverage) is None
    return "promote" if is_last else "advance"


def advance(
    store: ExperimentStore,
    name: str,
    author: str,
    reason: str = "",
    *,
    seen: Seen | None = None,
    on_decision: OnDecision = lambda action: None,
) -> Experiment:
    """Advance an experiment one step; after the last step, promote its challenger.

    Args:
        store: database of experiments.
        name: name of the experiment.
        author: person who decides.
        reason: reason, for the history.
        seen: what the person looked at; None for the present state.
        on_decision: receives the action.

    Returns:
        The experiment as it is now.

    Raises:
        NotFoundError: there is no such experiment.
        ConflictError: it is not running, has no steps, or is not as it was `seen`.
        UnavailableError: the database cannot be reached.
    """

    def check(experiment: Experiment) -> None:
        if experiment.state != "running":
            raise ConflictError(f"{name} is {experiment.state}.", hint="See: rerankd rollout status.")
        if experiment.kind == "shadow":
            raise ConflictError(
                f"{name} is shadow traffic, which has no steps.", hint="Start a canary of the same challenger."
            )

    def record(experiment: Experiment) -> Mapping[str, Any]:
        row = experiment_row(store, experiment, FeedbackAggregator(experiment))
        return {key: row[key] for key in _RECORDED}

    for _ in range(ATTEMPTS):
        experiment = store.get(name)
        if seen is not None and Seen(experiment.id, experiment.step, experiment.state) != seen:
            raise _changed(experiment)
        check(experiment)
        decision = ExperimentDecision("advance", one_line(reason), {})
        if _apply(store, experiment, decision, author, record(experiment), on_decision):
            return store.get(name)
    raise _busy(name)


def stop(
    store: ExperimentStore,
    name: str,
    author: str,
    reason: str = "",
    *,
    keep: bool = False,
    seen: Seen | None = None,
    on_decision: OnDecision = lambda action: None,
) -> Experiment:
    """Return all traffic to the champion; of a promoted experiment this undoes the promotion.

    An experiment that is not in force stays as it is. No evidence is read for the history: stopping must be fast.

    Args:
        store: database of experiments.
        name: name of the experiment.
        author: person who decides.
        reason: reason, for the history.
        keep: True to end a promoted experiment and leave the registry's champion as it is.
        seen: what the person looked at: whoever stops a running experiment does not mean to undo a promotion; None for
            the present state.
        on_decision: receives the action.

    Returns:
        The experiment as it is now.

    Raises:
        NotFoundError: there is no such experiment.
        ConflictError: it is in force, but not in the state that was `seen`; or `keep`, and the registry's champion
            is not its challenger.
        UnavailableError: the database cannot be reached.
    """
    for _ in range(ATTEMPTS):
        experiment = store.get(name)
        if keep:
            _check_moved(store, experiment)
        if experiment.state not in ACTIVE:
            return experiment  # it is as it should be
        if seen is not None and (experiment.id, experiment.state) != (seen.id, seen.state):
            raise _changed(experiment)
        action: Literal["roll_back", "stop"] = "roll_back" if experiment.state == "promoted" and not keep else "stop"
        decision = ExperimentDecision(action, one_line(reason), {})
        record = {"coverage_before": experiment.coverage}
        if _apply(store, experiment, decision, author, record, on_decision):
            return store.get(name)
    raise _busy(name)


def stop_all(
    store: ExperimentStore, author: str, reason: str = "", *, on_decision: OnDecision = lambda action: None
) -> list[Experiment]:
    """Stop all experiments in force, the kill switch; returns them as they are now.

    One that cannot be stopped does not keep the others from it.

    Raises:
        ConflictError: some were being changed by others all the time; the message names them.
        UnavailableError: the database cannot be reached.
    """
    stopped: list[Experiment] = []
    failed: list[str] = []
    for experiment in store.active():
        try:
            stopped.append(stop(store, experiment.name, author, reason, on_decision=on_decision))
        except ConflictError:
            failed.append(experiment.name)
    if failed:
        raise _busy(", ".join(failed))
    return stopped


def one_line(reason: str) -> str:
    """Return a reason as the history stores it: on one line, without NUL, which PostgreSQL does not store.

    Example:
        >>> one_line(" too\\nslow "), one_line(" ")
        ('too slow', 'by hand')
    """
    return " ".join(reason.replace("\0", " ").split())[:MAX_REASON] or DEFAULT_REASON


def _changed(experiment: Experiment) -> ConflictError:
    return ConflictError(
        f"{experiment.name} was changed since you looked: it is {experiment.state} at "
        f"{100 * experiment.coverage:.4g} % now.",
        hint="Look at its history, and decide again.",
    )


def _apply(
    store: ExperimentStore,
    experiment: Experiment,
    decision: ExperimentDecision,
    author: str,
    record: Mapping[str, Any],
    on_decision: OnDecision,
) -> bool:
    return apply_decision(store, experiment, decision, author, record, on_decision=on_decision, by_hand=True)


def _check_moved(store: ExperimentStore, experiment: Experiment) -> None:
    status = registry_status(store, experiment)
    if experiment.state != "promoted" or status.get("phase") != "moved":
        reason = f" {status['reason']}." if status else ""
        raise ConflictError(
            f"The registry's champion is not the challenger of {experiment.name}.{reason}",
            hint="See: rerankd rollout history. Without --keep the previous champion answers again.",
        )


def _busy(names: str) -> ConflictError:
    return ConflictError(f"{names} is being changed by others at the same time.", hint="Try again.")
