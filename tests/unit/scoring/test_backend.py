from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from rerankd import InvalidRequestError, MissingDependencyError, RerankdError
from rerankd._common.optional import install_command
from rerankd.models.files import load_model
from rerankd.scoring import backend as module
from rerankd.scoring.backend import choose_backend, open_backend


@pytest.fixture(params=[False, True], ids=["cpu", "gpu"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(module, "cuda_available", lambda: request.param)
    return bool(request.param)


def test_choices(checkpoint: Path, compiled: dict[str, Path], gpu: bool) -> None:
    bare, done = load_model(str(checkpoint)), load_model(str(compiled["int8"]))
    assert choose_backend(done).name == "onnx"
    assert choose_backend(bare).device == ("cuda" if gpu else "cpu")
    assert choose_backend(bare, device="cpu").device == "cpu"
    assert choose_backend(bare, backend="torch", device="cpu").name == "torch"
    if gpu:
        assert choose_backend(bare, device="cuda:1").device == "cuda:1"


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("bare", {"backend": "tensorrt"}, "Unknown backend 'tensorrt'. Use one of auto, onnx, native, torch."),
        ("bare", {"device": "tpu"}, "Unknown device 'tpu'. Use auto, cpu, cuda or cuda:N."),
        ("bare", {"backend": "onnx"}, "is a checkpoint without an ONNX file. Run: rerankd models compile"),
        ("bare", {"device": "cuda"}, "but torch sees no GPU. Use device cpu"),
        ("bare", {"precision": "fp8"}, "Unknown precision 'fp8'. Use one of auto, fp32, fp16, bf16, int8."),
        ("bare", {"precision": "int8"}, "The torch backend does not support int8. Run: rerankd models compile"),
        ("done", {"backend": "torch"}, "is compiled for CPUs, it cannot run on the torch backend"),
        ("done", {"device": "cuda"}, "it cannot run on a GPU. Use "),
        ("done", {"precision": "fp32"}, "is compiled to int8, not fp32. Compile .* again with --precision fp32"),
    ],
)
def test_refused(
    kind: str, options: dict[str, Any], sentence: str, checkpoint: Path, compiled: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "cuda_available", lambda: False)
    files = load_model(str(checkpoint if kind == "bare" else compiled["int8"]))
    with pytest.raises(InvalidRequestError, match=sentence):
        open_backend(files, **options)


def test_checkpoint_without_torch(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "installed", lambda name: name != "torch")
    with pytest.raises(
        MissingDependencyError, match=re.escape(f"torch is not installed. Run: {install_command('torch')}")
    ) as caught:
        choose_backend(load_model(str(checkpoint)))
    assert isinstance(caught.value, RerankdError)
    assert isinstance(caught.value, ImportError)
