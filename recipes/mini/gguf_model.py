"""Folders that transformers reads, with the weights of GGUF files in bfloat16."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch

from .downloads import fetch

log = logging.getLogger("recipe")

_PLACES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_PARTS = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _place(name: str) -> str:
    """Return the name that transformers gives a tensor of a GGUF file."""
    if name in _PLACES:
        return _PLACES[name]
    _, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{_PARTS[part]}.{kind}"


def language_model_folder(name: str, folder: Path) -> Path:
    """Return a folder with a Qwen2 model in bfloat16 as transformers reads it, dequantised once from its GGUF file."""
    import gguf  # type: ignore[import-untyped]
    from safetensors.torch import save_file
    from transformers import AutoTokenizer

    target = folder / name
    if (target / "config.json").exists():
        return target
    path = fetch(name, folder)
    log.info("%s: dequantising", path.name)
    reader = gguf.GGUFReader(path)
    weights = {
        _place(tensor.name): torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type)).to(torch.bfloat16)
        for tensor in reader.tensors
    }
    fields = {key: field.contents() for key, field in reader.fields.items() if key.startswith("qwen2.")}
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": len(weights["model.embed_tokens.weight"]),
        "hidden_size": fields["qwen2.embedding_length"],
        "intermediate_size": fields["qwen2.feed_forward_length"],
        "num_hidden_layers": fields["qwen2.block_count"],
        "num_attention_heads": fields["qwen2.attention.head_count"],
        "num_key_value_heads": fields["qwen2.attention.head_count_kv"],
        "max_position_embeddings": fields["qwen2.context_length"],
        "rope_theta": fields["qwen2.rope.freq_base"],
        "rms_norm_eps": fields["qwen2.attention.layer_norm_rms_epsilon"],
        "tie_word_embeddings": "lm_head.weight" not in weights,
        "dtype": "bfloat16",
    }
    AutoTokenizer.from_pretrained(str(folder), gguf_file=path.name).save_pretrained(target)
    save_file(weights, target / "model.safetensors", {"format": "pt"})
    (target / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return target
