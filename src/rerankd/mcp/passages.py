"""Addresses of passages, as MCP resources have them."""

from __future__ import annotations

from urllib.parse import quote, unquote

from rerankd.errors import NotFoundError

PREFIX = "rerankd://passage/"
TEMPLATE = PREFIX + "{id}"
MAX_URI = 8192


def passage_uri(identity: str) -> str:
    """Return the address of a passage.

    Example:
        >>> passage_uri("docs/serve.md#3")
        'rerankd://passage/docs%2Fserve.md%233'
    """
    return PREFIX + quote(identity, safe="")


def passage_id(uri: str) -> str:
    """Return the id of the passage at an address.

    Raises:
        NotFoundError: the address is not that of a passage.

    Example:
        >>> passage_id("rerankd://passage/docs%2Fserve.md%233")
        'docs/serve.md#3'
    """
    identity = unquote(uri[len(PREFIX) :]) if uri.startswith(PREFIX) and len(uri) <= MAX_URI else ""
    if not identity:
        raise NotFoundError(f"There is no resource {uri[:200]!r}.", hint=f"Passages are at {TEMPLATE}.")
    return identity
