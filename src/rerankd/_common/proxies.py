"""Proxies named by the environment: whether a connection uses them, and whether they can be used at all."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit
from urllib.request import getproxies

from rerankd._common.optional import installed
from rerankd.errors import MissingDependencyError, UnavailableError

_SCHEMES = ("http", "https", "socks5", "socks5h")


def uses_proxies(url: str) -> bool:
    """Return True if connections to a URL may go through the proxies that the environment names.

    Those to this machine never do.

    Args:
        url: URL of a service.

    Raises:
        MissingDependencyError: a SOCKS proxy is named, and the package that speaks its protocol is not installed.
        UnavailableError: the environment names a proxy of another kind.

    Example:
        >>> uses_proxies("http://127.0.0.1:8000")
        False
    """
    if is_loopback(url):
        return False
    check_proxies()
    return True


def check_proxies() -> None:
    """Check that the proxies that the environment names can be used.

    Raises:
        MissingDependencyError: a SOCKS proxy is named, and the package that speaks its protocol is not installed.
        UnavailableError: a proxy of another kind is named.
    """
    for name, proxy in getproxies().items():
        if name not in ("all", "http", "https"):
            continue
        variable = f"{name.upper()}_PROXY"
        scheme = proxy.partition("://")[0].lower() if "://" in proxy else "http"
        if scheme not in _SCHEMES:
            raise UnavailableError(
                f"{variable} names a proxy of the kind {scheme!r}, which cannot be used.",
                hint=f"Set it to http://HOST:PORT or socks5://HOST:PORT, or unset {variable}.",
            )
        if scheme.startswith("socks") and not installed("socksio"):
            raise MissingDependencyError(
                f"{variable} names a SOCKS proxy, which needs the package 'socksio', which is not installed.",
                hint=f"Run: pip install socksio; or unset {variable}.",
            )


def is_loopback(url: str) -> bool:
    """Return True if a URL names this machine, with or without a scheme.

    Example:
        >>> is_loopback("localhost:8080"), is_loopback("http://[::1]:80"), is_loopback("https://example.com")
        (True, True, False)
    """
    try:
        host = urlsplit(url if "://" in url else f"//{url}").hostname or ""
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, or no address at all
        return False
