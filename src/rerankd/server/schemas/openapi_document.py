"""The OpenAPI document of an application, built when somebody asks for it: every type once, under its own name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from rerankd.server.schemas.openapi import HEADERS, MODELS, REF

Json = dict[str, Any]

DESCRIPTION = """\
Reranking for RAG. `POST /v1/rerank` is the route to begin with; the other paths that rank speak the language of other
services' clients, whose base URL is all that changes.

Keys are sent as `Authorization: Bearer KEY` or `X-API-Key: KEY`. Fields may be added to answers; ignore those that you
do not know. A request that is not valid HTTP, or whose headers are too large or late, is refused with 400, 431 or 408
before any route. The pages under `/console` are not part of this description, nor is the JSON behind them."""
TAGS = [
    {"name": "rerank", "description": "Rank documents by relevance to a query, and score pairs."},
    {"name": "embeddings", "description": "Turn texts into vectors."},
    {"name": "tokens", "description": "Split texts into tokens, and join them."},
    {"name": "jobs", "description": "Rank many requests in the background."},
    {"name": "feedback", "description": "Tell which documents people chose."},
    {"name": "cases", "description": "Rankings that should have been different, and statistics of recent ones."},
    {"name": "search", "description": "Find passages of the index, and answer questions from them."},
    {"name": "models", "description": "The models that are served."},
    {"name": "health", "description": "Probes and metrics."},
]
RESPONSES = "#/components/responses/"
_ATTRIBUTE = re.compile(r"^    (\w+): (.*?)(?=^    \w|\Z)", re.MULTILINE | re.DOTALL)


def openapi_document(app: FastAPI) -> Json:
    """Return the OpenAPI document of an application.

    Example:
        >>> openapi_document(app)["paths"]["/v1/rerank"]["post"]["operationId"]  # doctest: +SKIP
        'rerank'
    """
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=DESCRIPTION,
            routes=app.routes,
            tags=TAGS,
        )
        errors = _share_errors(document["paths"], app.state.routes)
        inline = _inline_schemas(document["paths"])
        names = {node["$ref"].removeprefix(REF) for node in _nodes([document, inline, errors]) if _names_schema(node)}
        schemas = inline | _schemas(sorted(names & MODELS.keys()))
        document["components"] = {
            "schemas": dict(sorted(schemas.items())),
            "responses": errors,
            "headers": HEADERS,
        }
        app.openapi_schema = document
    return app.openapi_schema


def attribute_docs(cls: Any) -> dict[str, str]:
    """Return the descriptions of a class's attributes from its docstring and those of its bases.

    Example:
        >>> from rerankd.server.schemas.responses.models import ClusterAuth
        >>> attribute_docs(ClusterAuth)
        {'auth': 'True if an API key is required.'}
    """
    docs: dict[str, str] = {}
    for base in getattr(cls, "__orig_bases__", ()):
        docs |= attribute_docs(base)
    _, _, section = (cls.__doc__ or "").partition("    Attributes:\n")
    for name, text in _ATTRIBUTE.findall(re.sub(r"^    ", "", section, flags=re.MULTILINE)):
        sentence = " ".join(text.split())
        docs[name] = sentence[:1].upper() + sentence[1:]
    return docs


class _SchemaGenerator(GenerateJsonSchema):
    """JSON schemas without titles of fields, and with the docstrings' descriptions of answers."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        described, cls = super().typed_dict_schema(schema), schema.get("cls")
        docs = attribute_docs(cls)
        for name, value in described.get("properties", {}).items():
            if name in docs:
                value.setdefault("description", docs[name])
        described["description"] = " ".join((getattr(cls, "__doc__", None) or "").partition("\n\n")[0].split())
        return described


def _inline_schemas(paths: Json) -> Json:
    """Return the objects with a title that the schemas of the bodies hold, and refer to them where they were."""
    definitions: Json = {}
    bodies = [
        operation["requestBody"] for path in paths.values() for operation in path.values() if _has_body(operation)
    ]
    for node in list(_nodes(bodies)):
        definitions |= node.pop("$defs", {})
    for node in _nodes([bodies, definitions]):
        if isinstance(node.get("$ref"), str):
            node["$ref"] = node["$ref"].replace("#/$defs/", REF)
    _hoist(bodies, definitions)
    return definitions


def _has_body(operation: Json) -> bool:
    return "requestBody" in operation


def _schemas(names: list[str]) -> Json:
    """Return the schemas of types, with those of the types inside them."""
    inputs: list[Any] = [
        (name, "validation" if _is_body(MODELS[name]) else "serialization", TypeAdapter(MODELS[name])) for name in names
    ]
    _, schema = TypeAdapter.json_schemas(inputs, ref_template=REF + "{model}", schema_generator=_SchemaGenerator)
    definitions: Json = schema["$defs"]
    for definition in list(definitions.values()):
        _hoist(definition, definitions)
    return definitions


def _hoist(node: Any, definitions: Json) -> None:
    """Move the objects inside a schema that have a title to the components."""
    for parent in list(_nodes(node)):
        for key, value in parent.items():
            members = value if isinstance(value, list) else [value]
            for position, member in enumerate(members):
                if member is not node and isinstance(member, dict) and _is_titled_object(member):
                    name = member["title"]
                    definitions.setdefault(name, dict(member))
                    replacement = {"$ref": REF + name}
                    if isinstance(value, list):
                        value[position] = replacement
                    else:
                        parent[key] = replacement


def _is_titled_object(schema: Json) -> bool:
    return isinstance(schema.get("title"), str) and schema.get("type") == "object" and "properties" in schema


def _is_body(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, BaseModel)


def _names_schema(node: Json) -> bool:
    return isinstance(node.get("$ref"), str) and node["$ref"].startswith(REF)


def _nodes(node: Any) -> Iterator[Json]:
    """Yield the objects of a JSON document."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _nodes(value)
    elif isinstance(node, list):
        for value in node:
            yield from _nodes(value)


def _share_errors(paths: Json, routes: Iterable[APIRoute]) -> Json:
    """Put the errors of the routes in place, by reference to components, which are returned.

    FastAPI would drop nulls from their examples, and it adds errors of parameters in a form that `create_app` replaces.
    """
    shared: Json = {}
    names: dict[str, str] = {}
    for route in routes:
        errors = {str(status): made for status, made in route.responses.items() if int(status) >= 400}
        for method in (route.methods or set()) & {name.upper() for name in paths.get(route.path_format, {})}:
            described = paths[route.path_format][method.lower()]["responses"]
            for status in [status for status in described if status >= "400"]:
                del described[status]
            for status, made in errors.items():
                name = names.setdefault(orjson.dumps(made).decode(), _free_name(HTTPStatus(int(status)), shared))
                shared.setdefault(name, made)
                described[status] = {"$ref": RESPONSES + name}
    return shared


def _free_name(status: HTTPStatus, taken: Collection[str]) -> str:
    name = status.phrase.title().replace(" ", "").replace("-", "")
    number = sum(one.rstrip("0123456789") == name for one in taken)
    return f"{name}{number + 1}" if number else name
