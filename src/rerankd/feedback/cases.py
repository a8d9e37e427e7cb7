"""The queue of bad cases: what was ranked badly, what it should have been, and what became of it.

A case keeps its own copy of the query and the candidates, because traces are forgotten after a while and cases are not.
One thing found twice is one case: request, detector and document tell them apart.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import orjson
from sqlalchemy import Connection, Row, Select, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from rerankd.database import tables
from rerankd.database.connection import batched
from rerankd.database.errors import translate_errors
from rerankd.errors import InvalidRequestError, NotFoundError
from rerankd.feedback.detectors import DETECTORS, MANUAL, WHOLE, Detection
from rerankd.traces.hashing import text_hash
from rerankd.traces.store import FullTrace, TraceStore

State = Literal["open", "labelled", "in_training", "fixed", "wont_fix"]
STATES: tuple[State, ...] = get_args(State)
COPIED = 200  # candidates, the first after and those that a detection names
MAX_NOTE = 2000
MAX_GRADE = 100


@dataclass(frozen=True, slots=True)
class CaseCandidate:
    """One candidate of a case; `text` is None once it was erased, `grade` where nobody labelled it."""

    index: int
    id: str | None
    text: str | None
    rank_before: int
    rank_after: int
    raw_score: float
    grade: int | None = None


@dataclass(frozen=True, slots=True)
class BadCase:
    """A ranking that should have been another.

    Attributes:
        id: its number.
        time: when it was found, seconds since 1970.
        changed: when it was last changed.
        tenant: id of the API key whose request it was.
        request_id: of the request.
        detector: what found it, or `manual`.
        position: the document it is of, from 0; -1 for the whole ranking.
        state: open, labelled, in_training, fixed, or wont_fix.
        model: that ranked it.
        version: of that model.
        note: what was found, and what people added.
        severity: how bad it is; comparable within a detector.
        query: the question; None once it was erased.
        candidates: what there was to choose from.
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

    @property
    def graded(self) -> dict[int, int]:
        """Grades by place in the request."""
        return {one.index: one.grade for one in self.candidates if one.grade is not None}


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """Which cases; what is None is not looked at."""

    tenant: str | None = None
    state: State | None = None
    detector: str | None = None
    since: float | None = None

    def apply(self, query: Select[Any]) -> Select[Any]:
        """A statement that looks at these only."""
        columns = tables.bad_case.c
        for name in ("tenant", "state", "detector"):
            if (value := getattr(self, name)) is not None:
                query = query.where(columns[name] == value)
        return query if self.since is None else query.where(columns.time >= self.since)


