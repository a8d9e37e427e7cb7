"""A check after each test that the server is still well."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.integration.serving import Served


@pytest.fixture(autouse=True)
def still_well(server: Served) -> Iterator[None]:
    """After every test the server answers, and has written no traceback."""
    before = server.log.count("Traceback")
    yield
    assert server.process.poll() is None
    response = httpx.post(f"{server.url}/rerank", json={"query": "a", "documents": ["b"]}, trust_env=False)
    assert response.status_code == 200
    assert server.log.count("Traceback") == before, server.log[-4000:]
