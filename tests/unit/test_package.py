from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "onnxruntime", "onnx", "numpy", "fastapi", "tokenizers", "pydantic", "rich")


def loaded_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert loaded_after("import rerankd") == set()


@pytest.mark.slow
def test_ranking_with_the_bundled_model_needs_no_torch() -> None:
    code = "from rerankd import Reranker\nReranker().rank('panda', ['bear', 'car'])"
    assert loaded_after(code) & {"torch", "transformers", "onnx", "rich"} == set()


@pytest.mark.parametrize(("readme", "answer"), [("README.md", '"Forgot password"'), ("README.zh-CN.md", "“忘记密码”")])
def test_the_first_example_of_the_readme_puts_the_answer_first(
    readme: str, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[2] / readme).read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert example is not None
    exec(compile(example[1], readme, "exec"), {})  # noqa: S102  our own example
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("1 ")
    assert answer in first
    printed = re.search(r"`(1 2 0\.\d{3} .*?) ?(?:\.\.\.|……)`", text)  # what the page says that it prints
    assert printed is not None
    assert first.startswith(printed[1])
