"""Parsing and validation of request bodies; every fault becomes one sentence."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from rerankd.errors import InvalidRequestError, UnsupportedMediaTypeError
from rerankd.server.content_encoding import GZIP_MAGIC
from rerankd.settings import Settings

Model = TypeVar("Model", bound=BaseModel)
Content = TypeVar("Content")
MAX_VALUES = 200_000
LARGE_BODY = 256 * 1024


async def read_json(request: Request, settings: Settings) -> tuple[bytes, dict[str, Any]]:
    """Read a JSON object; a large one is parsed in a thread, so that the event loop serves others meanwhile.

    Returns:
        The bytes of the body, and its content.

    Raises:
        UnsupportedMediaTypeError: the `Content-Type` is not JSON.
        InvalidRequestError: the body is not a JSON object, or too deeply nested.
    """
    return await _read(request, settings, parse_json)


async def read_content(request: Request, settings: Settings) -> tuple[bytes, Any]:
    """Read a JSON object or array, as `read_json` does.

    Raises:
        UnsupportedMediaTypeError: the `Content-Type` is not JSON.
        InvalidRequestError: the body is neither, or too deeply nested.
    """
    return await _read(request, settings, parse_content)


async def _read(request: Request, settings: Settings, parse: Callable[[bytes, int], Content]) -> tuple[bytes, Content]:
    check_json_type(request)
    payload = await request.body()
    check_charset(request, payload)
    depth = settings.max_json_depth
    if len(payload) > LARGE_BODY:
        return payload, await asyncio.to_thread(parse, payload, depth)
    return payload, parse(payload, depth)


async def read_body(request: Request, model: type[Model], settings: Settings) -> Model:
    """Read and validate a JSON body.

    Raises:
        UnsupportedMediaTypeError: the `Content-Type` is not JSON.
        InvalidRequestError: the body is invalid; the message names the first fault.
    """
    _, content = await read_json(request, settings)
    return validated(model, content)


def media_type(request: Request) -> str:
    """Return the media type of the body, without its parameters; empty if the client names none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_json_type(request: Request) -> None:
    """Check that the body is declared as JSON, or not at all, as by clients that leave the header out.

    The types that a web page may send to another origin without asking, such as text/plain, are none of them.

    Raises:
        UnsupportedMediaTypeError: another type.
    """
    kind = media_type(request)
    if kind and not (kind.endswith("+json") or kind.rpartition("/")[2] in ("json", "x-json")):
        raise UnsupportedMediaTypeError(
            f"The Content-Type is {kind[:100]!r}.", hint="Send JSON with Content-Type: application/json."
        )


def check_charset(request: Request, payload: bytes) -> None:
    """Check that the body is not declared in another charset than UTF-8; some bytes are valid in both.

    Raises:
        InvalidRequestError: it is, and not all of it is ASCII.
    """
    _, parameters = parse_options_header(request.headers.get("content-type", ""))
    charset = parameters.get(b"charset", b"").decode("latin-1").lower()
    if charset not in ("", "utf-8", "utf8") and not payload.isascii():
        raise InvalidRequestError(
            f"The body is not UTF-8 but {charset[:50]}, as its Content-Type says.", hint="Send JSON in UTF-8."
        )


def parse_json(payload: bytes, max_depth: int) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        InvalidRequestError: not JSON, not an object, or too deeply nested.
    """
    content: dict[str, Any] = _load(payload, "Send a JSON object.", dict)
    check_depth(content, max_depth)
    return content


def parse_content(payload: bytes, max_depth: int) -> Any:
    """Parse a JSON object or array.

    Raises:
        InvalidRequestError: not JSON, neither of the two, or too deeply nested.
    """
    content = _load(payload, "Send a JSON object or array.", dict | list)
    check_depth(content, max_depth)
    return content


def _load(payload: bytes, hint: str, kinds: type | UnionType) -> Any:
    if not payload:
        raise InvalidRequestError("The body is empty.", hint=hint)
    content = load_json(payload, "The body")
    if not isinstance(content, kinds):
        raise InvalidRequestError(f"The body is a JSON {_type_name(content)}.", hint=hint)
    return content


def load_json(payload: bytes, name: str) -> Any:
    """Load JSON in UTF-8, with or without a byte order mark.

    Args:
        payload: the bytes.
        name: name of the bytes, for messages.

    Raises:
        InvalidRequestError: not JSON, or not UTF-8.

    Example:
        >>> load_json('{"a": 1}'.encode("utf-8-sig"), "The body")
        {'a': 1}
    """
    try:
        return orjson.loads(payload.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError as error:
        reason = _other_format(payload)
        if reason:
            raise InvalidRequestError(f"{name} {reason}.", hint="Send JSON in UTF-8.") from None
        raise InvalidRequestError(f"{name} is not valid JSON ({error}).", hint="Send a JSON object in UTF-8.") from None


def _other_format(payload: bytes) -> str:
    """Return what bytes are that are no JSON in UTF-8; empty if it is the JSON that is wrong."""
    if payload.startswith(GZIP_MAGIC):
        return "is compressed, and no Content-Encoding says so"
    if payload.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"\0\0\0")) or payload[:2].count(0) == 1 < len(
        payload
    ):
        return "is not UTF-8 but UTF-16 or UTF-32"
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        return f"is not UTF-8: byte {error.start} is 0x{payload[error.start]:02x}"
    return ""


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
