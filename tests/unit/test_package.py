from __future__ import annotations

import subprocess
import sys

import pytest

import rerankd

HEAVY = ("torch", "transformers", "onnxruntime", "onnx", "numpy", "fastapi", "tokenizers", "pydantic", "rich")


def test_exported_members() -> None:
    for name in rerankd.__all__:
        assert getattr(rerankd, name) is not None
    assert dir(rerankd) == rerankd.__all__


def test_unknown_member() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = rerankd.nothing


def loaded_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert loaded_after("import rerankd") == set()


def test_ranking_with_the_bundled_model_needs_no_torch() -> None:
    code = "from rerankd import Reranker\nReranker().rank('panda', ['bear', 'car'])"
    assert loaded_after(code) & {"torch", "transformers", "onnx", "rich"} == set()
