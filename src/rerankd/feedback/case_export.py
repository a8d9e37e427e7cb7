"""Labelled cases as data: a BEIR folder to evaluate on, and FlagEmbedding's lines to train on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import orjson

from rerankd.errors import InvalidRequestError
from rerankd.feedback.cases import BadCase, CaseCandidate
from rerankd.feedback.judgements import is_positive

Grades = dict[int, int]


def training_lines(cases: Iterable[BadCase], *, unlabelled: bool = True) -> Iterator[dict[str, object]]:
    """Labelled cases in FlagEmbedding's form: `query`, `pos`, `neg`, and the model's raw scores of both.

    Args:
        cases: those without a relevant document, or whose texts were erased, are left out.
        unlabelled: whether candidates that the model ranked above the best relevant one and that nobody labelled count
            as negatives too: they are what it has to unlearn.
    """
    for case in cases:
        positive, negative = _sides(case, unlabelled=unlabelled)
        if case.query is None or not positive:
            continue
        yield {
            "query": case.query,
            "time": case.time,
            "pos": [one.text for one in positive],
            "neg": [one.text for one in negative],
            "pos_scores": [one.raw_score for one in positive],
            "neg_scores": [one.raw_score for one in negative],
        }


def _sides(case: BadCase, *, unlabelled: bool) -> tuple[list[CaseCandidate], list[CaseCandidate]]:
    there = sorted((one for one in case.candidates if one.text is not None), key=lambda one: one.rank_after)
    positive = [one for one in there if one.grade is not None and is_positive("grade", one.grade)]
    texts = {one.text for one in positive}
    best = min((one.rank_after for one in positive), default=0)
    negative = [
        one
        for one in there
        if one.text not in texts
        and ((unlabelled and one.rank_after < best) if one.grade is None else not is_positive("grade", one.grade))
    ]
    return positive, negative


def write_beir(cases: Iterable[BadCase], folder: Path, key: Callable[[str], str]) -> int:
    """Write labelled cases as a BEIR folder: `corpus.jsonl`, `queries.jsonl`, `qrels/test.tsv`, and the order before
    the model as `candidates.trec`, so that `rerankd eval` needs nothing else.

    Args:
        cases: those without labels, or whose query was erased, are left out.
        folder: does not exist, or is empty.
        key: the id of a text, such as `rerankd.traces.hashing.text_hash`; the same text is one document.

    Returns:
        How many queries there are.

    Raises:
        InvalidRequestError: the folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidRequestError(f"{folder} is there already.", hint="Name a folder that does not exist.")
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    count = 0
    with (
        (folder / "corpus.jsonl").open("wb") as corpus,
        (folder / "queries.jsonl").open("wb") as queries,
        (folder / "qrels" / "test.tsv").open("w", encoding="utf-8") as qrels,
        (folder / "candidates.trec").open("w", encoding="utf-8") as run,
    ):
        qrels.write("query-id\tcorpus-id\tscore\n")
        for case in cases:
            there = [one for one in case.candidates if one.text is not None]
            if case.query is None or not any(one.grade is not None for one in there):
                continue
            count += 1
            query_id = f"case-{case.id}"
            queries.write(orjson.dumps({"_id": query_id, "text": case.query, "metadata": {"time": case.time}}) + b"\n")
            grades: dict[str, int] = {}
            order: dict[str, int] = {}
            for one in sorted(there, key=lambda each: each.rank_before):
                name = key(one.text or "")
                order.setdefault(name, one.rank_before)
                if one.grade is not None:
                    grades[name] = max(one.grade, grades.get(name, 0))
                if name not in seen:
                    seen.add(name)
                    corpus.write(orjson.dumps({"_id": name, "title": "", "text": one.text}) + b"\n")
            qrels.writelines(f"{query_id}\t{name}\t{grade}\n" for name, grade in grades.items())
            run.writelines(f"{query_id} Q0 {name} {rank} {1 / rank:.9f} before\n" for name, rank in order.items())
    return count
