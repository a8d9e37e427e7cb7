"""What the clients say and hear of jobs; see `calls`."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypedDict

from rerankd._common.validation import to_documents, to_query
from rerankd.client.requests import Calls, Steps, checked_timeout, sendable, sent
from rerankd.client.responses import JobStatus, read_job
from rerankd.errors import DeadlineExceededError, InvalidRequestError

FIRST_LOOK, LONGEST_PAUSE = 0.05, 5.0


class JobOptions(TypedDict, total=False):
    """The keyword arguments of `Client.submit`."""

    priority: Literal["interactive", "bulk"]
    timeout: float | None
    webhook: str | None
    idempotency_key: str | None


class JobCalls:
    """Jobs by the same rules as other calls.

    Args:
        calls: of the client.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def submit(self, requests: Iterable[Mapping[str, Any]], options: JobOptions) -> Steps[JobStatus]:
        """Hand a job in, see `Client.submit`."""
        body: dict[str, Any] = {"requests": [self._request(*one) for one in enumerate(requests)]}
        if not body["requests"]:
            raise InvalidRequestError("The job is empty.", hint="Pass at least one request.")
        checked_timeout(options.get("timeout"))
        body |= {name: value for name, value in options.items() if value is not None}
        # So that a submission that is sent again is still one job.
        body.setdefault("idempotency_key", uuid.uuid4().hex)
        answer = yield from self._calls.exchange("POST", "/v1/jobs", body)
        return read_job(answer)

    def _request(self, place: int, given: Mapping[str, Any]) -> dict[str, Any]:
        try:
            whole = bool(given.get("send_metadata"))
            documents = [sent(document, whole) for document in to_documents(given.get("documents"))]
            query = sendable(to_query(given.get("query")))
        except InvalidRequestError as error:
            raise InvalidRequestError(f"Request {place}: {error.message}", hint=error.hint) from None
        named = {"model": self._calls.model} if self._calls.model else {}
        asked = {name: value for name, value in given.items() if name != "send_metadata"}
        return named | asked | {"query": query, "documents": documents}

    def job(self, job: str) -> Steps[JobStatus]:
        """Look at a job."""
        answer = yield from self._calls.exchange("GET", f"/v1/jobs/{_name(job)}")
        return read_job(answer)

    def cancel(self, job: str) -> Steps[JobStatus]:
        """End a job."""
        answer = yield from self._calls.exchange("DELETE", f"/v1/jobs/{_name(job)}")
        return read_job(answer)

    def wait(self, job: str, timeout: float | None) -> Steps[JobStatus]:
        """Look again and again, ever more slowly, until it has ended."""
        ends = math.inf if checked_timeout(timeout) is None else self._calls.clock() + (timeout or 0.0)
        pause = FIRST_LOOK
        while not (status := (yield from self.job(job))).ended:
            if self._calls.clock() + pause > ends:
                raise DeadlineExceededError(
                    f"Job {job} has not ended within {timeout} s.", hint="It goes on; look again later."
                )
            yield pause
            pause = min(pause * 1.5, LONGEST_PAUSE)
        return status


def _name(job: str) -> str:
    if not isinstance(job, str) or not job or not job.replace("_", "").replace("-", "").isalnum() or not job.isascii():
        raise InvalidRequestError(f"{job!r} is no name of a job.", hint="Pass the id that submit gave.")
    return job
