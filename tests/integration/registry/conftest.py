"""MLflow over an SQLite file, which tests share; opening one takes a second. Each test uses names of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.registry.cache import Cache
from rerankd.registry.registry import Registry
from rerankd.registry.store import Store
from tests.integration.registry.following import scores
from tests.registered import variant


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return the store with its tables."""
    made = Store(f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.sqlite")
    with made.writing():
        pass
    return made


@pytest.fixture
def registry(store: Store, tmp_path: Path) -> Registry:
    """Return the store with an empty cache."""
    return Registry(store, Cache(tmp_path / "cache"))


@pytest.fixture(scope="session")
def models(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return three models that differ."""
    root = tmp_path_factory.mktemp("variants")
    return [tiny, variant(tiny, root / "two", 2.0), variant(tiny, root / "three", 3.0)]


@pytest.fixture(scope="session")
def two_models(models: list[Path]) -> list[Path]:
    """Return the two models that instances serve."""
    return models[:2]


@pytest.fixture(scope="session")
def known(two_models: list[Path]) -> list[tuple[float, ...]]:
    """Return the scores of each of the two models."""
    model_scores = [scores(model) for model in two_models]
    assert model_scores[0] != model_scores[1]
    return model_scores
