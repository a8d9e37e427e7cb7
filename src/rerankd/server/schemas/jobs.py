"""What submissions of jobs look like: JSON, JSON lines, or a file in a form."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from rerankd.errors import InvalidRequestError, PayloadTooLargeError
from rerankd.server.request_parsing import check_depth, parse_json, validated
from rerankd.server.schemas.rerank import RerankRequestBody
from rerankd.settings import Settings

LINES = frozenset({"application/x-ndjson", "application/jsonl", "application/ndjson", "application/x-jsonlines"})
OPTIONS = ("priority", "timeout", "webhook", "idempotency_key")
MAX_REQUESTS = 100_000
MAX_DOCUMENTS = 1_000_000
LARGE_BYTES = 100_000
_BOM = b"\xef\xbb\xbf"


class JobOptions(BaseModel):
    """How a job is done."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    priority: Literal["interactive", "bulk"] | None = Field(
        None, description="bulk gives way to interactive; one request is interactive, several are bulk"
    )
    timeout: Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)] | None = Field(
        None, description="seconds after which what was not begun is not done"
    )
    webhook: str | None = Field(None, description="address that is told of the end, signed (Standard Webhooks)")
    idempotency_key: str | None = Field(None, description="submissions with the same key are one job")


class JobRequestBody(JobOptions):
    """A job: one ranking, or many. A ranking may also be the body itself."""

    request: RerankRequestBody | None = Field(None, description="one ranking, as /v1/rerank takes it")
    requests: Annotated[list[RerankRequestBody], Field(max_length=MAX_REQUESTS)] | None = Field(
        None, description="many rankings"
    )


class JobSubmission(BaseModel):
    """What was sent, whatever its form."""

    options: JobOptions
    requests: list[RerankRequestBody]


async def read_submission(request: Request, settings: Settings) -> JobSubmission:
    """Read a submission.

    Raises:
        InvalidRequestError: what is wrong, with its place.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    header = request.headers.get("idempotency-key")
    given: dict[str, Any] = {name: request.query_params[name] for name in OPTIONS if name in request.query_params}
    form = kind == "multipart/form-data"
    content, fields = await _read_form(request) if form else (await request.body(), {})
    parse = _lines if form or kind in LINES else _json
    if len(content) > LARGE_BYTES:  # seconds for a file of requests, in which others want to be served
        submission = await asyncio.to_thread(parse, content, given | fields, settings)
    else:
        submission = parse(content, given | fields, settings)
    if header is not None:
        submission.options.idempotency_key = header
    return submission


def _json(body: bytes, given: Mapping[str, Any], settings: Settings) -> JobSubmission:
    content = parse_json(body, settings.max_json_depth)
    if "query" in content and "request" not in content and "requests" not in content:
        content = {"request": content} | {name: content[name] for name in OPTIONS if name in content}
    job = validated(JobRequestBody, {**content, **given})
    if (job.request is None) == (job.requests is None):
        raise InvalidRequestError("A job is either request or requests.", hint="Send one of the two.")
    return JobSubmission(options=job, requests=[job.request] if job.request else job.requests or [])


def _lines(content: bytes, given: Mapping[str, Any], settings: Settings) -> JobSubmission:
    requests: list[RerankRequestBody] = []
    documents = 0
    for number, line in enumerate(content.removeprefix(_BOM).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found = orjson.loads(line)
            if not isinstance(found, dict):
                raise InvalidRequestError("it is no JSON object.")
            check_depth(found, settings.max_json_depth)
            requests.append(validated(RerankRequestBody, found))
        except orjson.JSONDecodeError as error:
            raise InvalidRequestError(
                f"Line {number} is not valid JSON ({error}).", hint="One object a line."
            ) from None
        except InvalidRequestError as error:
            raise InvalidRequestError(f"Line {number}: {error.message}", hint=error.hint) from None
        if len(requests) > MAX_REQUESTS:
            raise InvalidRequestError(f"A job holds at most {MAX_REQUESTS} requests.", hint="Use rerankd bulk.")
        documents += len(requests[-1].documents)
        if documents > MAX_DOCUMENTS:  # bounds what is in memory when the results are fetched
            raise PayloadTooLargeError(f"A job holds at most {MAX_DOCUMENTS} documents.", hint="Use rerankd bulk.")
    return JobSubmission(options=validated(JobOptions, dict(given)), requests=requests)


async def _read_form(request: Request) -> tuple[bytes, dict[str, str]]:
    try:
        async with request.form(max_files=1, max_fields=16) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise InvalidRequestError("The form has no file.", hint="Send the lines as a file named 'file'.")
            fields = {name: value for name in OPTIONS if isinstance(value := form.get(name), str)}
            return await file.read(), fields
    except HTTPException as error:  # the form's own faults
        raise InvalidRequestError(
            f"The form cannot be read ({error.detail}).", hint="Send multipart/form-data."
        ) from None
