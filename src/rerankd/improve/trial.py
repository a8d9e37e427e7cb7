"""Online trials of an improvement run: experiments that are started, watched and stopped."""

from __future__ import annotations

from typing import Literal

from rerankd.errors import ConflictError, NotFoundError
from rerankd.experiments.controller import apply_decision
from rerankd.experiments.experiment import Experiment, validate
from rerankd.experiments.guardrails import STEPS, ExperimentDecision, ExperimentPlan
from rerankd.experiments.store import ExperimentStore

TrialKind = Literal["shadow", "canary", "interleave"]


def ensure_experiment(
    store: ExperimentStore, *, name: str, kind: TrialKind, model: str, challenger: str, user: str
) -> Experiment:
    """Return the newest experiment of a name, which is started if there is none.

    Args:
        store: database of experiments.
        name: name of the experiment.
        kind: kind of experiment to start.
        model: name that requests use.
        challenger: reference of the candidate.
        user: name for the history.

    Raises:
        ConflictError: another experiment answers requests for the model.
        UnavailableError: the database cannot be reached.
    """
    try:
        return store.get(name)
    except NotFoundError:
        plan = ExperimentPlan(STEPS if kind == "canary" else (1.0,), auto_promote=True)
        return store.start(validate(Experiment(name, kind, model, challenger, plan=plan)), user)


def count_requests(store: ExperimentStore, experiment: Experiment) -> int:
    """Return the requests of the variant that has most of them."""
    counts: dict[str, int] = {}
    for (_, variant, _), sums in store.sums(experiment).items():
        counts[variant] = max(counts.get(variant, 0), sums.count)
    return max(counts.values(), default=0)


def stop_experiment(store: ExperimentStore, name: str, user: str) -> None:
    """Stop an experiment if it runs.

    Raises:
        ConflictError: somebody else changed it at the same moment.
        UnavailableError: the database cannot be reached.
    """
    experiment = store.get(name)
    decision = ExperimentDecision("stop", "compared", {})
    if experiment.state == "running" and not apply_decision(store, experiment, decision, user, {}):
        raise ConflictError(f"{name} was changed by somebody else at the same moment.", hint="Try again.")
