"""Judgements and runs: TREC files, BEIR's tab-separated qrels, JSON lines; gzipped or not.

A run becomes a ranking. trec_eval ignores the rank column, reads scores in single precision and breaks ties by
document id, descending; runs are read by the same rules. Other evaluators break ties differently (ir_measures asks
several), so everything from here on, and every run that is written, has strictly decreasing scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from rerankd._common.files import writable, write_atomic
from rerankd._common.plural import counted
from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.evaluation.text_io import json_rows, required_field, text_lines

Qrels = Mapping[str, Mapping[str, int]]
"""Grades by query id and document id."""

Rankings = Mapping[str, tuple[str, ...]]
"""Document ids by query id, best first."""

_QUERY = ("query_id", "query-id", "qid")
_DOCUMENT = ("doc_id", "corpus-id", "docno")
_GRADE = ("relevance", "score", "grade")


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements: `query 0 document grade`, `query<TAB>document<TAB>grade` with or without header, or jsonl.

    Raises:
        InvalidInputFileError: the file cannot be read, a line has another shape, a document has two grades for a query,
            or there is no judgement.
    """
    qrels: dict[str, dict[str, int]] = {}
    for location, query_id, doc_id, grade in _qrels_jsonl(path) if _is_json(path) else _qrels_text(path):
        if qrels.setdefault(query_id, {}).setdefault(doc_id, grade) != grade:
            raise InvalidInputFileError(
                f"{location}: document {doc_id} has another grade for query {query_id} before.",
                hint="Keep one of the judgements.",
            )
    if not qrels:
        raise InvalidInputFileError(f"{path} holds no judgements.", hint="Write query<TAB>document<TAB>grade lines.")
    return qrels


def read_run(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a run: `query Q0 document rank score tag`, or jsonl with `query_id`, `doc_id` and `score`.

    Returns:
        Document ids by query id, by descending score, ties (in single precision) by descending id.

    Raises:
        InvalidInputFileError: the file cannot be read, a line has another shape, or a query has a document twice.
    """
    return {query_id: trec_order(scores) for query_id, scores in read_scores(path).items()}


def read_scores(path: Path) -> dict[str, dict[str, float]]:
    """Read a run like `read_run`; return the score of each document by query id and document id."""
    run: dict[str, dict[str, float]] = {}
    for location, query_id, doc_id, score in _run_jsonl(path) if _is_json(path) else _run_text(path):
        scores = run.setdefault(query_id, {})
        if doc_id in scores:
            raise InvalidInputFileError(
                f"{location}: document {doc_id} occurs twice for query {query_id}.", hint="List each document once."
            )
        scores[doc_id] = score
    if not run:
        raise InvalidInputFileError(f"{path} holds no ranking.", hint="Write query Q0 document rank score tag lines.")
    return run


def trec_order(scores: Mapping[str, float]) -> tuple[str, ...]:
    """Return document ids in the order in which trec_eval ranks scores.

    Example:
        >>> trec_order({"a": 1.0, "b": 1.0, "c": 2.0})
        ('c', 'b', 'a')
    """
    return tuple(sorted(scores, key=lambda doc_id: (np.float32(scores[doc_id]), doc_id), reverse=True))


def decreasing_scores(ranking: tuple[str, ...]) -> dict[str, float]:
    """Return scores that every evaluator ranks the same way: from the number of documents down to 1.

    Example:
        >>> decreasing_scores(("b", "a"))
        {'b': 2.0, 'a': 1.0}
    """
    return {doc_id: float(len(ranking) - position) for position, doc_id in enumerate(ranking)}


def write_run(path: Path, rankings: Rankings, tag: str) -> None:
    """Write a TREC run with strictly decreasing scores.

    Raises:
        InvalidRequestError: an id contains a space, which the format cannot hold, or the path cannot be written.
    """
    tag = "_".join(tag.split()) or "run"
    lines = []
    for query_id, ranking in rankings.items():
        for rank, (doc_id, score) in enumerate(decreasing_scores(ranking).items(), start=1):
            if len(query_id.split()) != 1 or len(doc_id.split()) != 1:
                raise InvalidRequestError(
                    f"The ids {query_id!r} and {doc_id!r} cannot be written to a TREC run.",
                    hint="Use ids without spaces.",
                )
            lines.append(f"{query_id} Q0 {doc_id} {rank} {score:.0f} {tag}\n")
    with writable(path):
        write_atomic(path, "".join(lines).encode())


def _is_json(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson"))


def _qrels_jsonl(path: Path) -> Iterator[tuple[str, str, str, int]]:
    for location, row in json_rows(path):
        grade = _grade(required_field(row, _GRADE, location), location)
        yield location, required_field(row, _QUERY, location), required_field(row, _DOCUMENT, location), grade


def _qrels_text(path: Path) -> Iterator[tuple[str, str, str, int]]:
    for number, (location, line) in enumerate(text_lines(path)):
        columns = line.split("\t") if line.count("\t") == 2 else line.split()
        if len(columns) not in (3, 4):
            raise InvalidInputFileError(
                f"{location}: {counted(len(columns), 'column')}.",
                hint="Write query<TAB>document<TAB>grade, or TREC's four columns.",
            )
        if number == 0 and _is_header(columns[-1]):
            continue
        yield location, columns[0], columns[-2], _grade(columns[-1], location)


def _is_header(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return True
    return False


def _grade(text: str, location: str) -> int:
    try:
        value = float(text)
        if not value.is_integer():
            raise ValueError
    except (ValueError, OverflowError):
        raise InvalidInputFileError(f"{location}: the grade is {text!r}.", hint="Grades must be integers.") from None
    return int(value)


def _run_jsonl(path: Path) -> Iterator[tuple[str, str, str, float]]:
    for location, row in json_rows(path):
        score = _score(required_field(row, ("score",), location), location)
        yield location, required_field(row, _QUERY, location), required_field(row, _DOCUMENT, location), score


def _run_text(path: Path) -> Iterator[tuple[str, str, str, float]]:
    for location, line in text_lines(path):
        columns = line.split()
        if len(columns) not in (5, 6):
            raise InvalidInputFileError(
                f"{location}: {counted(len(columns), 'column')}.",
                hint="A TREC run has query Q0 document rank score tag.",
            )
        yield location, columns[0], columns[2], _score(columns[4], location)


def _score(text: str, location: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise InvalidInputFileError(f"{location}: the score is {text!r}.", hint="Scores are numbers.")
    return value
