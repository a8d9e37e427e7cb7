"""Measures per query, by ir_measures.

nDCG takes the grade itself as gain and log2(rank + 1) as discount (trec_eval's; Jarvelin and Kekalainen 2002), unless
the measure says otherwise, such as `nDCG(gains={1:1,2:3})@10`. Means are over all judged queries; one for which
nothing was found counts 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rerankd._common.optional import require
from rerankd.errors import InvalidRequestError
from rerankd.evaluation.trec import Qrels, Rankings, decreasing

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "AP", "R@10", "P@1", "Judged@10")
GAIN = "gain = grade, discount = log2(rank + 1)"

Values = npt.NDArray[np.float64]


def check_measures(names: Sequence[str]) -> tuple[str, ...]:
    """The names as ir_measures spells them: `MAP` becomes `AP`.

    Raises:
        InvalidRequestError: an unknown measure.
        MissingDependencyError: ir_measures is not installed.

    Example:
        >>> check_measures(["NDCG@10", "MAP"])
        ('nDCG@10', 'AP')
    """
    if not names:
        raise InvalidRequestError("There is no measure.", hint="Name one, such as nDCG@10.")
    return tuple(dict.fromkeys(str(measure) for measure in _parsed(names)))


def _parsed(names: Sequence[str]) -> list[Any]:
    ir_measures = require("ir_measures", "eval", "Measuring a ranking")
    parsed = []
    for name in names:
        try:
            parsed.append(ir_measures.parse_measure(name))
        except (NameError, ValueError, SyntaxError, TypeError, AttributeError):
            raise InvalidRequestError(
                f"Unknown measure {name!r}.", hint="Use the names of ir_measures, such as nDCG@10, RR@10, AP, R@50."
            ) from None
    return parsed


def measure(names: Sequence[str], qrels: Qrels, rankings: Rankings, queries: Sequence[str]) -> Values:
    """Every measure of every query.

    Args:
        names: of measures.
        qrels: grades.
        rankings: what is measured, best first.
        queries: whose values are wanted, in this order.

    Returns:
        Values, shape (queries, measures); 0 for a query without a ranking.

    Raises:
        InvalidRequestError: a measure that is unknown, or that nothing installed can compute.

    Example:
        >>> measure(["RR@10"], {"q": {"a": 1}}, {"q": ("b", "a")}, ["q"]).tolist()
        [[0.5]]
    """
    parsed = _parsed(names)
    ir_measures = require("ir_measures", "eval", "Measuring a ranking")
    place = {query: row for row, query in enumerate(queries)}
    column = {found: number for number, found in enumerate(parsed)}
    values = np.zeros((len(queries), len(parsed)))
    run = {query: decreasing(rankings[query]) for query in queries if rankings.get(query)}
    if not run:
        return values
    try:
        for found in ir_measures.iter_calc(parsed, {query: dict(qrels[query]) for query in queries}, run):
            values[place[found.query_id], column[found.measure]] = found.value
    except (ValueError, RuntimeError, OSError) as error:
        raise InvalidRequestError(
            f"ir_measures cannot compute {', '.join(names)} ({error}).", hint="Leave out the measure that it names."
        ) from error
    return values
