"""Training examples: queries with relevant and irrelevant passages.

Reads FlagEmbedding's JSON lines (`rerankd cases export --training FILE`) and judged BEIR folders, cleans and splits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from rerankd._common.logging import logger
from rerankd._common.text import normalized
from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.evaluation.dataset import Dataset, DatasetOptions, open_dataset
from rerankd.evaluation.text_io import json_rows
from rerankd.training.example_keys import check_keys

MAX_TEXT = 200_000  # characters per text
MAX_PASSAGES = 1000  # per query and label
MIN_EXAMPLES = 4  # fewer cannot be split
MISSED = "answers that the first stage missed"


@dataclass(frozen=True, slots=True)
class Example:
    """A query with passages.

    Attributes:
        query: text of the query.
        positives: passages that answer it.
        negatives: passages that do not.
        positive_scores: logits of a stronger model, one per positive; empty for none.
        negative_scores: logits of a stronger model, one per negative; empty for none.
        time: time of the query in seconds since 1970; None if unknown.
        source: file or data set, for people.
        unjudged: candidates of the first stage that nobody judged; negatives, if the base model agrees.
        missed: positives that the first stage did not find. A reranker never sees them; trained to rank them above
            passages that were found by their words, it learns to distrust shared words.
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    positive_scores: tuple[float, ...] = ()
    negative_scores: tuple[float, ...] = ()
    time: float | None = None
    source: str = ""
    unjudged: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Normalized query, for comparisons."""
        return normalize(self.query)

    @property
    def with_missed(self) -> Example:
        """The example with the missed positives among its positives."""
        scores = self.positive_scores if not self.missed else ()
        return replace(self, positives=self.positives + self.missed, positive_scores=scores, missed=())


@dataclass(frozen=True, slots=True)
class CleaningReport:
    """Number of examples kept, and what was dropped by reason."""

    kept: int
    dropped: dict[str, int] = field(default_factory=dict)


def normalize(text: str) -> str:
    """Return a text without differences in width, case, invisible characters and spaces.

    Example:
        >>> normalize("  What IS　Ａ ") == normalize("what is a")
        True
    """
    return " ".join(normalized(text).split())


def read_examples(path: Path) -> list[Example]:
    """Read JSON lines or a BEIR folder.

    Args:
        path: JSON lines with `query`, `pos`, `neg` and optionally `pos_scores`, `neg_scores`, `time`; or a BEIR folder,
            whose positives are the relevant documents that its run found, and whose negatives are the documents judged
            irrelevant. `qrels/train.tsv` is used if it exists.

    Raises:
        InvalidInputFileError: a line or a file in another format; the message names the line.

    Example:
        >>> read_examples(Path("cases.jsonl"))  # doctest: +SKIP
        [Example(query='...', positives=('...',), negatives=('...',), ...)]
    """
    if path.is_dir():
        split = path / "qrels" / "train.tsv"
        dataset = open_dataset(path, DatasetOptions(qrels=split if split.is_file() else None, include_judged=True))
        if dataset.notices:
            logger(__name__).warning("%s: %s", dataset.name, " ".join(dataset.notices))
        return _dataset_examples(dataset)
    examples = [_row_example(row, location, path.name) for location, row in json_rows(path)]
    if not examples:
        raise InvalidInputFileError(
            f"{path} contains no examples.", hint="Export some: rerankd cases export --training FILE."
        )
    return examples


def _dataset_examples(dataset: Dataset) -> list[Example]:
    texts, examples = dataset.documents, []
    for query_id, query in dataset.queries.items():
        grades, candidates = dataset.qrels[query_id], dataset.candidates.get(query_id, ())
        relevant = [doc_id for doc_id, grade in grades.items() if grade > 0 and doc_id in texts]
        irrelevant = [doc_id for doc_id, grade in grades.items() if grade <= 0 and doc_id != query_id]
        examples.append(
            Example(
                query,
                tuple(texts[doc_id] for doc_id in relevant if doc_id in candidates),
                tuple(texts[doc_id] for doc_id in irrelevant if doc_id in texts),
                source=dataset.name,
                unjudged=tuple(texts[doc_id] for doc_id in candidates if doc_id not in grades and doc_id in texts),
                missed=tuple(texts[doc_id] for doc_id in relevant if doc_id not in candidates),
            )
        )
    return examples


def _row_example(row: dict[str, Any], location: str, source: str) -> Example:
    def texts(name: str) -> tuple[str, ...]:
        value = row.get(name, [])
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise InvalidInputFileError(
                f"{location}: {name} is not a list of texts.", hint='Write "pos": ["text", ...].'
            )
        if len(value) > MAX_PASSAGES or any(len(text) > MAX_TEXT for text in value):
            raise InvalidInputFileError(
                f"{location}: {name} is too large.", hint=f"The limit is {MAX_PASSAGES} texts of {MAX_TEXT} characters."
            )
        return tuple(value)

    def scores(name: str, count: int) -> tuple[float, ...]:
        value = row.get(name) or []
        valid = isinstance(value, list) and all(isinstance(s, int | float) and abs(s) < 1e6 for s in value)
        if not valid or len(value) not in (0, count):
            raise InvalidInputFileError(
                f"{location}: {name} does not have one number per text.", hint="Correct it, or leave it out."
            )
        return tuple(float(score) for score in value)

    check_keys(row, location)
    query, time = row.get("query"), row.get("time")
    if not isinstance(query, str) or len(query) > MAX_TEXT:
        raise InvalidInputFileError(f"{location}: there is no query.", hint='Write {"query": "...", "pos": [...]}.')
    if time is not None and not isinstance(time, int | float):
        raise InvalidInputFileError(
            f"{location}: time is not a number.", hint="Write seconds since 1970, or leave it out."
        )
    positive, negative = texts("pos"), texts("neg")
    return Example(
        query,
        positive,
        negative,
        positive_scores=scores("pos_scores", len(positive)),
        negative_scores=scores("neg_scores", len(negative)),
        time=None if time is None else float(time),
        source=source,
    )


def clean(examples: Iterable[Example]) -> tuple[list[Example], CleaningReport]:
    """Drop empty and duplicate texts, queries without a positive, and negatives that are also positives.

    Examples of one query are merged. A positive is never a negative of the same query, whether the first stage found it
    or not.

    Example:
        >>> examples, report = clean([Example("q", ("a",), ("a", "b")), Example(" Q", ("a",), ("",))])
        >>> examples[0].negatives, report.dropped
        (('b',), {'contradicting negatives': 1, 'empty texts': 1, 'repeated queries': 1, 'repeated texts': 1})
    """
    dropped: dict[str, int] = {}

    def drop(reason: str, count: int = 1) -> None:
        if count:
            dropped[reason] = dropped.get(reason, 0) + count

    by_query: dict[str, list[Example]] = {}
    for example in examples:
        if not example.key:
            drop("empty queries")
        else:
            by_query.setdefault(example.key, []).append(example)
    kept = []
    for same_query in by_query.values():
        drop("repeated queries", len(same_query) - 1)
        positives, negatives = _merge_texts(same_query, drop)
        missed = {normalize(text) for example in same_query for text in example.missed} - {
            "",
            *map(normalize, positives),
        }
        drop(MISSED, len(missed))
        if not positives:
            drop("queries without an answer")
            continue
        times = [example.time for example in same_query if example.time is not None]
        scored = all(score is not None for score in (*positives.values(), *negatives.values()))
        kept.append(
            replace(
                same_query[0],
                positives=tuple(positives),
                negatives=tuple(negatives),
                positive_scores=tuple(s for s in positives.values() if s is not None) if scored else (),
                negative_scores=tuple(s for s in negatives.values() if s is not None) if scored else (),
                time=max(times, default=None),
                unjudged=_unjudged(same_query, {"", *missed, *map(normalize, (*positives, *negatives))}),
                missed=(),
            )
        )
    return kept, CleaningReport(len(kept), dict(sorted(dropped.items())))


def _merge_texts(same_query: Sequence[Example], drop: Any) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Return positives and negatives with their scores, without duplicates."""
    sides: list[dict[str, float | None]] = [{}, {}]
    seen: dict[str, int] = {}
    missed = {normalize(text) for example in same_query for text in example.missed}
    for side, name in enumerate(("positives", "negatives")):
        for example in same_query:
            scores = getattr(example, name[:-1] + "_scores")
            for index, text in enumerate(getattr(example, name)):
                normalized = normalize(text)
                if not normalized:
                    drop("empty texts")
                elif normalized in seen:
                    drop("repeated texts" if seen[normalized] == side else "contradicting negatives")
                elif side and normalized in missed:
                    drop("contradicting negatives")
                else:
                    seen[normalized] = side
                    sides[side][text] = scores[index] if scores else None
    return sides[0], sides[1]


