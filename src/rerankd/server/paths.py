"""Paths as clients build them: with a slash too many, or with a version that the base URL has already."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from itertools import pairwise

VERSIONS = frozenset({"v1", "v2", "v3"})


CONSOLE = "/console"
MCP = "/mcp"


def is_console(path: str) -> bool:
    """Return True for a page of the console.

    Example:
        >>> is_console("/console/traces"), is_console("/console-of-others")
        (True, False)
    """
    return path == CONSOLE or path.startswith(f"{CONSOLE}/")


def canonical_path(path: str, known: Collection[str]) -> str:
    """Return the path that a client means, or the path itself where it means none.

    Slashes that are repeated or last do not count. Of two versions the last counts: it is the client's own, while the
    first is from a base URL that was given with a version.

    Args:
        path: path of the request.
        known: paths that the service has.

    Example:
        >>> canonical_path("/v1//v2/rerank/", {"/v1/rerank", "/v2/rerank"})
        '/v2/rerank'
    """
    if path in known:
        return path
    segments = [segment for segment in path.split("/") if segment]
    kept = [first for first, second in pairwise([*segments, ""]) if not (first in VERSIONS and second in VERSIONS)]
    canonical = "/" + "/".join(kept)
    return canonical if canonical in known else path


def closest_path(path: str, known: Collection[str]) -> str | None:
    """Return the path that is most like one that does not exist: one that it ends or begins with; None for none.

    Args:
        path: path that does not exist.
        known: paths that the service has.

    Example:
        >>> closest_path("/v1/rerank/v1/rerank", {"/rerank", "/v1/rerank", "/v1/score"})
        '/v1/rerank'
    """
    lower = "/" + "/".join(segment for segment in path.lower().split("/") if segment)
    parts = [name for name in known if name != "/" and (lower.endswith(name) or lower.startswith(f"{name}/"))]
    if parts:
        return max(parts, key=lambda name: (len(name), name))
    return next(iter(difflib.get_close_matches(lower, sorted(known), n=1, cutoff=0.8)), None)
