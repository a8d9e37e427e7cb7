"""Weights of XLM-RoBERTa as the flash implementation of jina-reranker-v2 stores them.

Query, key and value are one layer, and the other layers have names of their own; the network is XLM-RoBERTa's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rerankd.models.architecture import Architecture
from rerankd.models.families.family import StoredWeight, merged_weights

FLASH_MARK = "roberta.encoder.layers."
_KINDS = ("weight", "bias")
_LAYERS = {
    "attention.output.dense": "mixer.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "output.LayerNorm": "norm2",
}


def flash_weights(architecture: Architecture, names: Sequence[str]) -> Mapping[str, StoredWeight]:
    """Return where a checkpoint of the flash implementation stores each weight; nothing for another checkpoint.

    Args:
        architecture: of the model.
        names: names of the stored tensors.
    """
    if not any(name.startswith(FLASH_MARK) for name in names):
        return {}
    places = {f"roberta.embeddings.LayerNorm.{kind}": StoredWeight(f"roberta.emb_ln.{kind}") for kind in _KINDS}
    for layer in range(architecture.layers):
        own, stored = f"roberta.encoder.layer.{layer}", f"{FLASH_MARK}{layer}"
        parts = [f"{own}.attention.self.{part}" for part in ("query", "key", "value")]
        places |= merged_weights(f"{stored}.mixer.Wqkv", parts, architecture.hidden, _KINDS)
        for name, place in _LAYERS.items():
            places |= {f"{own}.{name}.{kind}": StoredWeight(f"{stored}.{place}.{kind}") for kind in _KINDS}
    return places