def _unjudged(same_query: Sequence[Example], known: set[str]) -> tuple[str, ...]:
    """Return unjudged candidates in order, without duplicates and without known texts."""
    texts: dict[str, str] = {}
    for example in same_query:
        for text in example.unjudged:
            texts.setdefault(normalize(text), text)
    return tuple(text for normalized, text in texts.items() if normalized not in known)


def split(examples: Sequence[Example], share: float, seed: str = "split") -> tuple[list[Example], list[Example]]:
    """Split into training and validation by query: the latest if all times are known, otherwise by a hash.

    No query and no positive of the validation side is on the training side.

    Args:
        examples: cleaned examples.
        share: share of the validation side, between 0 and 1.
        seed: seed of the hash.

    Returns:
        Training and validation examples.

    Raises:
        InvalidRequestError: too few examples to split.
    """
    if len(examples) < MIN_EXAMPLES:
        given = "1 was" if len(examples) == 1 else f"{len(examples)} were"
        raise InvalidRequestError(
            f"At least {MIN_EXAMPLES} examples are needed; {given} given.", hint="Label more bad cases."
        )
    count = min(len(examples) - 2, max(1, round(share * len(examples))))
    if all(example.time is not None for example in examples):
        order = sorted(examples, key=lambda example: (-(example.time or 0.0), example.key))
    else:
        order = sorted(examples, key=lambda example: hashlib.sha256(f"{seed}:{example.key}".encode()).digest())
    validation = order[:count]
    answers = {normalize(text) for example in validation for text in example.positives}
    queries = {example.key for example in validation}
    others = [example for example in order[count:] if example.key not in queries]
    training = [example for example in others if answers.isdisjoint(map(normalize, example.positives))]
    if not training:
        raise InvalidRequestError(
            "All examples share their positives with the validation side, so none is left to train on."
        )
    return training, validation


def data_hash(examples: Iterable[Example]) -> str:
    """Return the SHA-256 of examples, independent of their order."""
    fields = ([e.query, e.positives, e.negatives, e.positive_scores, e.negative_scores, e.unjudged] for e in examples)
    lines = sorted(map(orjson.dumps, fields))
    return hashlib.sha256(b"\n".join(lines)).hexdigest()