def add_cases(store: TraceStore, found: FullTrace, detections: Iterable[Detection]) -> int:
    """Put detections of a trace into the queue; those that are there already stay as they are.

    Returns:
        How many are new.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    trace, now = found.trace, time.time()
    wanted = {(one.detector, one.position): one for one in detections}
    if not wanted or not trace.request_id:
        return 0
    columns = tables.bad_case.c
    own = (columns.tenant == trace.tenant, columns.request_id == trace.request_id)
    with translate_errors(), store.begin() as connection:
        known = {tuple(row) for row in connection.execute(select(columns.detector, columns.position).where(*own))}
        new = [one for key, one in wanted.items() if key not in known]
        rows = [_row(found, one, now) for one in new]
        if rows:
            insert = sqlite.insert if store.is_sqlite else postgresql.insert
            # Another instance may have found the same a moment ago.
            connection.execute(insert(tables.bad_case).on_conflict_do_nothing(), rows)
    return len(new)


def flag(store: TraceStore, name: str, tenant: str | None, index: int | None = None, note: str = "") -> int:
    """Put a request into the queue by hand.

    Args:
        store: where traces are.
        name: the request's id, or a trace's number.
        tenant: whose; None for anybody's.
        index: the document that is wrong; None for the ranking.
        note: why.

    Returns:
        Whether it is new: 1, or 0 where it was flagged before.

    Raises:
        NotFoundError: there is no such trace.
        InvalidRequestError: there is no such document.
    """
    found = store.find_trace(name, tenant)
    if found is None:
        raise NotFoundError(f"There is no trace {name[:100]!r}.", hint="A ranking is traced a moment after its answer.")
    if not found.trace.request_id:
        raise InvalidRequestError("This trace has no request id.", hint="Give its request one: request_id.")
    if index is not None and not 0 <= index < len(found.candidates):
        raise InvalidRequestError(f"There is no document {index}.", hint=f"It has {len(found.candidates)}, from 0.")
    return add_cases(store, found, [Detection(MANUAL, WHOLE if index is None else index, 1.0, checked_note(note))])


def checked_note(note: str) -> str:
    """A note that can be kept.

    Raises:
        InvalidRequestError: it is too long, or holds a zero character.
    """
    if len(note) > MAX_NOTE or "\0" in note:
        raise InvalidRequestError(f"The note is longer than {MAX_NOTE} characters, or holds a zero character.")
    return note


def list_cases(store: TraceStore, wanted: CaseFilter | None = None, *, limit: int = 50) -> list[BadCase]:
    """Cases, the worst of each detector first; the newest of equal ones."""
    columns = tables.bad_case.c
    query = (wanted or CaseFilter()).apply(select(tables.bad_case))
    query = query.order_by(columns.severity.desc(), columns.id.desc()).limit(limit)
    with store.connect() as connection:
        return [_case(row) for row in connection.execute(query)]


def each_case(store: TraceStore, wanted: CaseFilter | None = None, *, batch_size: int = 200) -> Iterator[BadCase]:
    """All cases, by number."""
    last = 0
    while True:
        query = (wanted or CaseFilter()).apply(select(tables.bad_case)).where(tables.bad_case.c.id > last)
        with store.connect() as connection:
            found = [_case(row) for row in connection.execute(query.order_by(tables.bad_case.c.id).limit(batch_size))]
        if not found:
            return
        yield from found
        last = found[-1].id


def one_case(store: TraceStore, number: int, tenant: str | None = None) -> BadCase:
    """A case by its number.

    Raises:
        NotFoundError: there is none, or it is another tenant's.
    """
    with store.connect() as connection:
        row = connection.execute(_numbered(number, tenant)).one_or_none()
    return _found(row, number)


def count_cases(store: TraceStore) -> dict[str, int]:
    """How many cases are in each state."""
    query = select(tables.bad_case.c.state, func.count()).group_by(tables.bad_case.c.state)
    with store.connect() as connection:
        found = {str(state): int(count) for state, count in connection.execute(query)}
    return {state: found.get(state, 0) for state in STATES}


def change(
    store: TraceStore,
    number: int,
    tenant: str | None = None,
    grades: Mapping[int, int] | None = None,
    state: State | None = None,
    note: str = "",
) -> BadCase:
    """Label a case, say what became of it, add a note: all or none.

    Args:
        store: where it is.
        number: the case.
        tenant: whose it must be; None for anybody's.
        grades: by place in the request: 0 for what does not answer, above for what does. Those given before stay unless
            given anew. An open case is labelled then.
        state: what became of it; None leaves it.
        note: is added to what is there.

    Raises:
        NotFoundError: there is no such case.
        InvalidRequestError: a grade or a state that is none, a document that is not in the case, or `labelled` and
            `in_training` for a case without labels.
    """
    with translate_errors(), store.begin() as connection:
        row = connection.execute(_numbered(number, tenant).with_for_update()).one_or_none()
        case = _found(row, number)
        places = {one.index for one in case.candidates}
        for place, grade in (grades or {}).items():
            if place not in places:
                raise InvalidRequestError(f"Case {number} has no document {place}.", hint="See: rerankd cases show")
            if not 0 <= grade <= MAX_GRADE:
                raise InvalidRequestError(
                    f"The grade is {grade}.", hint=f"Grades are whole numbers from 0 to {MAX_GRADE}."
                )
        kept = case.graded | dict(grades or {})
        wanted: State = state or ("labelled" if grades and case.state == "open" else case.state)
        if wanted not in STATES:
            raise InvalidRequestError(f"There is no state {wanted!r}.", hint=f"Use one of: {', '.join(STATES)}.")
        if wanted in ("labelled", "in_training") and not kept:
            raise InvalidRequestError(f"Case {number} has no labels.", hint="Say which documents answer first.")
        said = "\n".join(filter(None, (case.note, checked_note(note))))[-MAX_NOTE:]
        values: dict[str, object] = {"changed": time.time(), "state": wanted, "note": said}
        values["data"] = _packed(case.query, case.candidates, kept)
        connection.execute(update(tables.bad_case).where(tables.bad_case.c.id == number).values(values))
    return one_case(store, number)


def _numbered(number: int, tenant: str | None) -> Select[Any]:
    if not 0 < number < 2**63:
        raise NotFoundError(f"There is no case {number}.", hint="See: rerankd cases list")
    return CaseFilter(tenant).apply(select(tables.bad_case)).where(tables.bad_case.c.id == number)


def _found(row: Row[Any] | None, number: int) -> BadCase:
    if row is None:
        raise NotFoundError(f"There is no case {number}.", hint="See: rerankd cases list")
    return _case(row)


def mark_cases(store: TraceStore, numbers: Sequence[int], state: State) -> None:
    """Set the state of many cases at once."""
    with translate_errors(), store.begin() as connection:
        for some in batched(list(numbers)):
            connection.execute(
                update(tables.bad_case).where(tables.bad_case.c.id.in_(some)).values(changed=time.time(), state=state)
            )


def erase_tenant_cases(connection: Connection, tenant: str) -> int:
    """Forget a tenant's cases, inside a transaction."""
    return int(connection.execute(delete(tables.bad_case).where(tables.bad_case.c.tenant == tenant)).rowcount)


