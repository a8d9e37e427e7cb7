from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rerankd.errors import CorruptModelError, UnsupportedModelError
from rerankd.models.module_head import ModuleHead, read_module_head
from rerankd.models.modules import (
    FILE_NAME,
    Module,
    check_one_folder,
    module_files,
    pooling_mode,
    read_modules,
    scores_pairs,
    weight_folders,
)

NEW = "sentence_transformers.base.modules"
OLD = "sentence_transformers.models"
SCORES = {
    "in_features": 8,
    "out_features": 1,
    "module_output_name": "scores",
    "activation_function": "torch.nn.Identity",
}
INNER = {"in_features": 8, "out_features": 8, "bias": False, "activation_function": "torch.nn.modules.activation.GELU"}


def write(folder: Path, *modules: tuple[str, str, dict[str, Any]]) -> Path:
    for _, place, config in modules:
        (folder / place).mkdir(exist_ok=True)
        name = "config.json" if place else "sentence_bert_config.json"
        (folder / place / name).write_text(json.dumps(config))
    entries = [{"idx": n, "name": str(n), "path": place, "type": kind} for n, (kind, place, _) in enumerate(modules)]
    (folder / FILE_NAME).write_text(json.dumps(entries))
    return folder


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    return write(
        tmp_path,
        (f"{NEW}.transformer.Transformer", "", {"max_seq_length": 64}),
        (f"{OLD}.Pooling", "1_Pooling", {"pooling_mode": "cls"}),
        (f"{NEW}.dense.Dense", "2_Dense", INNER),
        (f"{OLD}.LayerNorm", "3_LayerNorm", {"dimension": 8}),
        (f"{NEW}.dense.Dense", "4_Dense", SCORES),
    )


def changed(modules: list[Module], number: int, **config: Any) -> list[Module]:
    module = modules[number]
    modules[number] = Module(module.kind, module.folder, {**module.config, **config})
    return modules


def test_a_chain(chain: Path) -> None:
    modules = read_modules(chain)
    assert [(module.kind, module.folder) for module in modules] == [
        ("Transformer", ""),
        ("Pooling", "1_Pooling"),
        ("Dense", "2_Dense"),
        ("LayerNorm", "3_LayerNorm"),
        ("Dense", "4_Dense"),
    ]
    assert modules[0].config == {"max_seq_length": 64}
    assert scores_pairs(modules)
    assert list(weight_folders(chain)) == ["2_Dense", "3_LayerNorm", "4_Dense"]
    assert list(module_files(chain))[:2] == ["1_Pooling/config.json", "2_Dense/config.json"]
    assert read_module_head(modules, "m") == ModuleHead("cls", "gelu", bias=False)


def test_other_folders_have_no_chain(tmp_path: Path) -> None:
    assert read_modules(tmp_path) == []
    bi_encoder = write(tmp_path, (f"{OLD}.Transformer", "", {}), (f"{OLD}.Dense", "1_Dense", {"out_features": 8}))
    assert not scores_pairs(read_modules(bi_encoder))
    assert weight_folders(bi_encoder) == module_files(bi_encoder) == {}
    check_one_folder(bi_encoder, "It")


def test_what_needs_one_folder_says_what_to_do(chain: Path) -> None:
    with pytest.raises(
        UnsupportedModelError, match=r"The registry needs a model in one folder.*rerankd models compile"
    ):
        check_one_folder(chain, "The registry")


def test_code_of_the_repository_keeps_its_name(tmp_path: Path) -> None:
    modules = read_modules(write(tmp_path, (f"{OLD}.Transformer", "", {}), ("pooling.Custom", "1_Custom", SCORES)))
    assert modules[1].kind == "pooling.Custom"
    assert not scores_pairs(modules)


@pytest.mark.parametrize(
    ("config", "mode"),
    [
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": ["cls", "max"]}, "cls+max"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "cls+mean"),
        ({}, "mean"),
    ],
)
def test_pooling(config: dict[str, Any], mode: str) -> None:
    assert pooling_mode(Module("Pooling", "1_Pooling", config)) == mode


@pytest.mark.parametrize(
    "content",
    ["{", '{"type": 1}', "[1]", '[{"path": ""}]', '[{"type": "a", "path": "../b"}]', '[{"type": "a", "path": "/b"}]'],
)
def test_invalid_lists(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(
        CorruptModelError, match=r"modules.json is not a valid list of modules .* Fetch the model again"
    ):
        read_modules(tmp_path)


def test_invalid_and_missing_configurations(chain: Path) -> None:
    (chain / "2_Dense" / "config.json").write_text("[]")
    with pytest.raises(CorruptModelError, match=r"2_Dense.config.json is not valid JSON \(not an object\)"):
        read_modules(chain)
    (chain / "2_Dense" / "config.json").unlink()
    with pytest.raises(
        CorruptModelError, match=r"2_Dense: config.json of the module is missing. Fetch .* modules.json"
    ):
        read_modules(chain)


@pytest.mark.parametrize(
    ("number", "change", "sentence"),
    [
        (1, {"pooling_mode": "max"}, "m: the pooling max is not supported. It must be cls or mean"),
        (2, {"use_residual": True}, "m: 2_Dense: use_residual True is not supported"),
        (2, {"activation_function": "torch.nn.SiLU"}, "the activation SiLU of the module 2_Dense is not supported"),
        (2, {"module_output_name": "other"}, "m: 2_Dense: module_output_name 'other' is not supported"),
        (4, {"out_features": 3}, "m: the head has 3 labels; a reranker has one"),
        (4, {"bias": False}, "m: 4_Dense: bias False is not supported"),
        (4, {"activation_function": "torch.nn.Sigmoid"}, "the activation Sigmoid of the module 4_Dense"),
        (4, {"activation_function": "code.Identity"}, "the activation Tanh of the module 4_Dense"),
    ],
)
def test_heads_that_are_not_supported(chain: Path, number: int, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UnsupportedModelError, match=sentence):
        read_module_head(changed(read_modules(chain), number, **change), "m")


def test_another_chain(chain: Path) -> None:
    modules = read_modules(chain)
    with pytest.raises(UnsupportedModelError, match="the chain of modules Transformer -> Pooling -> Dense is not supp"):
        read_module_head([*modules[:2], modules[4]], "m")
