from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.experiments.controller import apply_decision
from rerankd.experiments.guardrails import ExperimentDecision
from rerankd.feedback.case_store import get_case
from rerankd.feedback.case_update import set_state
from rerankd.improve import loop as improving
from rerankd.improve.loop import Loop, restart
from rerankd.improve.state import RunState, StepResult
from rerankd.improve.trial import stop_experiment
from rerankd.settings import Settings
from rerankd.wiring.experiments import open_experiments
from rerankd.wiring.traces import open_trace_store
from tests.unit.improve.material import domain_folders, improve_settings, resources, run_options
from tests.unit.improve.test_cases import add_case


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return domain_folders(tmp_path_factory.mktemp("domain"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return improve_settings(tmp_path)


def stop(settings: Settings, name: str) -> None:
    with closing(open_experiments(settings)) as store:
        stop_experiment(store, name, "me")


def test_without_a_registry_it_begins_with_mini(data: Path, bert: Path, settings: Settings, tmp_path: Path) -> None:
    loop = Loop(dataclasses.replace(run_options(data, tmp_path / "z", bert), base=""), resources(settings))
    assert loop._base() == "mini"
    assert "fine-tune mini" in loop.plan()[1][2]


def test_requests_decide_and_it_goes_on_afterwards(
    data: Path, bert: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = run_options(data, tmp_path / "online", bert, online="canary")
    loop = Loop(plan, resources(settings))
    moved: list[object] = []

    class Registry:
        def promote(self, name: str, version: int, reason: str) -> object:
            moved.append((name, version))
            return type("Move", (), {"after": version})

    monkeypatch.setattr(loop, "_registry", Registry())
    for step, outputs in (("collect", {"cases": 0}), ("train", {}), ("gate", {}), ("register", {"version": 3})):
        loop.state.write(step, StepResult("done", step, outputs))
    assert loop.run().state == "waiting"  # the shadow has compared nothing
    stop(settings, f"{plan.name}-3-shadow")
    waiting = loop.run()
    assert waiting.state == "waiting"
    assert "1%" in waiting.message
    store = open_experiments(settings)
    name = f"{plan.name}-3-canary"
    assert store.get(name).challenger == f"registry:{plan.name}@3"
    while store.get(name).state == "running":
        assert apply_decision(
            store, store.get(name), ExperimentDecision("advance", "by hand", {}), "me", {}, by_hand=True
        )
    store.close()
    assert loop.run().state == "done"
    assert moved == [(plan.name, 3)]


def test_a_rolled_back_canary_is_the_end(data: Path, bert: Path, settings: Settings, tmp_path: Path) -> None:
    plan = run_options(data, tmp_path / "back", bert, online="interleave", shadow_requests=1)
    loop = Loop(plan, resources(settings))
    for step, outputs in (("collect", {"cases": 0}), ("train", {}), ("gate", {}), ("register", {"version": 1})):
        loop.state.write(step, StepResult("done", step, outputs))
    loop.state.write("shadow", StepResult("done", "compared"))
    assert loop.run().state == "waiting"
    stop(settings, f"{plan.name}-1-interleave")
    assert loop.run().state == "refused"
    assert "promote" not in loop.state.steps


def test_a_folder_holds_one_run(data: Path, bert: Path, settings: Settings, tmp_path: Path) -> None:
    plan = run_options(data, tmp_path / "run", bert)
    state = RunState(plan)
    state.write("collect", StepResult("done", "said"))
    assert RunState(plan).steps["collect"].message == "said"
    with pytest.raises(InvalidRequestError, match="other arguments"):
        RunState(dataclasses.replace(plan, served="other"))
    (plan.out / "improve.json").write_text("{")
    with pytest.raises(InvalidInputFileError, match="damaged"):
        RunState(plan)
    restart(plan)
    assert RunState(plan).steps == {}


def test_what_it_needs_is_asked_for(data: Path, bert: Path, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="domain"):
        Loop(run_options(data, tmp_path / "x", bert, domain=()), resources(settings))
    with pytest.raises(InvalidRequestError, match="no training examples"):
        Loop(dataclasses.replace(run_options(data, tmp_path / "y", bert), data=()), resources(settings)).run()


def test_only_cases_of_the_run_that_are_ranked_right_now_are_fixed(
    data: Path, bert: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_trace_store(settings)) as store:
        right, wrong = add_case(store, "right", {0: 1}), add_case(store, "wrong", {1: 1})
        of_another_run = add_case(store, "another", {0: 1})
        set_state(store, [right, wrong, of_another_run], "in_training")
    loop = Loop(run_options(data, tmp_path / "cases", bert), resources(settings))
    outputs: dict[str, dict[str, Any]] = {
        "collect": {"cases": 2, "case_ids": [right, wrong]},
        "train": {},
        "gate": {},
        "register": {"version": 7},
    }
    for step, values in outputs.items():
        loop.state.write(step, StepResult("done", step, values))
    move = SimpleNamespace(after=7)
    store_of_registry = SimpleNamespace(path=None, uri="")
    monkeypatch.setattr(loop, "_registry", SimpleNamespace(promote=lambda *_: move, store=store_of_registry))
    opened: list[str] = []

    class BambooFirst:
        def __init__(self, reference: str, **_: object) -> None:
            opened.append(reference)

        def score(self, pairs: list[tuple[str, str]]) -> list[float]:
            return [float(text.startswith("bamboo")) for _, text in pairs]

    monkeypatch.setattr(improving, "Reranker", BambooFirst)
    assert "1 of 2 bad cases" in loop.run().message
    assert opened == [f"registry:{loop.options.name}@7"]
    with closing(open_trace_store(settings)) as store:
        states = [get_case(store, case_id).state for case_id in (right, wrong, of_another_run)]
    assert states == ["fixed", "in_training", "in_training"]
