from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.cli import evaluate


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["a/model"], ["model"]),
        (["a/model", "b/model"], ["a/model", "b/model"]),
        (["a/x/model", "b/x/model", "c/other"], ["a/x/model", "b/x/model", "other"]),
        (["a/model", "a/model"], ["model", "model (2)"]),
        (["model", "a/model"], ["{root}/model", "a/model"]),
    ],
)
def test_two_models_never_have_one_name(
    tmp_path: Path, folders: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    assert evaluate._names(folders) == [name.format(root=tmp_path.name) for name in expected]
    assert evaluate._names([*folders, "mini"])[-1] == "mini"
