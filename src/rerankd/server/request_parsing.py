"""From bytes to a checked body; whatever is wrong becomes one sentence."""

from __future__ import annotations

import math
from typing import Any, Protocol, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from rerankd.errors import InvalidRequestError, PayloadTooLargeError
from rerankd.ranking.order import checked_fusion
from rerankd.settings import Settings
from rerankd.types import Fusion

Model = TypeVar("Model", bound=BaseModel)
MAX_VALUES = 200_000
MAX_UNIT = 256
USER_HEADER, SESSION_HEADER = "X-Rerankd-User", "X-Rerankd-Session"


class FusedBody(Protocol):
    """A body that may say how the first stage counts."""

    @property
    def fusion(self) -> str | None:
        """Method, if it says so."""
        ...

    @property
    def fusion_weight(self) -> float | None:
        """Weight, if it says so."""
        ...


def parse_json(body: bytes, max_depth: int) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        InvalidRequestError: not JSON, not an object, or nested too deep.
    """
    if not body:
        raise InvalidRequestError("The body is empty.", hint="Send a JSON object.")
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(
            f"The body is not valid JSON ({error}).", hint="Send a JSON object in UTF-8."
        ) from None
    if not isinstance(content, dict):
        raise InvalidRequestError(f"The body is a JSON {_name(content)}.", hint="Send a JSON object.")
    check_depth(content, max_depth)
    return content


def check_depth(content: Any, limit: int) -> None:
    """Raise `InvalidRequestError` for JSON that is nested deeper than `limit`, or holds too much."""
    level, depth, seen = [content], 0, 0
    while level:
        depth += 1
        seen += sum(map(len, level))
        if depth > limit:
            raise InvalidRequestError(f"The body is nested deeper than {limit} levels.", hint="Send a flatter one.")
        if seen > MAX_VALUES:
            raise InvalidRequestError(f"The body holds more than {MAX_VALUES} values.", hint="Send fewer at once.")
        inner: list[Any] = []
        for item in level:
            inner += [v for v in (item.values() if isinstance(item, dict) else item) if isinstance(v, dict | list)]
        level = inner


def validated(model: type[Model], content: dict[str, Any]) -> Model:
    """Check a body.

    Raises:
        InvalidRequestError: the first thing that is wrong, with its place.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:200]
        what = first["msg"].removeprefix("Value error, ")
        raise InvalidRequestError(f"{place or 'The body'}: {what}.", hint="See /docs for what is expected.") from None


def check_count(count: int, name: str, settings: Settings) -> None:
    """Raise `PayloadTooLargeError` for more documents than are allowed."""
    if count > settings.max_documents:
        raise PayloadTooLargeError(
            f"{name} holds {count} texts; {settings.max_documents} are allowed.",
            hint="Send them in parts, or raise max_documents.",
        )


def timeout_of(request: Request, given: float | None, settings: Settings) -> float | None:
    """Seconds that a request may take: the least of its header, its body and the settings.

    Raises:
        InvalidRequestError: the header is not a positive number.
    """
    times = [given, settings.request_timeout or None]
    header = request.headers.get("x-request-timeout")
    if header:
        try:
            seconds = float(header)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise InvalidRequestError("X-Request-Timeout is not a positive number.", hint="Give it in seconds.")
        times.append(seconds)
    known = [time for time in times if time is not None]
    return min(known) if known else None


def unit_header(request: Request, name: str) -> str:
    """Who asks, as a header says it; empty where it is missing.

    Raises:
        InvalidRequestError: it is too long, or holds what is no text.
    """
    value = request.headers.get(name, "").strip()
    if len(value) > MAX_UNIT or not value.isprintable():
        raise InvalidRequestError(f"{name} is longer than {MAX_UNIT} characters, or no text.", hint="Send an id.")
    return value


def fusion_of(body: FusedBody, settings: Settings) -> Fusion | None:
    """How the first stage counts: as the body says, else as the settings do."""
    weight = settings.fusion_weight if body.fusion_weight is None else body.fusion_weight
    if body.fusion is not None and body.fusion != settings.fusion and body.fusion_weight is None:
        weight = None  # the weight of another method
    return checked_fusion(body.fusion or settings.fusion, weight)


def _name(content: Any) -> str:
    return {list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(content), "number")
