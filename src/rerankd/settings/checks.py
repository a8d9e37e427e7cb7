"""Checks of settings whose fault would show late, or never: URLs, host names and origins that match nothing."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_HOST = re.compile(r"[^\s/:@\[\]*?#,]*[^\s/:@\[\]*?#,.]")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/@?#]+")
_DEFAULT_PORT = re.compile(r"(?<=^http)(://[^/]*):80$|(?<=^https)(://[^/]*):443$")


def check_url(url: str) -> str:
    """Return a URL whose host and port can be read; the message quotes nothing, since it may hold a password.

    Raises:
        ValueError: they cannot.

    Example:
        >>> check_url("redis://:a/b@cache:6379/0")
        Traceback (most recent call last):
        ValueError: its port is not a number from 0 to 65535; in a password write / as %2F, @ as %40, : as %3A, # as %23
    """
    if url.startswith(("sqlite:", "unix:")) or "://" not in url:  # files
        return url
    advice = "in a password write / as %2F, @ as %40, : as %3A, # as %23"
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"it is not a valid URL; {advice}") from None
    try:
        _ = parts.port
    except ValueError:
        raise ValueError(f"its port is not a number from 0 to 65535; {advice}") from None
    return url


def check_hosts(hosts: list[str], *, wildcards: bool) -> list[str]:
    """Return host names, or addresses, as they are compared with those of requests.

    Args:
        hosts: the names.
        wildcards: True if `*` and `*.example.com` are allowed.

    Raises:
        ValueError: one is no host name, and would match nothing.

    Example:
        >>> check_hosts(["Rank.example.com", "*.example.org", "[::1]"], wildcards=True)
        ['rank.example.com', '*.example.org', '::1']
    """
    return [_checked_host(host, wildcards) for host in hosts]


def _checked_host(text: str, wildcards: bool) -> str:
    host = text.lower().removesuffix(".")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    name = host.removeprefix("*.") if wildcards else host
    if _HOST.fullmatch(name) or (wildcards and host == "*") or _is_address(host):
        return host
    examples = "rank.example.com or *.example.com" if wildcards else "hooks.example.com"
    raise ValueError(f"{text[:100]!r} is no host name; write it without scheme, port and path, such as {examples}")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def check_origins(origins: list[str]) -> list[str]:
    """Return web origins as browsers send them: in lower case, without a default port and a slash at the end.

    Raises:
        ValueError: one is no origin, and would match nothing.

    Example:
        >>> check_origins(["https://App.example.com:443/", "http://localhost:3000", "*"])
        ['https://app.example.com', 'http://localhost:3000', '*']
    """
    return [_checked_origin(origin) for origin in origins]


def _checked_origin(text: str) -> str:
    origin = _DEFAULT_PORT.sub(lambda match: match[1] or match[2], text.lower().removesuffix("/"))
    if origin not in ("*", "null") and not _ORIGIN.fullmatch(origin):
        raise ValueError(
            f"{text[:100]!r} is no origin; write scheme and host without a path, such as https://app.example.com"
        )
    return origin
