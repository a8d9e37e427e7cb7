from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import InvalidRequestError
from rerankd.ranking.order import (
    checked_fusion,
    first_score,
    fused,
    order_of,
    rank_documents,
    rank_request,
    standardized,
)
from rerankd.types import Adjustment, Document, Fusion, PairScore, RerankRequest

LOGITS = st.lists(st.integers(-2000, 2000).map(lambda n: n / 100), max_size=12)


def scores(values: list[float]) -> list[PairScore]:
    return [PairScore(value, 5, False) for value in values]


def documents(first: list[float] | int) -> list[Document]:
    if isinstance(first, int):
        return [Document(str(i)) for i in range(first)]
    return [Document(str(i), metadata={"score": value}) for i, value in enumerate(first)]


@given(LOGITS)
def test_without_rules_the_order_is_by_logit_and_then_as_it_came(values: list[float]) -> None:
    order = order_of(documents(len(values)), scores(values))
    assert order == sorted(range(len(values)), key=lambda i: (-values[i], i))


ADJUSTED = LOGITS.flatmap(
    lambda values: st.tuples(
        st.just(values),
        st.lists(
            st.builds(Adjustment, st.floats(-2, 2), st.integers(0, 14), st.booleans()),
            min_size=len(values),
            max_size=len(values),
        ),
    )
)


@given(ADJUSTED)
def test_rules_hide_pin_and_move(given: tuple[list[float], list[Adjustment]]) -> None:
    values, rules = given
    order = order_of(documents(len(values)), scores(values), rules)
    shown = [i for i, rule in enumerate(rules) if not rule.filtered]
    assert sorted(order) == shown
    free = [i for i in order if not rules[i].pin_to]
    assert free == sorted(free, key=lambda i: (-(values[i] + rules[i].boost), i))
    for i in (i for i in shown if rules[i].pin_to):
        position = order.index(i) + 1
        taken = sum(bool(rules[other].pin_to) for other in shown)
        assert position >= min(rules[i].pin_to, len(order) - taken + 1)
        if sum(rules[other].pin_to <= rules[i].pin_to for other in shown if rules[other].pin_to) == 1:
            assert position == min(rules[i].pin_to, len(order) - taken + 1) or position <= rules[i].pin_to


def test_a_pin_is_at_its_place() -> None:
    rules = [Adjustment(), Adjustment(), Adjustment(pin_to=2), Adjustment(pin_to=2), Adjustment(pin_to=1)]
    assert order_of(documents(5), scores([5, 4, 3, 2, 1]), rules) == [4, 2, 3, 0, 1]


@given(LOGITS, st.floats(0, 5))
def test_a_first_stage_that_agrees_changes_nothing(values: list[float], weight: float) -> None:
    for method in ("weighted", "rrf"):
        order = order_of(documents(values), scores(values), fusion=checked_fusion(method, weight))
        assert order == order_of(documents(values), scores(values))


def test_the_first_stage_counts_by_its_weight() -> None:
    given = documents([0.0, 1.0, 5.0])
    logits = scores([3.0, 2.0, 1.0])
    assert order_of(given, logits, fusion=Fusion("weighted", 0.1)) == [0, 1, 2]
    assert order_of(given, logits, fusion=Fusion("weighted", 10)) == [2, 1, 0]
    assert order_of(given, logits, fusion=Fusion("rrf", 10)) == [2, 1, 0]
    assert order_of(given, logits, fusion=Fusion("rrf", 0)) == [0, 1, 2]


def test_without_scores_the_places_count() -> None:
    assert order_of(documents(3), scores([1.0, 1.0, 1.1]), fusion=Fusion("weighted", 20)) == [0, 1, 2]
    assert order_of(documents(3), scores([1.0, 1.0, 1.1]), fusion=Fusion("rrf", 20)) == [0, 1, 2]


def test_equal_scores_have_no_spread() -> None:
    assert standardized(np.array([0.1] * 3)).tolist() == [0.0] * 3
    assert fused([], [], Fusion()).tolist() == []
    assert fused([1.0], [math.nan], Fusion()).tolist() == [0.0]


