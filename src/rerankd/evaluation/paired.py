"""Two evaluations of one dataset, compared on the queries that both have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rerankd.errors import InvalidRequestError
from rerankd.evaluation.bootstrap import bootstrap_intervals
from rerankd.evaluation.comparison import compare_runs, holm_corrected
from rerankd.evaluation.dataset import Dataset
from rerankd.evaluation.evaluation import DatasetResult, Evaluation, MeasuredRun
from rerankd.evaluation.packing import packed_result
from rerankd.evaluation.run import RankingRun

SAMPLES = 2000


def paired_result(
    before: Mapping[str, Any], after: Mapping[str, Any], systems: tuple[str, str], names: tuple[str, str]
) -> dict[str, Any]:
    """Compare a system of one evaluation with a system of another.

    Args:
        before: results of the earlier evaluation, see `packed_result`.
        after: results of the later one.
        systems: the system before and the one after.
        names: names of the two in the result.

    Returns:
        The same as `packed_result`, of the queries that both have, in the order of the later evaluation.

    Raises:
        InvalidRequestError: they have no query in common, or different measures.

    Example:
        >>> one = {"measures": ["RR"], "query_ids": ["q"], "values": {"mini": [[0.5]]}, "dataset": {"name": "tiny"}}
        >>> two = one | {"values": {"mini": [[1.0]]}}
        >>> paired_result(one, two, ("mini", "mini"), ("1", "2"))["values"]
        {'1': [[0.5]], '2': [[1.0]]}
    """
    rows = {query_id: row for row, query_id in enumerate(before["query_ids"])}
    query_ids = tuple(query_id for query_id in after["query_ids"] if query_id in rows)
    if not query_ids or before["measures"] != after["measures"]:
        raise InvalidRequestError(
            "The evaluations have no queries or measures in common.", hint="Choose two of the same dataset."
        )
    later = {query_id: row for row, query_id in enumerate(after["query_ids"])}
    values = (
        np.array([before["values"][systems[0]][rows[query_id]] for query_id in query_ids]),
        np.array([after["values"][systems[1]][later[query_id]] for query_id in query_ids]),
    )
    count = len(after["measures"])
    means = bootstrap_intervals(np.hstack(values), samples=SAMPLES)
    measured = (
        MeasuredRun(RankingRun(names[0], {}), values[0], means[:count]),
        MeasuredRun(RankingRun(names[1], {}), values[1], means[count:]),
    )
    comparison = compare_runs(names[1], values[1], names[0], values[0], samples=SAMPLES)
    dataset = Dataset(
        str(after["dataset"]["name"]), dict.fromkeys(query_ids, ""), {}, {name: {} for name in query_ids}, {}, ""
    )
    result = DatasetResult(dataset, query_ids, measured, holm_corrected([comparison]))
    return packed_result(Evaluation(tuple(after["measures"]), names[0], (result,)))
