from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from starlette.requests import Request

from rerankd.errors import InvalidRequestError, PayloadTooLargeError
from rerankd.jobs.work import RankWork, split_work
from rerankd.server.ranking_request import to_rerank_request
from rerankd.server.schemas import jobs as job_bodies
from rerankd.server.schemas.jobs import JobSubmission, read_submission
from rerankd.server.schemas.rerank import RerankRequestBody
from rerankd.settings import load_settings


def posted(content: bytes, kind: str) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    headers = [(b"content-type", kind.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers, "query_string": b""}, receive)


def bodies(submission: JobSubmission) -> list[RerankRequestBody]:
    return [body for _, body in submission.requests()]


def refused(submission: JobSubmission) -> str:
    with pytest.raises((InvalidRequestError, PayloadTooLargeError)) as caught:
        bodies(submission)
    return caught.value.message


@pytest.mark.parametrize(("lines", "is_large"), [(10, False), (5000, True)])
async def test_a_large_submission_says_so(lines: int, is_large: bool) -> None:
    for kind in ("application/jsonl", "application/json"):
        rows = [b'{"query": "q", "documents": ["a"]}'] * lines
        content = b"\n".join(rows) if kind.endswith("l") else b'{"requests": [' + b",".join(rows) + b"]}"
        submission = await read_submission(posted(content, kind), load_settings())
        assert submission.is_large is is_large
        assert len(bodies(submission)) == lines


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["application/jsonl", "application/json"])
async def test_one_request_at_a_time_is_an_object(kind: str) -> None:
    rows = [b'{"query":"q%d","documents":["a","b"],"top_n":1}' % number for number in range(1500)]
    content = b"\n".join(rows) if kind.endswith("l") else b'{"requests":[' + b",".join(rows) + b"]}"
    request, settings = posted(content, kind), load_settings()
    tracemalloc.start()
    submission = await read_submission(request, settings)
    parts = list(split_work(RankWork(to_rerank_request(body, settings)) for _, body in submission.requests()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(part.requests for part in parts) == len(rows)
    assert peak < 30 * len(content)


async def test_documents_of_a_job_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_bodies, "MAX_DOCUMENTS", 3)
    line = b'{"query": "q", "documents": ["a"]}\n'
    assert len(bodies(await read_submission(posted(line * 3, "application/jsonl"), load_settings()))) == 3
    too_many = await read_submission(posted(line * 4, "application/jsonl"), load_settings())
    assert "at most 3 documents" in refused(too_many)
    monkeypatch.setattr(job_bodies, "MAX_REQUESTS", 2)
    too_many = await read_submission(posted(line * 3, "application/jsonl"), load_settings())
    assert "at most 2 requests" in refused(too_many)


async def test_a_file_may_begin_with_a_byte_order_mark_and_have_the_lines_of_windows() -> None:
    for end in ("\r\n", "\n", "\r"):
        lines = ['\ufeff{"query": "q\u2028", "documents": ["a"]}', "", '{"query": "r", "documents": ["b"]}']
        submission = await read_submission(posted(end.join(lines).encode(), "application/x-ndjson"), load_settings())
        assert [one.query for one in bodies(submission)] == ["q\u2028", "r"]


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("application/jsonl", b'{"query": "q", "documents": ["a"]}\r\n\r\n{"query": 1}', "Line 3: query: Input should"),
        ("application/jsonl", b'\n{"query"\n', "Line 2 is not valid JSON"),
        ("application/jsonl", '{"query": "熊猫"}'.encode("gbk"), "Line 1 is not UTF-8: byte 11"),
        ("application/jsonl", b"[]", "Line 1: it is not a JSON object"),
        ("application/jsonl", b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", "Line 1: The body is nested deeper"),
        ("application/json", b'{"requests": [{"query": "q", "documents": ["a"]}, {}]}', "requests.1.query: Field"),
        ("application/json", b'{"requests": [7]}', "requests.0: it is not a JSON object"),
        ("application/json", b'{"request": {"query": "q"}}', "request.documents: Field required"),
    ],
)
async def test_an_error_names_the_place(kind: str, content: bytes, message: str) -> None:
    assert refused(await read_submission(posted(content, kind), load_settings())).startswith(message)


async def test_requests_are_a_list() -> None:
    with pytest.raises(InvalidRequestError, match="requests: Input should be a valid list"):
        await read_submission(posted(b'{"requests": {}}', "application/json"), load_settings())


@pytest.mark.parametrize(
    ("content", "job", "ranking"),
    [
        (b'{"query": "q", "documents": ["a"], "priority": "bulk"}', "bulk", None),
        (b'{"query": "q", "documents": ["a"], "priority": 5}', None, 5),
        (b'{"request": {"query": "q", "documents": ["a"], "priority": 5}, "priority": "bulk"}', "bulk", 5),
        (b'{"requests": [{"query": "q", "documents": ["a"], "priority": 5}]}', None, 5),
    ],
)
async def test_a_word_is_the_priority_of_the_job_and_a_number_that_of_the_ranking(
    content: bytes, job: str | None, ranking: int | None
) -> None:
    submission = await read_submission(posted(content, "application/json"), load_settings())
    assert submission.options.priority == job
    assert [body.priority for body in bodies(submission)] == [ranking]
