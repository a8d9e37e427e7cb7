"""OpenAPI description of request bodies that a handler reads itself."""

from __future__ import annotations

from typing import Any


def request_body(*schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the `openapi_extra` of a route whose JSON body has one of several schemas.

    Args:
        schemas: JSON schemas, such as those of `BaseModel.model_json_schema`.
    """
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
