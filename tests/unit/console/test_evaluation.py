from __future__ import annotations

import re
from typing import Any

import pytest
from starlette.datastructures import FormData

from rerankd.console import evaluation_views as views
from rerankd.console.evaluation_forms import ORDERS, plan_of
from rerankd.console.evaluation_lists import compared, ranked
from rerankd.console.messages import messages
from rerankd.console.static_files import STATIC
from rerankd.console.visitor import Visitor
from rerankd.errors import InvalidRequestError, NotFoundError, PermissionDeniedError
from rerankd.evaluation.dataset import Dataset
from rerankd.evaluation.evaluation import evaluate
from rerankd.evaluation.packing import packed_queries, packed_result
from rerankd.evaluation.report.page import TEMPLATES as REPORT_TEMPLATES
from rerankd.evaluation.run import RankingRun, first_stage_run
from rerankd.evaluation.saved import STATES, EvaluationPlan, SavedEvaluation
from rerankd.server.auth.keys import new_key

TENANT = Visitor(new_key("team")[1], "en", "token")
ADMIN = Visitor(None, "en", "token")


def evaluated() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return an evaluation in which query `lost` gets worse, `won` better, and `same` stays."""
    candidates = {"lost": ("a", "b"), "same": ("a", "b"), "won": ("b", "a")}
    qrels = {"lost": {"a": 1}, "same": {"a": 2}, "won": {"a": 1, "gone": 3}}
    dataset = Dataset("tiny", dict.fromkeys(candidates, "text"), {}, qrels, candidates, "a run")
    logits = {"lost": {"a": -1.0, "b": 1.0}, "same": {"a": 1.0, "b": 1.0}, "won": {"a": 2.0, "b": 0.5}}
    after = {"lost": ("b", "a"), "same": ("a", "b"), "won": ("a", "b")}
    evaluation = evaluate([(dataset, [first_stage_run(dataset), RankingRun("mini", after, logits)])], ["RR"])
    return packed_result(evaluation), packed_queries(evaluation.results[0])


def saved(**changes: Any) -> SavedEvaluation:
    fields: dict[str, Any] = {
        "id": 1,
        "created": 0.0,
        "changed": 0.0,
        "started": 100.0,
        "finished": None,
        "tenant": None,
        "author": "me",
        "plan": EvaluationPlan("cases", "", ("mini",), 50, 100),
        "state": "running",
        "done": 25,
        "total": 100,
        "error": "",
        "headline": {},
    }
    return SavedEvaluation(**(fields | changes))


def test_what_is_left_follows_from_what_is_done() -> None:
    assert views.remaining_seconds(saved(), 110.0) == 30
    assert views.remaining_seconds(saved(done=0), 110.0) is None
    assert views.remaining_seconds(saved(state="queued", started=None), 110.0) is None
    view = views.run_view(saved(tenant="acme"), {1: 3}, TENANT)
    assert (view["share"], view["position"], "tenant" in view) == (0.25, 3, False)


def test_queries_are_sorted_by_their_loss() -> None:
    result, _ = evaluated()
    assert result["query_ids"] == ["lost", "same", "won"]
    assert views.sorted_positions(result, "mini", "loss") == [0, 1, 2]
    assert views.sorted_positions(result, "mini", "gain") == [2, 1, 0]
    rows = views.query_rows(result, "mini", [0], lambda position: f"/{position}")
    assert rows == [
        {
            "position": 0,
            "query_id": "lost",
            "before": 1.0,
            "after": 0.5,
            "delta": -0.5,
            "address": "/0",
        }
    ]


def test_points_and_bars_link_to_their_queries() -> None:
    result, _ = evaluated()
    names = {name: name for name in ("better", "worse", "same", "no_change", "before", "after")}
    chart = views.scatter_chart(result, "mini", ["l", "s", "w"], names, "/{}".format)
    assert [(each["name"], each.get("titles"), each.get("links")) for each in chart["series"]] == [
        ("better", ["w"], ["/2"]),
        ("worse", ["l"], ["/0"]),
        ("same", ["s"], ["/1"]),
        ("no_change", None, None),
    ]
    bars = views.delta_chart(result, "mini", ["l", "s", "w"], "Δ RR", "/{}".format)["series"][0]
    assert bars["values"] == [0.5, 0.0, -0.5]
    assert bars["titles"] == ["w", "s", "l"]


def test_an_unknown_system_is_the_first_one() -> None:
    result, _ = evaluated()
    assert views.chosen_system(result, "mini") == "mini"
    assert views.chosen_system(result, "<script>") == "mini"
    assert views.address(result, 7, "mini") == "/console/evaluation/7"
    assert (
        views.address(result, 7, "a&b", order="gain", page=2) == "/console/evaluation/7?system=a%26b&order=gain&page=2"
    )
    assert views.address(result, 7, "mini", order="gain", query=3) == "/console/evaluation/7/3?order=gain"


def test_a_query_becomes_two_lists_with_grades() -> None:
    _, queries = evaluated()
    found = queries[2] | {"truncated": {"mini": [1]}}
    assert found["grades"] == {"a": 1, "gone": 3}
    documents, (before, after) = compared("first-stage", "mini", found, {"a": "A"}, {"first-stage": "First"})
    assert [(each.id, each.text, each.grade) for each in documents] == [("b", None, None), ("a", "A", 1)]
    assert (before.name, before.ranks, before.scores) == ("First", [1, 2], ())
    assert (after.name, after.ranks, after.raw_scores) == ("mini", [2, 1], [0.5, 2.0])
    assert [mark.truncated for mark in after.marks] == [False, True]
    assert ranked("ab", [1.0, 1.0]) == [1, 2], "ties keep the order"


def test_folders_are_for_administrators() -> None:
    form = FormData([("source", "folder:data/tiny"), ("model", "mini"), ("model", "mini"), ("depth", "20")])
    assert plan_of(form, ADMIN) == EvaluationPlan("folder", "data/tiny", ("mini",), 20, 100)
    with pytest.raises(PermissionDeniedError):
        plan_of(form, TENANT)
    cases = FormData([("source", "cases"), ("model", "mini")])
    assert plan_of(cases, TENANT).source == "cases"
    with pytest.raises(NotFoundError):
        plan_of(FormData([("source", "/etc/passwd")]), ADMIN)
    with pytest.raises(InvalidRequestError, match="depth"):
        plan_of(FormData([("source", "cases"), ("depth", "-1")]), ADMIN)
    with pytest.raises(InvalidRequestError, match="source"):
        plan_of(FormData([("source", "x" * 1000)]), ADMIN)


def test_messages_with_names_that_are_put_together_exist() -> None:
    names = {f"evaluation.state_{state}" for state in STATES}
    names |= {f"evaluation.order_{order}" for order in ORDERS}
    names |= {f"evaluation.{side}" for side in ("better", "worse", "same", "no_change")}
    assert names <= set(messages())


def test_the_report_has_the_colours_of_the_console() -> None:
    console = (STATIC / "console.css").read_text(encoding="utf-8")
    report = (REPORT_TEMPLATES / "report.css").read_text(encoding="utf-8")
    for ours, theirs in zip(palettes(console), palettes(report), strict=True):
        assert theirs.items() <= ours.items()
        assert len(theirs) > 10


def palettes(css: str) -> list[dict[str, str]]:
    """Return the variables of the light and of the dark palette."""
    blocks = [block for block in re.findall(r":root {([^}]*)}", css) if "--ground" in block]
    return [dict(re.findall(r"(--[\w-]+): (#\w+)", block)) for block in blocks]
