"""Jobs, and the end of a client."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from rerankd import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    Document,
    InvalidRequestError,
    ScoringError,
)
from tests.unit.client.remote import (
    Connect,
    answered,
    giving,
    one_after_the_other,
)


def job(state: str, **more: Any) -> dict[str, Any]:
    return {"id": "job_a-1", "state": state, "total": 2, "done": 0, "failed": 0, "error": None, **more}


async def test_jobs(connect: Connect) -> None:
    rows = [{"index": 0, "results": []}, {"index": 1, "error": {"code": "x", "message": "No."}}]
    states = [job("queued"), job("queued"), job("running", done=1), job("failed", done=1, failed=1, results=rows)]
    remote = connect(one_after_the_other(*(httpx.Response(200, json=state) for state in states)), model="big")
    requests = [{"query": "q", "documents": ["d", Document("e")]}, {"query": "r", "documents": ["d"], "model": "own"}]
    status = await remote.call("submit", requests, priority="bulk", webhook="https://example.com/")
    assert (status.id, status.state, status.ended, status.results) == ("job_a-1", "queued", False, None)
    assert remote.body["requests"] == [
        {"model": "big", "query": "q", "documents": ["d", "e"]},
        {"model": "own", "query": "r", "documents": ["d"]},
    ]
    assert (remote.body["priority"], remote.body["webhook"]) == ("bulk", "https://example.com/")
    assert len(remote.body["idempotency_key"]) == 32
    status = await remote.call("wait", status.id, 60)
    assert (status.ended, status.failed, status.results) == (True, 1, rows)
    assert remote.waits == [0.05, pytest.approx(0.075)]
    assert {request.url.path for request in remote.requests[1:]} == {"/v1/jobs/job_a-1"}


async def test_a_submission_that_is_sent_again_is_one_job(connect: Connect) -> None:
    remote = connect(one_after_the_other(httpx.ReadError("gone"), httpx.Response(202, json=job("queued"))))
    await remote.call("submit", [{"query": "q", "documents": ["d"]}])
    first, second = (json.loads(request.content)["idempotency_key"] for request in remote.requests)
    assert first == second


async def test_jobs_that_go_wrong(connect: Connect) -> None:
    remote = connect(giving(job("running")))
    with pytest.raises(DeadlineExceededError, match="goes on"):
        await remote.call("wait", "job_a-1", 3.0)
    assert sum(remote.waits) <= 3.0
    for requests, message in (
        ([], "empty"),
        ([{"query": "q"}], "Request 0: documents"),
        ([{"documents": ["d"]}], "query"),
    ):
        with pytest.raises(InvalidRequestError, match=message):
            await remote.call("submit", requests)
    for name in ("", "a/b", "../x", None):
        with pytest.raises(InvalidRequestError, match="not the id of a job"):
            await remote.call("cancel", name)
    remote.handler = giving({"id": "x"})
    with pytest.raises(ScoringError, match="not a job"):
        await remote.call("job", "x")


async def test_context_managers() -> None:
    with Client(transport=httpx.MockTransport(answered)) as one:
        assert one.rank("q", ["a"])[0].index == 0
    assert one._http.is_closed
    async with AsyncClient(transport=httpx.MockTransport(answered)) as other:
        assert (await other.rank("q", ["a"]))[0].index == 0
    assert other._http.is_closed
