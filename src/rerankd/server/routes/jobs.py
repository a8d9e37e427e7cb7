"""Routes of jobs: submit, list, get, results, cancel, retry."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, get_args

import orjson
from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from rerankd._common.strict import check_strict
from rerankd.engine.pool import ServedModel
from rerankd.errors import InvalidRequestError, NotFoundError, UnsupportedFieldError
from rerankd.jobs.job import STATES, Job, Part, Priority
from rerankd.jobs.results import result_rows
from rerankd.jobs.store import PartResult
from rerankd.jobs.work import RankWork, split_work
from rerankd.pipeline.pipeline import apply_overrides
from rerankd.server.auth.job_usage import remaining_charge
from rerankd.server.auth.usage import UsageMeter
from rerankd.server.context import current_request
from rerankd.server.ignored_fields import WarningCollector, ignored_field_log
from rerankd.server.ranking_request import client_of, read_strict, to_rerank_request
from rerankd.server.responses import json_response, warning_headers
from rerankd.server.schemas.jobs import JobRequestBody, JobSubmission, Place, read_submission
from rerankd.server.schemas.openapi import operation, query_parameter, reference
from rerankd.server.schemas.openapi_errors import JOBS
from rerankd.server.schemas.rerank import RerankRequestBody
from rerankd.server.schemas.responses.jobs import JobList, JobResponse, JobWithResults
from rerankd.server.service import Service
from rerankd.types import RerankRequest

MAX_LISTED = 1000
PRIORITY = "`interactive` jobs are served before `bulk` ones; default: `interactive` for one request."


class JobRoutes:
    """Handlers of jobs. A key sees its own jobs, an admin key all."""

    def __init__(self, service: Service) -> None:
        self._service, self._meter = service, UsageMeter(service.quotas)

    async def submit(self, request: Request) -> Response:
        """Submit one ranking or many, as JSON, JSON Lines or a file in a form; returns 202 at once."""
        submission = await read_submission(request, self._service.settings)
        options = submission.options
        queue = await self._service.job_service.queue()
        if options.webhook:  # its host is resolved
            await self._service.job_service.call(queue.check, options.webhook, options.idempotency_key)
        else:
            queue.check(None, options.idempotency_key)
        strict = read_strict(request) if options.strict is None else options.strict
        noted = WarningCollector(submission.ignored)
        if strict:
            check_strict(noted.warnings)
        parts, charged = await self._charged_parts(submission, noted, strict=strict)
        ignored_field_log.note(client_of(request), noted.names)
        several = sum(part.requests for part in parts) > 1
        try:
            job, new = await self._service.job_service.call(
                queue.enqueue_parts,
                parts,
                tenant=current_request.get().tenant,
                priority=options.priority or ("bulk" if several else "interactive"),
                timeout=options.timeout,
                webhook=options.webhook,
                idempotency=options.idempotency_key,
                charged=charged,
            )
        except BaseException:
            await self._meter.settle(0)
            raise
        if new:
            await self._service.job_service.usage.charged(job, current_request.get().key, charged)
        else:
            await self._meter.settle(0)
        current_request.get().fields |= {"job": job.id, "requests": job.total}
        self._service.metrics.jobs.labels(job.priority).inc(new)
        meta = {"meta": {"warnings": noted.warnings}} if noted.warnings else {}
        headers = {"location": f"/v1/jobs/{job.id}", **warning_headers(noted.warnings)}
        return json_response(_card(job) | meta, 202, headers)

    async def list_jobs(self, request: Request) -> Response:
        """List the newest jobs, filtered by `?state=` and `?limit=`."""
        state, limit = request.query_params.get("state"), request.query_params.get("limit", "100")
        states = [name for name in STATES if name == state]
        if state and not states:
            raise InvalidRequestError(
                f"The state {state[:50]!r} does not exist.", hint=f"Use one of: {', '.join(STATES)}."
            )
        if not limit.isascii() or not limit.isdecimal() or not 0 < int(limit[:9]) <= MAX_LISTED:
            raise InvalidRequestError(f"limit is not a number from 1 to {MAX_LISTED}.")
        queue = await self._service.job_service.queue()
        tenant = None if self._is_admin else current_request.get().tenant
        jobs = await self._service.job_service.call(queue.store.jobs, tenant=tenant, states=states, limit=int(limit))
        return json_response({"object": "list", "data": [_card(job) for job in jobs]})

    async def get(self, request: Request, job: str) -> Response:
        """Return state and progress of a job, and its results once it has ended; `?results=false` omits them."""
        record = await self._get(job)
        card = _card(record)
        include_results = request.query_params.get("results", "").lower()
        if include_results != "false" and (record.final or include_results == "true"):
            parts = await self._parts(job)
            card["results"] = await asyncio.to_thread(lambda: [_to_json(*row) for row in enumerate(result_rows(parts))])
        return json_response(card)

    async def results(self, job: str) -> Response:
        """Return the results as JSON Lines, one per request, in order; requests without a result yet have null."""
        await self._get(job)
        return StreamingResponse(_json_lines(await self._parts(job)), media_type="application/x-ndjson")

    async def cancel(self, job: str) -> Response:
        """Cancel a job; computing stops within a batch. A job that has ended stays as it is."""
        await self._get(job)
        queue = await self._service.job_service.queue()
        ended = await self._service.job_service.call(queue.store.cancel, job)
        return json_response(_card(ended or await self._get(job)))

    async def retry(self, job: str) -> Response:
        """Queue the failed, cancelled or expired parts of a job again; they are charged again."""
        record = await self._get(job)
        queue = await self._service.job_service.queue()
        tokens = remaining_charge(record) if record.final else 0
        await self._add(tokens)
        retried = await self._service.job_service.call(queue.retry, job)
        if retried is None or retried.final:
            await self._meter.settle(0)
        else:
            await self._service.job_service.usage.charged(retried, current_request.get().key, tokens)
        return json_response(_card(retried or await self._get(job)), 202)

    @property
    def _is_admin(self) -> bool:
        key = current_request.get().key
        return key is None or key.admin

    async def _get(self, job: str) -> Job:
        """Return a job that the request may see."""
        queue = await self._service.job_service.queue()
        record = await self._service.job_service.call(queue.store.get, job[:200])
        if record is None or not (self._is_admin or record.tenant == current_request.get().tenant):
            raise NotFoundError(f"There is no job {job[:100]!r}.", hint="It may have expired, or be another key's.")
        return record

    async def _parts(self, job: str) -> list[PartResult]:
        queue = await self._service.job_service.queue()
        return await self._service.job_service.call(queue.store.results, job)

    async def _charged_parts(
        self, submission: JobSubmission, noted: WarningCollector, *, strict: bool
    ) -> tuple[list[Part], int]:
        """Return the work of a submission in parts, and its estimated tokens, which are charged; 0 without a key."""
        context, pool = current_request.get(), self._service.pool
        if context.key is None:
            return await self._split(submission, None, noted, strict=strict)
        async with pool.lease(pool.default) as model:
            parts, tokens = await self._split(submission, model, noted, strict=strict)
        await self._add(tokens)
        return parts, tokens

    async def _split(
        self, submission: JobSubmission, model: ServedModel | None, noted: WarningCollector, *, strict: bool
    ) -> tuple[list[Part], int]:
        """Return the parts of a submission, and its tokens as a model estimates them; 0 without a model."""
        tokens = 0

        def work() -> Iterator[RankWork]:
            nonlocal tokens
            for place, body in submission.requests():
                ranking = self._to_work(place, body, strict=strict)
                noted.add(body)
                tokens += _estimate_tokens(model, ranking.request) if model is not None else 0
                yield ranking

        def split() -> list[Part]:
            return list(split_work(work()))

        parts = await asyncio.to_thread(split) if submission.is_large else split()
        return parts, tokens

    def _to_work(self, place: Place, body: RerankRequestBody, *, strict: bool) -> RankWork:
        """Return the ranking that a body asks for; an error names its place in the submission."""
        try:
            best_priority = current_request.get().best_priority
            request = to_rerank_request(body, self._service.settings, strict=strict)
            request = replace(request, best_priority=best_priority)
            self._service.pool.resolve(request.model)  # an unknown model is an error where models are strict
        except UnsupportedFieldError as error:
            raise UnsupportedFieldError(f"{place.request}{error.message}", hint=error.hint, field=error.field) from None
        except InvalidRequestError as error:
            raise InvalidRequestError(f"{place.request}{error.message}", hint=error.hint) from None
        if not body.return_documents:
            return RankWork(request)
        returned = [body.returned_document(index) for index in range(len(request.documents))]
        plain = [{"text": document.text} for document in request.documents]
        return RankWork(request, texts=True, returned=None if returned == plain else returned)

    async def _add(self, tokens: int) -> None:
        if tokens and (charge := self._meter.charge()) is not None:
            await charge(tokens)


def _estimate_tokens(model: ServedModel, request: RerankRequest) -> int:
    """Return the estimated tokens of a ranking, with its own truncation."""
    try:
        truncation = apply_overrides(model, request.truncation)
    except InvalidRequestError:  # another model may read that much
        truncation = replace(model.truncation, max_length=request.truncation.max_length or model.truncation.max_length)
    texts = [document.text for document in request.documents]
    return model.engine.estimate_tokens([(request.query, texts)], truncation)


def _card(job: Job) -> dict[str, Any]:
    card: dict[str, Any] = {
        "id": job.id,
        "object": "job",
        "state": job.state,
        "priority": job.priority,
        "progress": round((job.done + job.failed) / job.total, 4) if job.total else 1.0,
        "total": job.total,
        "done": job.done,
        "failed": job.failed,
        "created": job.created,
        "started": job.started or None,
        "finished": job.finished or None,
        "deadline": job.deadline or None,
        "error": job.error or None,
    }
    return card | _webhook(job)


def _webhook(job: Job) -> dict[str, Any]:
    if not job.webhook:
        return {}
    return {"webhook": job.webhook_state} | ({"webhook_error": job.webhook_error} if job.webhook_error else {})


def _to_json(index: int, row: dict[str, Any] | None) -> dict[str, Any]:
    if row is None:
        return {"index": index, "result": None}
    if "error" in row:
        return {"index": index, "error": {name: row["error"][name] for name in ("code", "message")}}
    return {"index": index, **row}


def _json_lines(parts: list[PartResult]) -> Iterator[bytes]:
    for index, row in enumerate(result_rows(parts)):
        yield orjson.dumps(_to_json(index, row), option=orjson.OPT_APPEND_NEWLINE)


def job_router(service: Service) -> APIRouter:
    """Return the routes of jobs."""
    router, routes = APIRouter(tags=["jobs"]), JobRoutes(service)
    jobs, job = "/v1/jobs", "/v1/jobs/{job}"
    lines = {"application/x-ndjson": {"type": "string", "description": "One result a line, as in `results` of a job."}}
    submit = operation(
        "submit_job",
        "Submit a job",
        JobResponse,
        status=202,
        errors=JOBS,
        parameters=[
            query_parameter("priority", PRIORITY, {"type": "string", "enum": list(get_args(Priority))}),
            query_parameter("timeout", "Time limit in seconds.", {"type": "number", "exclusiveMinimum": 0}),
            query_parameter("webhook", "URL that is called when the job ends.", {"type": "string"}),
            query_parameter("idempotency_key", "Submissions with one key create one job.", {"type": "string"}),
        ],
        extra={"requestBody": _submission()},
    )
    listed = operation(
        "list_jobs",
        "List jobs",
        JobList,
        errors=JOBS,
        parameters=[
            query_parameter("state", "Only jobs in this state.", {"type": "string", "enum": list(STATES)}),
            query_parameter(
                "limit",
                "Maximum number of jobs.",
                {"type": "integer", "minimum": 1, "maximum": MAX_LISTED, "default": 100},
            ),
        ],
    )
    shown = operation(
        "get_job",
        "Get a job",
        JobWithResults,
        errors=JOBS,
        parameters=[
            query_parameter(
                "results",
                "`true` for the results so far, `false` for none; otherwise those of a job that has ended.",
                {"type": "string", "enum": ["true", "false"]},
            )
        ],
    )
    results = operation("get_job_results", "Get the results of a job", None, errors=JOBS, media=lines)
    cancel = operation("cancel_job", "Cancel a job", JobResponse, errors=JOBS)
    retry = operation("retry_job", "Retry a job", JobResponse, status=202, errors=JOBS)
    router.add_api_route(jobs, routes.submit, methods=["POST"], **submit)
    router.add_api_route(jobs, routes.list_jobs, methods=["GET"], **listed)
    router.add_api_route(job, routes.get, methods=["GET"], **shown)
    router.add_api_route(job, routes.cancel, methods=["DELETE"], **cancel)
    router.add_api_route(f"{job}/results", routes.results, methods=["GET"], **results)
    router.add_api_route(f"{job}/retry", routes.retry, methods=["POST"], **retry)
    return router


def _submission() -> dict[str, Any]:
    """Return the description of a submission in each of its forms."""
    file = {"type": "string", "format": "binary", "description": "One ranking a line."}
    form = {"title": "JobFile", "type": "object", "properties": {"file": file}, "required": ["file"]}
    content: dict[str, Any] = {
        "application/json": {"anyOf": [reference(JobRequestBody), reference(RerankRequestBody)]},
        "application/x-ndjson": {"type": "string", "description": "One ranking a line."},
        "multipart/form-data": form,
    }
    return {"required": True, "content": {kind: {"schema": schema} for kind, schema in content.items()}}
