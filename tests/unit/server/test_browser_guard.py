from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from rerankd.errors import CrossOriginError, HostNotAllowedError
from rerankd.server.browser_guard import BrowserGuard, is_loopback

LOCAL = BrowserGuard([], [], lambda: True)


def headers(**values: str) -> Headers:
    return Headers({name.replace("_", "-"): value for name, value in values.items()})


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "localhost.",
        "127.0.0.1:8000",
        "127.9.9.9",
        "[::1]:8000",
        "[::1]",
        "app.localhost",
        "",
    ],
)
def test_a_local_service_without_keys_serves_loopback_names(host: str) -> None:
    LOCAL.check_host(headers(host=host))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "evil",
        "[::2]",
    ],
)
def test_and_no_others(host: str) -> None:
    with pytest.raises(HostNotAllowedError, match="allowed_hosts"):
        LOCAL.check_host(headers(host=host))
    BrowserGuard([], []).check_host(headers(host=host))  # with keys, or on another address


def test_the_setting_names_the_hosts() -> None:
    guard = BrowserGuard(["Rank.example.com", "*.internal", "::1"], [], lambda: True)
    for host in ("rank.example.com", "RANK.EXAMPLE.COM:443", "a.internal", "a.b.internal:80", "[::1]:8000"):
        guard.check_host(headers(host=host))
    for host in ("example.com", "internal", "localhost", "rank.example.com.evil.example", "xinternal"):
        with pytest.raises(HostNotAllowedError):
            guard.check_host(headers(host=host))
    BrowserGuard(["*"], [], lambda: True).check_host(headers(host="evil.example"))


@pytest.mark.parametrize(
    "sent",
    [
        headers(host="localhost:8000"),
        headers(host="localhost:8000", origin="http://localhost:8000"),
        headers(host="Rank.example.com", origin="https://rank.example.com"),
        headers(host="rank.example.com", origin="http://rank.example.com:8080"),  # behind a proxy that sends no port
        headers(host="a", origin="https://b", sec_fetch_site="same-origin"),
        headers(host="a", sec_fetch_site="none"),
        headers(host="a", origin="https://app.example.com", sec_fetch_site="cross-site"),
    ],
)
def test_requests_of_programs_and_of_own_pages_pass(sent: Headers) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        BrowserGuard([], ["https://app.example.com"]).check_origin(method, sent)


@pytest.mark.parametrize(
    "sent",
    [
        headers(host="localhost:8000", origin="http://evil.example"),
        headers(host="localhost:8000", origin="http://localhost:9000"),
        headers(host="localhost:8000", origin="null"),
        headers(host="rank.example.com", origin="http://rank.example.com.evil.example"),
        headers(origin="null"),
        headers(host="localhost:8000", origin="http://localhost:8000", sec_fetch_site="cross-site"),
        headers(host="localhost:8000", sec_fetch_site="same-site"),
        headers(host="localhost:8000", origin="http://[", sec_fetch_site="cross-site"),
        headers(host="localhost:8000", origin="http://["),
    ],
)
def test_requests_of_other_pages_are_refused_unless_they_read(sent: Headers) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        with pytest.raises(CrossOriginError, match="cors_origins"):
            LOCAL.check_origin(method, sent)
    for method in ("GET", "HEAD", "OPTIONS"):
        LOCAL.check_origin(method, sent)
    BrowserGuard([], ["*"]).check_origin("POST", sent)


def test_loopback_addresses() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.com", "")))  # noqa: S104  only compared
