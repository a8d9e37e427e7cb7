from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from rerankd._common.retry_after import read_retry_after

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not hasattr(time, "tzset"):
        pytest.skip("this system has one time zone for all programs")
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "3600"}, 60.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT"}, 10.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:27 GMT"}, 0.0),
        ({"retry-after": "Sun, 06 Nov 1994 16:49:47 +0800"}, 10.0),
        ({"retry-after": "Sun Nov  6 08:49:47 1994"}, 10.0),  # asctime, which names no zone and means GMT
        ({"retry-after": "Mon, 01 Jan 2999 00:00:00 GMT"}, 60.0),
        ({"retry-after": "Mon, 32 Jan 2999 00:00:00 GMT"}, None),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "1"}, 1.0),
    ],
)
def test_seconds_and_dates(headers: dict[str, str], seconds: float | None, far_east: None) -> None:
    assert read_retry_after(headers, NOW, longest=60.0) == seconds


def test_without_a_limit_and_with_headers_in_any_case() -> None:
    assert read_retry_after(httpx.Headers({"Retry-After": "3600"}), NOW) == 3600.0
