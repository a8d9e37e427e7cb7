"""Scores of causal rerankers by transformers, which compiled models are compared with."""

from __future__ import annotations

from collections.abc import Callable

from rerankd.models.families.decoder import DecoderArchitecture
from rerankd.models.files import ModelFiles
from rerankd.models.merged import apply_adapter
from rerankd.scoring.encoder import EncodedPair


def causal_score(files: ModelFiles, architecture: DecoderArchitecture) -> Callable[[EncodedPair], float]:
    """Return a function that computes the logit of a sequence with transformers, in float32.

    Args:
        files: a checkpoint.
        architecture: its shape.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    auto = AutoModelForSequenceClassification if architecture.true_id is None else AutoModelForCausalLM
    model = auto.from_pretrained(
        files.weights_folder,
        dtype=torch.float32,
        trust_remote_code=False,
        use_safetensors=True,
        **({"key_mapping": renamed} if (renamed := files.checkpoint().key_mapping) else {}),
    ).eval()
    apply_adapter(model, files)

    def score(pair: EncodedPair) -> float:
        with torch.inference_mode():
            ids = torch.from_numpy(pair.ids)[None]
            if architecture.true_id is None:
                return float(model(ids).logits[0, 0])
            logits = model(ids, logits_to_keep=1).logits[0, -1]
        opposite = 0.0 if architecture.false_id is None else float(logits[architecture.false_id])
        return float(logits[architecture.true_id]) - opposite

    return score
