"""What people made of a ranking: clicks, citations, thumbs, grades.

Feedback names a request by its id, and a document by its index or its id; without either it is of the whole ranking. It
may come before its trace is written, so it is kept whatever is known, and joined when it is read. What nobody traced is
forgotten after a day. It is joined to traces of the same tenant only: what a key says of another's request, or of one
that never was, stays without effect, and tells the key nothing.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Literal, get_args

from sqlalchemy import and_, insert, select

from rerankd.database import tables
from rerankd.database.connection import batched
from rerankd.database.errors import translate_errors
from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import Trace

Kind = Literal["click", "citation", "thumb", "grade"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SOURCES = ("api", "csv")
COLUMNS = ("request_id", "kind", "index", "document_id", "value", "time", "tenant")
MAX_NAME = 512
AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Feedback:
    """One thing that somebody did or said.

    Attributes:
        request_id: what the answer to the request called it.
        kind: `click`; `citation`: used in an answer; `thumb`: up (1) or down (-1); `grade`: of relevance, from 0.
        index: the document's place in the request, from 0; None for the whole ranking, or where `document_id` says it.
        document_id: the id that the request gave the document.
        value: of a thumb or a grade; 1 for a click and a citation.
        time: seconds since 1970; 0 for now.
        tenant: id of the API key whose request it was; empty where no keys are needed.
        source: `api` or `csv`.
    """

    request_id: str
    kind: Kind
    index: int | None = None
    document_id: str | None = None
    value: float = 1.0
    time: float = 0.0
    tenant: str = ""
    source: str = "api"


@dataclass(frozen=True, slots=True)
class Joined:
    """Feedback with the trace that it is of; None while there is none."""

    feedback: Feedback
    trace: Trace | None


def checked(feedback: Feedback) -> Feedback:
    """Check what somebody says.

    Raises:
        InvalidRequestError: what is wrong, and what is right.

    Example:
        >>> checked(Feedback("r1", "thumb", 0, value=-1)).value
        -1
    """
    named = (("request_id", feedback.request_id), ("document_id", feedback.document_id or ""))
    for name, text in named:
        if len(text) > MAX_NAME or "\0" in text:
            raise InvalidRequestError(f"{name} is longer than {MAX_NAME} characters, or holds a zero character.")
    if not feedback.request_id:
        raise InvalidRequestError("request_id is empty.", hint="It is the `id` of the answer, and its X-Request-Id.")
    if feedback.kind not in KINDS:
        raise InvalidRequestError(f"There is no feedback {feedback.kind!r}.", hint=f"Use one of: {', '.join(KINDS)}.")
    if feedback.index is not None and not 0 <= feedback.index < 2**31:
        raise InvalidRequestError(f"index is {feedback.index}.", hint="Count documents of the request from 0.")
    if feedback.kind != "thumb" and feedback.index is None and feedback.document_id is None:
        raise InvalidRequestError(f"A {feedback.kind} is of a document.", hint="Name it by index or document_id.")
    if feedback.kind == "thumb" and feedback.value not in (1, -1):
        raise InvalidRequestError(f"The value of a thumb is {feedback.value:g}.", hint="1 is up, -1 is down.")
    if feedback.kind == "grade" and not 0 <= feedback.value <= 100:
        raise InvalidRequestError(f"The grade is {feedback.value:g}.", hint="Grades are numbers from 0 to 100.")
    if feedback.kind in ("click", "citation") and feedback.value != 1:
        raise InvalidRequestError(f"A {feedback.kind} has no value.", hint="Leave value out.")
    if not math.isfinite(feedback.time):
        raise InvalidRequestError("time is no time.", hint="Give seconds since 1970.")
    return feedback


def add_feedback(store: TraceStore, items: Sequence[Feedback]) -> int:
    """Keep feedback: all or none.

    Returns:
        How many of them are of a ranking that is known already; the others wait for theirs.

    Raises:
        InvalidRequestError: an item that `checked` refuses.
        UnavailableError: the database cannot be reached.
    """
    now = time.time()
    rows = [_row(checked(item), now) for item in items]
    if not rows:
        return 0
    with translate_errors(), store.begin() as connection:
        connection.execute(insert(tables.feedback), rows)
    known: set[tuple[str, str]] = set()
    columns = tables.trace.c
    with store.connect() as connection:
        for some in batched(sorted({item.request_id for item in items})):
            found = connection.execute(select(columns.tenant, columns.request_id).where(columns.request_id.in_(some)))
            known |= {(tenant, name) for tenant, name in found}
    return sum((item.tenant, item.request_id) in known for item in items)


def _row(item: Feedback, now: float) -> dict[str, object]:
    return {
        "time": item.time or now,
        "tenant": item.tenant,
        "request_id": item.request_id,
        "kind": item.kind,
        "position": item.index,
        "document": item.document_id,
        "value": float(item.value),
        "source": SOURCES.index(item.source),
    }


def read_feedback(store: TraceStore, wanted: TraceFilter | None = None, *, limit: int = 1000) -> list[Joined]:
    """Feedback, the newest first, each with the newest trace of its request and tenant.

    Args:
        store: where it is.
        wanted: which; `model` is the trace's.
        limit: so many at most.
    """
    given, own = tables.feedback.c, tables.trace.c
    newest = (
        select(own.id)
        .where(own.request_id == given.request_id, own.tenant == given.tenant)
        .order_by(own.time.desc())
        .limit(1)
        .correlate(tables.feedback)
        .scalar_subquery()
    )
    columns = [own[name] for name in Trace.__dataclass_fields__]
    query = select(tables.feedback, *columns).select_from(tables.feedback.outerjoin(tables.trace, own.id == newest))
    wanted = wanted or TraceFilter()
    conditions = [
        None if wanted.tenant is None else given.tenant == wanted.tenant,
        None if wanted.request_id is None else given.request_id == wanted.request_id,
        None if wanted.model is None else own.model == wanted.model,
        None if wanted.since is None else given.time >= wanted.since,
        None if wanted.until is None else given.time < wanted.until,
    ]
    query = query.where(and_(True, *(one for one in conditions if one is not None)))
    with store.connect() as connection:
        rows = connection.execute(query.order_by(given.time.desc(), given.id.desc()).limit(limit)).all()
    size = len(given)
    return [Joined(_feedback(row[:size]), Trace(*row[size:]) if row[size] is not None else None) for row in rows]


def _feedback(row: Sequence[object]) -> Feedback:
    held = dict(zip((column.name for column in tables.feedback.c), row, strict=True))
    return Feedback(
        request_id=str(held["request_id"]),
        kind=held["kind"],  # type: ignore[arg-type]  # checked when it was written
        index=held["position"],  # type: ignore[arg-type]
        document_id=held["document"],  # type: ignore[arg-type]
        value=float(str(held["value"])),
        time=float(str(held["time"])),
        tenant=str(held["tenant"]),
        source=SOURCES[int(str(held["source"]))],
    )


def read_csv(lines: IO[str], tenant: str = "") -> Iterator[Feedback]:
    """Feedback from a CSV file whose first line names its columns: request_id, kind, and index or document_id; also
    value, time (seconds since 1970, or ISO 8601) and tenant.

    Args:
        lines: the file.
        tenant: where a line names none.

    Raises:
        InvalidInputFileError: a column that is missing or not known, or a line that cannot be read; it is named.

    Example:
        >>> import io
        >>> [item.index for item in read_csv(io.StringIO("request_id,kind,index\\nr1,click,3\\n"))]
        [3]
    """
    reader = csv.DictReader(lines, restkey="~more")
    names = set(reader.fieldnames or ())
    if not {"request_id", "kind"} <= names or names - set(COLUMNS):
        raise InvalidInputFileError(
            f"The first line names {', '.join(sorted(names)) or 'nothing'}.", hint=f"Columns are: {', '.join(COLUMNS)}."
        )
    for row in reader:
        try:
            yield checked(_of_row(row, tenant))
        except (InvalidRequestError, ValueError, TypeError) as error:
            raise InvalidInputFileError(f"Line {reader.line_num}: {error}") from None


def _of_row(row: Mapping[str, str | None], tenant: str) -> Feedback:
    def read(name: str) -> str:
        return (row.get(name) or "").strip()

    if row.get("~more"):
        raise ValueError("There are more cells than columns.")
    return Feedback(
        read("request_id"),
        read("kind"),  # type: ignore[arg-type]  # checked next
        int(read("index")) if read("index") else None,
        read("document_id") or None,
        float(read("value") or 1),
        _seconds(read("time")) if read("time") else 0.0,
        read("tenant") or tenant,
        "csv",
    )


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text).timestamp()


def import_feedback(store: TraceStore, items: Iterable[Feedback]) -> tuple[int, int]:
    """Keep feedback a thousand at a time.

    Returns:
        How many, and how many of those are of rankings that are known.

    Raises:
        InvalidRequestError: an item that `checked` refuses; those a thousand before it are kept.
        UnavailableError: the database cannot be reached.
    """
    count = known = 0
    held: list[Feedback] = []
    for item in items:
        held.append(item)
        if len(held) == AT_ONCE:
            known += add_feedback(store, held)
            count, held = count + len(held), []
    return count + len(held), known + add_feedback(store, held)
