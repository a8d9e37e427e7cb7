from __future__ import annotations

import datetime
from typing import Any

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.ranking.order import order_of, rank_documents
from rerankd.rules.rule_file import parse_rules
from rerankd.rules.rule_set import RuleSet, language_of
from rerankd.types import Adjustment, Document, PairScore, RankedDocument

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC).timestamp()
DOCUMENTS = [
    Document("保修期为一年", "a", {"source": "manual/1.md", "date": "2020-01-01", "status": "final"}),
    Document("the warranty and the 质保", "b", {"source": "notices/2.md", "date": "2026-05-20"}),
    Document("drafts of something", "c", {"status": ["Draft", "new"], "visibility": "internal"}),
    Document("nothing of this", "d"),
]
SCORES = [PairScore(score, 9, False) for score in (1.0, 0.5, 0.0, -0.5)]


def rules(text: str, head: str = "") -> RuleSet:
    return parse_rules(f"{head}\nrules:\n  - {{name: r, {text}}}".encode())


def ordered(rule_set: RuleSet, query: str = "保修多久", tenant: str = "") -> list[Any]:
    adjustments = rule_set.adjustments(query, DOCUMENTS, tenant, NOW)
    return [DOCUMENTS[position].id for position in order_of(DOCUMENTS, SCORES, adjustments)]


def ranked(rule_set: RuleSet, threshold: float | None = None, top_n: int | None = None) -> tuple[RankedDocument, ...]:
    adjustments = rule_set.adjustments("保修多久", DOCUMENTS, "", NOW)
    return rank_documents(DOCUMENTS, SCORES, top_n, "sigmoid", threshold, adjustments)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("documents: {terms: [质保]}, boost: 1", "bacd"),
        ("documents: {terms: {质保: 0.2, warranty: 0.5}}, boost: 1", "bacd"),
        ("documents: {terms: {质保: 0.2}}, boost: 1", "abcd"),
        ("documents: {metadata: {status: final}}, bury: 1.2", "bcad"),
        ("documents: {metadata: {status: draft}}, boost: 2", "cabd"),
        ("documents: {older_than: 1y}, bury: 1.2", "bcad"),
        ("documents: {newer_than: 30d}, boost: 1", "bacd"),
        ("documents: {source: 'notices/*'}, pin: 1", "bacd"),
        ("documents: {terms: [nothing]}, pin: 2", "adbc"),
        ("documents: {terms: [nothing]}, pin: 99", "abcd"),
        ("documents: {metadata: {visibility: internal}}, filter: true", "abd"),
        ("when: {terms: [保修]}, documents: {terms: [nothing]}, pin: 1", "dabc"),
        ("when: {terms: [退货]}, documents: {terms: [nothing]}, pin: 1", "abcd"),
        ("when: {language: zh}, documents: {terms: [nothing]}, pin: 1", "dabc"),
        ("when: {language: en}, documents: {terms: [nothing]}, pin: 1", "abcd"),
        ("when: {regex: '多久$'}, documents: {terms: [nothing]}, pin: 1", "dabc"),
        ("when: {tenant: [x]}, documents: {terms: [nothing]}, pin: 1", "abcd"),
    ],
)
def test_what_an_action_does_to_the_order(text: str, order: str) -> None:
    assert "".join(name or "" for name in ordered(rules(text))) == order


def test_a_rule_of_a_tenant_acts_for_it_alone() -> None:
    rule_set = rules("when: {tenant: x}, documents: {terms: [nothing]}, pin: 1")
    assert ordered(rule_set, tenant="x")[0] == "d"
    assert ordered(rule_set, tenant="y")[0] == "a"


def test_rules_cannot_outvote_the_model_beyond_their_bound() -> None:
    many = "".join(f"  - {{name: r{i}, documents: {{terms: [nothing]}}, boost: 9}}\n" for i in range(5))
    adjusted = parse_rules(f"max_shift: 0.7\nrules:\n{many}".encode()).adjustments("q", DOCUMENTS, "", NOW)
    assert adjusted[3].boost == 0.7
    assert len(adjusted[3].matched_rules) == 5
    assert adjusted[0] == Adjustment()


