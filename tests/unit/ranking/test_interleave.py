from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rerankd.ranking.interleave import interleave_scores
from rerankd.ranking.order import order_of, rank_request
from rerankd.types import Adjustment, Document, Fusion, PairScore, RerankRequest

LOGITS = st.lists(st.tuples(*[st.floats(-10, 10).map(lambda value: round(value, 1))] * 2), min_size=1, max_size=30)


def pairs(logits: list[float]) -> list[PairScore]:
    return [PairScore(logit, 5, False) for logit in logits]


def request(count: int, **more: object) -> RerankRequest:
    return RerankRequest("q", [Document(f"d{position}") for position in range(count)], **more)  # type: ignore[arg-type]


@given(LOGITS, st.integers(0, 2**32))
def test_places_fall_with_scores_and_teams_take_turns(logits: list[tuple[float, float]], seed: int) -> None:
    first, second = ([one[side] for one in logits] for side in (0, 1))
    ranking_request = request(len(logits))
    interleaved = interleave_scores(ranking_request, pairs(first), pairs(second), (), seed)
    order = order_of(ranking_request.documents, interleaved.scores)
    assert sorted(order) == list(range(len(logits)))
    shown = [interleaved.scores[position].raw_score for position in order]
    assert shown == sorted(shown, reverse=True)
    assert all(abs(a - b) < 1e-6 for a, b in zip(sorted(first, reverse=True), shown, strict=True))
    teams = [interleaved.teams[position] for position in order if interleaved.teams[position] != "-"]
    for start in range(0, len(teams) - 1, 2):
        assert {teams[start], teams[start + 1]} == {"0", "1"}
    assert interleave_scores(ranking_request, pairs(first), pairs(second), (), seed) == interleaved


def test_the_same_ranking_has_no_teams() -> None:
    interleaved = interleave_scores(request(3), pairs([3.0, 1.0, 1.0]), pairs([9.0, 5.0, 4.0]), (), 1)
    assert interleaved.teams == "---"
    assert [one.index for one in rank_request(interleaved.request, interleaved.scores)] == [0, 1, 2]


def test_rules_and_fusion_count_once() -> None:
    documents = [Document(f"d{position}", metadata={"score": float(position)}) for position in range(4)]
    ranking_request = RerankRequest("q", documents, fusion=Fusion("weighted", 100.0))
    rules = [Adjustment(), Adjustment(filtered=True), Adjustment(boost=1.0), Adjustment(pin_to=1)]
    interleaved = interleave_scores(ranking_request, pairs([4.0, 3.0, 2.0, 1.0]), pairs([1.0, 2.0, 3.0, 4.0]), rules, 1)
    ranked = rank_request(interleaved.request, interleaved.scores, interleaved.adjustments)
    assert [one.index for one in ranked] == [3, 2, 0]  # pinned, then as the first stage has it
    assert (interleaved.teams[1], interleaved.teams[3]) == ("-", "-")
    assert interleaved.request.fusion is None
