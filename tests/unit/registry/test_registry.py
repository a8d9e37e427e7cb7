from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rerankd.errors import (
    ConflictError,
    CorruptModelError,
    InvalidRequestError,
    ModelNotFoundError,
    PromotionRefusedError,
)
from rerankd.registry.cache import Cache
from rerankd.registry.registry import Registry
from rerankd.registry.store import Store
from rerankd.registry.version import ModelVersion
from tests.registered import KEY, fresh_name, gate_record, with_parity

pytestmark = pytest.mark.slow


def stored(registry: Registry, version: ModelVersion) -> Path:
    """Return the registry's own folder of a version's files."""
    return Path(urlsplit(registry.store.version(version.name, version.version).source).path)


def registered(registry: Registry, models: list[Path], tmp_path: Path, key: str | None = None) -> str:
    """Return a model with three versions that a gate let pass."""
    name = fresh_name()
    for number, model in enumerate(models):
        gate = gate_record(model, tmp_path / f"gate{number}.json", key=key)
        registry.register(model, name, gate=gate, metrics={"nDCG@10": 0.5 + number / 10}, alias="challenger")
    return name


def aliases(registry: Registry, name: str) -> Mapping[str, int]:
    return {alias: number for alias, number in registry.store.aliases(name).items() if alias != "challenger"}


@pytest.mark.slow
def test_promotion_and_rollback(registry: Registry, models: list[Path], tmp_path: Path) -> None:
    name = registered(registry, models, tmp_path)
    first = registry.promote(name, 1, "the first")
    assert (first.before, first.after, first.gate, first.forced, first.done) == (None, 1, "passed", False, True)
    with pytest.raises(PromotionRefusedError, match="no previous"):
        registry.rollback(name)
    second = registry.promote(name, 2)
    assert (second.before, second.after) == (1, 2)
    assert aliases(registry, name) == {"champion": 2, "previous": 1}
    assert not registry.promote(name, 2).changed
    assert aliases(registry, name) == {"champion": 2, "previous": 1}
    assert registry.promote(name).after == 3
    assert aliases(registry, name) == {"champion": 3, "previous": 2}
    back = registry.rollback(name, "it is worse")
    assert (back.before, back.after, back.changed) == (3, 2, True)
    for _ in range(3):
        again = registry.rollback(name, "it is worse")
        assert (again.after, again.changed) == (2, False)
        assert registry.resolve(name).version == 2
    history = registry.history(name)
    assert [(move.action, move.before, move.after) for move in history.moves] == [
        ("rollback", 3, 2),
        ("promote", 2, 3),
        ("promote", 1, 2),
        ("promote", None, 1),
    ]
    assert all(move.done and move.user for move in history.moves)
    assert (history.moves[0].reason, history.moves[3].reason) == ("it is worse", "the first")
    assert [one.version for one in history.versions] == [3, 2, 1]
    assert history.versions[1].aliases == ("champion", "previous")
    assert registry.promote(name, "challenger").after == 3
    assert registry.rollback(name).after == 2


def test_a_decision_names_its_person_and_is_refused_on_an_older_state(
    registry: Registry, models: list[Path], tmp_path: Path
) -> None:
    name = registered(registry, models, tmp_path)
    assert registry.promote(name, 1, "the first", user="ops (1)", seen=0).user == "ops (1)"
    assert not registry.promote(name, 1, "again", user="ops (1)", seen=0).changed  # sent twice: nothing is done twice
    for seen in (0, 3):
        with pytest.raises(ConflictError, match=f"it is {name} 1 now"):
            registry.promote(name, 2, seen=seen)
    registry.promote(name, 2, seen=1)
    with pytest.raises(ConflictError, match=f"it is {name} 2 now"):
        registry.rollback(name, seen=1)
    assert registry.rollback(name, "worse", user="ops (2)", seen=2).user == "ops (2)"
    assert not registry.rollback(name, seen=2).changed
    assert [move.reason for move in registry.history(name).moves] == ["worse", "", "the first"]
    assert registry.models()[name] == {"champion": 1, "previous": 1, "challenger": 3}


def test_a_gate_record_is_read_with_the_state_of_its_signature(
    registry: Registry, models: list[Path], tmp_path: Path
) -> None:
    name = fresh_name()
    keyed = {key: Registry(registry.store, registry.cache, key) for key in (None, KEY, "another key of some length")}
    version = registry.register(models[0], name)
    assert registry.gate_record(version) is None
    version = registry.register(models[0], name, gate=gate_record(models[0], tmp_path / "gate.json", key=KEY))
    records = {key: one.gate_record(version) for key, one in keyed.items()}
    assert [record and record.signature for record in records.values()] == ["unchecked", "valid", "invalid"]
    record = records[KEY]
    assert record is not None
    assert (record.unchanged, record.decision.checks[0].name) == (True, "gain on domain")
    unsigned = registry.register(models[1], name, gate=gate_record(models[1], tmp_path / "other.json"))
    record = keyed[KEY].gate_record(unsigned)
    assert record is not None
    assert record.signature == "unsigned"


def test_a_gate_has_to_let_it_pass(registry: Registry, models: list[Path], tmp_path: Path) -> None:
    name = fresh_name()
    registry.register(models[0], name)
    with pytest.raises(PromotionRefusedError, match="no gate record"):
        registry.promote(name, 1)
    registry.register(models[0], name, gate=gate_record(models[0], tmp_path / "no.json", passed=False))
    with pytest.raises(PromotionRefusedError, match=r"The gate refused .* nDCG@10 moved"):
        registry.promote(name, 1)
    with pytest.raises(InvalidRequestError, match="requires a reason"):
        registry.promote(name, 1, force=True)
    assert aliases(registry, name) == {}
    assert registry.history(name).moves == ()
    move = registry.promote(name, 1, "the first one", force=True)
    assert (move.gate, move.forced, move.reason) == ("refused", True, "the first one")
    registry.register(models[1], name)
    assert registry.promote(name, 2, "needed", force=True).gate == "missing"


