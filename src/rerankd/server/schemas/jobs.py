"""Submissions of jobs: JSON, JSON Lines, or a file in a form."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from rerankd.errors import InvalidRequestError, PayloadTooLargeError
from rerankd.server.request_parsing import (
    check_charset,
    check_depth,
    check_json_type,
    load_json,
    media_type,
    parse_json,
    validated,
)
from rerankd.server.schemas.rerank import RerankRequestBody
from rerankd.settings import Settings

LINES = frozenset({"application/x-ndjson", "application/jsonl", "application/ndjson", "application/x-jsonlines"})
OPTIONS = ("priority", "timeout", "webhook", "idempotency_key", "strict")
JOB_ONLY = frozenset({"webhook", "idempotency_key"})
MAX_REQUESTS = 100_000
MAX_DOCUMENTS = 1_000_000
LARGE_BYTES = 100_000
_MEMBERS = frozenset({"request", "requests", *OPTIONS})
_LINE_END = re.compile(rb"\r\n|\r|\n")


class JobOptions(BaseModel):
    """Options of a job."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    priority: Literal["interactive", "bulk"] | None = Field(
        None, description="interactive is served before bulk; default: interactive for one request, bulk for several"
    )
    timeout: Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)] | None = Field(
        None, description="Time limit in seconds; what has not begun by then is dropped."
    )
    webhook: str | None = Field(
        None, description="URL that receives a signed webhook (Standard Webhooks) when the job ends."
    )
    idempotency_key: str | None = Field(None, description="Submissions with the same key create one job.")
    strict: bool | None = Field(
        None, description="Set to true for an error, with status 422, where a field of a ranking cannot be honoured."
    )


class JobRequestBody(JobOptions):
    """Request to submit a job: one ranking, or many, as the API describes it. The body may also be the ranking itself.

    `JobSubmission` reads it one ranking at a time.
    """

    request: RerankRequestBody | None = Field(None, description="One ranking, as for /v1/rerank.")
    requests: Annotated[list[RerankRequestBody], Field(max_length=MAX_REQUESTS)] | None = Field(
        None, description="Many rankings."
    )


class Place(NamedTuple):
    """Beginning of the errors of one request: of those that name a field, and of others."""

    field: str
    request: str


@dataclass(frozen=True, slots=True)
class JobSubmission:
    """Submission of a job, whatever its form.

    Its requests are validated one at a time, as they are iterated over: as objects they take fifty times the memory of
    their text.

    Attributes:
        options: options of the job.
        rows: requests that are not validated yet.
        is_large: True if it takes a while to read them.
        ignored: names of fields beside the requests that have no effect.
    """

    options: JobOptions
    rows: Iterable[tuple[Place, Any]]
    is_large: bool = False
    ignored: Sequence[str] = ()

    def requests(self) -> Iterator[tuple[Place, RerankRequestBody]]:
        """Yield the requests in order, each with its place in the submission.

        Raises:
            InvalidRequestError: a request is invalid; the message names its place.
            PayloadTooLargeError: there are too many requests or documents.
        """
        documents = 0
        for number, (place, row) in enumerate(self.rows, start=1):
            if number > MAX_REQUESTS:
                raise InvalidRequestError(f"A job holds at most {MAX_REQUESTS} requests.", hint="Use rerankd bulk.")
            if not isinstance(row, dict):
                place_name = place.request or "request: "
                raise InvalidRequestError(f"{place_name}it is not a JSON object.", hint="See /docs for the schema.")
            try:
                body = validated(RerankRequestBody, row)
            except InvalidRequestError as error:
                raise InvalidRequestError(f"{place.field}{error.message}", hint=error.hint) from None
            documents += len(body.documents)
            if documents > MAX_DOCUMENTS:  # bounds the memory that the results take
                raise PayloadTooLargeError(f"A job holds at most {MAX_DOCUMENTS} documents.", hint="Use rerankd bulk.")
            yield place, body


async def read_submission(request: Request, settings: Settings) -> JobSubmission:
    """Read a submission.

    Raises:
        UnsupportedMediaTypeError: its `Content-Type` is none of JSON, JSON Lines and forms.
        InvalidRequestError: the submission is invalid; the message names the field.
    """
    kind = media_type(request)
    header = request.headers.get("idempotency-key")
    options: dict[str, Any] = {name: request.query_params[name] for name in OPTIONS if name in request.query_params}
    is_form = kind == "multipart/form-data"
    if not is_form and kind not in LINES:
        check_json_type(request)
    content, fields = await _read_form(request) if is_form else (await request.body(), {})
    if not is_form:
        check_charset(request, content)
    is_large = len(content) > LARGE_BYTES
    if is_form or kind in LINES:
        rows = _parse_lines(content, settings.max_json_depth)
        submission = JobSubmission(validated(JobOptions, options | fields), rows, is_large)
    elif is_large:  # other requests wait on this thread
        submission = await asyncio.to_thread(_parse_json, content, options, settings)
    else:
        submission = _parse_json(content, options, settings)
    if header is not None:
        submission.options.idempotency_key = header
    return submission


def _parse_json(body: bytes, options: Mapping[str, Any], settings: Settings) -> JobSubmission:
    content = parse_json(body, settings.max_json_depth)
    if "query" in content and "request" not in content and "requests" not in content:
        options_there = {name: content[name] for name in OPTIONS if name in content}
        ranking = {name: value for name, value in content.items() if name not in JOB_ONLY}
        if isinstance(content.get("priority"), str):  # that of the job; a number is the ranking's own
            ranking.pop("priority", None)
        else:
            options_there.pop("priority", None)
        content = {"request": ranking} | options_there
    job = validated(JobOptions, {**content, **options})
    request, requests = content.get("request"), content.get("requests")
    places: Iterable[Place]
    if (request is None) == (requests is None):
        raise InvalidRequestError("A job has either request or requests.", hint="Send one of the two.")
    if request is not None:
        requests, places = [request], [Place("request.", "")]
    elif isinstance(requests, list):
        places = (Place(f"requests.{number}.", f"requests.{number}: ") for number in range(len(requests)))
    else:
        raise InvalidRequestError("requests: Input should be a valid list.", hint="See /docs for the schema.")
    ignored = [name for name, value in content.items() if name not in _MEMBERS and value is not None]
    return JobSubmission(job, zip(places, requests, strict=True), len(body) > LARGE_BYTES, ignored)


def _parse_lines(content: bytes, max_depth: int) -> Iterator[tuple[Place, Any]]:
    """Yield the row of each line that is not blank."""
    ends = chain((match.span() for match in _LINE_END.finditer(content)), [(len(content), len(content))])
    start = 0
    for number, (end, following) in enumerate(ends, start=1):
        line, start = content[start:end], following
        if not line.strip():
            continue
        place = f"Line {number}: "
        row = load_json(line, f"Line {number}")
        try:
            check_depth(row if isinstance(row, dict | list) else [], max_depth)
        except InvalidRequestError as error:
            raise InvalidRequestError(f"{place}{error.message}", hint=error.hint) from None
        yield Place(place, place), row


async def _read_form(request: Request) -> tuple[bytes, dict[str, str]]:
    try:
        async with request.form(max_files=1, max_fields=16) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise InvalidRequestError("The form has no file.", hint="Send the lines as a file named 'file'.")
            fields = {name: value for name in OPTIONS if isinstance(value := form.get(name), str)}
            return await file.read(), fields
    except HTTPException as error:  # the form is malformed
        raise InvalidRequestError(
            f"The form cannot be read ({error.detail}).", hint="Send multipart/form-data."
        ) from None
