"""The two rankings of a query in an evaluation, as the component that compares lists takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rerankd.console.comparison import ComparedDocument, Marks, RankedList
from rerankd.ranking.activation import activate


def compared(
    baseline: str,
    system: str,
    found: Mapping[str, Any],
    texts: Mapping[str, str | None],
    names: Mapping[str, str],
) -> tuple[list[ComparedDocument], tuple[RankedList, RankedList]]:
    """Return the documents of a query with their grades, and its rankings before and after.

    Args:
        baseline: the system before.
        system: the system after.
        found: candidates, grades, logits and truncated documents of the query.
        texts: texts by document id.
        names: other names for systems.
    """
    documents = [
        ComparedDocument(texts.get(doc_id), id=doc_id, grade=found["grades"].get(doc_id))
        for doc_id in found["candidates"]
    ]
    return documents, (_ranked_list(baseline, found, names), _ranked_list(system, found, names))


def _ranked_list(system: str, found: Mapping[str, Any], names: Mapping[str, str]) -> RankedList:
    logits = found["logits"].get(system)
    ranks = ranked(found["candidates"], logits)
    if logits is None:
        return RankedList(names.get(system, system), ranks)
    truncated = set(found["truncated"].get(system, ()))
    return RankedList(
        names.get(system, system),
        ranks,
        scores=activate(logits, "sigmoid").tolist(),
        raw_scores=logits,
        marks=[Marks(truncated=position in truncated) for position in range(len(logits))],
        sortable=True,
    )


def ranked(order: Sequence[str], logits: Sequence[float] | None) -> list[int]:
    """Return the rank of each candidate, from 1, by a model, or in the order of the first stage without logits."""
    if logits is None:
        return list(range(1, len(order) + 1))
    ranks = [0] * len(order)
    for rank, position in enumerate(sorted(range(len(order)), key=lambda each: -logits[each]), start=1):
        ranks[position] = rank
    return ranks
