from __future__ import annotations

import time
from email.utils import formatdate

import httpx
import pytest

from rerankd.retrieval.retries import retry_after_of


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("3600", 60.0), (formatdate(1_000_009, usegmt=True), 9.0), ("", None), ("soon", None)],
)
def test_what_a_model_server_asks_for(value: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    assert retry_after_of(httpx.Response(429, headers={"retry-after": value})) == seconds
