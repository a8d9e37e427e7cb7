"""JSON responses, their warnings, and the headers that name the model version and the experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import Response

MAX_WARNINGS = 2000


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(orjson.dumps(content), status, media_type="application/json", headers=headers)


def version_headers(version: str, experiment: str) -> dict[str, str]:
    """Return the headers that name the model version and the experiment; empty values have none."""
    headers = {"x-rerankd-model-version": version, "x-rerankd-experiment": experiment}
    return {name: value for name, value in headers.items() if value}


def warning_headers(warnings: Sequence[str]) -> dict[str, str]:
    r"""Return the header that carries warnings, for the dialects whose bodies have no place for them.

    It has `MAX_WARNINGS` characters at most: proxies refuse responses with large heads.

    Example:
        >>> warning_headers(["model '模' is unknown"])
        {'x-rerankd-warnings': "model '\\u6a21' is unknown"}
    """
    text = "; ".join(warnings).encode("ascii", "backslashreplace").decode()
    printable = "".join(character if character.isprintable() else " " for character in text)
    if len(printable) > MAX_WARNINGS:
        printable = f"{printable[: MAX_WARNINGS - 3]}..."
    return {"x-rerankd-warnings": printable} if warnings else {}
