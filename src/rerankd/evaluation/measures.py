"""Measures per query, computed by ir_measures (MacAvaney, Macdonald and Ounis 2022).

nDCG takes the grade itself as gain and log2(rank + 1) as discount, as trec_eval does (Jarvelin and Kekalainen 2002),
unless the measure says otherwise, such as `nDCG(gains={1:1,2:3})@10`. Means are over all judged queries; a query
without a ranking counts 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rerankd._common.optional import require
from rerankd.errors import InvalidRequestError
from rerankd.evaluation.trec import Qrels, Rankings, decreasing_scores

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "AP", "R@10", "P@1", "Judged@10")
GAIN = "gain = grade, discount = log2(rank + 1)"

Values = npt.NDArray[np.float64]


def check_measures(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names as ir_measures spells them, without duplicates: `MAP` becomes `AP`.

    Raises:
        InvalidRequestError: no measure, or an unknown one.
        MissingDependencyError: ir_measures is not installed.

    Example:
        >>> check_measures(["NDCG@10", "MAP"])
        ('nDCG@10', 'AP')
    """
    if not names:
        raise InvalidRequestError("There is no measure.", hint="Name one, such as nDCG@10.")
    return tuple(dict.fromkeys(str(measure) for measure in _parse_measures(names)))


def _parse_measures(names: Sequence[str]) -> list[Any]:
    ir_measures = require("ir_measures", "eval", "Measuring a ranking")
    measures = []
    for name in names:
        try:
            measures.append(ir_measures.parse_measure(name))
        except (NameError, ValueError, SyntaxError, TypeError, AttributeError):
            raise InvalidRequestError(
                f"Unknown measure {name!r}.", hint="Use the names of ir_measures, such as nDCG@10, RR@10, AP, R@50."
            ) from None
    return measures


def measure_queries(names: Sequence[str], qrels: Qrels, rankings: Rankings, query_ids: Sequence[str]) -> Values:
    """Compute measures of each query.

    Args:
        names: names of the measures.
        qrels: grades by query id and document id.
        rankings: document ids by query id, best first.
        query_ids: queries to measure, in the order of the result.

    Returns:
        Values, shape (queries, measures); 0 for a query without a ranking.

    Raises:
        InvalidRequestError: an unknown measure, or one that no installed provider can compute.
        MissingDependencyError: ir_measures is not installed.

    Example:
        >>> measure_queries(["RR@10"], {"q": {"a": 1}}, {"q": ("b", "a")}, ["q"]).tolist()
        [[0.5]]
    """
    measures = _parse_measures(names)
    ir_measures = require("ir_measures", "eval", "Measuring a ranking")
    row_of = {query_id: row for row, query_id in enumerate(query_ids)}
    column_of = {measure: column for column, measure in enumerate(measures)}
    values = np.zeros((len(query_ids), len(measures)))
    run = {query_id: decreasing_scores(rankings[query_id]) for query_id in query_ids if rankings.get(query_id)}
    if not run:
        return values
    try:
        for metric in ir_measures.iter_calc(measures, {query_id: dict(qrels[query_id]) for query_id in query_ids}, run):
            values[row_of[metric.query_id], column_of[metric.measure]] = metric.value
    except (ValueError, RuntimeError, OSError) as error:
        raise InvalidRequestError(
            f"ir_measures cannot compute {', '.join(names)} ({error}).", hint="Leave out the measure that it names."
        ) from error
    return values
