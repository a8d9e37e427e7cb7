"""Labelled cases as data sets: a BEIR folder for evaluation, FlagEmbedding's JSON lines for training.

Both say the same: a text is relevant to a query if one of its copies is, and what people judged by feedback counts
where nobody labelled the document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO
from urllib.parse import quote

import orjson
from sqlalchemy import func, select

from rerankd.database import tables
from rerankd.database.connection import batched
from rerankd.errors import InvalidRequestError
from rerankd.feedback.case_store import CaseFilter, iter_cases
from rerankd.feedback.cases import BadCase, CaseCandidate, with_grades
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.judgements import EXPLICIT
from rerankd.feedback.store import read_feedback
from rerankd.traces.hashing import text_hash
from rerankd.traces.store import TraceFilter, TraceStore

DIGEST = 12  # characters of a text's hash that tell two texts of one id apart


def request_times(store: TraceStore, cases: Sequence[BadCase]) -> dict[int, float]:
    """Return the time of each case's request: that of its trace, or of the case's detection if the trace was deleted.

    Args:
        store: store of the cases and their traces.
        cases: cases of the store.

    Returns:
        Seconds since 1970 by number of the case.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    case, trace = tables.bad_case.c, tables.trace.c
    # A request id may be used again later; the case is about a request before its detection.
    same_request = (trace.request_id == case.request_id) & (trace.tenant == case.tenant) & (trace.time <= case.time)
    query = select(case.id, func.max(trace.time)).join_from(tables.bad_case, tables.trace, same_request)
    times = {each.id: each.time for each in cases}
    with store.connect() as connection:
        for batch in batched(list(times)):
            rows = connection.execute(query.where(case.id.in_(batch)).group_by(case.id))
            times |= {number: float(time) for number, time in rows}
    return times


def graded_cases(store: TraceStore, where: CaseFilter) -> list[BadCase]:
    """Return the cases that somebody labelled, with the grades that exports take.

    These are the grades that the labels amount to (`labels.decided_grade`) and, where nobody labelled a document, those
    of `with_feedback`.

    Args:
        store: store of the cases and the feedback.
        where: conditions on the cases.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    return with_feedback(store, (case for case in iter_cases(store, where) if case.grades))


def with_feedback(store: TraceStore, cases: Iterable[BadCase]) -> list[BadCase]:
    """Return cases in which explicit feedback grades the documents that nobody labelled.

    A grade is taken as it is, thumbs up are 1 and thumbs down 0; of several the latest counts.

    Args:
        store: store of the cases and the feedback.
        cases: cases of the store.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    graded = []
    for case in cases:
        events = read_feedback(store, TraceFilter(tenant=case.tenant, request_id=case.request_id))
        explicit = [each.feedback for each in reversed(events) if each.feedback.kind in EXPLICIT]
        grades = {
            position: max(0, round(event.value))
            for event in explicit
            if (position := _position(case, event)) is not None
        }
        candidates = with_grades(case.candidates, {**grades, **case.grades})
        graded.append(replace(case, candidates=tuple(candidates)))
    return graded


def _position(case: BadCase, event: FeedbackEvent) -> int | None:
    if event.index is not None or event.document_id is None:
        return event.index
    return next((candidate.index for candidate in case.candidates if candidate.id == event.document_id), None)


def training_lines(
    cases: Iterable[BadCase], times: Mapping[int, float] | None = None, *, unlabelled: bool = True
) -> Iterator[dict[str, object]]:
    """Yield labelled cases in FlagEmbedding's format: `query`, `pos`, `neg`, the model's logits of both, and `time`.

    Args:
        cases: cases; those without a relevant document, or whose texts were erased, are left out.
        times: times of the requests by number of the case, from `request_times`; the time of detection by default.
        unlabelled: True to add unlabelled candidates that rank above the best relevant document as hard negatives.

    Yields:
        One line for each case that has a query and a relevant document.
    """
    for case in cases:
        positives, negatives = _sides(case, unlabelled=unlabelled)
        if case.query is None or not positives:
            continue
        yield {
            "query": case.query,
            "time": (times or {}).get(case.id, case.time),
            "pos": [candidate.text for candidate in positives],
            "neg": [candidate.text for candidate in negatives],
            "pos_scores": [candidate.raw_score for candidate in positives],
            "neg_scores": [candidate.raw_score for candidate in negatives],
        }