def test_what_is_shown_is_the_models_score_and_fusion_only_orders() -> None:
    request = RerankRequest("q", documents([0.0, 9.0]), fusion=Fusion("weighted", 9.0))
    ranking = rank_request(request, scores([1.0, 0.0]))
    assert [one.index for one in ranking] == [1, 0]
    assert ranking[0].relevance_score == 0.5
    assert ranking[0].raw_score == 0.0


def test_a_threshold_is_on_shifted_scores() -> None:
    rules = [Adjustment(boost=-2.0), Adjustment(boost=2.0)]
    ranking = rank_documents(documents(2), scores([1.0, -1.0]), None, "sigmoid", 0.5, rules)
    assert [one.index for one in ranking] == [1]


@pytest.mark.parametrize(("method", "weight"), [("best", None), ("rrf", -1), ("weighted", 101), ("rrf", math.nan)])
def test_fusions_that_are_none(method: str, weight: float | None) -> None:
    with pytest.raises(InvalidRequestError):
        checked_fusion(method, weight)


def test_fusions_by_name() -> None:
    assert checked_fusion(None) is None
    assert checked_fusion("none", 3) is None
    assert checked_fusion("weighted") == Fusion()
    assert checked_fusion("rrf") == Fusion("rrf", 1.0)
    assert checked_fusion("rrf", 2) == Fusion("rrf", 2.0)


@pytest.mark.parametrize("value", [True, "1", None, math.inf, math.nan])
def test_first_scores_that_are_none(value: object) -> None:
    assert math.isnan(first_score(Document("", metadata={"score": value})))


BLANKS = ["", "   ", "\u200b", "\u3000\n", "\ufeff\u00ad"]


@pytest.mark.parametrize("fusion", [None, Fusion("rrf", 100.0), Fusion("weighted", 100.0)])
def test_blank_documents_are_last_and_score_less_than_any_text(fusion: Fusion | None) -> None:
    texts = [*BLANKS, "an unrelated text", "the answer"]
    candidates = [Document(text, metadata={"score": 9.0 - i}) for i, text in enumerate(texts)]
    logits = [*[4.0] * len(BLANKS), -3.0, 6.0]
    ranking = rank_documents(candidates, scores(logits), None, "sigmoid", fusion=fusion)
    assert {one.index for one in ranking[:2]} == {5, 6}
    assert [one.index for one in ranking[2:]] == [0, 1, 2, 3, 4]
    blank = {one.raw_score for one in ranking[2:]}
    assert len(blank) == 1
    assert blank.pop() < -3.0
    assert max(one.relevance_score for one in ranking[2:]) < min(one.relevance_score for one in ranking[:2])


def test_a_threshold_keeps_no_blank_document_and_a_pin_does() -> None:
    candidates = [Document("\u200b"), Document("a"), Document("")]
    ranking = rank_documents(candidates, scores([5.0, 4.0, 5.0]), None, "sigmoid", 0.5)
    assert [one.index for one in ranking] == [1]
    assert rank_documents([Document(" ")], scores([5.0]), None, "sigmoid", 0.5) == ()
    pinned = [Adjustment(), Adjustment(), Adjustment(pin_to=1)]
    ranking = rank_documents(candidates, scores([5.0, 4.0, 5.0]), None, "sigmoid", 0.5, pinned)
    assert [one.index for one in ranking] == [2, 1]


def test_blank_documents_alone_keep_their_scores() -> None:
    ranking = rank_documents([Document(""), Document(" ")], scores([1.5, 1.5]), None, "none")
    assert [one.raw_score for one in ranking] == [1.5, 1.5]


def test_first_scores_of_numpy_count() -> None:
    assert first_score(Document("", metadata={"score": np.float32(1.5)})) == 1.5
    assert first_score(Document("", metadata={"score": np.int64(2)})) == 2.0
    assert checked_fusion("rrf", np.float32(2.0)) == Fusion("rrf", 2.0)  # type: ignore[arg-type]
