"""Requests of the clients for jobs: rankings that are submitted now and fetched later."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypedDict

from rerankd._common.validation import to_documents, to_query
from rerankd.client.exchange import Exchange, Flow, check_timeout
from rerankd.client.payload import document_payload, json_text
from rerankd.client.responses import JobStatus, read_job
from rerankd.errors import DeadlineExceededError, InvalidRequestError

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0


class SubmitOptions(TypedDict, total=False):
    """The keyword arguments of `Client.submit`."""

    priority: Literal["interactive", "bulk"]
    timeout: float | None
    webhook: str | None
    idempotency_key: str | None


class JobFlows:
    """Flows of a client's jobs, see `exchange`.

    Args:
        exchange: the service.
        model: model to ask for where a request names none; None for the service's default.
    """

    def __init__(self, exchange: Exchange, model: str | None) -> None:
        self._exchange, self._model = exchange, model

    def submit(self, requests: Iterable[Mapping[str, Any]], options: SubmitOptions) -> Flow[JobStatus]:
        """Submit a job, see `Client.submit`."""
        body: dict[str, Any] = {"requests": [self._request(number, fields) for number, fields in enumerate(requests)]}
        if not body["requests"]:
            raise InvalidRequestError("The job is empty.", hint="Pass at least one request.")
        check_timeout(options.get("timeout"))
        body |= {name: value for name, value in options.items() if value is not None}
        body.setdefault("idempotency_key", uuid.uuid4().hex)  # a submission that is retried is still one job
        response = yield from self._exchange.send("POST", "/v1/jobs", body)
        return read_job(response)

    def _request(self, number: int, fields: Mapping[str, Any]) -> dict[str, Any]:
        with_metadata = bool(fields.get("send_metadata"))
        try:
            documents = [
                document_payload(document, with_metadata=with_metadata)
                for document in to_documents(fields.get("documents"))
            ]
            query = json_text(to_query(fields.get("query")))
        except InvalidRequestError as error:
            raise InvalidRequestError(f"Request {number}: {error.message}", hint=error.hint) from None
        model_field = {"model": self._model} if self._model else {}
        sent_fields = {name: value for name, value in fields.items() if name != "send_metadata"}
        return model_field | sent_fields | {"query": query, "documents": documents}

    def job(self, job: str) -> Flow[JobStatus]:
        """Fetch a job, see `Client.job`."""
        response = yield from self._exchange.send("GET", f"/v1/jobs/{_check_id(job)}")
        return read_job(response)

    def cancel(self, job: str) -> Flow[JobStatus]:
        """Cancel a job, see `Client.cancel`."""
        response = yield from self._exchange.send("DELETE", f"/v1/jobs/{_check_id(job)}")
        return read_job(response)

    def wait(self, job: str, timeout: float | None) -> Flow[JobStatus]:
        """Poll a job, ever less often, until it has ended, see `Client.wait`."""
        seconds = check_timeout(timeout)
        deadline = math.inf if seconds is None else self._exchange.clock() + seconds
        pause = FIRST_PAUSE
        while not (status := (yield from self.job(job))).ended:
            if self._exchange.clock() + pause > deadline:
                raise DeadlineExceededError(
                    f"Job {job} has not ended within {timeout} s.", hint="It goes on; fetch it again later."
                )
            yield pause
            pause = min(pause * 1.5, LONGEST_PAUSE)
        return status


def _check_id(job: str) -> str:
    if not isinstance(job, str) or not job or not job.replace("_", "").replace("-", "").isalnum() or not job.isascii():
        raise InvalidRequestError(f"{job!r} is not the id of a job.", hint="Pass the id that submit returned.")
    return job