def _sides(case: BadCase, *, unlabelled: bool) -> tuple[list[CaseCandidate], list[CaseCandidate]]:
    candidates = [candidate for candidate in case.candidates if candidate.text is not None]
    candidates.sort(key=lambda candidate: candidate.rank_after)
    positives = [candidate for candidate in candidates if candidate.is_relevant]
    texts = case.relevant_texts
    best = min((candidate.rank_after for candidate in candidates if candidate.text in texts), default=0)

    def is_negative(candidate: CaseCandidate) -> bool:
        if candidate.grade is None:
            return unlabelled and candidate.rank_after < best
        return not candidate.is_relevant

    return positives, [candidate for candidate in candidates if candidate.text not in texts and is_negative(candidate)]


def write_beir(
    cases: Iterable[BadCase], folder: Path, key: Callable[[str], str], times: Mapping[int, float] | None = None
) -> int:
    """Write labelled cases as a BEIR folder, which `rerankd eval` reads.

    It holds `corpus.jsonl`, `queries.jsonl`, `qrels/test.tsv`, and the first stage's run as `candidates.trec`.
    Documents keep the ids that requests gave them. An id with a second text, such as another chunk or a later version
    of the document, gets a part of the text's hash appended. White space and control characters in ids are
    percent-encoded, since it separates the columns of a TREC run.

    Args:
        cases: cases; those without labels, or whose query was erased, are left out.
        folder: folder that does not exist or is empty.
        key: function that returns an id for the text of a document without one, such as
            `rerankd.traces.hashing.text_hash`.
        times: times of the requests by number of the case, from `request_times`; the time of detection by default.

    Returns:
        Number of queries.

    Raises:
        InvalidRequestError: the folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidRequestError(f"{folder} exists already.", hint="Choose a folder that does not exist.")
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    count = 0
    with (
        (folder / "corpus.jsonl").open("wb") as corpus,
        (folder / "queries.jsonl").open("wb") as queries,
        (folder / "qrels" / "test.tsv").open("w", encoding="utf-8") as qrels,
        (folder / "candidates.trec").open("w", encoding="utf-8") as run,
    ):
        documents = _Documents(corpus, key)
        qrels.write("query-id\tcorpus-id\tscore\n")
        for case in cases:
            candidates = [candidate for candidate in case.candidates if candidate.text is not None]
            if case.query is None or not any(candidate.grade is not None for candidate in candidates):
                continue
            count += 1
            query_id = f"case-{case.id}"
            row = {"_id": query_id, "text": case.query, "metadata": {"time": (times or {}).get(case.id, case.time)}}
            queries.write(orjson.dumps(row) + b"\n")
            by_text = _grades_by_text(candidates)
            grades: dict[str, int] = {}
            ranks: dict[str, int] = {}
            for candidate in sorted(candidates, key=lambda candidate: candidate.rank_before):
                document_id = documents.add(candidate)
                ranks.setdefault(document_id, candidate.rank_before)
                if candidate.text in by_text:
                    grades[document_id] = by_text[candidate.text]
            qrels.writelines(f"{query_id}\t{document_id}\t{grade}\n" for document_id, grade in grades.items())
            lines = (
                f"{query_id} Q0 {document_id} {rank} {1 / rank:.9f} before\n" for document_id, rank in ranks.items()
            )
            run.writelines(lines)
    return count


class _Documents:
    """The documents of a corpus, each written once."""

    def __init__(self, out: IO[bytes], key: Callable[[str], str]) -> None:
        self._out, self._key = out, key
        self._texts: dict[str, str] = {}

    def add(self, candidate: CaseCandidate) -> str:
        """Write a document unless it is there, and return its id."""
        text = candidate.text or ""
        document_id = _encoded(candidate.id or "") or self._key(text)
        if self._texts.get(document_id, text) != text:
            document_id = f"{document_id}~{text_hash(text)[:DIGEST]}"
        if document_id not in self._texts:
            self._texts[document_id] = text
            self._out.write(orjson.dumps({"_id": document_id, "title": "", "text": text}) + b"\n")
        return document_id


def _encoded(document_id: str) -> str:
    return "".join(
        char if char.isprintable() and not char.isspace() else quote(char, errors="replace") for char in document_id
    )


def _grades_by_text(candidates: Iterable[CaseCandidate]) -> dict[str | None, int]:
    """Return the highest grade of each text."""
    grades: dict[str | None, int] = {}
    for candidate in candidates:
        if candidate.grade is not None:
            grades[candidate.text] = max(candidate.grade, grades.get(candidate.text, 0))
    return grades
