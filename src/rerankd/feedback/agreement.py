"""Agreement of two labellers: Cohen's kappa over the documents that both graded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import FromClause, Select, and_, func, select

from rerankd.database import tables
from rerankd.feedback.judgements import is_positive
from rerankd.feedback.label_store import of_tenant
from rerankd.feedback.labels import ANONYMOUS
from rerankd.traces.store import TraceStore

MAX_LISTED = 200


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A document that two labellers graded differently.

    Attributes:
        case: number of the case.
        position: position of the document in the request, from 0.
        first: grade of the first labeller.
        second: grade of the second labeller.
    """

    case: int
    position: int
    first: int
    second: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of two labellers.

    Attributes:
        first: name of the first labeller.
        second: name of the second labeller.
        pairs: documents that both graded.
        same: documents that both gave the same grade.
        weighted_kappa: kappa of the grades with quadratic weights; None if it is not defined.
        binary_kappa: kappa of relevant (a grade above 0) or not; None if it is not defined.
        disagreements: documents with different grades, the largest difference first, at most `MAX_LISTED`.
    """

    first: str
    second: str
    pairs: int
    same: int
    weighted_kappa: float | None
    binary_kappa: float | None
    disagreements: tuple[Disagreement, ...]


def cohen_kappa(pairs: Sequence[tuple[int, int]], *, weighted: bool = False) -> float | None:
    """Return Cohen's kappa of two labellers' grades: 1 for full agreement, 0 for that of chance.

    It is 1 - (disagreement observed) / (disagreement expected by chance from how often each labeller gives each grade).
    Unweighted, two different grades disagree by 1 (J. Cohen, "A coefficient of agreement for nominal scales",
    Educational and Psychological Measurement 20, 1960). Weighted, they disagree by the square of their difference
    (J. Cohen, "Weighted kappa", Psychological Bulletin 70, 1968, with the quadratic weights under which kappa is an
    intraclass correlation: J. L. Fleiss and J. Cohen, Educational and Psychological Measurement 33, 1973).

    Args:
        pairs: both grades of each document.
        weighted: True for quadratic weights.

    Returns:
        Kappa, at most 1; None without pairs, or if both gave one and the same grade to all documents.

    Example:
        >>> cohen_kappa([(0, 0), (0, 1), (1, 1), (1, 1)])
        0.5
        >>> cohen_kappa([(2, 2), (2, 2)]) is None
        True
    """

    def disagreement(first: int, second: int) -> int:
        return (first - second) ** 2 if weighted else int(first != second)

    observed = sum(disagreement(*pair) for pair in pairs)
    firsts, seconds = (Counter(pair[side] for pair in pairs) for side in (0, 1))
    chance = sum(
        count * other * disagreement(first, second)
        for first, count in firsts.items()
        for second, other in seconds.items()
    )
    return 1 - observed * len(pairs) / chance if chance else None


def read_agreement(store: TraceStore, first: str, second: str, tenant: str | None = None) -> Agreement:
    """Return the agreement of two labellers over the documents that both graded.

    Args:
        store: store of the labels.
        first: name of the first labeller.
        second: name of the second labeller.
        tenant: tenant whose cases count; None for all.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    one, other = tables.label.alias(), tables.label.alias()
    query = select(one.c.case_id, one.c.position, one.c.grade, other.c.grade.label("second"))
    query = _joined(query, one, other, tenant).where(one.c.labeller == first, other.c.labeller == second)
    with store.connect() as connection:
        graded = [Disagreement(*row) for row in connection.execute(query.order_by(one.c.case_id, one.c.position))]
    pairs = [(each.first, each.second) for each in graded]
    binary = [(int(is_positive("grade", pair[0])), int(is_positive("grade", pair[1]))) for pair in pairs]
    different = sorted(
        (each for each in graded if each.first != each.second), key=lambda each: -abs(each.first - each.second)
    )
    return Agreement(
        first=first,
        second=second,
        pairs=len(pairs),
        same=len(pairs) - len(different),
        weighted_kappa=cohen_kappa(pairs, weighted=True),
        binary_kappa=cohen_kappa(binary),
        disagreements=tuple(different[:MAX_LISTED]),
    )


def most_common_pair(store: TraceStore, tenant: str | None = None) -> tuple[str, str] | None:
    """Return the two labellers who graded the most documents in common; None if no two did.

    Args:
        store: store of the labels.
        tenant: tenant whose cases count; None for all.
    """
    one, other = tables.label.alias(), tables.label.alias()
    query = _joined(select(one.c.labeller, other.c.labeller.label("second")), one, other, tenant)
    query = query.where(one.c.labeller != ANONYMOUS, one.c.labeller < other.c.labeller)
    query = query.group_by(one.c.labeller, other.c.labeller).order_by(func.count().desc(), one.c.labeller).limit(1)
    with store.connect() as connection:
        row = connection.execute(query).first()
    return (str(row[0]), str(row[1])) if row else None


def _joined(query: Select[Any], one: FromClause, other: FromClause, tenant: str | None) -> Select[Any]:
    same_document = and_(one.c.case_id == other.c.case_id, one.c.position == other.c.position)
    query = query.join_from(one, other, same_document)
    for side in (one, other):
        query = query.where(side.c.replaced.is_(False), side.c.grade.is_not(None))
    return query if tenant is None else query.where(of_tenant(one.c.case_id, tenant))
