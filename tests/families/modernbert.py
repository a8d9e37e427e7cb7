"""Tiny random ModernBERT rerankers, saved by transformers and by sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FORMS = ("mean", "cls", "chain")
POSITIONS = 512
WINDOW = 16  # short, so that inputs of a test reach beyond it


def write_reranker(folder: Path, texts: list[str], form: str, *, by_library: bool = True, **options: Any) -> Path:
    """Write a random reranker: `mean` or `cls` for a sequence classifier with this pooling, `chain` for modules.

    Args:
        folder: folder to write.
        texts: texts that the tokenizer is trained on.
        form: one of `FORMS`.
        by_library: False to write a chain's modules without sentence-transformers, which takes seconds to import.
        **options: other values of the configuration.
    """
    import torch
    from transformers import ModernBertForSequenceClassification, ModernBertModel

    folder.mkdir(parents=True)
    config = _config(_write_tokenizer(folder, texts), **options)
    torch.manual_seed(7)
    if form != "chain":
        config.classifier_pooling = form
        model = ModernBertForSequenceClassification(config)
        _spread(model)
        model.save_pretrained(folder)
        return folder
    encoder = ModernBertModel(config)
    _spread(encoder)
    encoder.save_pretrained(folder)
    (_write_chain if by_library else _write_modules)(folder, config.hidden_size)
    return folder


def _write_chain(folder: Path, hidden: int) -> None:
    """Add the modules of an ettin reranker to an encoder, as sentence-transformers saves them."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling
    from torch import nn

    modules = [
        Transformer(str(folder), transformer_task="feature-extraction"),
        Pooling(hidden, pooling_mode="cls"),
        Dense(hidden, hidden, bias=False, activation_function=nn.GELU()),
        LayerNorm(hidden),
        Dense(hidden, 1, activation_function=nn.Identity(), module_output_name="scores"),
    ]
    for module in modules[2:]:
        _spread(module)
    model = CrossEncoder(modules=modules, activation_fn=nn.Identity(), device="cpu")
    model.save_pretrained(str(folder), create_model_card=False)


def _write_modules(folder: Path, hidden: int) -> None:
    """Write the same files."""
    import torch
    from safetensors.torch import save_file

    inner = {"in_features": hidden, "out_features": hidden, "bias": False}
    scores = {"in_features": hidden, "out_features": 1, "bias": True, "module_output_name": "scores"}
    modules: list[tuple[str, dict[str, Any], dict[str, tuple[int, ...]]]] = [
        ("Pooling", {"embedding_dimension": hidden, "pooling_mode": "cls"}, {}),
        (
            "Dense",
            inner | {"activation_function": "torch.nn.modules.activation.GELU"},
            {"linear.weight": (hidden, hidden)},
        ),
        ("LayerNorm", {"dimension": hidden}, {"norm.weight": (hidden,), "norm.bias": (hidden,)}),
        (
            "Dense",
            scores | {"activation_function": "torch.nn.modules.linear.Identity"},
            {"linear.weight": (1, hidden), "linear.bias": (1,)},
        ),
    ]
    chain = [{"path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}]
    for number, (kind, config, shapes) in enumerate(modules, start=1):
        place = folder / f"{number}_{kind}"
        place.mkdir()
        (place / "config.json").write_text(json.dumps(config))
        if shapes:
            weights = {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}
            save_file(weights, place / "model.safetensors")
        chain.append({"path": place.name, "type": f"sentence_transformers.models.{kind}"})
    (folder / "modules.json").write_text(json.dumps(chain))
    activation = {"activation_fn": "torch.nn.modules.linear.Identity"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(activation))


def _config(vocabulary: int, **options: Any) -> Any:
    from transformers import ModernBertConfig

    values: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "max_position_embeddings": POSITIONS,
        "local_attention": WINDOW,
        "num_labels": 1,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "cls_token_id": 1,
        "eos_token_id": 2,
        "sep_token_id": 2,
    }
    return ModernBertConfig(**values | options)


def _spread(model: Any) -> None:
    """Change the weights, so that a missing or a misplaced one shows in the scores."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (0.3 if parameter.dim() == 1 or "norm" in name else 0.08))


def _write_tokenizer(folder: Path, texts: list[str]) -> int:
    """Write a tokenizer like ModernBERT's, which splits bytes, and return its size."""
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import TemplateProcessing

    trainer = ByteLevelBPETokenizer()
    specials = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"]
    trainer.train_from_iterator(iter(texts * 2), 1500, min_frequency=1, show_progress=False, special_tokens=specials)
    tokenizer = trainer._tokenizer
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": POSITIONS,
        "model_input_names": ["input_ids", "attention_mask"],
    } | {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "cls", "sep", "mask", "unk")}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return int(tokenizer.get_vocab_size())
