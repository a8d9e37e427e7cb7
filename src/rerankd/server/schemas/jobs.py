"""Submissions of jobs: JSON, JSON Lines, or a file in a form."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal

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
OPTIONS = ("priority", "timeout", "webhook", "idempotency_key")
MAX_REQUESTS = 100_000
MAX_DOCUMENTS = 1_000_000
LARGE_BYTES = 100_000


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


class JobRequestBody(JobOptions):
    """Request to submit a job: one ranking, or many. The body may also be the ranking itself."""

    request: RerankRequestBody | None = Field(None, description="One ranking, as for /v1/rerank.")
    requests: Annotated[list[RerankRequestBody], Field(max_length=MAX_REQUESTS)] | None = Field(
        None, description="Many rankings."
    )


class JobSubmission(BaseModel):
    """Submission of a job, whatever its form."""

    options: JobOptions
    requests: list[RerankRequestBody]


async def read_submission(request: Request, settings: Settings) -> JobSubmission:
    """Read a submission.

    Raises:
        InvalidRequestError: the submission is invalid; the message names the field or the line.
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
    parse = _parse_lines if is_form or kind in LINES else _parse_json
    if len(content) > LARGE_BYTES:  # takes seconds, and other requests wait on this thread
        submission = await asyncio.to_thread(parse, content, options | fields, settings)
    else:
        submission = parse(content, options | fields, settings)
    if header is not None:
        submission.options.idempotency_key = header
    return submission


def _parse_json(body: bytes, options: Mapping[str, Any], settings: Settings) -> JobSubmission:
    content = parse_json(body, settings.max_json_depth)
    if "query" in content and "request" not in content and "requests" not in content:
        content = {"request": content} | {name: content[name] for name in OPTIONS if name in content}
    job = validated(JobRequestBody, {**content, **options})
    if (job.request is None) == (job.requests is None):
        raise InvalidRequestError("A job has either request or requests.", hint="Send one of the two.")
    return JobSubmission(options=job, requests=[job.request] if job.request else job.requests or [])


def _parse_lines(content: bytes, options: Mapping[str, Any], settings: Settings) -> JobSubmission:
    requests: list[RerankRequestBody] = []
    documents = 0
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = load_json(line, "it")
            if not isinstance(row, dict):
                raise InvalidRequestError("it is not a JSON object.", hint="Send one JSON object per line.")
            check_depth(row, settings.max_json_depth)
            requests.append(validated(RerankRequestBody, row))
        except InvalidRequestError as error:
            raise InvalidRequestError(f"Line {number}: {error.message}", hint=error.hint) from None
        if len(requests) > MAX_REQUESTS:
            raise InvalidRequestError(f"A job holds at most {MAX_REQUESTS} requests.", hint="Use rerankd bulk.")
        documents += len(requests[-1].documents)
        if documents > MAX_DOCUMENTS:  # bounds the memory that the results take
            raise PayloadTooLargeError(f"A job holds at most {MAX_DOCUMENTS} documents.", hint="Use rerankd bulk.")
    return JobSubmission(options=validated(JobOptions, dict(options)), requests=requests)


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
