"""Labelled pairs with their logits: what calibration learns from.

From a dataset they are the candidates of each judged query: relevant where the grade is above 0, not where it is 0 or
where nobody judged. Unjudged relevant documents therefore make probabilities a little too low.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rerankd.errors import InvalidInputFileError
from rerankd.evaluation.text_io import field, json_rows
from rerankd.evaluation.trec import Qrels
from rerankd.types import Pair

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LabelledPairs:
    """Logits and labels, shape (pairs,), and the query that each pair belongs to."""

    logits: Values
    labels: Values
    groups: tuple[str, ...]


def labelled(logits: Mapping[str, Mapping[str, float]], qrels: Qrels, name: str = "") -> LabelledPairs:
    """Pairs of a dataset's candidates.

    Args:
        logits: by query and document.
        qrels: grades.
        name: of the dataset, put before query ids so that those of several datasets stay apart.

    Example:
        >>> labelled({"q": {"a": 2.0, "b": -1.0}}, {"q": {"a": 1}}).labels.tolist()
        [1.0, 0.0]
    """
    rows = [
        (value, float(qrels[query].get(document, 0) > 0), f"{name}/{query}")
        for query, scores in logits.items()
        for document, value in scores.items()
    ]
    return _pairs(rows)


def joined(parts: Iterable[LabelledPairs]) -> LabelledPairs:
    """Several sets of pairs as one."""
    return _pairs(
        [row for part in parts for row in zip(part.logits.tolist(), part.labels.tolist(), part.groups, strict=True)]
    )


def read_labelled(path: Path) -> tuple[list[Pair], list[float]]:
    """Read pairs with a label: jsonl with `query`, `document` and `label` (0, 1, or a grade).

    Raises:
        InvalidInputFileError: not readable, or a row without one of them.
    """
    pairs, labels = [], []
    for place, row in json_rows(path):
        pairs.append(Pair(field(row, ("query",), place), field(row, ("document", "text"), place)))
        label = row.get("label", row.get("relevance"))
        if isinstance(label, str) or not isinstance(label, bool | int | float):
            raise InvalidInputFileError(f"{place}: the label is {label!r}.", hint="Write 1 for relevant, 0 for not.")
        labels.append(float(label > 0))
    if not pairs:
        raise InvalidInputFileError(f"{path} holds no pairs.", hint="Write query, document and label on each line.")
    return pairs, labels


def _pairs(rows: list[tuple[float, float, str]]) -> LabelledPairs:
    logits, labels, groups = zip(*rows, strict=True) if rows else ((), (), ())
    return LabelledPairs(np.array(logits, dtype=np.float64), np.array(labels, dtype=np.float64), tuple(groups))
