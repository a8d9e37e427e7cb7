from __future__ import annotations

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.server.request_parsing import validated
from rerankd.server.schemas.base import BaseRequestBody
from rerankd.server.schemas.field_support import FIELDS, FORMS, HONOURED, RequestForm
from rerankd.server.schemas.rerank import InfinityRequestBody, RerankRequestBody, VoyageRequestBody
from rerankd.server.schemas.score import ScoreRequestBody
from rerankd.server.schemas.search import SearchRequestBody
from rerankd.server.schemas.tei import PredictRequestBody, TeiRequestBody

BODIES: dict[RequestForm, type[BaseRequestBody]] = {
    "union": RerankRequestBody,
    "infinity": InfinityRequestBody,
    "voyage": VoyageRequestBody,
    "tei": TeiRequestBody,
    "score": ScoreRequestBody,
    "predict": PredictRequestBody,
}
ONLY_IN_THE_UNION = {"explain"}  # Infinity and Voyage have no place for it


@pytest.mark.parametrize("form", FORMS)
def test_the_fields_of_a_body_are_those_that_are_honoured(form: RequestForm) -> None:
    body = BODIES[form]
    assert body.form == form
    without = ONLY_IN_THE_UNION if form in ("infinity", "voyage") else set()
    assert set(body.model_fields) - without == HONOURED[form]


def test_a_row_says_one_thing_for_each_form() -> None:
    for row in FIELDS.values():
        assert not set(row.honoured) & set(row.refused), row.name
        assert {row.support(form) for form in FORMS} <= {"honoured", "warned", "refused"}


@pytest.mark.parametrize(
    ("name", "nothing", "something"),
    [
        ("priority", [None, 0], [1, 999]),
        ("truncate", [None, True, "true"], [False, "END"]),
        ("truncation_direction", [None, "Right", "right"], ["Left"]),
        ("truncate_prompt_tokens", [None, -1, 0], [16]),
        ("relevant_spans", [None, {}, {"mode": "disabled"}], [{"mode": "enabled"}]),
        ("user", [None, ""], ["ada"]),
    ],
)
def test_values_that_ask_for_nothing(name: str, nothing: list[object], something: list[object]) -> None:
    assert not any(FIELDS[name].asks(value) for value in nothing)
    assert all(FIELDS[name].asks(value) for value in something)


@pytest.mark.parametrize("name", ["input", "instances", "text_pairs"])
def test_texts_in_a_form_that_is_not_read_are_refused_by_name(name: str) -> None:
    for content in ({name: ["a"]}, {name: {"query": "q", "documents": ["d"]}, "query": "q", "documents": ["d"]}):
        with pytest.raises(InvalidRequestError, match=rf"^{name}: It is not supported here; send "):
            validated(RerankRequestBody, content)
    assert validated(RerankRequestBody, {"query": "q", "documents": ["d"], name: []}).warnings == []


def test_bodies_that_refuse_what_they_do_not_know_have_no_form() -> None:
    assert SearchRequestBody.form is None
    assert validated(SearchRequestBody, {"query": "q", "k": 3, "max_tokens": 100}).ignored_fields == []


@pytest.mark.parametrize(
    ("fields", "warnings"),
    [
        ({"top_k": 3, "top_n": 5}, ["top_k differs from top_n and was ignored"]),
        ({"top_k": 5, "top_n": 5}, []),
        ({"top_k": 5, "top_n": None}, []),
        ({"threshold": 0.1, "score_threshold": 0.2}, ["score_threshold differs from threshold and was ignored"]),
        (
            {"max_length": 64, "truncate_prompt_tokens": 32},
            ["max_length differs from truncate_prompt_tokens and was ignored"],
        ),
        ({"max_length": 64, "truncate_prompt_tokens": -1}, []),
        ({"rank_fields": ["title"]}, ["rank_fields is for documents that are objects and was ignored"]),
        ({"instruction": "a", "instruct": "a"}, []),
        (
            {"instruct": "a", "kwargs": '{"instruction": "b", "n": 1}'},
            [
                "kwargs.instruction is not the only instruction and was ignored",
                "kwargs.n is not supported here and was ignored",
            ],
        ),
        ({"chat_template_kwargs": "x"}, ["chat_template_kwargs is no object with an instruction and was ignored"]),
        ({"chat_template_kwargs": {str(n): n for n in range(99)}}, None),
    ],
)
def test_a_field_beside_another_that_counts(fields: dict[str, object], warnings: list[str] | None) -> None:
    body = validated(RerankRequestBody, {"query": "q", "documents": ["d"]} | fields)
    if warnings is None:
        assert len(body.warnings) == 11
        assert body.warnings[-1] == "chat_template_kwargs has 89 more options that were ignored"
    else:
        assert body.warnings == warnings


def test_the_sides_of_pairs() -> None:
    body = validated(
        ScoreRequestBody, {"text_1": "q", "queries": "r", "text_2": ["d"], "items": ["d"], "documents": "e"}
    )
    assert body.pairs() == [("q", "d")]
    assert body.warnings == [
        "queries differs from text_1 and was ignored",
        "documents differs from text_2 and was ignored",
    ]
    both = validated(ScoreRequestBody, {"text_1": "q", "text_2": "d", "max_length": 64, "truncate_prompt_tokens": 32})
    assert both.warnings == ["truncate_prompt_tokens differs from max_length and was ignored"]
