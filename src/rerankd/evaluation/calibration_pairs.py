"""Labelled pairs with their logits, from which calibration learns.

From a dataset they are the candidates of each judged query: relevant if the grade is above 0, irrelevant if it is 0 or
if the candidate is not judged. Unjudged relevant documents therefore make probabilities a little too low.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rerankd.errors import InvalidInputFileError
from rerankd.evaluation.text_io import json_rows, required_field
from rerankd.evaluation.trec import Qrels
from rerankd.types import Pair

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LabelledPairs:
    """Pairs of query and document with logit and label.

    Attributes:
        logits: raw scores, shape (pairs,).
        labels: 1 for relevant, 0 for irrelevant, shape (pairs,).
        query_ids: query of each pair.
    """

    logits: Values
    labels: Values
    query_ids: tuple[str, ...]


def labelled_pairs(logits: Mapping[str, Mapping[str, float]], qrels: Qrels, name: str = "") -> LabelledPairs:
    """Return the candidates of a dataset as labelled pairs.

    Args:
        logits: raw scores by query id and document id.
        qrels: grades by query id and document id.
        name: name of the dataset; it is put before query ids, so that those of several datasets stay apart.

    Example:
        >>> labelled_pairs({"q": {"a": 2.0, "b": -1.0}}, {"q": {"a": 1}}).labels.tolist()
        [1.0, 0.0]
    """
    rows = [
        (logit, float(qrels[query_id].get(doc_id, 0) > 0), f"{name}/{query_id}")
        for query_id, logit_of in logits.items()
        for doc_id, logit in logit_of.items()
    ]
    return _from_rows(rows)


def concatenate_pairs(parts: Iterable[LabelledPairs]) -> LabelledPairs:
    """Return several sets of pairs as one."""
    return _from_rows(
        [row for part in parts for row in zip(part.logits.tolist(), part.labels.tolist(), part.query_ids, strict=True)]
    )


def read_labelled_pairs(path: Path) -> tuple[list[Pair], list[float]]:
    """Read pairs with a label: JSON lines with `query`, `document` and `label` (0, 1, or a grade).

    Returns:
        The pairs, and their labels, 1 for relevant, 0 for irrelevant.

    Raises:
        InvalidInputFileError: the file cannot be read, or a row lacks one of the fields.
    """
    pairs, labels = [], []
    for location, row in json_rows(path):
        query = required_field(row, ("query",), location)
        pairs.append(Pair(query, required_field(row, ("document", "text"), location)))
        label = row.get("label", row.get("relevance"))
        if isinstance(label, str) or not isinstance(label, bool | int | float):
            raise InvalidInputFileError(f"{location}: the label is {label!r}.", hint="Write 1 for relevant, 0 for not.")
        labels.append(float(label > 0))
    if not pairs:
        raise InvalidInputFileError(f"{path} holds no pairs.", hint="Write query, document and label on each line.")
    return pairs, labels


def _from_rows(rows: list[tuple[float, float, str]]) -> LabelledPairs:
    logits, labels, query_ids = zip(*rows, strict=True) if rows else ((), (), ())
    return LabelledPairs(np.array(logits, dtype=np.float64), np.array(labels, dtype=np.float64), tuple(query_ids))
