from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rerankd.errors import ModelNotFoundError
from rerankd.models import hub
from rerankd.models.reference import parse_reference

REFERENCE = parse_reference("org/name")
COMMIT = "a" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    for name in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def fill() -> Path:
        folder = tmp_path / "models--org--name"
        snapshot = folder / "snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text(json.dumps({}))
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(COMMIT)
        return snapshot

    return fill


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (
            "HF_ENDPOINT",
            "hf-mirror.com",
            "HF_ENDPOINT is 'hf-mirror.com', which has no scheme. .*https://hf-mirror.com",
        ),
        ("HF_ENDPOINT", "127.0.0.1:9", "HF_ENDPOINT is '127.0.0.1:9', .* http://127.0.0.1:9"),
        ("HF_ENDPOINT", "localhost:9", "HF_ENDPOINT is 'localhost:9', .* http://localhost:9"),
        ("ALL_PROXY", "socks5://127.0.0.1:9", "ALL_PROXY names a SOCKS proxy, .*pip install socksio"),
        ("HTTPS_PROXY", "ftp://127.0.0.1:9", "HTTPS_PROXY names a proxy of the kind 'ftp'"),
    ],
)
def test_what_hides_the_hub_is_named_and_a_cached_model_needs_no_hub(
    variable: str,
    value: str,
    sentence: str,
    cache: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rerankd._common.proxies.installed", lambda module: False)
    monkeypatch.setenv(variable, value)
    with pytest.raises(ModelNotFoundError, match=f"org/name is not in the local cache, and {sentence}"):
        hub.fetch(REFERENCE, cache_dir=str(tmp_path))
    snapshot = cache()
    assert hub.fetch(REFERENCE, cache_dir=str(tmp_path)) == snapshot


def test_a_mirror_on_this_machine_is_asked_without_a_proxy(
    cache: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelNotFoundError, match="the hub cannot be reached"):
        hub.fetch(REFERENCE, cache_dir=str(tmp_path))
    snapshot = cache()
    assert hub.fetch(REFERENCE, cache_dir=str(tmp_path)) == snapshot


def test_folders_of_modules_are_fetched_and_pickles_are_not() -> None:
    from huggingface_hub.utils._paths import filter_repo_objects

    wanted = [
        "config.json",
        "modules.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
    ]
    other = ["pytorch_model.bin", "2_Dense/pytorch_model.bin", "onnx/config.json", "modeling_new.py"]
    assert list(filter_repo_objects(wanted + other, allow_patterns=hub._PATTERNS)) == wanted
