"""Commands about traces, cases, monitoring and experiments: what a person reads, on a narrow terminal too."""

from __future__ import annotations

import getpass
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from rerankd.cli import cases, gate, monitor, rollout_status, traces
from rerankd.evaluation.gate_record import GateCheck, GateDecision, GateLimits
from rerankd.traces.store import TraceStore
from rerankd.traces.trace import build_trace
from tests.program import rerankd
from tests.unit.feedback.written import write
from tests.unit.traces.rankings import ranking

REQUEST = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/traces.sqlite"


@pytest.fixture
def store(url: str) -> Iterator[TraceStore]:
    opened = TraceStore(url)
    yield opened
    opened.close()


def run(url: str, *arguments: str, columns: int = 80) -> CompletedProcess[str]:
    return rerankd(*arguments, "--traces-url", url, env={"COLUMNS": str(columns)})


def test_an_empty_list_says_where_traces_come_from(url: str, store: TraceStore) -> None:
    shown = run(url, "traces", "list")
    assert shown.stdout == ""
    assert shown.stderr == "No traces yet: start rerankd serve and send a request.\n"
    write(store, REQUEST, 3, 2)
    assert run(url, "traces", "list", "--model", "another").stderr == "No trace matches.\n"


@pytest.mark.parametrize("columns", [80, 200])
def test_request_ids_are_shown_whole(
    url: str, store: TraceStore, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "wants_json", lambda flag: False)
    write(store, REQUEST, 3, 2)
    shown = run(url, "traces", "list", columns=columns).stdout
    assert REQUEST in shown
    assert ("margin" in shown) == (columns > 100)


def test_headers_are_readable_at_100_columns(url: str, store: TraceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "wants_json", lambda flag: False)
    write(store, REQUEST, 3, 2)
    shown = run(url, "monitor", columns=100).stdout
    for header in ("top changed", "reciprocal rank of choice, before → after", "truncated", "verdict"):
        assert header in shown


def test_a_flagged_case_says_its_number_and_what_is_next(url: str, store: TraceStore) -> None:
    for number, request in enumerate(("first", "second"), start=1):
        write(store, request, 3, 2)
        flagged = run(url, "cases", "flag", request)
        assert flagged.stderr == f"Case {number} added. Next: rerankd cases label {number} --relevant ...\n"
    assert run(url, "cases", "flag", "first").stderr == "It is a case already.\n"


def test_detectors_that_find_nothing_are_counted(url: str, store: TraceStore) -> None:
    counts = json.loads(run(url, "cases", "detect").stdout)
    assert counts == dict.fromkeys(("chosen_low", "top_rejected", "demoted", "low_margin", "outlier"), 0)


def test_a_challenger_that_is_the_champion_is_refused(url: str) -> None:
    refused = run(url, "rollout", "start", "same", "--challenger", "mini")
    assert refused.returncode == 2
    assert "mini has the same files as mini, the champion. Name another challenger" in refused.stderr
    assert run(url, "rollout", "start", "same", "--challenger", "mini", "--no-check").returncode == 0
    status = json.loads(run(url, "rollout", "status", "same").stdout)
    assert status["reason"].endswith("Requests without X-Rerankd-User do not count.")


