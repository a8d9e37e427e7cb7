"""Bad cases: rankings that should have been different.

A case has its own copy of the query and the candidates, because retention deletes traces but not cases.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import orjson

from rerankd.errors import InvalidRequestError
from rerankd.feedback.events import MAX_GRADE
from rerankd.feedback.judgements import is_positive
from rerankd.traces.store import FullTrace

State = Literal["open", "labelled", "in_training", "fixed", "wont_fix"]
STATES: tuple[State, ...] = get_args(State)
NEED_GRADES: tuple[State, ...] = ("labelled", "in_training")
MAX_CANDIDATES = 200  # copied into a case: the highest ranks, and the document that a detection is about
MAX_NOTE = 2000


@dataclass(frozen=True, slots=True)
class CaseCandidate:
    """A candidate of a case.

    Attributes:
        index: position in the request, from 0.
        id: id that the request gave it.
        text: its text; None if it was erased.
        rank_before: rank of the first stage, from 1.
        rank_after: rank after reranking, from 1.
        raw_score: logit.
        grade: relevance grade that its labels amount to (`labels.decided_grade`); None without a label.
    """

    index: int
    id: str | None
    text: str | None
    rank_before: int
    rank_after: int
    raw_score: float
    grade: int | None = None

    @property
    def is_relevant(self) -> bool:
        """True if its label says that it is relevant; a candidate without a label is not."""
        return self.grade is not None and is_positive("grade", self.grade)


@dataclass(frozen=True, slots=True)
class CaseReason:
    """Something that is wrong with a ranking.

    Attributes:
        detector: detector that found it, or `manual`.
        position: document that it is about, from 0; -1 for the whole ranking.
        severity: severity; comparable within a detector.
        note: description for people.
        time: time of its detection, seconds since 1970.
    """

    detector: str
    position: int
    severity: float
    note: str
    time: float


@dataclass(frozen=True, slots=True)
class BadCase:
    """A ranking that should have been different: one case, whatever was found in it.

    Attributes:
        id: number of the case.
        time: time of its detection, seconds since 1970.
        changed: time of its last change.
        tenant: id of the API key that sent the request.
        request_id: id of the request.
        detector: detector of the first reason, or `manual`.
        position: document that the first reason is about, from 0; -1 for the whole ranking.
        state: `open`, `labelled`, `in_training`, `fixed` or `wont_fix`.
        model: name of the model that ranked.
        version: version of that model.
        note: notes of the detectors, followed by those of people.
        severity: highest severity of its reasons.
        query: the query; None if it was erased.
        candidates: the candidates, in the order of the request.
        reasons: what was found in it, the oldest first.
    """

    id: int
    time: float
    changed: float
    tenant: str
    request_id: str
    detector: str
    position: int
    state: State
    model: str
    version: str
    note: str
    severity: float
    query: str | None
    candidates: tuple[CaseCandidate, ...]
    reasons: tuple[CaseReason, ...] = ()

    @property
    def grades(self) -> dict[int, int]:
        """Grades by position in the request."""
        return {candidate.index: candidate.grade for candidate in self.candidates if candidate.grade is not None}

    @property
    def relevant_texts(self) -> set[str]:
        """Texts of the relevant candidates; the same text may be a candidate twice, with a label on one of them."""
        return {candidate.text for candidate in self.candidates if candidate.text is not None and candidate.is_relevant}


def validate_note(note: str) -> str:
    """Return a note that can be stored.

    Raises:
        InvalidRequestError: it is too long, or contains a NUL character.
    """
    if len(note) > MAX_NOTE or "\0" in note:
        raise InvalidRequestError(f"The note is longer than {MAX_NOTE} characters, or contains a NUL character.")
    return note


def validate_grades(case: BadCase, grades: Mapping[int, int | None]) -> None:
    """Check grades for a case; None, which takes a grade back, is one for each of its documents.

    Raises:
        InvalidRequestError: a grade is out of range, or the case has no such document.
    """
    positions = {candidate.index for candidate in case.candidates}
    for position, grade in grades.items():
        if position not in positions:
            raise InvalidRequestError(f"Case {case.id} has no document {position}.", hint="See: rerankd cases show")
        if grade is not None and not 0 <= grade <= MAX_GRADE:
            raise InvalidRequestError(f"The grade is {grade}.", hint=f"Grades must be integers from 0 to {MAX_GRADE}.")


def with_grades(candidates: Iterable[CaseCandidate], grades: Mapping[int, int]) -> list[CaseCandidate]:
    """Return candidates with these grades, which are by position; other candidates have none."""
    return [replace(candidate, grade=grades.get(candidate.index)) for candidate in candidates]


def with_decided(case: BadCase, decided: Mapping[int, int | None]) -> BadCase:
    """Return a case with the grades that count now, by position, and the state that follows from them.

    A first grade makes an open case `labelled`; the case is open again when the last one is taken back.
    """
    grades = {position: grade for position, grade in (case.grades | dict(decided)).items() if grade is not None}
    state: State = case.state
    if not grades and state in NEED_GRADES:
        state = "open"
    elif grades and decided and state == "open":
        state = "labelled"
    return replace(case, state=state, candidates=tuple(with_grades(case.candidates, grades)))


def is_copy_of(case: BadCase, full: FullTrace) -> bool:
    """Return True if a case is about a trace's query and documents: a request id may be used for several rankings."""
    texts = [full.query, *(full.texts[each.index] for each in case.candidates if each.index < len(full.texts))]
    copies = [case.query, *(each.text for each in case.candidates)]
    return len(texts) == len(copies) and all(
        text is None or copy is None or replace_surrogates(text) == copy
        for text, copy in zip(texts, copies, strict=True)
    )


def copy_candidates(full: FullTrace, position: int) -> list[CaseCandidate]:
    """Return the candidates of a trace that a case keeps: the highest ranks, and the document at `position`.

    Documents that a rule hid are left out: a case is read by those that they were hidden from.
    """
    traced = full.candidates
    shown = traced.shown
    ids = traced.ids or (None,) * len(traced)
    return [
        CaseCandidate(
            index=index,
            id=ids[index],
            text=full.texts[index],
            rank_before=index + 1,
            rank_after=int(traced.ranks[index]),
            raw_score=float(traced.raw_scores[index]),
        )
        for index in range(len(traced))
        if shown[index] and (traced.ranks[index] <= MAX_CANDIDATES or index == position)
    ]


def pack_case(query: str | None, candidates: Iterable[CaseCandidate]) -> bytes:
    """Return a query and candidates as compressed JSON."""
    rows = [
        [
            candidate.index,
            candidate.id,
            candidate.text,
            candidate.rank_before,
            candidate.rank_after,
            candidate.raw_score,
            candidate.grade,
        ]
        for candidate in candidates
    ]
    return zlib.compress(orjson.dumps(replace_surrogates([query, rows])), 6)


def unpack_case(data: bytes) -> tuple[str | None, tuple[CaseCandidate, ...]]:
    """Return the query and the candidates that `pack_case` was given."""
    query, rows = orjson.loads(zlib.decompress(data))
    return query, tuple(CaseCandidate(*row) for row in rows)


def replace_surrogates(value: Any) -> Any:
    """Return a text, or lists and tables of texts, without lone surrogates, which traces can store and JSON cannot."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {replace_surrogates(name): replace_surrogates(element) for name, element in value.items()}
    return [replace_surrogates(element) for element in value] if isinstance(value, list | tuple) else value
