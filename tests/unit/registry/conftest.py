"""Registries that tests share; each test uses names of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.registry.cache import Cache
from rerankd.registry.registry import Registry
from rerankd.registry.store import Store
from tests.registered import variant
from tests.unit.registry.memory import MemoryStore


@pytest.fixture(scope="session")
def memory_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return a store in memory."""
    return MemoryStore(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """MLflow over SQLite; opening it takes a second."""
    made = Store(f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.sqlite")
    with made.writing():
        pass
    return made


@pytest.fixture
def registry(memory_store: Store, tmp_path: Path) -> Registry:
    """Return the store in memory with an empty cache."""
    return Registry(memory_store, Cache(tmp_path / "cache"))


@pytest.fixture(scope="session")
def models(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models that differ."""
    root = tmp_path_factory.mktemp("variants")
    return [tiny, variant(tiny, root / "two", 2.0), variant(tiny, root / "three", 3.0)]
