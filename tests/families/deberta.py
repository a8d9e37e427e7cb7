"""Random DeBERTa-v3 rerankers with the options of mxbai-rerank-v1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conftest import SHAPE, random_model


def write_unigram_tokenizer(folder: Path, texts: list[str]) -> int:
    """Train a tokenizer of DeBERTa-v3's kind, write it, and return its size."""
    import json

    from tokenizers import SentencePieceUnigramTokenizer, Tokenizer
    from tokenizers.processors import TemplateProcessing

    trainer = SentencePieceUnigramTokenizer()
    special: list[Any] = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    trainer.train_from_iterator(
        iter(texts * 5), vocab_size=1500, special_tokens=special, unk_token="[UNK]", show_progress=False
    )
    tokenizer: Tokenizer = trainer._tokenizer
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    marks = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **marks}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return int(tokenizer.get_vocab_size())


def deberta_checkpoint(folder: Path, texts: list[str], **changes: Any) -> Path:
    """Write a random checkpoint; with small buckets, so that short texts reach the logarithmic ones."""
    import torch
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

    folder.mkdir(parents=True)
    torch.manual_seed(4)
    options = {
        "vocab_size": write_unigram_tokenizer(folder, texts),
        "max_position_embeddings": 512,
        "relative_attention": True,
        "position_biased_input": False,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "type_vocab_size": 0,
    }
    model = DebertaV2ForSequenceClassification(DebertaV2Config(**SHAPE | options | changes))
    return random_model(spread(model, 0.2), folder)


def spread(model: Any, size: float) -> Any:
    """Spread the weights of linear layers: with small ones, attention looks everywhere alike."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "embeddings" not in name:
                parameter.add_(torch.randn_like(parameter) * size)
    return model
