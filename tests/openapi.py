"""Answers held against the OpenAPI document: status, media type, and every field, none of them unknown."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import httpx
import jsonschema_rs

Json = dict[str, Any]


class AnswerChecker:
    """Checks answers against an OpenAPI document, more strictly than it asks for: no field may be unknown.

    Args:
        document: the document.

    Example:
        >>> AnswerChecker(app.openapi()).check(client.get("/info"))  # doctest: +SKIP
    """

    def __init__(self, document: Json) -> None:
        self._document = document
        self._components = closed(document["components"])
        self._paths = [(_pattern(path), path) for path in document["paths"]]
        self._validator = cache(self._open_validator)
        self.checked: set[tuple[str, str, int]] = set()

    def operation(self, method: str, path: str) -> tuple[str, str] | None:
        """Return method and path of the operation that serves a request; None for none."""
        matching = [own for pattern, own in self._paths if pattern.fullmatch(path)]
        found = min(matching, key=lambda own: own.count("{"), default=None)
        return (method.lower(), found) if found and method.lower() in self._document["paths"][found] else None

    def check(self, response: httpx.Response) -> None:
        """Check an answer to a request for an operation; others have none to be checked against.

        Raises:
            AssertionError: it is not as described.
        """
        found = self.operation(response.request.method, response.request.url.path)
        if found is None or response.status_code == 499:
            return
        method, path = found
        status, name = str(response.status_code), f"{method.upper()} {path}"
        described = responses(self._document, path, method)
        assert status in described, f"{name} answers {status}, which is not described: {response.text[:300]}"
        kind = response.headers["content-type"].partition(";")[0]
        assert kind in described[status]["content"], f"{name} answers {status} as {kind}, which is not described"
        self.checked.add((method, path, response.status_code))
        if kind != "application/json":
            return
        content = response.json()
        fault = next(self._validator(path, method, status).iter_errors(content), None)
        assert fault is None, f"{name} {status}: {fault}"

    def _open_validator(self, path: str, method: str, status: str) -> jsonschema_rs.Draft202012Validator:
        described = responses(self._document, path, method)[status]
        schema = described["content"]["application/json"]["schema"]
        return jsonschema_rs.Draft202012Validator({**schema, "components": self._components})


def checking_client(url: str, checker: AnswerChecker) -> httpx.Client:
    """Return a client that holds each answer against an OpenAPI document."""

    def check(response: httpx.Response) -> None:
        if not response.headers["content-type"].startswith("text/event-stream"):
            response.read()
            checker.check(response)

    return httpx.Client(base_url=url, trust_env=False, timeout=60, event_hooks={"response": [check]})


def responses(document: Json, path: str, method: str) -> Json:
    """Return the responses of an operation, those of the components in place."""
    shared = document["components"]["responses"]
    described = document["paths"][path][method]["responses"]
    return {
        status: shared[made["$ref"].rpartition("/")[2]] if "$ref" in made else made
        for status, made in described.items()
    }


def closed(node: Any) -> Any:
    """Return schemas whose objects take no other fields than their own, unless they say that they do."""
    if isinstance(node, list):
        return [closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: closed(value) for key, value in node.items() if key not in ("examples", "example")}
    if made.get("type") == "object" and isinstance(made.get("properties"), dict):
        made.setdefault("additionalProperties", False)
    return made


def _pattern(path: str) -> re.Pattern[str]:
    greedy = "(/models/" in path or path.endswith("/models/{name}")  # names of models have slashes
    parts = re.split(r"\{\w+\}", path)
    return re.compile((".+" if greedy else "[^/]+").join(map(re.escape, parts)))
