from __future__ import annotations

import dataclasses
import json
import random
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("peft")
pytest.importorskip("mlflow")

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.evaluation.gate import GateLimits
from rerankd.experiments.controller import apply_decision
from rerankd.experiments.guardrails import ExperimentDecision
from rerankd.feedback.case_store import get_case, set_state
from rerankd.improve import loop as improving
from rerankd.improve.loop import Loop, restart
from rerankd.improve.options import ImproveOptions
from rerankd.improve.resources import Resources
from rerankd.improve.state import RunState, StepResult
from rerankd.improve.trial import stop_experiment
from rerankd.settings import Settings, load_settings
from rerankd.training.options import TrainOptions
from rerankd.wiring.experiments import open_experiments
from rerankd.wiring.registry import open_registry
from rerankd.wiring.traces import open_existing_trace_store, open_trace_store
from tests.unit.improve.test_cases import add_case

WORDS = ["river", "stone", "cloud", "window", "paper", "garden", "metal", "bread"]


def folder(root: Path, name: str, *, first: int, count: int, shuffled: bool = False) -> Path:
    """A BEIR folder in which `yes indeed` answers every question, and `no never` none; the first stage has it last."""
    draw = random.Random(name)
    target = root / name
    (target / "qrels").mkdir(parents=True)
    corpus, queries, qrels, run = [], [], ["query-id\tcorpus-id\tscore"], []
    for number in range(first, first + count):
        subject = f"{draw.choice(WORDS)} {draw.choice(WORDS)} {number}"
        queries.append({"_id": f"q{number}", "text": f"what of {subject}"})
        for position in range(6):
            text = f"yes indeed {subject}" if position == 5 else f"no never {draw.choice(WORDS)} {number} {position}"
            corpus.append({"_id": f"d{number}-{position}", "text": text})
            run.append(f"q{number} Q0 d{number}-{position} {position + 1} {10 - position} first")
        qrels.append(f"q{number}\td{number}-{draw.randrange(5) if shuffled else 5}\t1")
    (target / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (target / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (target / "qrels" / "test.tsv").write_text("\n".join(qrels) + "\n")
    (target / "candidates.trec").write_text("\n".join(run) + "\n")
    return target


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("domain")
    folder(root, "learn", first=0, count=40)
    folder(root, "wrong", first=0, count=40, shuffled=True)
    folder(root, "judge", first=100, count=24)
    return root


def run_options(data: Path, out: Path, base: Path, examples: str = "learn", **changes: object) -> ImproveOptions:
    training = TrainOptions(
        "full",
        epochs=2,
        group_size=6,
        learning_rate=2e-3,
        max_length=32,
        precision="fp32",
        device="cpu",
        evaluations=2,
        patience=0,
        mine_negatives=False,
    )
    plan = ImproveOptions(
        f"domain-{out.name}",
        out,
        (data / examples,),
        (data / "judge",),
        base=str(base),
        cases=False,
        online="none",
        training=training,
        limits=GateLimits(latency=50.0, size=5.0, calibration=1.0),
    )
    return dataclasses.replace(plan, **changes)  # type: ignore[arg-type]


def resources(settings: Settings) -> Resources:
    return Resources(
        open_registry(settings),
        lambda: open_existing_trace_store(settings),
        lambda: open_experiments(settings),
        settings.gate_key,
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(
        registry=f"sqlite:///{tmp_path}/mlflow.sqlite",
        traces_url=f"sqlite:///{tmp_path}/traces.sqlite",
        cache_dir=str(tmp_path / "cache"),
        gate_key="0123456789abcdef",
    )


def stop(settings: Settings, name: str) -> None:
    with closing(open_experiments(settings)) as store:
        stop_experiment(store, name, "me")


def test_from_examples_to_champion_once(
    data: Path, bert: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = run_options(data, tmp_path / "good", bert)
    loop = Loop(plan, resources(settings))
    assert [(step, state) for step, state, _ in loop.plan()] == [
        (step, "to do") for step in ("collect", "train", "gate", "register", "promote")
    ]
    assert not plan.out.exists()
    messages: list[str] = []
    last = Loop(plan, resources(settings), messages.append).run()
    assert last.state == "done", messages
    assert "champion" in last.message
    again = Loop(plan, resources(settings))
    monkeypatch.setattr(improving, "fine_tune", lambda *_, **__: pytest.fail("trained twice"))
    assert again.run().message == last.message
    assert {state for _, state, _ in again.plan()} == {"done"}
    registry = again._registry
    champion = registry.resolve(plan.name)
    assert champion.gate["passed"] is True
    assert champion.metrics["judge nDCG@10"] > 0.9
    # The champion is what the next run starts from and is judged against.
    later = Loop(dataclasses.replace(plan, out=tmp_path / "later", base=""), resources(settings))
    assert later._base() == f"registry:{plan.name}@{champion.version}"


def test_without_a_registry_it_begins_with_mini(data: Path, bert: Path, settings: Settings, tmp_path: Path) -> None:
    loop = Loop(dataclasses.replace(run_options(data, tmp_path / "z", bert), base=""), resources(settings))
    assert loop._base() == "mini"
    assert "fine-tune mini" in loop.plan()[1][2]


def test_wrong_labels_are_refused(data: Path, bert: Path, settings: Settings, tmp_path: Path) -> None:
    loop = Loop(run_options(data, tmp_path / "bad", bert, "wrong"), resources(settings))
    last = loop.run()
    assert last.state == "refused"
    assert "gain on judge" in last.message
    assert "register" not in loop.state.steps
    assert Loop(loop.options, resources(settings)).run().state == "refused"


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
