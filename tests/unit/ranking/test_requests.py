from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import rerankd
from rerankd.errors import InvalidRequestError
from rerankd.ranking.requests import build_request, build_requests
from rerankd.types import Document, Fusion, RerankRequest

PACKAGE = Path(rerankd.__file__).parent
CONSTRUCTOR = RerankRequest.__name__


def mentions(tree: ast.AST) -> list[int]:
    """Return the lines of a module that use the class, other than to say of what type something is."""
    types: set[int] = set()
    for node in ast.walk(tree):
        annotations = [getattr(node, name, None) for name in ("annotation", "returns")]
        types |= {id(part) for note in annotations if note for part in ast.walk(note)}
        if isinstance(node, ast.Subscript):  # an alias such as Callable[[RerankRequest], None]
            types |= {id(part) for part in ast.walk(node)}
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute) and id(node) not in types]
    return [node.lineno for node in uses if CONSTRUCTOR in (getattr(node, "id", ""), getattr(node, "attr", ""))]


@pytest.mark.slow
def test_only_one_place_builds_requests() -> None:
    modules = sorted(PACKAGE.rglob("*.py"))
    users = {path.relative_to(PACKAGE).as_posix(): mentions(ast.parse(path.read_bytes())) for path in modules}
    assert {path: len(lines) for path, lines in users.items() if lines} == {"ranking/requests.py": 1}


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("RerankRequest('q', [])", 1),
        ("make = types.RerankRequest", 1),
        ("def f(r: RerankRequest) -> list[RerankRequest]: ...", 0),
        ("F = Callable[[RerankRequest], None]", 0),
    ],
)
def test_what_counts_as_a_use(code: str, count: int) -> None:
    assert len(mentions(ast.parse(code))) == count


def test_it_has_the_fields_and_the_defaults_of_the_class() -> None:
    documents = [Document("a")]
    assert build_request("q", documents) == RerankRequest("q", documents)
    fields: dict[str, Any] = {"top_n": 1, "threshold": 0.5, "fusion": Fusion("rrf"), "cache": False, "tenant": "t"}
    assert build_request("q", documents, **fields) == RerankRequest("q", documents, **fields)


def test_the_query_is_the_callers_to_check() -> None:
    assert build_request("", [], model="mini") == RerankRequest("", [], model="mini")  # a template
    assert build_request("", [Document("a")]) == RerankRequest("", [Document("a")])  # text-embeddings-inference
    with pytest.raises(InvalidRequestError, match="The query is empty"):
        build_requests([" "], [["a"]], None, {})


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"top_n": 0}, "top_n is 0"),
        ({"activation": "tanh"}, "Unknown activation 'tanh'"),
        ({"threshold": 1.5}, "threshold is 1.5"),
    ],
)
def test_values_that_cannot_be_used(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequestError, match=sentence):
        build_request("q", [Document("a")], **fields)
    options = {name: value for name, value in fields.items() if name != "top_n"}
    with pytest.raises(InvalidRequestError, match=sentence):  # also where there is nothing to rank
        build_requests([], [], fields.get("top_n"), options)  # type: ignore[arg-type]


def test_a_threshold_becomes_a_float() -> None:
    [request] = build_requests(["q"], [["a"]], None, {"threshold": 1})
    assert (type(request.threshold), request.threshold) == (float, 1.0)
