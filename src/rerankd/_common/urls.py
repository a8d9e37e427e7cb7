"""URLs as logs, messages and tables may show them."""

from __future__ import annotations

import re

HIDDEN = "***"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")
_SECRET = re.compile(r"(?i)([?&#][^=&#\s]*(?:key|token|secret|passw|pwd|auth|sig|credential)[^=&#\s]*=)[^&#\s\"']+")
_PORT = re.compile(r"^(\[[^\]]*\]|[^:]*)(:\d*)?$")


def masked_urls(text: str) -> str:
    """Return a text with the secrets of its URLs replaced: passwords, tokens before the host, and keys in queries.

    Example:
        >>> masked_urls("https://user:secret@llm.example.org/v1?api_key=k&n=2")
        'https://user:***@llm.example.org/v1?api_key=***&n=2'
        >>> masked_urls("redis://:se/cr@t@cache:6379/0")
        'redis://:***@cache:6379/0'
    """
    return _SECRET.sub(rf"\g<1>{HIDDEN}", _URL.sub(lambda match: _masked(match[0]), text))


def _masked(url: str) -> str:
    scheme, _, rest = url.partition("://")
    end = rest.rfind("@", 0, len(_authority(rest)))
    if "@" in rest[end + 1 :] and (end >= 0 or not _PORT.match(_authority(rest))):
        end = rest.rfind("@")  # perhaps a password with a slash that is not escaped
    if end < 0:
        return url
    name, colon, _ = rest[:end].partition(":")
    user = f"{name}:{HIDDEN}" if colon else HIDDEN  # a name without a password is a token
    return f"{scheme}://{user}{rest[end:]}"


def _authority(rest: str) -> str:
    return re.split(r"[/?#]", rest, maxsplit=1)[0]
