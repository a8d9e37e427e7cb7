from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rerankd.errors import CorruptModelError, ModelError, UnsupportedModelError
from rerankd.models.families import ModelConfig, recognise
from rerankd.models.families.decoder import DecoderArchitecture
from rerankd.models.families.prompts import MXBAI_RERANK, QWEN3_RERANKER
from rerankd.models.files import ModelFiles, load_model
from rerankd.models.manifest import read_manifest, write_manifest
from tests.families.causal import ROLES, write_model


@pytest.fixture
def folder(tmp_path: Path, texts: list[str]) -> Path:
    return write_model(tmp_path / "model", texts, "Qwen3ForCausalLM", tie_word_embeddings=True)


def change(folder: Path, **values: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def load(folder: Path) -> tuple[ModelFiles, DecoderArchitecture]:
    files = load_model(str(folder))
    assert isinstance(files.manifest.architecture, DecoderArchitecture)
    return files, files.manifest.architecture


def test_answers_are_looked_up_in_the_tokenizer(folder: Path) -> None:
    files, architecture = load(folder)
    tokenizer = files.tokenizer()
    assert (architecture.true_id, architecture.false_id) == (tokenizer.token_to_id("yes"), tokenizer.token_to_id("no"))
    assert files.manifest.template == QWEN3_RERANKER
    assert files.checkpoint().tensor("answers.true.weight").shape == (1, architecture.hidden)


def test_a_manifest_keeps_what_was_read(folder: Path) -> None:
    files, _ = load(folder)
    write_manifest(folder, files.manifest)
    read = read_manifest(folder)
    assert read is not None
    assert (read.architecture, read.template) == (files.manifest.architecture, files.manifest.template)


@pytest.mark.parametrize(
    ("name", "classes", "files", "expected"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", "Qwen2ForCausalLM", (), False),
        ("mixedbread-ai/mxbai-rerank-base-v2", "Qwen2ForCausalLM", (), True),
        ("org/judge", "Qwen3ForSequenceClassification", (), True),
        ("org/judge", "Qwen3ForCausalLM", ("1_LogitScore",), True),
        ("org/judge", "Qwen3ForCausalLM", ("modules.json",), True),
        ("org/judge", "Qwen3ForCausalLM", ("chat_template.jinja",), False),
    ],
)
def test_chat_models_are_told_from_rerankers(
    tmp_path: Path, name: str, classes: str, files: tuple[str, ...], expected: bool
) -> None:
    for file in files:
        (tmp_path / file).touch()
    config = ModelConfig({"model_type": classes[:5].lower(), "architectures": [classes]}, name, tmp_path)
    assert recognise(config).made_to_rank(config) is expected


def test_rope_base_of_older_files(folder: Path) -> None:
    change(folder, rope_parameters=None, rope_theta=5e5)
    assert load(folder)[1].rope_base == 5e5


def test_saved_answers_win(folder: Path) -> None:
    (folder / "1_LogitScore").mkdir()
    (folder / "1_LogitScore" / "config.json").write_text('{"true_token_id": 9, "false_token_id": null}')
    (folder / "chat_template.jinja").write_text(ROLES)
    files, architecture = load(folder)
    assert (architecture.true_id, architecture.false_id) == (9, None)
    assert files.manifest.template != QWEN3_RERANKER


def test_a_chat_template_for_conversations_is_not_used(folder: Path) -> None:
    source = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    (folder / "chat_template.jinja").write_text(source)
    assert load(folder)[0].manifest.template == QWEN3_RERANKER


def test_mxbai_is_known_by_its_name(tmp_path: Path, texts: list[str]) -> None:
    made = write_model(tmp_path / "mxbai-rerank-base-v2", texts, "Qwen2ForCausalLM", tie_word_embeddings=True)
    files, architecture = load(made)
    assert architecture.true_id == files.tokenizer().token_to_id("1")
    assert files.manifest.template == MXBAI_RERANK
    renamed = made.rename(tmp_path / "other")
    files, architecture = load(renamed)
    assert architecture.true_id == files.tokenizer().token_to_id("yes")
    assert files.manifest.template == QWEN3_RERANKER


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as raised:
        load_model(str(folder))
    return str(raised.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}}, "the rotary embedding 'yarn' is not supported"),
        ({"rope_parameters": {"rope_theta": -1}}, "no valid value for rope_theta"),
        ({"use_sliding_window": True}, "use_sliding_window True is not supported"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
        ({"num_key_value_heads": 3}, "cannot share 3 heads"),
        ({"head_dim": 0.5}, "head_dim"),
        ({"tie_word_embeddings": False}, "the ranking head is missing (lm_head.weight)"),
        ({"architectures": ["Qwen3ForSequenceClassification"]}, "the head has 2 labels"),
        ({"architectures": ["Qwen3ForSequenceClassification"], "num_labels": 1}, "missing (score.weight)"),
        ({"architectures": ["Qwen3Model"]}, "a bi-encoder or a base model"),
        ({"head_dim": 32}, "has shape"),
    ],
)
def test_configurations_that_are_refused(folder: Path, values: dict[str, Any], message: str) -> None:
    assert message in refusal(change(folder, **values))


def test_tokens_that_are_refused(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    (folder / "1_LogitScore").mkdir()
    saved = folder / "1_LogitScore" / "config.json"
    none, beyond, no_number, negative = (
        "{}",
        '{"true_token_id": 999999}',
        '{"true_token_id": true}',
        '{"false_token_id": -1}',
    )
    for wrong in (none, beyond, no_number, negative):
        saved.write_text(wrong)
        with pytest.raises(CorruptModelError, match="are not tokens of the model"):
            load_model(str(folder))
    saved.unlink()
    content["model"]["vocab"]["Yes!"] = content["model"]["vocab"].pop("yes")
    content["model"]["merges"] = []
    path.write_text(json.dumps(content))
    assert "the tokenizer has no token 'yes'" in refusal(folder)


def test_a_bi_encoder_is_refused(folder: Path) -> None:
    pooling = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
    (folder / "modules.json").write_text(json.dumps([pooling]))
    with pytest.raises(UnsupportedModelError, match="this is a bi-encoder"):
        load_model(str(folder))


def test_a_classifier_needs_its_prompt(tmp_path: Path, texts: list[str]) -> None:
    made = write_model(tmp_path / "model", texts, "Qwen2ForSequenceClassification", num_labels=1)
    assert "nothing says with which prompt" in refusal(made)
    (made / "chat_template.jinja").write_text(ROLES)
    assert load(made)[1].true_id is None
