"""Feedback events: clicks, citations, thumbs up or down, and relevance grades, on documents or on whole rankings."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Literal, get_args

from rerankd.errors import InvalidInputFileError, InvalidRequestError

Kind = Literal["click", "citation", "thumb", "grade"]
KINDS: tuple[Kind, ...] = get_args(Kind)
COLUMNS = ("request_id", "kind", "index", "document_id", "value", "time", "tenant")
MAX_NAME = 512
MAX_GRADE = 100


@dataclass(frozen=True, slots=True)
class FeedbackEvent:
    """One action or opinion of a user; without `index` and `document_id` it is about the whole ranking.

    Attributes:
        request_id: request id, as in the answer's `id`.
        kind: `click`; `citation`: the document was used in an answer; `thumb`: up (1) or down (-1); `grade`: relevance,
            from 0.
        index: position of the document in the request, from 0.
        document_id: id that the request gave to the document.
        value: value of a thumb or a grade; 1 for a click and a citation.
        time: seconds since 1970; 0 for the current time.
        tenant: id of the API key that sent the request; empty if no key is needed.
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


def validate_event(event: FeedbackEvent) -> FeedbackEvent:
    """Return the event if it is valid.

    Raises:
        InvalidRequestError: a field is not valid; the hint says what is.

    Example:
        >>> validate_event(FeedbackEvent("r1", "thumb", 0, value=-1)).value
        -1
    """
    for name, text in (("request_id", event.request_id), ("document_id", event.document_id or "")):
        if len(text) > MAX_NAME or "\0" in text:
            raise InvalidRequestError(f"{name} is longer than {MAX_NAME} characters, or contains a NUL character.")
    if not event.request_id:
        raise InvalidRequestError("request_id is empty.", hint="Use the `id` of the answer, or its X-Request-Id.")
    if event.kind not in KINDS:
        raise InvalidRequestError(f"Unknown kind of feedback: {event.kind!r}.", hint=f"Use one of: {', '.join(KINDS)}.")
    if event.index is not None and not 0 <= event.index < 2**31:
        raise InvalidRequestError(f"index is {event.index}.", hint="Documents of a request are counted from 0.")
    if event.kind != "thumb" and event.index is None and event.document_id is None:
        raise InvalidRequestError(f"A {event.kind} needs a document.", hint="Set index or document_id.")
    if event.kind == "thumb" and event.value not in (1, -1):
        raise InvalidRequestError(f"The value of a thumb is {event.value:g}.", hint="Use 1 for up, -1 for down.")
    if event.kind == "grade" and not 0 <= event.value <= MAX_GRADE:
        raise InvalidRequestError(f"The grade is {event.value:g}.", hint=f"Grades are numbers from 0 to {MAX_GRADE}.")
    if event.kind in ("click", "citation") and event.value != 1:
        raise InvalidRequestError(f"A {event.kind} has no value.", hint="Leave value out.")
    if not math.isfinite(event.time):
        raise InvalidRequestError("time is not a finite number.", hint="Use seconds since 1970.")
    return event


def read_csv(lines: IO[str], tenant: str = "") -> Iterator[FeedbackEvent]:
    """Read events from a CSV file.

    The first line names the columns: request_id, kind, and index or document_id; also value, time (seconds since 1970,
    or ISO 8601) and tenant.

    Args:
        lines: the file.
        tenant: tenant of lines that name none.

    Yields:
        One event for each line.

    Raises:
        InvalidInputFileError: a column is missing or unknown, or a line is not valid; the message has its number.

    Example:
        >>> import io
        >>> [event.index for event in read_csv(io.StringIO("request_id,kind,index\\nr1,click,3\\n"))]
        [3]
    """
    reader = csv.DictReader(lines, restkey="~more")
    with _readable(reader):
        yield from _events(reader, tenant)


@contextmanager
def _readable(reader: csv.DictReader[str]) -> Iterator[None]:
    """Name the line at which a file cannot be read."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise InvalidInputFileError(
            f"After line {reader.line_num}: not UTF-8.", hint="Save the file as CSV in UTF-8."
        ) from error
    except csv.Error as error:
        raise InvalidInputFileError(
            f"Line {reader.reader.line_num}: not CSV ({error}).", hint="Save the file as CSV in UTF-8."
        ) from error


def _events(reader: csv.DictReader[str], tenant: str) -> Iterator[FeedbackEvent]:
    names = set(reader.fieldnames or ())
    if not {"request_id", "kind"} <= names or names - set(COLUMNS):
        raise InvalidInputFileError(
            f"The columns are: {', '.join(sorted(names)) or 'none'}.",
            hint=f"request_id and kind are required; allowed are: {', '.join(COLUMNS)}.",
        )
    for row in reader:
        try:
            yield validate_event(_event_of(row, tenant))
        except (InvalidRequestError, ValueError, TypeError) as error:
            raise InvalidInputFileError(f"Line {reader.line_num}: {error}") from None


def _event_of(row: Mapping[str, str | None], tenant: str) -> FeedbackEvent:
    def cell(name: str) -> str:
        return (row.get(name) or "").strip()

    if row.get("~more"):
        raise ValueError("More cells than columns.")
    return FeedbackEvent(
        request_id=cell("request_id"),
        kind=cell("kind"),  # type: ignore[arg-type]  # validated next
        index=_index(cell("index")) if cell("index") else None,
        document_id=cell("document_id") or None,
        value=_number(cell("value") or "1"),
        time=_seconds(cell("time")) if cell("time") else 0.0,
        tenant=cell("tenant") or tenant,
        source="csv",
    )


def _index(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"index {text[:40]!r} is not a whole number from 0.")
    return int(text[:20])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"value {text[:40]!r} is not a number.") from None


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"time {text[:40]!r} is neither seconds since 1970 nor a date of ISO 8601.") from None
