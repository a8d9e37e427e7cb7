from __future__ import annotations

from pathlib import Path

from rerankd.settings import load_settings
from rerankd.wiring.registry import open_registry


def test_settings_name_the_store_and_the_cache(tmp_path: Path) -> None:
    registry = open_registry(load_settings(registry="http://me:secret@mlflow", cache_dir=str(tmp_path)))
    assert registry.store.where == "http://***@mlflow"
    assert registry.cache.root == tmp_path / "registry" / "cache"
    assert list(tmp_path.iterdir()) == []  # nothing is contacted or made before it is used
