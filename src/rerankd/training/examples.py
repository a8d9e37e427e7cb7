"""What a model learns from: queries with passages that answer and passages that do not.

Reads FlagEmbedding's lines (`rerankd cases export --format train`) and judged BEIR folders; cleans, splits and looks
for leaks. Does not look for further negatives: `negatives.py` does.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.evaluation.dataset import Dataset, DatasetOptions, open_dataset
from rerankd.evaluation.text_io import json_rows

MAX_TEXT = 200_000  # characters of one text
MAX_PASSAGES = 1000  # of one query and kind
LEAST = 4  # examples that can be divided
MISSED = "answers that the first stage missed"


@dataclass(frozen=True, slots=True)
class Example:
    """A query with passages.

    Attributes:
        query: its text.
        positives: passages that answer it.
        negatives: passages that do not.
        positive_scores: logits of a stronger model, one for each positive; empty for none.
        negative_scores: likewise.
        time: when it was asked, seconds since 1970; None where nobody knows.
        source: where it is from, for people.
        unjudged: passages that a search found and nobody judged; others, where the champion thinks so too.
        missed: answers that the search did not find. A reranker is never shown such; learning to put them before
            passages that were found would teach it to distrust the words that they were found by.
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
        """The query, made comparable."""
        return comparable(self.query)

    @property
    def with_missed(self) -> Example:
        """The same, with the answers that the search missed among the others."""
        scores = self.positive_scores if not self.missed else ()
        return replace(self, positives=self.positives + self.missed, positive_scores=scores, missed=())


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What was left out, and why."""

    kept: int
    dropped: dict[str, int] = field(default_factory=dict)


def comparable(text: str) -> str:
    """A text without differences that make no other text: width, case, spaces.

    Example:
        >>> comparable("  What IS　Ａ ") == comparable("what is a")
        True
    """
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def read_examples(path: Path) -> list[Example]:
    """Read a file of lines or a BEIR folder.

    Args:
        path: JSON lines with `query`, `pos`, `neg` and perhaps `pos_scores`, `neg_scores`, `time`; or a folder, whose
            negatives are the documents that were judged irrelevant, and whose answers are those that its run found;
            of its judgements those for training (`qrels/train.tsv`) where they stand apart.

    Raises:
        InvalidInputFileError: a line or a file that is neither.
    """
    if path.is_dir():
        split = path / "qrels" / "train.tsv"
        return _of_dataset(
            open_dataset(path, DatasetOptions(qrels=split if split.is_file() else None, include_judged=True))
        )
    found = []
    for place, row in json_rows(path):
        found.append(_of_row(row, place, path.name))
    if not found:
        raise InvalidInputFileError(f"{path} holds no example.", hint="Export some: rerankd cases export.")
    return found


def _of_dataset(dataset: Dataset) -> list[Example]:
    found = []
    for query, text in dataset.queries.items():
        grades = dataset.qrels[query]
        positive = [doc for doc, grade in grades.items() if grade > 0 and doc in dataset.documents]
        negative = [doc for doc, grade in grades.items() if grade <= 0]
        shown = dataset.candidates.get(query, ())
        others = [doc for doc in shown if doc not in grades]
        texts = dataset.documents
        found.append(
            Example(
                text,
                tuple(texts[doc] for doc in positive if doc in shown),
                tuple(texts[doc] for doc in negative if doc in texts),
                source=dataset.name,
                unjudged=tuple(texts[doc] for doc in others if doc in texts),
                missed=tuple(texts[doc] for doc in positive if doc not in shown),
            )
        )
    return found


def _of_row(row: dict[str, Any], place: str, source: str) -> Example:
    def texts(name: str) -> tuple[str, ...]:
        value = row.get(name, [])
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise InvalidInputFileError(f"{place}: {name} is no list of texts.", hint='Write "pos": ["text", ...].')
        if len(value) > MAX_PASSAGES or any(len(text) > MAX_TEXT for text in value):
            raise InvalidInputFileError(
                f"{place}: {name} is too large.", hint=f"Up to {MAX_PASSAGES} texts of {MAX_TEXT} characters."
            )
        return tuple(value)

    def scores(name: str, count: int) -> tuple[float, ...]:
        value = row.get(name) or []
        numbers = isinstance(value, list) and all(isinstance(s, int | float) and abs(s) < 1e6 for s in value)
        if not numbers or len(value) not in (0, count):
            raise InvalidInputFileError(f"{place}: {name} is not one number for each text.", hint="Leave it out.")
        return tuple(float(score) for score in value)

    query, time = row.get("query"), row.get("time")
    if not isinstance(query, str) or len(query) > MAX_TEXT:
        raise InvalidInputFileError(f"{place}: there is no query.", hint='Write {"query": "...", "pos": [...]}.')
    if time is not None and not isinstance(time, int | float):
        raise InvalidInputFileError(f"{place}: time is no number.", hint="Write seconds since 1970, or leave it out.")
    positive, negative = texts("pos"), texts("neg")
    return Example(
        query,
        positive,
        negative,
        scores("pos_scores", len(positive)),
        scores("neg_scores", len(negative)),
        None if time is None else float(time),
        source,
    )


def cleaned(examples: Iterable[Example]) -> tuple[list[Example], Cleaning]:
    """Drop what teaches nothing: empty texts, queries without an answer, passages on both sides, doubles.

    Examples of one query become one. A passage that answers is never a negative of the same query, whether a search
    found it or not.

    Example:
        >>> found, said = cleaned([Example("q", ("a",), ("a", "b")), Example(" Q", ("a",), ("",))])
        >>> found[0].negatives, said.dropped
        (('b',), {'contradicting negatives': 1, 'empty texts': 1, 'repeated queries': 1, 'repeated texts': 1})
    """
    dropped: dict[str, int] = {}

    def drop(why: str, count: int = 1) -> None:
        if count:
            dropped[why] = dropped.get(why, 0) + count

    joined: dict[str, list[Example]] = {}
    for example in examples:
        if not example.key:
            drop("empty queries")
        else:
            joined.setdefault(example.key, []).append(example)
    kept = []
    for same in joined.values():
        drop("repeated queries", len(same) - 1)
        positives, negatives = _sides(same, drop)
        missed = {comparable(text) for one in same for text in one.missed} - {"", *map(comparable, positives)}
        drop(MISSED, len(missed))
        if not positives:
            drop("queries without an answer")
            continue
        first = same[0]
        times = [one.time for one in same if one.time is not None]
        scored = all(score is not None for score in (*positives.values(), *negatives.values()))
        kept.append(
            replace(
                first,
                positives=tuple(positives),
                negatives=tuple(negatives),
                positive_scores=tuple(s for s in positives.values() if s is not None) if scored else (),
                negative_scores=tuple(s for s in negatives.values() if s is not None) if scored else (),
                time=max(times, default=None),
                unjudged=_unjudged(same, {"", *missed, *map(comparable, (*positives, *negatives))}),
                missed=(),
            )
        )
    return kept, Cleaning(len(kept), dict(sorted(dropped.items())))


def _sides(same: Sequence[Example], drop: Any) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Texts of each side with their scores; the first of those that are alike."""
    sides: list[dict[str, float | None]] = [{}, {}]
    seen: dict[str, int] = {}
    missed = {comparable(text) for example in same for text in example.missed}
    for place, name in enumerate(("positives", "negatives")):
        for example in same:
            scores = getattr(example, name[:-1] + "_scores")
            for number, text in enumerate(getattr(example, name)):
                alike = comparable(text)
                if not alike:
                    drop("empty texts")
                elif alike in seen:
                    drop("repeated texts" if seen[alike] == place else "contradicting negatives")
                elif place and alike in missed:
                    drop("contradicting negatives")
                else:
                    seen[alike] = place
                    sides[place][text] = scores[number] if scores else None
    return sides[0], sides[1]


