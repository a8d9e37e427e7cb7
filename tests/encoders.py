"""Small random text encoders, as sentence-transformers keeps them, with the bundled model's tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

START, END = "<s>", "</s>"


def make_encoder(folder: Path, family: str, pooling: str, *, special_tokens: bool = False, hidden: int = 32) -> Path:
    """Write an encoder.

    Args:
        folder: folder to write.
        family: `bert` or `xlm-roberta`.
        pooling: `mean` or `cls`.
        special_tokens: True if the tokenizer puts `<s>` and `</s>` around a text, as those of real encoders do.
        hidden: dimensions of a vector.
    """
    import torch
    import transformers
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.processors import TemplateProcessing

    from rerankd.models.reference import bundled_folder

    tokenizer = Tokenizer.from_file(str(bundled_folder("mini") / "tokenizer.json"))
    size = len(json.loads(tokenizer.to_str())["model"]["vocab"]) + 8
    if special_tokens:
        tokenizer.add_special_tokens([AddedToken(name, special=True) for name in (START, END)])
        ids = [(name, tokenizer.token_to_id(name)) for name in (START, END)]
        tokenizer.post_processor = TemplateProcessing(single=f"{START} $A {END}", special_tokens=ids)
    shape: dict[str, Any] = {
        "hidden_size": hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    torch.manual_seed(1)
    if family == "bert":
        model: Any = transformers.BertModel(transformers.BertConfig(vocab_size=size, **shape))
    else:
        config = transformers.XLMRobertaConfig(vocab_size=size, max_position_embeddings=514, pad_token_id=1, **shape)
        model = transformers.XLMRobertaModel(config)
    for parameter in model.parameters():
        parameter.data *= 4
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"pooling_mode_mean_tokens": pooling == "mean", "pooling_mode_cls_token": pooling == "cls"})
    )
    return folder
