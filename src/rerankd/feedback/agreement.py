"""Agreement of two labellers: Cohen's kappa over the documents that both graded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import FromClause, Select, and_, func, select

from rerankd.database import tables
from rerankd.feedback.judgements import is_positive
from rerankd.feedback.label_store import of_tenant
from rerankd.feedback.labels import ANONYMOUS
from rerankd.traces.store import TraceStore

MAX_LISTED = 50


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
        disagreements: documents with different grades, the largest difference first.
    """

    first: str
    second: str
    pairs: int
    same: int
    weighted_kappa: float | None
    binary_kappa: float | None
    disagreements: tuple[Disagreement, ...]


def cohen_kappa(table: Mapping[tuple[int, int], int], *, weighted: bool = False) -> float | None:
    """Return Cohen's kappa of two labellers' grades: 1 for full agreement, 0 for that of chance.

    It is 1 - (disagreement observed) / (disagreement expected by chance from how often each labeller gives each grade).
    Unweighted, two different grades disagree by 1 (J. Cohen, "A coefficient of agreement for nominal scales",
    Educational and Psychological Measurement 20, 1960). Weighted, they disagree by the square of their difference
    (J. Cohen, "Weighted kappa", Psychological Bulletin 70, 1968, with the quadratic weights under which kappa is an
    intraclass correlation: J. L. Fleiss and J. Cohen, Educational and Psychological Measurement 33, 1973).

    Args:
        table: number of documents by the grades that both gave.
        weighted: True for quadratic weights.

    Returns:
        Kappa, at most 1; None without documents, or if both gave one and the same grade to all.

    Example:
        >>> cohen_kappa({(0, 0): 1, (0, 1): 1, (1, 1): 2})
        0.5
        >>> cohen_kappa({(2, 2): 9}) is None
        True
    """

    def disagreement(first: int, second: int) -> int:
        return (first - second) ** 2 if weighted else int(first != second)

    firsts, seconds = Counter[int](), Counter[int]()
    for (first, second), count in table.items():
        firsts[first] += count
        seconds[second] += count
    observed = sum(count * disagreement(*pair) for pair, count in table.items())
    chance = sum(
        count * other * disagreement(first, second)
        for first, count in firsts.items()
        for second, other in seconds.items()
    )
    return 1 - observed * firsts.total() / chance if chance else None


def read_agreement(
    store: TraceStore, first: str, second: str, tenant: str | None = None, *, limit: int = MAX_LISTED
) -> Agreement:
    """Return the agreement of two labellers over the documents that both graded.

    Args:
        store: store of the labels.
        first: name of the first labeller.
        second: name of the second labeller.
        tenant: tenant whose cases count; None for all.
        limit: documents with different grades at most.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    one, other = tables.label.alias(), tables.label.alias()
    names = and_(one.c.labeller == first, other.c.labeller == second)
    counts = _joined(select(one.c.grade, other.c.grade.label("second"), func.count()), one, other, tenant).where(names)
    rows = _joined(select(one.c.case_id, one.c.position, one.c.grade, other.c.grade), one, other, tenant).where(names)
    rows = rows.where(one.c.grade != other.c.grade)
    rows = rows.order_by(func.abs(one.c.grade - other.c.grade).desc(), one.c.case_id, one.c.position).limit(limit)
    with store.connect() as connection:
        table = {
            (grade, second_grade): count
            for grade, second_grade, count in connection.execute(counts.group_by(one.c.grade, other.c.grade))
        }
        disagreements = [Disagreement(*row) for row in connection.execute(rows)] if limit else []
    binary = Counter[tuple[int, int]]()
    for (grade, second_grade), count in table.items():
        binary[int(is_positive("grade", grade)), int(is_positive("grade", second_grade))] += count
    return Agreement(
        first=first,
        second=second,
        pairs=sum(table.values()),
        same=sum(count for pair, count in table.items() if pair[0] == pair[1]),
        weighted_kappa=cohen_kappa(table, weighted=True),
        binary_kappa=cohen_kappa(binary),
        disagreements=tuple(disagreements),
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
