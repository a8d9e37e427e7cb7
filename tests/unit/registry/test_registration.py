from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from rerankd.errors import (
    CorruptModelError,
    InvalidInputFileError,
    InvalidRequestError,
    ModelNotFoundError,
    ScoringError,
    VerificationError,
)
from rerankd.models.files import load_model
from rerankd.models.manifest import FILE_NAME
from rerankd.registry.registration import SuppliedEvidence, register
from rerankd.registry.registry import Registry
from tests.registered import broken, files_of, fresh_name, gate_record, with_parity

pytestmark = pytest.mark.slow


@pytest.mark.slow
def test_a_version_holds_the_files_and_what_they_are(registry: Registry, models: list[Path], tmp_path: Path) -> None:
    name = fresh_name()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "qrels.tsv").write_text("x")
    version = registry.register(
        models[0],
        name,
        metrics={"nDCG@10": 0.5},
        data=[tmp_path / "data"],
        tags={"who": "us"},
        alias="challenger",
    )
    assert (version.version, version.aliases, version.parent, version.verified) == (1, ("challenger",), None, True)
    resolved = registry.resolve(name, "challenger")
    assert resolved == replace(version, aliases=resolved.aliases)
    assert resolved.files == files_of(models[0])
    assert resolved.params["precision"] == "fp32"
    assert resolved.params["family"] == "bert"
    assert resolved.metrics == {"nDCG@10": 0.5}
    assert resolved.tags == {"who": "us"}
    assert set(resolved.data) == {"data"}
    assert resolved.parity
    assert resolved.parity["passed"]
    folder = registry.fetch(resolved)
    assert files_of(folder) == resolved.files
    assert load_model(str(folder)).manifest == load_model(str(models[0])).manifest


@pytest.mark.slow
def test_the_same_files_are_the_same_version(registry: Registry, models: list[Path], tmp_path: Path) -> None:
    name = fresh_name()
    first = registry.register(models[0], name, metrics={"a": 1.0})
    copy = shutil.copytree(models[0], tmp_path / "copy")
    again = registry.register(copy, name)
    assert again.version == first.version == 1
    assert registry.register(models[1], name).version == 2
    gate = gate_record(models[0], tmp_path / "gate.json")
    richer = registry.register(models[0], name, metrics={"b": 2.0}, gate=gate, tags={"x": "y"})
    assert richer.version == 1
    version = registry.resolve(name, 1)
    assert version.metrics == {"a": 1.0, "b": 2.0}
    assert version.gate["passed"] is True
    assert version.tags == {"x": "y"}
    assert len(registry.store.versions(name)) == 2


def test_two_at_once_make_one_version(registry: Registry, models: list[Path]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    name = fresh_name()
    with ThreadPoolExecutor(4) as pool:
        versions = list(pool.map(lambda _: registry.register(models[0], name).version, range(4)))
    assert versions == [1] * 4
    assert len(registry.store.versions(name)) == 1


def test_a_checkpoint_gets_a_manifest(registry: Registry, bert: Path) -> None:
    version = registry.register(bert, fresh_name())
    assert version.verified
    assert FILE_NAME in version.files
    folder = registry.fetch(version)
    files = load_model(str(folder))
    assert not files.compiled
    assert set(files.manifest.files) == set(version.files) - {FILE_NAME}
    assert not (bert / FILE_NAME).exists()
    assert registry.register(folder, version.name).version == version.version


@pytest.mark.parametrize("changes", [{"passed": False}, {"waived": True}, {}])
def test_what_was_not_verified_is_refused(
    registry: Registry, models: list[Path], tmp_path: Path, changes: dict[str, object]
) -> None:
    folder = with_parity(shutil.copytree(models[0], tmp_path / "model"), **changes)
    name = fresh_name()
    with pytest.raises(VerificationError, match="--allow-unverified"):
        registry.register(folder, name)
    with pytest.raises(ModelNotFoundError):
        registry.history(name)
    assert not registry.register(folder, name, allow_unverified=True).verified


def test_files_of_others_stay_where_they_are(registry: Registry, models: list[Path], tmp_path: Path) -> None:
    folder = shutil.copytree(models[0], tmp_path / "model")
    for name in (".env", "my notes.md", "optimizer.pt", "pytorch_model.bin", "train.py"):
        (folder / name).write_text("x")
    (folder / "README.md").write_text("# A card")
    assert set(registry.register(folder, fresh_name()).files) == {*files_of(models[0]), "README.md"}


def test_what_gives_no_scores_is_refused(registry: Registry, tiny: Path, tmp_path: Path) -> None:
    name = fresh_name()
    with pytest.raises(ScoringError):
        registry.register(broken(tiny, tmp_path / "nan"), name)
    folder = shutil.copytree(tiny, tmp_path / "cut")
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes()[:-100])
    with pytest.raises(CorruptModelError):
        registry.register(folder, name)
    with pytest.raises(ModelNotFoundError):
        registry.register(tmp_path / "none", name)


def test_evidence_has_to_be_about_the_model(registry: Registry, models: list[Path], tmp_path: Path) -> None:
    name = fresh_name()
    other = gate_record(models[1], tmp_path / "gate.json")
    with pytest.raises(InvalidInputFileError, match="another model"):
        registry.register(models[0], name, gate=other)
    old = gate_record(models[0], tmp_path / "old.json", with_digest=False)
    with pytest.raises(InvalidInputFileError, match="older release.*Run `rerankd gate` again"):
        registry.register(models[0], name, gate=old)
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(InvalidInputFileError, match="not a gate record"):
        registry.register(models[0], name, gate=tmp_path / "no.json")
    with pytest.raises(ModelNotFoundError, match="no version 9"):
        registry.register(models[0], name, parent=9)
    with pytest.raises(InvalidRequestError, match="not set by hand"):
        registry.register(models[0], name, alias="champion")


def test_a_failed_upload_leaves_no_version(
    registry: Registry, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = fresh_name()
    put = registry.store.put

    def failing(run_id: str, path: Path, folder: str) -> None:
        if path.name == "tokenizer.json":
            raise OSError("disk full")
        put(run_id, path, folder)

    monkeypatch.setattr(registry.store, "put", failing)
    with pytest.raises(OSError, match="disk full"):
        register(registry.store, load_model(str(models[0])), name, SuppliedEvidence(), False)
    monkeypatch.undo()
    assert registry.store.versions(name) == []
    assert registry.register(models[0], name).version == 1