def test_a_record_that_was_changed_is_no_record(registry: Registry, models: list[Path], tmp_path: Path) -> None:
    name = fresh_name()
    gate = gate_record(models[0], tmp_path / "gate.json", passed=False)
    version = registry.register(models[0], name, gate=gate)
    path = stored(registry, version).parent / "evidence" / "gate.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"passed": True, "checks": []}))
    with pytest.raises(PromotionRefusedError, match="was changed"):
        registry.promote(name, 1)
    path.unlink()
    with pytest.raises(PromotionRefusedError, match="no gate record"):
        registry.promote(name, 1)


@pytest.mark.slow
def test_a_key_asks_for_a_signature(registry: Registry, models: list[Path], tmp_path: Path) -> None:
    asking = Registry(registry.store, registry.cache, KEY)
    with pytest.raises(PromotionRefusedError, match="not signed"):
        asking.promote(registered(asking, models, tmp_path), 1)
    with pytest.raises(PromotionRefusedError, match="not signed"):
        asking.promote(registered(asking, models, tmp_path, "another key of some length"), 1)
    assert asking.promote(registered(asking, models, tmp_path, KEY), 1).gate == "passed"


def test_files_have_to_check_also_if_there_is_a_copy(registry: Registry, models: list[Path], tmp_path: Path) -> None:
    name = registered(registry, models, tmp_path)
    registry.promote(name, 1)
    version = registry.resolve(name, 2)
    registry.fetch(version)
    model = stored(registry, version) / "model.onnx"
    good = model.read_bytes()
    for bad in (good[:-1], good[:-1] + b"!"):
        model.write_bytes(bad)
        with pytest.raises(CorruptModelError, match=r"model.onnx"):
            registry.promote(name, 2, "go", force=True)
    model.unlink()
    with pytest.raises(CorruptModelError, match="missing"):
        registry.promote(name, 2)
    assert aliases(registry, name) == {"champion": 1}
    assert len(registry.history(name).moves) == 1
    model.write_bytes(good)
    registry.promote(name, 2)
    broken = stored(registry, registry.resolve(name, 1)) / "model.onnx"
    broken.write_bytes(b"")
    with pytest.raises(CorruptModelError):
        registry.rollback(name)
    assert aliases(registry, name) == {"champion": 2, "previous": 1}
    assert registry.rollback(name, "anything is better", force=True).after == 1


def test_an_unverified_model_needs_somebody_to_answer_for_it(
    registry: Registry, models: list[Path], tmp_path: Path
) -> None:
    name = fresh_name()
    folder = with_parity(shutil.copytree(models[0], tmp_path / "model"), passed=False, waived=True)
    registry.register(folder, name, gate=gate_record(folder, tmp_path / "gate.json"), allow_unverified=True)
    with pytest.raises(PromotionRefusedError, match="not verified"):
        registry.promote(name, 1)
    registry.promote(name, 1, "we looked", force=True)
    version = registry.resolve(name)
    assert (version.verified, version.approved, version.trusted) == (False, "we looked", True)


def test_an_interrupted_promotion_is_seen_and_mended(
    registry: Registry, models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = registered(registry, models, tmp_path)
    registry.promote(name, 1)
    point = registry.store.set_alias

    def dying(name: str, alias: str, number: int) -> None:
        if alias == "champion":
            raise KeyboardInterrupt
        point(name, alias, number)

    monkeypatch.setattr(registry.store, "set_alias", dying)
    with pytest.raises(KeyboardInterrupt):
        registry.promote(name, 2)
    monkeypatch.undo()
    assert registry.resolve(name).version == 1
    assert not registry.history(name).moves[0].done
    assert not registry.rollback(name).changed
    registry.promote(name, 2)
    assert aliases(registry, name) == {"champion": 2, "previous": 1}


def test_differences(registry: Registry, models: list[Path], tmp_path: Path) -> None:
    name = registered(registry, models, tmp_path)
    registry.promote(name, 1)
    differences = {one.field: (one.a, one.b) for one in registry.diff(name, 1, "challenger")}
    assert differences["metrics/nDCG@10"] == (0.5, 0.7)
    assert differences["calibration/scale"] == (None, 3.0)
    assert differences["version"] == (1, 3)
    assert "files/model.onnx" in differences
    assert "files/tokenizer.json" not in differences
    assert "params/precision" not in differences
    assert registry.diff(name, 1, "champion") == []


def test_the_parent_is_the_champion(registry: Registry, models: list[Path], tmp_path: Path) -> None:
    name = fresh_name()
    registry.register(models[0], name)
    registry.promote(name, 1, "first", force=True)
    assert registry.register(models[1], name).parent == 1
    assert registry.register(models[2], name, parent=2).parent == 2


def test_what_is_not_there(registry: Registry, tmp_path: Path) -> None:
    for ask in (registry.promote, registry.rollback, registry.history, registry.resolve):
        with pytest.raises(ModelNotFoundError):
            ask("nothing")
    assert not Cache(tmp_path / "cache").root.exists()


def test_numbers_that_no_database_holds_are_no_versions(store: Store, tmp_path: Path) -> None:
    registry = Registry(store, Cache(tmp_path / "cache"))
    for number in (2**31, 10**30):
        for act in (registry.resolve, registry.promote):
            with pytest.raises(ModelNotFoundError, match="has no version"):
                act("med", number)
    with pytest.raises(ModelNotFoundError, match="has no version"):
        registry.resolve("med", "9" * 5000)