def test_ratios_have_no_sign(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    checks = (GateCheck("gain on beir", True, 0.25, 0.0, ""), GateCheck("latency", True, 1.1124, 1.2, ""))
    gate.print_decision(GateDecision("new", "old", True, checks, GateLimits(), {}, 0.0))
    shown = capsys.readouterr().out
    assert "+0.2500" in shown
    assert "1.1124" in shown
    assert "+1.1124" not in shown


@pytest.mark.parametrize("command", [("show", "r1"), ("export",)])
def test_what_a_rule_hid_from_a_key_is_not_in_what_that_key_is_given(
    url: str, store: TraceStore, command: tuple[str, ...]
) -> None:
    write(store, "r1", 3, 2, 1, rules={1: "filter"})
    (everything,) = map(json.loads, run(url, "traces", *command).stdout.splitlines())
    assert [candidate["filtered"] for candidate in everything["candidates"]] == [False, True, False]
    shown = run(url, "traces", *command, "--tenant", "search").stdout
    (row,) = map(json.loads, shown.splitlines())
    assert ([candidate["index"] for candidate in row["candidates"]], row["documents"]) == ([0, 2], 2)
    assert "r1 text 1" not in shown
    assert "d1" not in shown


@pytest.mark.parametrize("columns", [80, 200])
def test_lists_show_no_keys_of_the_database(
    url: str, store: TraceStore, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, REQUEST, 3, 2, 1)
    store.write([build_trace(ranking(request_id=""))])
    for command in (("list",), ("replay", "mini")):
        rows = [json.loads(line) for line in run(url, "traces", *command).stdout.splitlines()]
        traced = [row.get("trace", row) for row in rows]
        assert {row["request_id"] for row in traced} == {REQUEST, "#2"}  # what `traces show` takes
        for row in traced:
            assert not {"id", "parameters"} & row.keys()
            assert not isinstance(row.get("query"), int)
    monkeypatch.setattr(traces, "wants_json", lambda flag: False)
    for command in (("list",), ("replay", "mini")):
        shown = run(url, "traces", *command, columns=columns).stdout
        header = shown.split("┡")[0].replace("┃", " ").split()
        assert "request" in header
        assert "id" not in header
        assert REQUEST in shown
        assert "#2" in shown


def test_a_replay_names_both_models(url: str, store: TraceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "wants_json", lambda flag: False)
    write(store, REQUEST, 3, 2, 1)
    said = run(url, "traces", "replay", "mini").stderr
    assert "1 ranking of mini (version v1) replayed on mini" in said


@pytest.mark.parametrize("mean", [math.log(20.0), 0.0])
def test_means_are_shown_in_units_and_unknown_bounds_in_words(
    mean: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    unknown = {"mean": 0.0, "low": -math.inf, "high": math.inf}
    row = {
        "means": {
            "latency": {"champion": {"count": 9, "mean": mean}, "challenger": {"count": 1, "mean": mean}},
            "errors": {"champion": {"count": 9, "mean": 0.125}, "challenger": {"count": 0, "mean": 0.0}},
            "thumbs_down": {"champion": {"count": 9, "mean": 0.5}},
        },
        "bounds": {"latency": {"mean": 0.1, "low": 0.0, "high": math.log(1.5)}, "errors": unknown},
    }
    rollout_status.print_means(row)
    shown = capsys.readouterr().out
    assert "inf" not in shown
    for text in (f"{math.exp(mean):.1f} ms", "+50.0 %", "12.50 %", "not known yet", "negative feedback"):
        assert text in shown


def test_a_trace_is_shown_with_round_numbers_and_named_parameters(
    url: str, store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = ranking(request_id=REQUEST)
    store.write([build_trace(replace(record, timings=dict(record.timings) | {"inference": 24.271982998470776}))])
    exact = json.loads(run(url, "traces", "show", REQUEST, "--json").stdout)
    assert exact["inference_ms"] == 24.271982998470776
    assert isinstance(exact["parameters"], dict)
    monkeypatch.setattr(traces, "wants_json", lambda flag: False)
    shown = run(url, "traces", "show", REQUEST, columns=200).stdout
    assert "24.272 " in shown
    assert "24.2719" not in shown
    assert "activation=sigmoid, max_length=512, top_n=2" in shown
    assert "None" not in shown


def test_labels_have_a_labeller(url: str, store: TraceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "wants_json", lambda flag: False)
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    write(store, REQUEST, 3, 2)
    run(url, "cases", "flag", REQUEST)
    run(url, "cases", "label", "1", "--relevant", "0=3", "--irrelevant", "1")
    run(url, "cases", "label", "1", "--relevant", "0=1", "--labeller", "bo")
    assert "ann 3, bo 1" in run(url, "cases", "show", "1", columns=200).stdout
    refused = run(url, "cases", "label", "1", "--relevant", "0", "--labeller", "x" * 300)
    assert refused.returncode != 0
    assert "name" in refused.stderr


def test_a_user_without_a_name_labels_as_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", fail)
    assert cases._user() == "command line"
