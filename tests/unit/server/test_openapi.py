"""Every route is described: its answer with an example, its errors, an operation id, in plain words."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from rerankd.server.app import create_app
from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import new_key
from rerankd.server.middleware import OPEN_PATHS
from rerankd.server.schemas import openapi
from rerankd.server.schemas.openapi import operation, operation_id, reference, schema_of
from rerankd.server.schemas.openapi_document import attribute_docs
from rerankd.server.schemas.responses.models import ModelCard
from rerankd.server.service import open_service
from rerankd.settings import load_settings
from tests.openapi import AnswerChecker, closed, responses

Json = dict[str, Any]
HOW = "see the docstring of rerankd.server.schemas.openapi"

app = create_app(open_service(load_settings()), is_local=True)
document: Json = app.openapi()
operations = {
    (method, path): {**described, "responses": responses(document, path, method)}
    for path, methods in document["paths"].items()
    for method, described in methods.items()
}


def named(key: tuple[str, str]) -> str:
    return f"{key[0].upper()} {key[1]}"


each_operation = pytest.mark.parametrize("key", operations, ids=named)


def success(key: tuple[str, str]) -> tuple[str, Json]:
    return next((status, made) for status, made in operations[key]["responses"].items() if status < "300")


def nodes(node: Any) -> Iterator[Json]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(child)


def test_every_route_of_the_application_is_in_the_document() -> None:
    hidden = {"/docs", "/docs/{name}"}
    routes: list[APIRoute] = app.state.routes
    served = {(method.lower(), route.path_format) for route in routes for method in (route.methods or set()) - {"HEAD"}}
    assert {key for key in served if key[1] not in hidden} == set(operations)


@each_operation
def test_a_route_names_its_answer(key: tuple[str, str]) -> None:
    _, described = success(key)
    assert described.get("content"), f"{named(key)} has no answer: {HOW}"
    for kind, made in described["content"].items():
        assert made.get("schema"), f"{named(key)} has no model for {kind}: {HOW}"
        if kind == "application/json":
            shown = json.dumps(made["schema"])
            assert "$ref" in shown or "properties" not in shown, f"{named(key)} has no named model: {HOW}"
            assert '"object"' not in shown, f"{named(key)} has no named model: {HOW}"


@each_operation
def test_a_route_names_its_errors(key: tuple[str, str]) -> None:
    _, path = key
    expected = {"500"}
    if path not in OPEN_PATHS:
        expected |= {"401", "403", "429", "503"}
    if "requestBody" in operations[key]:
        expected |= {"400", "408", "413", "415"}
    if "{" in path:
        expected |= {"404"}
    missing = expected - set(operations[key]["responses"])
    assert not missing, f"{named(key)} does not describe {sorted(missing)}: {HOW}"
    for status, described in operations[key]["responses"].items():
        made = described["content"].get("application/json", {})
        if status >= "400" and path not in OPEN_PATHS:
            assert made.get("schema"), f"{named(key)} has no form of {status}: {HOW}"
            assert made.get("examples"), f"{named(key)} has no example of {status}: {HOW}"
        assert described["description"].strip()
        if status in ("429", "503"):
            assert "Retry-After" in described["headers"]


@each_operation
def test_a_route_has_a_name_and_words(key: tuple[str, str]) -> None:
    described = operations[key]
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", described["operationId"])
    assert len(described["operationId"]) <= 30, f"{named(key)} has no operation id of its own: {HOW}"
    assert described["tags"]
    assert described["tags"][0] in {tag["name"] for tag in document["tags"]}
    assert "/" not in described["summary"]
    assert described["description"].endswith(".")


def test_operation_ids_are_unique() -> None:
    names = [described["operationId"] for described in operations.values()]
    assert len(set(names)) == len(names)


def test_the_names_of_the_main_routes_are_short() -> None:
    names = {key: described["operationId"] for key, described in operations.items()}
    assert names["post", "/v1/rerank"] == "rerank"
    assert names["post", "/v1/score"] == "score"
    assert names["get", "/v1/models"] == "list_models"
    assert names["post", "/v1/jobs"] == "submit_job"


def test_every_reference_leads_somewhere() -> None:
    for node in nodes(document):
        if isinstance(target := node.get("$ref"), str):
            _, _, section, name = target.split("/")
            assert name in document["components"][section], target


@pytest.mark.parametrize("name", document["components"]["schemas"])
def test_a_model_has_words_and_each_of_its_fields_too(name: str) -> None:
    schema = document["components"]["schemas"][name]
    if name in ("TextObject", "TextContent", "TextPart", "JobFile"):
        return
    assert schema["description"].endswith("."), name
    assert "Attributes:" not in schema["description"]
    for field, described in schema.get("properties", {}).items():
        assert described.get("description") or "$ref" in described, f"{name}.{field} has no description"


def test_examples_are_as_the_schemas_say() -> None:
    components = closed(document["components"])
    examples = 0
    for name, schema in document["components"]["schemas"].items():
        validator = jsonschema_rs.Draft202012Validator(
            {"$ref": f"#/components/schemas/{name}", "components": components}
        )
        for example in schema.get("examples", ()):
            validator.validate(example)
            examples += 1
    for described in operations.values():
        for answer in described["responses"].values():
            for made in answer.get("content", {}).values():
                validator = jsonschema_rs.Draft202012Validator({**made["schema"], "components": components})
                for example in made.get("examples", {}).values():
                    validator.validate(example["value"])
                    examples += 1
    assert examples > 300


@each_operation
def test_an_answer_has_an_example(key: tuple[str, str]) -> None:
    _, described = success(key)
    for made in described["content"].values():
        names = re.findall(r"#/components/schemas/(\w+)", json.dumps(made["schema"]))
        assert all("examples" in document["components"]["schemas"][name] for name in names), (named(key), names)


def test_documents_are_absent_or_an_object_or_a_text() -> None:
    schemas = document["components"]["schemas"]
    for name, form in (("RerankedDocument", {"$ref": "#/components/schemas/ReturnedDocument"}), ("RerankedText", {})):
        assert "document" not in schemas[name]["required"]
        described = {key: value for key, value in schemas[name]["properties"]["document"].items() if key in ("$ref",)}
        assert described == form
    assert schemas["RerankedText"]["properties"]["document"]["type"] == "string"
    assert "text" not in schemas["TeiRankedText"]["required"]


def test_pages_are_not_part_of_the_document() -> None:
    assert not [path for path in document["paths"] if path.startswith(("/console", "/docs"))]
    assert "/console" in document["info"]["description"]


def test_names_are_used_once() -> None:
    class ModelCard:
        pass

    with pytest.raises(TypeError, match="ModelCard"):
        reference(ModelCard)


def test_a_description_has_no_cost_while_requests_are_served() -> None:
    assert all(route.response_field is None for route in app.state.routes)


def test_unions_and_lists_are_described_by_reference() -> None:
    assert schema_of(list[ModelCard] | ModelCard) == {
        "anyOf": [{"type": "array", "items": reference(ModelCard)}, reference(ModelCard)]
    }


def test_words_of_inherited_fields_are_those_of_the_base() -> None:
    assert attribute_docs(ModelCard)["id"] == "Name that requests use."


def test_an_operation_without_a_body_has_no_errors_of_one() -> None:
    assert 413 not in operation("get", "Get", ModelCard)["responses"]
    assert set(operation("probe", "Probe", ModelCard, is_open=True)["responses"]) == {200, 500}
    assert operation_id("/v2/rerank") == "rerank_v2"
    assert openapi.MODELS["ModelCard"] is ModelCard


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, str, FastAPI]]:
    clear, key = new_key("team", admin=True)
    write_keys(tmp_path / "keys.json", [key])
    settings = load_settings(
        api_keys_file=str(tmp_path / "keys.json"),
        jobs_path=str(tmp_path / "jobs"),
        traces_url=f"sqlite:///{tmp_path}/traces.sqlite",
        index=str(tmp_path / "index"),
        max_body_mb=1,
        rollout=False,
    )
    service = open_service(settings)
    app = create_app(service)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        yield http, clear, app
    await service.close()


async def test_errors_are_answered_as_they_are_described(guarded: tuple[httpx.AsyncClient, str, FastAPI]) -> None:
    """Each route without a key, of another origin, with bodies that are no JSON, too large, and wrong."""
    http, clear, app = guarded
    checker, key = AnswerChecker(app.openapi()), {"authorization": f"Bearer {clear}"}
    for method, path in operations:
        url = re.sub(r"\{\w+\}", "1", path)
        requests: list[Json] = [
            {},
            {"headers": {**key, "origin": "https://evil.example"}},
            {"headers": {**key, "content-type": "text/html"}, "content": b"{}"},
            {"headers": key, "content": b"{"},
            {"headers": {**key, "content-encoding": "br"}, "content": b"{"},
            {"headers": key, "json": {"nothing": "x"}},
            {"headers": key, "json": {"query": "q", "documents": []}},
            {"headers": key, "json": {"query": "q", "texts": []}},
        ]
        for request in requests if "requestBody" in operations[method, path] else requests[:2]:
            checker.check(await http.request(method, url, **request))
    assert len(checker.checked) > 100
