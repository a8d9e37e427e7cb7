from __future__ import annotations

import pytest

from rerankd._common import proxies
from rerankd._common.proxies import is_loopback, uses_proxies
from rerankd.errors import MissingDependencyError, UnavailableError


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(proxies, "installed", lambda module: module != "socksio")


@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "HTTPS_PROXY"])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_names_its_package(variable: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, f"{scheme}://127.0.0.1:1080")
    with pytest.raises(MissingDependencyError, match=f"{variable.upper()} names a SOCKS proxy.*pip install socksio"):
        uses_proxies("https://example.com")
    for url in ("http://127.0.0.1:8000", "http://localhost:11434/v1", "http://[::1]:1", "https://127.9.9.9"):
        assert not uses_proxies(url), url
    monkeypatch.setattr(proxies, "installed", lambda module: True)
    assert uses_proxies("https://example.com")


def test_a_proxy_of_another_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks4://127.0.0.1:1080")
    with pytest.raises(UnavailableError, match="HTTPS_PROXY names a proxy of the kind 'socks4'"):
        uses_proxies("https://example.com")


@pytest.mark.parametrize("proxy", ["http://proxy:3128", "https://proxy", "proxy:3128"])
def test_other_proxies_are_used(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    assert uses_proxies("https://example.com")


@pytest.mark.parametrize("url", ["http://localhost", "localhost:80", "http://a.localhost/", "127.0.0.1", "[::1]:80"])
def test_addresses_of_this_machine(url: str) -> None:
    assert is_loopback(url)


@pytest.mark.parametrize("url", ["http://example.com", "10.0.0.1", "", "http://[bad", "localhost.example.com"])
def test_addresses_of_others(url: str) -> None:
    assert not is_loopback(url)
