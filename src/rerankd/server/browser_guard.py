"""Protection from web pages: whoever runs a service must not have it used by the pages that they visit.

A page may send requests anywhere, a local address included. `check_host` refuses host names that are not the service's:
with DNS rebinding a page makes its own name lead to the service, and then reads the answers. `check_origin` refuses
requests that change something or compute, sent for a page of another origin (CSRF), as Go's
`http.CrossOriginProtection` does. Clients that are not browsers send none of these headers but `Host`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from rerankd.errors import CrossOriginError, HostNotAllowedError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class BrowserGuard:
    """Checks of the headers by which browsers tell for whom they send a request.

    Args:
        allowed_hosts: host names that are served, `*.example.com` for all below one and `*` for all; empty for all
            names, or for loopback names alone where `is_loopback_only` is true.
        trusted_origins: origins whose pages may call the service, `*` for all.
        is_loopback_only: returns True while the service is for this machine alone and requires no key.
    """

    def __init__(
        self,
        allowed_hosts: Collection[str],
        trusted_origins: Collection[str],
        is_loopback_only: Callable[[], bool] = lambda: False,
    ) -> None:
        self._hosts = [host.lower() for host in allowed_hosts]
        self._origins, self._is_loopback_only = trusted_origins, is_loopback_only

    def check_host(self, headers: Headers) -> None:
        """Check the host that a request is for.

        Raises:
            HostNotAllowedError: it is not the service's.
        """
        host = host_name(headers.get("host", ""))
        if not host or any(_matches(host, allowed) for allowed in self._hosts):
            return
        if self._hosts or (self._is_loopback_only() and not is_loopback(host)):
            raise HostNotAllowedError(
                f"The host {host[:100]!r} is not served.", hint="Add it to the setting allowed_hosts."
            )

    def check_origin(self, method: str, headers: Headers) -> None:
        """Check for which page a request is sent, if it is not one that only reads.

        Raises:
            CrossOriginError: for a page of another origin.
        """
        site, origin = headers.get("sec-fetch-site", ""), headers.get("origin", "")
        if method in SAFE_METHODS or site in ("same-origin", "none") or not (site or origin):
            return
        is_same_origin = not site and _is_same(_host_and_port(origin), headers.get("host", "").lower())
        if is_same_origin or origin in self._origins or "*" in self._origins:
            return
        raise CrossOriginError(
            f"A web page of {origin[:100]!r} sent this request.", hint="Add its origin to the setting cors_origins."
        )


def host_name(host: str) -> str:
    """Return the name in a `Host` header, without the port.

    Example:
        >>> host_name("[::1]:8000"), host_name("Localhost.:8000")
        ('::1', 'localhost')
    """
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def is_loopback(host: str) -> bool:
    """Return True for an address or a name that leads to the same machine only.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_and_port(origin: str) -> str:
    """Return host and port of an origin; empty for one without, such as `null`."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_same(origin: str, host: str) -> bool:
    """Return True for equal hosts and ports; the port does not count where a proxy has left it out of `Host`."""
    return bool(origin) and (origin == host or (host_name(host) == host and host_name(origin) == host))


def _matches(host: str, allowed: str) -> bool:
    return allowed in ("*", host) or (allowed.startswith("*.") and host.endswith(allowed[1:]))
