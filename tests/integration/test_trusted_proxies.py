"""Client addresses behind a proxy: only trusted proxies are believed."""

from __future__ import annotations

import httpx
import pytest

from tests.integration.serving import serve, until


@pytest.mark.parametrize(
    ("trusted", "client"), [("127.0.0.1", "203.0.113.7"), ("10.0.0.0/8", "127.0.0.1"), ("[]", "127.0.0.1")]
)
def test_the_address_of_a_caller_comes_from_a_trusted_proxy_only(trusted: str, client: str) -> None:
    with serve(env={"RERANKD_TRUSTED_PROXIES": trusted}) as served:
        forwarded = {"x-forwarded-for": "198.51.100.1, 203.0.113.7"}
        response = httpx.post(f"{served.url}/rerank", json={"query": "q", "documents": ["d"]}, headers=forwarded)
        assert response.status_code == 200
        until(lambda: "path=/rerank" in served.log, "logged")  # the line comes after the answer
        assert f"client={client}" in served.log
