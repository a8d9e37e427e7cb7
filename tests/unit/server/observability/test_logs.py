from __future__ import annotations

import logging

import pytest

from rerankd.server.observability.logs import TextFormatter


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/v1/rerank", "path=/v1/rerank"),
        ("/a status=200 key=admin", 'path="/a status=200 key=admin"'),
        ("/a=b", 'path="/a=b"'),
        ('/a"', r'path="/a\""'),
        ("/a\r\nINFO forged", r'path="/a\\r\\nINFO forged"'),
        ("\u2028", r"path=\u2028"),
    ],
)
def test_no_caller_writes_fields_of_a_line(value: str, shown: str) -> None:
    record = logging.LogRecord("rerankd", logging.INFO, "", 0, "request", (), None)
    record.path, record.status = value, 404
    line = TextFormatter().format(record)
    assert line.endswith(f"request {shown} status=404")
    assert len(line.splitlines()) == 1
