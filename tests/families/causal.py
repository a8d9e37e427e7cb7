"""Tiny random causal rerankers, with a tokenizer made as Qwen's: byte-level BPE, and its special tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conftest import random_model

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SHAPE: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "max_position_embeddings": 2048,
    "initializer_range": 0.15,
}
ROLES = (
    "{{- '<|im_start|>system\\n' -}}"
    "{%- if messages[0].role == 'system' -%}{{- messages[0].content -}}{%- else -%}Is it relevant?{%- endif -%}"
    "{{- '<|im_end|>\\n<|im_start|>user' -}}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'query' -%}{{- '\\nQuery: ' + message.content -}}"
    "{%- elif message.role == 'document' -%}{{- '\\nDocument: ' + message.content + '\\nRelevant:' -}}{%- endif -%}"
    "{%- endfor -%}"
    "{{- '<|im_end|>\\n' -}}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
"""Chat template of a reranker: the instruction is the system message, and a line end follows each text."""


def write_tokenizer(folder: Path, texts: list[str], **settings: Any) -> int:
    """Write a tokenizer that knows the words yes and no; return its size."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1200, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([*texts, *["yes\nno\n?\n\n.\n\n"] * 50], trainer)
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in ("<think>", "</think>")])
    tokenizer.save(str(folder / "tokenizer.json"))
    written = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "model_max_length": 2048,
        **settings,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(written))
    return int(tokenizer.get_vocab_size())


def write_model(folder: Path, texts: list[str], kind: str, **config: Any) -> Path:
    """Write a random model.

    Args:
        folder: folder to write into.
        texts: texts that the tokenizer is trained on.
        kind: name of a class of transformers, such as `Qwen3ForCausalLM`.
        config: values of its configuration.
    """
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = write_tokenizer(folder, texts)
    values = {"vocab_size": vocabulary, "pad_token_id": vocabulary - 5, **SHAPE, **config}
    if kind.startswith("Qwen2"):
        values["hidden_size"] = 64
        values.pop("head_dim")
    torch.manual_seed(7)
    made = getattr(transformers, f"{kind.split('For')[0]}Config")(**values)
    return random_model(getattr(transformers, kind)(made), folder)


def save_with_answers(folder: Path, source: Path, prompts: dict[str, str] | None = None) -> Path:
    """Save a causal model as sentence-transformers does: with its answers, its chat template and its prompts."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore
    from tokenizers import Tokenizer

    (source / "chat_template.jinja").write_text(ROLES)
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    yes: Any = tokenizer.token_to_id("yes")
    options = {"chat_template": {"add_generation_prompt": True}}
    model = CrossEncoder(
        modules=[
            Transformer(str(source), transformer_task="text-generation", processing_kwargs=options),
            LogitScore(yes, None if prompts is None else tokenizer.token_to_id("no")),
        ],
        prompts=prompts,
        default_prompt_name=next(iter(prompts), None) if prompts else None,
        device="cpu",
    )
    model.save_pretrained(str(folder))
    (source / "chat_template.jinja").unlink()
    return folder
