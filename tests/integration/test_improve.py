"""From examples to a champion: training, gate, registration and promotion in one run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from rerankd.improve import loop as improving
from rerankd.improve.loop import Loop
from rerankd.settings import Settings
from tests.unit.improve.material import domain_folders, improve_settings, resources, run_options


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return domain_folders(tmp_path_factory.mktemp("domain"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return improve_settings(tmp_path)


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
    assert last.state == "done", (last.message, messages)
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


def test_wrong_labels_are_refused(data: Path, bert: Path, settings: Settings, tmp_path: Path) -> None:
    loop = Loop(run_options(data, tmp_path / "bad", bert, "wrong"), resources(settings))
    last = loop.run()
    assert last.state == "refused"
    assert "gain on judge" in last.message
    assert "register" not in loop.state.steps
    assert Loop(loop.options, resources(settings)).run().state == "refused"
