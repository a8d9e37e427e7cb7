"""Runs a gate: both models rank every dataset, then the gate decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from rerankd.errors import InvalidRequestError
from rerankd.evaluation.dataset import Dataset
from rerankd.evaluation.evaluation import Evaluation, evaluate
from rerankd.evaluation.gate import GateModel, decide
from rerankd.evaluation.gate_record import GateDecision, GateLimits
from rerankd.evaluation.run import Progress, rerank_dataset
from rerankd.models.digest import content_digest
from rerankd.reranker import Reranker

OpenProgressBar = Callable[[str], AbstractContextManager[Progress | None]]
"""Opens a progress bar with a title."""


@dataclass(frozen=True, slots=True)
class GateSets:
    """Datasets of a gate.

    Attributes:
        domain: datasets on which the candidate must gain.
        general: datasets on which it must not lose.
        cases: datasets of closed bad cases, none of which may get worse.
    """

    domain: Sequence[Dataset]
    general: Sequence[Dataset] = ()
    cases: Sequence[Dataset] = ()

    @property
    def all_datasets(self) -> list[Dataset]:
        """Domain, general and case datasets."""
        return [*self.domain, *self.general, *self.cases]


def run_gate(
    candidate: Reranker,
    champion: Reranker,
    sets: GateSets,
    *,
    measure: str = "nDCG@10",
    limits: GateLimits | None = None,
    key: str | None = None,
    bar: OpenProgressBar = lambda title: nullcontext(None),
) -> tuple[GateDecision, Evaluation]:
    """Rank every dataset with both models and decide; the record is signed if there is a key.

    Args:
        candidate: model to be promoted.
        champion: model in service.
        sets: datasets that both models rank.
        measure: measure that is compared, as ir_measures names it.
        limits: limits; None for the defaults.
        key: key of the signature; None for no signature.
        bar: opens a progress bar with a title.

    Raises:
        InvalidRequestError: no domain set, or two datasets of one name.
    """
    if not sets.domain:
        raise InvalidRequestError("There is no domain set.", hint="Name a dataset on which the candidate must gain.")
    rerankers = {"champion": champion, "candidate": candidate}
    work = []
    for dataset in sets.all_datasets:
        runs = []
        for name, reranker in rerankers.items():
            with bar(f"{name} on {dataset.name}") as progress:
                runs.append(rerank_dataset(name, reranker, dataset, progress))
        work.append((dataset, runs))
    evaluation = evaluate(work, [measure], "champion")
    models = {
        name: GateModel(
            run=name,
            version=f"{reranker.model}-{reranker.version}",
            size=reranker.files.size,
            digest=content_digest(reranker.files),
        )
        for name, reranker in rerankers.items()
    }
    decision = decide(
        evaluation,
        models["candidate"],
        models["champion"],
        domain=[dataset.name for dataset in sets.domain],
        general=[dataset.name for dataset in sets.general],
        cases=[dataset.name for dataset in sets.cases],
        limits=limits,
    )
    return (decision.signed(key) if key else decision), evaluation
