"""JSON responses, their warnings, and the headers that name the model version and the experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import Response

from rerankd.engine.pool import ModelPool


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(orjson.dumps(content), status, media_type="application/json", headers=headers)


def model_warnings(pool: ModelPool, requested: str | None, served: str) -> list[str]:
    """Return a warning if another model than the requested one answered, because its name is unknown."""
    if not requested or requested == served or pool.resolve(requested) == requested:
        return []
    return [f"model {requested[:100]!r} is unknown; {served!r} was used"]


def version_headers(version: str, experiment: str) -> dict[str, str]:
    """Return the headers that name the model version and the experiment; empty values have none."""
    headers = {"x-rerankd-model-version": version, "x-rerankd-experiment": experiment}
    return {name: value for name, value in headers.items() if value}


def warning_headers(warnings: Sequence[str]) -> dict[str, str]:
    r"""Return the header that carries warnings, for the dialects whose bodies have no place for them.

    Example:
        >>> warning_headers(["model '模' is unknown"])
        {'x-rerankd-warnings': "model '\\u6a21' is unknown"}
    """
    text = "; ".join(warnings).encode("ascii", "backslashreplace").decode()
    printable = "".join(character if character.isprintable() else " " for character in text)
    return {"x-rerankd-warnings": printable} if warnings else {}
