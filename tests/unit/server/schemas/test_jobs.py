from __future__ import annotations

import threading
from typing import Any

import pytest
from starlette.requests import Request

from rerankd.errors import PayloadTooLargeError
from rerankd.server.request_parsing import validated
from rerankd.server.schemas import jobs as job_bodies
from rerankd.server.schemas.jobs import read_submission
from rerankd.settings import load_settings


def posted(content: bytes, kind: str) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    headers = [(b"content-type", kind.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers, "query_string": b""}, receive)


@pytest.mark.parametrize(("lines", "elsewhere"), [(10, False), (5000, True)])
async def test_large_files_are_read_beside_the_event_loop(
    lines: int, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()

    def noting(model: Any, content: dict[str, Any]) -> Any:
        threads.add(threading.current_thread())
        return validated(model, content)

    monkeypatch.setattr(job_bodies, "validated", noting)
    content = b'{"query": "q", "documents": ["a"]}\n' * lines
    submission = await read_submission(posted(content, "application/jsonl"), load_settings())
    assert len(submission.requests) == lines
    assert (threads == {threading.main_thread()}) is not elsewhere
    assert len(threads) == 1


async def test_documents_of_a_job_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_bodies, "MAX_DOCUMENTS", 3)
    line = b'{"query": "q", "documents": ["a"]}\n'
    assert await read_submission(posted(line * 3, "application/jsonl"), load_settings())
    with pytest.raises(PayloadTooLargeError, match="at most 3 documents"):
        await read_submission(posted(line * 4, "application/jsonl"), load_settings())


async def test_a_file_may_begin_with_a_byte_order_mark_and_have_the_lines_of_windows() -> None:
    content = '\ufeff{"query": "q\u2028", "documents": ["a"]}\r\n\r\n{"query": "r", "documents": ["b"]}'.encode()
    submission = await read_submission(posted(content, "application/x-ndjson"), load_settings())
    assert [one.query for one in submission.requests] == ["q\u2028", "r"]
