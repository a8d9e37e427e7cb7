"""Running a gate: both models on every set, and the decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from rerankd.errors import InvalidRequestError
from rerankd.evaluation.dataset import Dataset
from rerankd.evaluation.evaluation import Evaluation, evaluate
from rerankd.evaluation.gate import Contender, Decision, Limits, judge
from rerankd.evaluation.run import Progress, ranked_by
from rerankd.reranker import Reranker

Bar = Callable[[str], AbstractContextManager[Progress | None]]


@dataclass(frozen=True, slots=True)
class GateSets:
    """What a candidate is judged on.

    Attributes:
        domain: it has to gain there.
        general: it must not lose there.
        cases: closed bad cases, none of which may get worse.
    """

    domain: Sequence[Dataset]
    general: Sequence[Dataset] = ()
    cases: Sequence[Dataset] = ()

    @property
    def every(self) -> list[Dataset]:
        """All of them."""
        return [*self.domain, *self.general, *self.cases]


def run_gate(
    candidate: Reranker,
    champion: Reranker,
    sets: GateSets,
    *,
    measure: str = "nDCG@10",
    limits: Limits | None = None,
    key: str | None = None,
    bar: Bar = lambda title: nullcontext(None),
) -> tuple[Decision, Evaluation]:
    """Judge a candidate; the record is signed where there is a key.

    Args:
        candidate: who wants in.
        champion: who is in.
        sets: what both rank.
        measure: as ir_measures names it.
        limits: what is asked.
        key: to sign with.
        bar: opens a progress bar with a title.

    Raises:
        InvalidRequestError: no domain set, or two sets of one name.
    """
    if not sets.domain:
        raise InvalidRequestError("There is no domain set.", hint="Say where it has to gain.")
    rerankers = {"champion": champion, "candidate": candidate}
    work = []
    for dataset in sets.every:
        found = []
        for name, reranker in rerankers.items():
            with bar(f"{name} on {dataset.name}") as advance:
                found.append(ranked_by(name, reranker, dataset, advance))
        work.append((dataset, found))
    evaluation = evaluate(work, [measure], "champion")
    new, old = (
        Contender(name, f"{rerankers[name].model}-{rerankers[name].version}", rerankers[name].files.size)
        for name in ("candidate", "champion")
    )
    domain, general, cases = ([dataset.name for dataset in part] for part in (sets.domain, sets.general, sets.cases))
    decision = judge(evaluation, new, old, domain, general, cases, limits)
    return (decision.signed(key) if key else decision), evaluation