def _unjudged(same: Sequence[Example], known: set[str]) -> tuple[str, ...]:
    """What nobody judged, in order; the first of those that are alike, and none that is known."""
    found: dict[str, str] = {}
    for example in same:
        for text in example.unjudged:
            found.setdefault(comparable(text), text)
    return tuple(text for alike, text in found.items() if alike not in known)


def split(examples: Sequence[Example], share: float, seed: str = "split") -> tuple[list[Example], list[Example]]:
    """Divide into training and validation, by query: the latest where times are known, else by a hash.

    No query and no answer of the validation side is on the training side.

    Args:
        examples: cleaned.
        share: of validation.
        seed: of the hash.

    Raises:
        InvalidRequestError: too few to divide.
    """
    if len(examples) < LEAST:
        raise InvalidRequestError(
            f"There are {len(examples)} examples, too few to train and validate on.", hint="Label more bad cases."
        )
    wanted = min(len(examples) - 2, max(1, round(share * len(examples))))
    if all(example.time is not None for example in examples):
        order = sorted(examples, key=lambda one: (-(one.time or 0.0), one.key))
    else:
        order = sorted(examples, key=lambda one: hashlib.sha256(f"{seed}:{one.key}".encode()).digest())
    validation = order[:wanted]
    answers = {comparable(text) for one in validation for text in one.positives}
    asked = {one.key for one in validation}
    rest = [one for one in order[wanted:] if one.key not in asked]
    training = [one for one in rest if answers.isdisjoint(comparable(text) for text in one.positives)]
    if not training:
        raise InvalidRequestError("All examples share their answers, so none is left to train on.")
    return training, validation


def data_hash(examples: Iterable[Example]) -> str:
    """SHA-256 of examples, whatever their order."""
    told = ([e.query, e.positives, e.negatives, e.positive_scores, e.negative_scores, e.unjudged] for e in examples)
    lines = sorted(orjson.dumps(one) for one in told)
    return hashlib.sha256(b"\n".join(lines)).hexdigest()
