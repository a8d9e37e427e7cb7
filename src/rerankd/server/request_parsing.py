"""Parsing and validation of request bodies; every fault becomes one sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from rerankd.errors import InvalidRequestError
from rerankd.settings import Settings

Model = TypeVar("Model", bound=BaseModel)
MAX_VALUES = 200_000
LARGE_BODY = 256 * 1024


async def read_json(request: Request, settings: Settings) -> tuple[bytes, dict[str, Any]]:
    """Read a JSON object; a large one is parsed in a thread, so that the event loop serves others meanwhile.

    Returns:
        The bytes of the body, and its content.

    Raises:
        InvalidRequestError: the body is not a JSON object, or too deeply nested.
    """
    payload = await request.body()
    depth = settings.max_json_depth
    if len(payload) > LARGE_BODY:
        return payload, await asyncio.to_thread(parse_json, payload, depth)
    return payload, parse_json(payload, depth)


async def read_body(request: Request, model: type[Model], settings: Settings) -> Model:
    """Read and validate a JSON body.

    Raises:
        InvalidRequestError: the body is invalid; the message names the first fault.
    """
    _, content = await read_json(request, settings)
    return validated(model, content)


def parse_json(payload: bytes, max_depth: int) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        InvalidRequestError: not JSON, not an object, or too deeply nested.
    """
    if not payload:
        raise InvalidRequestError("The body is empty.", hint="Send a JSON object.")
    try:
        content = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(
            f"The body is not valid JSON ({error}).", hint="Send a JSON object in UTF-8."
        ) from None
    if not isinstance(content, dict):
        raise InvalidRequestError(f"The body is a JSON {_type_name(content)}.", hint="Send a JSON object.")
    check_depth(content, max_depth)
    return content


def check_depth(content: Any, limit: int) -> None:
    """Check the nesting and the size of JSON.

    Raises:
        InvalidRequestError: it is nested deeper than `limit`, or holds too many values.
    """
    level, depth, values = [content], 0, 0
    while level:
        depth += 1
        values += sum(map(len, level))
        if depth > limit:
            raise InvalidRequestError(
                f"The body is nested deeper than {limit} levels.", hint="Send a body with less nesting."
            )
        if values > MAX_VALUES:
            raise InvalidRequestError(f"The body holds more than {MAX_VALUES} values.", hint="Split the request.")
        children: list[Any] = []
        for item in level:
            members = item.values() if isinstance(item, dict) else item
            children += [member for member in members if isinstance(member, dict | list)]
        level = children


def validated(model: type[Model], content: dict[str, Any]) -> Model:
    """Validate a body.

    Raises:
        InvalidRequestError: the first fault, with the field's name.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise first_fault(first) from None


def first_fault(fault: Mapping[str, Any]) -> InvalidRequestError:
    """Return the error for a fault that pydantic found, which names the field.

    Args:
        fault: entry of `ValidationError.errors()`.
    """
    field = ".".join(str(part) for part in fault["loc"])[:200]
    message = str(fault["msg"]).removeprefix("Value error, ")
    return InvalidRequestError(f"{field or 'The body'}: {message}.", hint="See /docs for the schema.")


def _type_name(content: Any) -> str:
    return {list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(content), "number")
