"""Labelled cases as data sets: a BEIR folder for evaluation, FlagEmbedding's JSON lines for training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import orjson
from sqlalchemy import func, select

from rerankd.database import tables
from rerankd.database.connection import batched
from rerankd.errors import InvalidRequestError
from rerankd.feedback.cases import BadCase, CaseCandidate
from rerankd.traces.store import TraceStore


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

    Args:
        cases: cases; those without labels, or whose query was erased, are left out.
        folder: folder that does not exist or is empty.
        key: function that returns the document id of a text, such as `rerankd.traces.hashing.text_hash`; equal texts
            are one document.
        times: times of the requests by number of the case, from `request_times`; the time of detection by default.

    Returns:
        Number of queries.

    Raises:
        InvalidRequestError: the folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidRequestError(f"{folder} exists already.", hint="Choose a folder that does not exist.")
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    written: set[str] = set()
    count = 0
    with (
        (folder / "corpus.jsonl").open("wb") as corpus,
        (folder / "queries.jsonl").open("wb") as queries,
        (folder / "qrels" / "test.tsv").open("w", encoding="utf-8") as qrels,
        (folder / "candidates.trec").open("w", encoding="utf-8") as run,
    ):
        qrels.write("query-id\tcorpus-id\tscore\n")
        for case in cases:
            candidates = [candidate for candidate in case.candidates if candidate.text is not None]
            if case.query is None or not any(candidate.grade is not None for candidate in candidates):
                continue
            count += 1
            query_id = f"case-{case.id}"
            row = {"_id": query_id, "text": case.query, "metadata": {"time": (times or {}).get(case.id, case.time)}}
            queries.write(orjson.dumps(row) + b"\n")
            grades: dict[str, int] = {}
            ranks: dict[str, int] = {}
            for candidate in sorted(candidates, key=lambda candidate: candidate.rank_before):
                document_id = key(candidate.text or "")
                ranks.setdefault(document_id, candidate.rank_before)
                if candidate.grade is not None:
                    grades[document_id] = max(candidate.grade, grades.get(document_id, 0))
                if document_id not in written:
                    written.add(document_id)
                    corpus.write(orjson.dumps({"_id": document_id, "title": "", "text": candidate.text}) + b"\n")
            qrels.writelines(f"{query_id}\t{document_id}\t{grade}\n" for document_id, grade in grades.items())
            lines = (
                f"{query_id} Q0 {document_id} {rank} {1 / rank:.9f} before\n" for document_id, rank in ranks.items()
            )
            run.writelines(lines)
    return count
