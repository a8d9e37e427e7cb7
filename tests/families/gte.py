"""Random GTE rerankers: as transformers saves them, and with the names and values that are published."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from tests.conftest import SHAPE, random_model
from tests.families.deberta import spread

THETA, FACTOR = 20_000.0, 8.0


def gte_checkpoint(folder: Path, tokenizer: Path, vocabulary: int, **changes: Any) -> Path:
    """Write a random checkpoint of transformers' GTE, with the tokenizer of another model."""
    import torch
    from transformers import GteConfig, GteForSequenceClassification

    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tokenizer / name, folder / name)
    torch.manual_seed(6)
    options = {"vocab_size": vocabulary, "max_position_embeddings": 512, "type_vocab_size": 1, "pad_token_id": 1}
    model = GteForSequenceClassification(GteConfig(**SHAPE | options | changes))
    return random_model(spread(model, 0.1), folder)


def published_layout(source: Path, folder: Path) -> Path:
    """Copy a checkpoint with the names of the published ones, and a config.json as their code writes it."""
    shutil.copytree(source, folder)
    weights = load_file(source / "model.safetensors")
    renamed = {name.replace("gte.", "new.", 1) if name.startswith("gte.") else name: w for name, w in weights.items()}
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    del config["rope_parameters"]
    config |= {
        "model_type": "new",
        "architectures": ["NewForSequenceClassification"],
        "auto_map": {"AutoConfig": "Alibaba-NLP/new-impl--configuration.NewConfig"},
        "layer_norm_type": "layer_norm",
        "logn_attention_clip1": False,
        "logn_attention_scale": False,
        "pack_qkv": True,
        "position_embedding_type": "rope",
        "rope_scaling": {"factor": FACTOR, "type": "ntk"},
        "rope_theta": THETA,
        "unpad_inputs": False,
        "use_memory_efficient_attention": False,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def set_published_frequencies(model: Any) -> None:
    """Set the rotary frequencies of transformers' network to those that the published code computes."""
    import torch

    width = model.config.hidden_size // model.config.num_attention_heads
    exponents = torch.arange(0, width, 2).float() / width
    frequencies = 1.0 / (THETA * FACTOR) ** exponents / FACTOR ** (2 / width)
    model.gte.rotary_emb.inv_freq.copy_(frequencies)