def test_what_fired_is_in_the_result_with_its_weight() -> None:
    first = ranked(rules("documents: {terms: {质保: 0.5, warranty: 1}}, boost: 0.8"))[0]
    assert first.document.id == "b"
    assert first.raw_score == 0.5
    assert [(one.rule, one.action, round(one.weight, 6)) for one in first.rules] == [("r", "boost", 1.2)]
    assert first.relevance_score == pytest.approx(1 / (1 + 2.718281828 ** -(0.5 + 1.2)))


def test_a_threshold_is_on_the_ruled_score_and_spares_pins() -> None:
    pinned = ranked(rules("documents: {terms: [nothing]}, pin: 1"), threshold=0.6)
    assert [one.document.id for one in pinned] == ["d", "a", "b"]
    buried = ranked(rules("documents: {terms: [保修期]}, bury: 2"), threshold=0.6)
    assert [one.document.id for one in buried] == ["b"]
    assert [one.document.id for one in ranked(rules("documents: {terms: [nothing]}, pin: 1"), top_n=1)] == ["d"]


def test_synonyms_stand_behind_the_query_once() -> None:
    rule_set = parse_rules("rules:\n  - {name: s, synonyms: [手机, 移动电话, phone]}".encode())
    assert rule_set.expand_query("手机保修") == "手机保修 (移动电话, phone)"
    assert rule_set.expand_query("my Phone") == "my Phone (手机, 移动电话)"
    assert rule_set.expand_query("手机 phone") == "手机 phone (移动电话)"
    assert rule_set.expand_query("phones") == "phones"
    assert rule_set.adjustments("手机", DOCUMENTS) == [Adjustment()] * 4


def test_dates_that_are_none_match_no_age() -> None:
    rule_set = rules("documents: {older_than: 1d}, filter: true", "date_field: when")
    documents = [Document("x", metadata={"when": value}) for value in (None, "soon", True, 0, "2026-05-31T23:00:00Z")]
    assert [one.filtered for one in rule_set.adjustments("q", documents, "", NOW)] == [False, False, False, True, False]


@pytest.mark.parametrize(
    ("text", "language"), [("保修多久", "zh"), ("how long", "en"), ("", "en"), ("iPhone 16 保修期", "zh")]
)
def test_language(text: str, language: str) -> None:
    assert language_of(text) == language


def test_ten_thousand_rules_look_at_those_that_matter() -> None:
    many = "".join(f"  - {{name: r{i}, documents: {{terms: [term{i}]}}, boost: 1}}\n" for i in range(2000))
    rule_set = parse_rules(f"rules:\n{many}".encode())
    [one] = rule_set.adjustments("q", [Document("term7 and term1999")])
    assert [fired.rule for fired in one.matched_rules] == ["r7", "r1999"]
    assert one.boost == 2.0


@pytest.mark.parametrize("value", ["x" * 20_000, "\ufdfa" * 20_000])
def test_a_value_too_long_for_any_rule_is_not_normalised(value: str) -> None:
    document = Document("text", metadata={"status": value, "source": value, "tags": [value, "x"]})
    by_status = rules("documents: {metadata: {status: x}}, pin: 1")
    assert by_status.adjustments("q", [document]) == [Adjustment()]
    assert rules("documents: {source: '*x'}, pin: 1").adjustments("q", [document]) == [Adjustment()]
    assert rules("documents: {metadata: {tags: x}}, pin: 1").adjustments("q", [document])[0].pin_to == 1


def test_all_texts_of_a_request_share_the_limit_on_growth() -> None:
    by_term = rules("documents: {terms: [x]}, boost: 1")
    with pytest.raises(InvalidRequestError, match="much longer"):
        by_term.adjustments("q", [Document("\ufdfa" * 10_000)] * 10)
    assert len(by_term.adjustments("q", [Document("\ufdfa" * 100)] * 10)) == 10
