from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rerankd import Reranker
from rerankd.errors import ModelNotFoundError, UnavailableError, VerificationError
from rerankd.models.files import load_model
from rerankd.registry.registry import Registry
from rerankd.registry.source import cache_folder, registry_uri
from tests.registered import fresh_name, with_parity

PAIRS = [("capital of France?", "Paris is the capital."), ("capital of France?", "Pears.")]


def test_where_things_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert registry_uri(None) == f"sqlite:///{tmp_path}/rerankd/registry/mlflow.sqlite"
    assert registry_uri("http://x") == "http://x"
    assert cache_folder(None) == tmp_path / "rerankd" / "registry" / "cache"
    assert cache_folder("/x") == Path("/x/registry/cache")


def test_a_reference_is_a_reranker(
    registry: Registry, models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = fresh_name()
    registry.register(models[0], name)
    registry.register(models[1], name, alias="challenger")
    registry.promote(name, 1, "first", force=True)
    uri, cache = f"sqlite:///{registry.store.path}", str(tmp_path / "c")
    expected = Reranker(str(models[0])).score(PAIRS, activation="none")
    for reference in (f"registry:{name}", f"registry:{name}@champion", f"registry:{name}@1"):
        reranker = Reranker(reference, registry=uri, cache_dir=cache)
        assert reranker.score(PAIRS, activation="none").tolist() == expected.tolist()
        assert reranker.files.reference.name == name
    monkeypatch.setenv("RERANKD_REGISTRY", uri)
    other = Reranker(f"registry:{name}@challenger", cache_dir=cache)
    assert other.score(PAIRS, activation="none") == pytest.approx(expected * 2, abs=1e-4)
    with pytest.raises(ModelNotFoundError, match="no beta"):
        load_model(f"registry:{name}@beta", cache_dir=cache)


def test_the_last_known_version_is_used_without_the_registry(
    registry: Registry, models: list[Path], tmp_path: Path
) -> None:
    assert registry.store.path
    name = fresh_name()
    registry.register(models[0], name)
    registry.promote(name, 1, "first", force=True)
    path = tmp_path / "r" / "mlflow.sqlite"
    path.parent.mkdir()
    shutil.copy(registry.store.path, path)
    uri, cache = f"sqlite:///{path}", str(tmp_path / "c")
    first = load_model(f"registry:{name}", registry=uri, cache_dir=cache)
    path.unlink()
    again = load_model(f"registry:{name}", registry=uri, cache_dir=cache)
    assert again.manifest == first.manifest
    with pytest.raises(UnavailableError, match=r"No version of registry:.*@2 is known on this machine"):
        load_model(f"registry:{name}@2", registry=uri, cache_dir=cache)


def test_an_alias_leads_to_no_unverified_model(registry: Registry, models: list[Path], tmp_path: Path) -> None:
    folder = with_parity(shutil.copytree(models[0], tmp_path / "model"), passed=False, waived=True)
    name = fresh_name()
    registry.register(folder, name, alias="challenger", allow_unverified=True)
    uri, cache = f"sqlite:///{registry.store.path}", str(tmp_path / "c")
    with pytest.raises(VerificationError, match=f"registry:{name}@1"):
        load_model(f"registry:{name}@challenger", registry=uri, cache_dir=cache)
    assert load_model(f"registry:{name}@1", registry=uri, cache_dir=cache).compiled
