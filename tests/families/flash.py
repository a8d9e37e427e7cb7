"""Checkpoints of XLM-RoBERTa in the layout of its flash implementation, made from those of transformers."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

NAMES = (
    (r"^roberta\.encoder\.layer\.", "roberta.encoder.layers."),
    (r"^roberta\.embeddings\.LayerNorm\.", "roberta.emb_ln."),
    (r"attention\.output\.dense", "mixer.out_proj"),
    (r"attention\.output\.LayerNorm", "norm1"),
    (r"intermediate\.dense", "mlp.fc1"),
    (r"(?<=\d\.)output\.dense", "mlp.fc2"),
    (r"(?<=\d\.)output\.LayerNorm", "norm2"),
)


def flash_layout(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights with other names, and query, key and value merged."""
    renamed = {}
    for name, value in weights.items():
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    for query in [name for name in renamed if ".attention.self.query." in name]:
        parts = [renamed.pop(query.replace("query", part)) for part in ("query", "key", "value")]
        renamed[query.replace("attention.self.query", "mixer.Wqkv")] = np.concatenate(parts)
    return renamed


def flash_checkpoint(source: Path, folder: Path) -> Path:
    """Copy a checkpoint of transformers into the other layout, with the config.json of a model with its own code."""
    shutil.copytree(source, folder)
    weights = flash_layout(load_file(source / "model.safetensors"))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    del config["model_type"]
    module = "configuration_xlm_roberta.XLMRobertaFlashConfig"
    config |= {"auto_map": {"AutoConfig": module}, "position_embedding_type": "absolute", "use_flash_attn": True}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
