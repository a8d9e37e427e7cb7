"""OpenAPI description of a route: the bodies that it takes, its answer, and its errors.

Handlers read bodies and write answers themselves, for speed: nothing here runs while a request is served, and
`openapi_document` builds the schemas when somebody asks for the description.

To describe a new route:

1. Write its answer as a `TypedDict` in `rerankd.server.schemas.responses`: a docstring whose `Attributes:` say what
   each field holds, `NotRequired` for fields that may be absent, and an example.
2. Add the route with `operation`, which needs its operation id (the method's name in generated clients), its title, the
   answer, the models of its bodies, and the errors of its handler besides those of every route:

       router.add_api_route(
           "/v1/tokenize",
           routes.tokenize,
           methods=["POST"],
           **operation("tokenize", "Split texts into tokens", TokenizeResponse, bodies=[TokenizeBody], errors=SCORING),
       )

3. Run `tests/unit/server/test_openapi.py`, which fails for a route that lacks any of this, and `make docs`.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin

from fastapi import Response
from pydantic import BaseModel

from rerankd.errors import RerankdError
from rerankd.server.paths import VERSIONS
from rerankd.server.schemas.dialects import Dialect
from rerankd.server.schemas.openapi_errors import BODY, GUARDED, PROBE, error_responses

Json = dict[str, Any]

JSON = "application/json"
REF = "#/components/schemas/"
_PLAIN = {float: "number", str: "string"}
MODELS: dict[str, Any] = {}
"""Types that descriptions of routes name, by their names."""

HEADERS: dict[str, Json] = {
    "X-Request-Id": {"description": "Id of the request, as in its log lines.", "schema": {"type": "string"}},
    "X-Total-Time": {"description": "Milliseconds in the service.", "schema": {"type": "number"}},
    "X-Rerankd-Model-Version": {"description": "Exact version of the model.", "schema": {"type": "string"}},
    "X-Rerankd-Experiment": {
        "description": "Experiment and variant, as name/variant; absent for none.",
        "schema": {"type": "string"},
    },
    "X-Rerankd-Warnings": {
        "description": "What was asked for and not done; absent if there is nothing to say.",
        "schema": {"type": "string"},
    },
    "X-Compute-Tokens": {"description": "Tokens that were computed.", "schema": {"type": "integer"}},
    "X-Tokenization-Time": {"description": "Milliseconds of tokenization.", "schema": {"type": "number"}},
    "X-Queue-Time": {"description": "Milliseconds of waiting for the model.", "schema": {"type": "number"}},
    "X-Inference-Time": {"description": "Milliseconds of computing.", "schema": {"type": "number"}},
}
COMMON_HEADERS = ("X-Request-Id", "X-Total-Time")
VERSION_HEADERS = ("X-Rerankd-Model-Version", "X-Rerankd-Experiment", "X-Rerankd-Warnings")
SCORING_HEADERS = (
    *VERSION_HEADERS,
    "X-Compute-Tokens",
    "X-Tokenization-Time",
    "X-Queue-Time",
    "X-Inference-Time",
)


def operation(
    name: str,
    title: str,
    answer: Any,
    *,
    bodies: Sequence[type[BaseModel]] = (),
    status: int = 200,
    errors: Sequence[type[RerankdError]] = (),
    dialects: Sequence[Dialect] = ("union",),
    is_open: bool = False,
    headers: Sequence[str] = (),
    media: Mapping[str, Json] | None = None,
    parameters: Sequence[Json] = (),
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the keyword arguments of `APIRouter.add_api_route` that describe a route.

    Args:
        name: operation id, the method's name in generated clients.
        title: title, a few words.
        answer: type of the answer: a `TypedDict`, a list of one, or a union; None for one that is not JSON.
        bodies: models of the JSON body, one of which it satisfies.
        status: status of the answer.
        errors: errors of the handler, besides those that every route has.
        dialects: dialects of these errors.
        is_open: True for a route without a key.
        headers: names in `HEADERS` that the answer has.
        media: schemas of the answer in other media types.
        parameters: parameters that the handler reads itself.
        extra: further fields of the operation, such as a `requestBody` in several media types.

    Example:
        >>> from rerankd.server.schemas.responses.models import ClusterAuth
        >>> operation("get_auth", "Tell whether a key is required", ClusterAuth, is_open=True)["operation_id"]
        'get_auth'
    """
    content: dict[str, Json] = {} if answer is None else {JSON: {"schema": schema_of(answer)}}
    content |= {kind: {"schema": schema} for kind, schema in (media or {}).items()}
    description = {
        "description": "The answer.",
        "content": content,
        "headers": {header: {"$ref": f"#/components/headers/{header}"} for header in (*COMMON_HEADERS, *headers)},
    }
    fields: Json = request_body(*bodies) if bodies else {}
    if parameters:
        fields["parameters"] = list(parameters)
    fields |= extra or {}
    early = (*(PROBE if is_open else GUARDED), *(BODY if "requestBody" in fields else ()))
    return {
        "operation_id": name,
        "summary": title,
        "status_code": status,
        "response_class": Response,
        "response_model": None,
        "responses": {status: description, **error_responses(early, errors, dialects, reference)},
        "openapi_extra": fields,
    }


def operation_id(path: str) -> str:
    """Return the operation id of a path among several for one thing: its words, the version last.

    Example:
        >>> operation_id("/infinity/v1/rerank")
        'infinity_rerank_v1'
    """
    words = [word for word in path.split("/") if word]
    return "_".join(sorted(words, key=lambda word: word in VERSIONS))


def request_body(*schemas: type[BaseModel] | Json) -> Json:
    """Return the `openapi_extra` of a route whose JSON body has one of several schemas.

    Args:
        schemas: models, or JSON schemas such as those of `BaseModel.model_json_schema`.
    """
    described = [schema if isinstance(schema, dict) else reference(schema) for schema in schemas]
    schema = described[0] if len(described) == 1 else {"anyOf": described}
    return {"requestBody": {"required": True, "content": {JSON: {"schema": schema}}}}


def query_parameter(name: str, description: str, schema: Json) -> Json:
    """Return the description of an optional query parameter that a handler reads itself."""
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def schema_of(answer: Any) -> Json:
    """Return the schema of an answer, by reference.

    Args:
        answer: a class, a number, a text, a list of an answer, or a union of answers.

    Example:
        >>> from rerankd.server.schemas.responses.dialects import TeiRankedText
        >>> schema_of(list[TeiRankedText])
        {'type': 'array', 'items': {'$ref': '#/components/schemas/TeiRankedText'}}
    """
    if answer in _PLAIN:
        return {"type": _PLAIN[answer]}
    if get_origin(answer) is list:
        return {"type": "array", "items": schema_of(get_args(answer)[0])}
    if get_origin(answer) in (Union, types.UnionType):
        return {"anyOf": [schema_of(member) for member in get_args(answer)]}
    return reference(answer)


def reference(model: Any) -> Json:
    """Return a reference to a component, and remember its type for `openapi_document`.

    Raises:
        TypeError: another type has the same name.
    """
    if MODELS.setdefault(model.__name__, model) is not model:
        raise TypeError(f"Two types of the API have the name {model.__name__}. Rename one.")
    return {"$ref": REF + model.__name__}
