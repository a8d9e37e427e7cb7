"""JSON responses, and the headers that name the model version and the experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import Response


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(orjson.dumps(content), status, media_type="application/json", headers=headers)


def version_headers(version: str, experiment: str) -> dict[str, str]:
    """Return the headers that name the model version and the experiment; empty values have none."""
    headers = {"x-rerankd-model-version": version, "x-rerankd-experiment": experiment}
    return {name: value for name, value in headers.items() if value}