def erase_case_texts(
    connection: Connection, *, document: str | None = None, digest: str | None = None, tenant: str | None = None
) -> int:
    """Forget texts in cases, by the document's id or by SHA-256, inside a transaction; the cases stay, without them."""
    gone = 0
    query = CaseFilter(tenant).apply(select(tables.bad_case.c.id, tables.bad_case.c.data))
    for number, data in connection.execute(query).all():
        query_text, candidates = _unpacked(bytes(data))

        def named(one: CaseCandidate) -> bool:
            if one.text is None:
                return False
            return one.id == document if document is not None else text_hash(one.text) == digest

        kept = [_without_text(one) if named(one) else one for one in candidates]
        asked = (
            None if query_text is not None and digest is not None and text_hash(query_text) == digest else query_text
        )
        if kept == list(candidates) and asked == query_text:
            continue
        gone += sum(a != b for a, b in zip(kept, candidates, strict=True)) + (asked != query_text)
        grades = {one.index: one.grade for one in kept if one.grade is not None}
        packed = _packed(asked, kept, grades)
        connection.execute(update(tables.bad_case).where(tables.bad_case.c.id == number).values(data=packed))
    return gone


def _without_text(one: CaseCandidate) -> CaseCandidate:
    return CaseCandidate(one.index, one.id, None, one.rank_before, one.rank_after, one.raw_score, one.grade)


def _row(found: FullTrace, detection: Detection, now: float) -> dict[str, object]:
    if detection.detector not in DETECTORS:
        raise InvalidRequestError(f"There is no detector {detection.detector!r}.", hint=", ".join(DETECTORS))
    trace = found.trace
    return {
        "time": now,
        "changed": now,
        "tenant": trace.tenant,
        "request_id": trace.request_id,
        "detector": detection.detector,
        "position": detection.position,
        "state": "open",
        "model": trace.model,
        "version": trace.version,
        "note": detection.note,
        "severity": detection.severity,
        "data": _packed(found.query, _copied(found, detection.position), {}),
    }


def _copied(found: FullTrace, position: int) -> list[CaseCandidate]:
    held = found.candidates
    ids = held.ids or (None,) * len(held)
    places = [place for place in range(len(held)) if held.ranks[place] <= COPIED or place == position]
    return [
        CaseCandidate(
            place, ids[place], found.texts[place], place + 1, int(held.ranks[place]), float(held.raw_scores[place])
        )
        for place in places
    ]


def _packed(query: str | None, candidates: Iterable[CaseCandidate], grades: Mapping[int, int]) -> bytes:
    rows = [
        [one.index, one.id, one.text, one.rank_before, one.rank_after, one.raw_score, grades.get(one.index)]
        for one in candidates
    ]
    # Lone surrogates are text here, as in traces, and none in JSON.
    return zlib.compress(orjson.dumps(_escaped([query, rows])), 6)


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return [_escaped(one) for one in value] if isinstance(value, list) else value


def _unpacked(data: bytes) -> tuple[str | None, tuple[CaseCandidate, ...]]:
    query, rows = orjson.loads(zlib.decompress(data))
    return query, tuple(CaseCandidate(*row) for row in rows)


def _case(row: Row[Any]) -> BadCase:
    held = dict(row._mapping)
    query, candidates = _unpacked(bytes(held.pop("data")))
    return BadCase(**held, query=query, candidates=candidates)
