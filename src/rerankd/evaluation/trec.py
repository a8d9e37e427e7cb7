"""Judgements and runs: TREC files, BEIR's tab-separated qrels, JSON lines; gzipped or not.

A run becomes an order. trec_eval ignores the rank column, reads scores in single precision and breaks ties by
document id, descending; runs are read by the same rules. Other evaluators break ties differently (ir_measures asks
several), so everything from here on, and every run that is written, has strictly decreasing scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.evaluation.text_io import field, json_rows, text_lines

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
        InvalidInputFileError: not readable, a line of another shape, or no judgement at all.
    """
    qrels: dict[str, dict[str, int]] = {}
    for query, document, grade in _qrels_jsonl(path) if _is_json(path) else _qrels_text(path):
        qrels.setdefault(query, {})[document] = grade
    if not qrels:
        raise InvalidInputFileError(f"{path} holds no judgements.", hint="Write query<TAB>document<TAB>grade lines.")
    return qrels


def read_run(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a run: `query Q0 document rank score tag`, or jsonl with `query_id`, `doc_id` and `score`.

    Returns:
        Document ids by query, by score descending, equal ones (in single precision) by id descending.

    Raises:
        InvalidInputFileError: not readable, a line of another shape, or a document twice for one query.
    """
    return {query: order_of(scores) for query, scores in read_scores(path).items()}


def read_scores(path: Path) -> dict[str, dict[str, float]]:
    """As `read_run`, with the scores of each query's documents."""
    found: dict[str, dict[str, float]] = {}
    for place, query, document, score in _run_jsonl(path) if _is_json(path) else _run_text(path):
        scores = found.setdefault(query, {})
        if document in scores:
            raise InvalidInputFileError(
                f"{place}: document {document} occurs twice for query {query}.", hint="List each document once."
            )
        scores[document] = score
    if not found:
        raise InvalidInputFileError(f"{path} holds no ranking.", hint="Write query Q0 document rank score tag lines.")
    return found


def order_of(scores: Mapping[str, float]) -> tuple[str, ...]:
    """Document ids in the order in which trec_eval ranks scores.

    Example:
        >>> order_of({"a": 1.0, "b": 1.0, "c": 2.0})
        ('c', 'b', 'a')
    """
    return tuple(sorted(scores, key=lambda document: (np.float32(scores[document]), document), reverse=True))


def decreasing(ranking: tuple[str, ...]) -> dict[str, float]:
    """Scores that every evaluator ranks the same way: as many as there are documents, down to 1.

    Example:
        >>> decreasing(("b", "a"))
        {'b': 2.0, 'a': 1.0}
    """
    return {document: float(len(ranking) - place) for place, document in enumerate(ranking)}


def write_run(path: Path, rankings: Rankings, tag: str) -> None:
    """Write a TREC run with strictly decreasing scores.

    Raises:
        InvalidRequestError: an id with a space in it, which the format cannot hold, or a path that cannot be written.
    """
    tag = "_".join(tag.split()) or "run"
    lines = []
    for query, ranking in rankings.items():
        for place, (document, score) in enumerate(decreasing(ranking).items(), start=1):
            if len(query.split()) != 1 or len(document.split()) != 1:
                raise InvalidRequestError(
                    f"The ids {query!r} and {document!r} cannot stand in a TREC run.", hint="Use ids without spaces."
                )
            lines.append(f"{query} Q0 {document} {place} {score:.0f} {tag}\n")
    try:
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be written ({error.strerror}).", hint="Check the folder.") from error


def _is_json(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson"))


def _qrels_jsonl(path: Path) -> Iterator[tuple[str, str, int]]:
    for place, row in json_rows(path):
        yield field(row, _QUERY, place), field(row, _DOCUMENT, place), _grade(field(row, _GRADE, place), place)


def _qrels_text(path: Path) -> Iterator[tuple[str, str, int]]:
    for number, (place, line) in enumerate(text_lines(path)):
        columns = line.split("\t") if line.count("\t") == 2 else line.split()
        if len(columns) not in (3, 4):
            raise InvalidInputFileError(
                f"{place}: {len(columns)} columns.", hint="Write query<TAB>document<TAB>grade, or TREC's four columns."
            )
        if number == 0 and _is_header(columns[-1]):
            continue
        yield columns[0], columns[-2], _grade(columns[-1], place)


def _is_header(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return True
    return False


def _grade(text: str, place: str) -> int:
    try:
        value = float(text)
        if not value.is_integer():
            raise ValueError
    except (ValueError, OverflowError):
        raise InvalidInputFileError(f"{place}: the grade is {text!r}.", hint="Grades are whole numbers.") from None
    return int(value)


def _run_jsonl(path: Path) -> Iterator[tuple[str, str, str, float]]:
    for place, row in json_rows(path):
        score = _score(field(row, ("score",), place), place)
        yield place, field(row, _QUERY, place), field(row, _DOCUMENT, place), score


def _run_text(path: Path) -> Iterator[tuple[str, str, str, float]]:
    for place, line in text_lines(path):
        columns = line.split()
        if len(columns) not in (5, 6):
            raise InvalidInputFileError(
                f"{place}: {len(columns)} columns.", hint="A TREC run has query Q0 document rank score tag."
            )
        yield place, columns[0], columns[2], _score(columns[4], place)


def _score(text: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise InvalidInputFileError(f"{place}: the score is {text!r}.", hint="Scores are numbers.")
    return value
