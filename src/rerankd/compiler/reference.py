"""Reference of the verification: a checkpoint in float32, run by transformers, or by the torch backend.

transformers is independent of this project's networks, so it comes first. Families that its sequence classification
does not load, or loads without all of their weights, run on the torch backend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from rerankd.compiler.causal_reference import causal_score
from rerankd.models.families.decoder import DecoderArchitecture
from rerankd.models.files import ModelFiles, read_config
from rerankd.models.merged import apply_adapter
from rerankd.models.modules import read_modules, scores_pairs
from rerankd.scoring.encoder import EncodedPair

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Reference:
    """Scores to compare with.

    Attributes:
        name: what computes them, for the report.
        score: function that returns the logit of a pair.
    """

    name: str
    score: Callable[[EncodedPair], float]


def open_reference(files: ModelFiles) -> Reference:
    """Open the reference of a checkpoint.

    Args:
        files: a checked checkpoint folder.

    Raises:
        CorruptModelError: the weights do not fit the architecture.
    """
    if isinstance(architecture := files.manifest.architecture, DecoderArchitecture):
        return Reference(f"transformers {version('transformers')} fp32", causal_score(files, architecture))
    if (model := _sequence_classifier(files)) is not None:
        return Reference(f"transformers {version('transformers')} fp32", _classifier_score(model, files))
    from rerankd.scoring.torch.backend import TorchBackend

    backend = TorchBackend(files, precision="fp32")
    return Reference(f"torch {version('torch')} fp32 (rerankd)", lambda pair: float(backend.logits([pair])[0]))


def _sequence_classifier(files: ModelFiles) -> PreTrainedModel | None:
    """Return the model as transformers loads it; None if it does not load all of its weights."""
    import torch
    import transformers

    classes: Any = read_config(files.weights_folder).get("architectures")
    named = classes[0] if isinstance(classes, list) and classes else ""
    known = str(named).endswith("ForSequenceClassification") and hasattr(transformers, str(named))
    if not known or scores_pairs(read_modules(files.weights_folder)):
        return None
    renamed = files.checkpoint().key_mapping
    model, report = getattr(transformers, named).from_pretrained(
        files.weights_folder,
        dtype=torch.float32,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
        **({"key_mapping": renamed} if renamed else {}),
    )
    if report["missing_keys"] or report["mismatched_keys"]:
        return None
    apply_adapter(model, files)
    loaded: PreTrainedModel = model.eval()
    return loaded


def _classifier_score(model: PreTrainedModel, files: ModelFiles) -> Callable[[EncodedPair], float]:
    import torch

    segmented = files.manifest.architecture.segments

    def score(pair: EncodedPair) -> float:
        ids = torch.from_numpy(pair.ids)[None]
        feed = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if segmented:
            feed["token_type_ids"] = (torch.arange(len(pair)) >= pair.document_start).long()[None]
        with torch.inference_mode():
            return float(model(**feed).logits[0, 0])

    return score
