"""What a folder that is no supported reranker looks like, and what to use instead."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerankd._common.json_parsing import parse_json
from rerankd.errors import UnsupportedModelError

RERANKER = "Use a cross-encoder of a supported family (rerankd models families), such as BAAI/bge-reranker-v2-m3."
_ENCODER = (
    "A first stage can use it (rerankd index --embedding-model); to rank, use a cross-encoder, such as "
    "BAAI/bge-reranker-v2-m3."
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A kind of model that is not supported.

    Attributes:
        pattern: regular expression for `model_type`, or for the name of a class in `architectures` or `auto_map`.
        what: what the model is.
        instead: what to use instead, one sentence.
    """

    pattern: str
    what: str
    instead: str = RERANKER


REFUSALS = (
    Refusal(
        r"JinaForRanking",
        "a listwise reranker (jina-reranker-v3): the score of a document depends on the other documents of the request",
        "Use a model that scores each document by itself, such as jinaai/jina-reranker-v2-base-multilingual or "
        "BAAI/bge-reranker-v2-m3.",
    ),
    Refusal(
        r".*(VLForRanking|VLFor\w+|Vision2Seq|ImageTextToText|LlavaFor|Idefics|PaliGemma|Gemma3ForConditional).*"
        r"|qwen\d(_\d)?_vl.*",
        "a vision-language model, which ranks pictures of pages",
        "Rank the pages' text with a text reranker, such as BAAI/bge-reranker-v2-m3.",
    ),
    Refusal(
        r"LayerWiseMiniCPMForCausalLM",
        "bge-reranker-v2-minicpm-layerwise, whose score is read from a layer that the caller chooses",
        "Use BAAI/bge-reranker-v2-m3.",
    ),
    Refusal(
        r"CostWiseGemmaForCausalLM|cost_wise_gemma",
        "bge-reranker-v2.5-gemma2-lightweight, which compresses tokens between its layers",
        "Use BAAI/bge-reranker-v2-m3.",
    ),
    Refusal(r"Gemma\d?ForCausalLM", "a Gemma language model, such as bge-reranker-v2-gemma"),
    Refusal(r"M?U?T5\w*|Bart\w*|MBart\w*", "an encoder-decoder (T5, such as monoT5), which writes its answer"),
    Refusal(
        r"(HF_)?ColBERT\w*|ColBERT",
        "a ColBERT model, which gives each token a vector and has no ranking head",
    ),
    Refusal(
        r"\w+(ForMaskedLM|ForPreTraining)",
        "a pretrained language model that was not trained to rank",
        "Use a cross-encoder that was fine-tuned from it, or another one, such as BAAI/bge-reranker-v2-m3.",
    ),
    Refusal(r"\w+ForQuestionAnswering", "a model that marks answers in a text"),
    Refusal(r"\w+ForTokenClassification", "a model that labels tokens"),
)

_OTHER_CONFIGS: Mapping[str, str] = {
    "tokenizer_class": "a tokenizer's (tokenizer_config.json)",
    "added_tokens_decoder": "a tokenizer's (tokenizer_config.json)",
    "peft_type": "an adapter's (adapter_config.json)",
    "pooling_mode_mean_tokens": "that of a pooling layer (1_Pooling/config.json)",
    "__version__": "that of sentence-transformers (config_sentence_transformers.json)",
    "image_processor_type": "a picture processor's (preprocessor_config.json)",
}

LAYOUTS: tuple[tuple[str, str], ...] = (
    (r"\.(qweight|qzeros|SCB|weight_packed|absmax)$", "a quantized model (GPTQ, AWQ or bitsandbytes)"),
    (r"lora_[AB]|lora_embedding_[AB]", "a LoRA adapter"),
    (r"(^|\.)decoder\.block\.\d+\.|encoder\.block\.\d+\.layer\.\d+\.SelfAttention", "T5"),
    (r"(^|\.)layers\.\d+\.self_attn\.(q_proj|qkv_proj)", "a language model such as Qwen3 or Llama"),
    (r"(^|\.)layers\.\d+\.attn\.Wqkv", "ModernBERT"),
    (r"layers\.\d+\.mixer\.Wqkv", "jina-reranker-v2 (merged query, key and value)"),
    (r"attention\.self\.query_proj", "DeBERTa-v2"),
    (r"attention\.qkv_proj", "gte-multilingual (model type new)"),
    (r"transformer\.layer\.\d+\.attention\.q_lin", "DistilBERT"),
    (r"albert_layer_groups", "ALBERT"),
    (r"(^|\.)electra\.encoder", "ELECTRA"),
    (r"(^|\.)bert\.encoder\.layer", "BERT"),
    (r"(^|\.)roberta\.encoder\.layer", "XLM-RoBERTa or RoBERTa"),
    (r"Wqkv", "a model with merged query, key and value"),
)
"""Pattern in the names of stored tensors, and the family that uses such names; the first match counts."""


def layout_of(names: Iterable[str]) -> str:
    """Return the family that the names of stored tensors look like; empty for none that is known.

    Example:
        >>> layout_of(["deberta.encoder.layer.0.attention.self.query_proj.weight"])
        'DeBERTa-v2'
    """
    known = list(names)
    return next((family for pattern, family in LAYOUTS if any(re.search(pattern, name) for name in known)), "")


def unsupported(
    values: Mapping[str, Any], where: str, folder: Path | None, supported: Iterable[str]
) -> UnsupportedModelError:
    """Return the error for a configuration that belongs to no family.

    Args:
        values: the parsed `config.json`.
        where: name of the model.
        folder: folder of its other files; None if they are not there.
        supported: classes that are supported.
    """
    named = values.get("architectures")
    classes = [str(name) for name in named] if isinstance(named, list) else []
    kind, listed = values.get("model_type"), ", ".join(classes) or "no architecture named"
    if not kind and not classes and (other := next((key for key in _OTHER_CONFIGS if key in values), None)):
        return UnsupportedModelError(
            f"{where}: config.json is not a model's but {_OTHER_CONFIGS[other]}.",
            hint="Use the config.json that lies beside the weights in the model's repository.",
        )
    if folder is not None and (found := _module_chain(folder)):
        return UnsupportedModelError(f"{where}: {listed} with {found[0]}: this is {found[1]}.", hint=_ENCODER)
    code = _remote_code(values)
    names = [*classes, str(kind or ""), *code]
    for refusal in REFUSALS:
        if any(re.fullmatch(refusal.pattern, name) for name in names):
            return UnsupportedModelError(f"{where}: {listed}: this is {refusal.what}.", hint=refusal.instead)
    if any(key in values for key in ("vision_config", "image_token_id")):
        return UnsupportedModelError(f"{where}: {listed}: this is {REFUSALS[1].what}.", hint=REFUSALS[1].instead)
    if values.get("is_encoder_decoder"):
        return UnsupportedModelError(f"{where}: {listed}: this is an encoder-decoder.", hint=RERANKER)
    if kind and code:
        return UnsupportedModelError(
            f"{where}: {listed} of type {kind!r} is computed by code of its own repository ({code[0]}), "
            "which rerankd never runs.",
            hint=RERANKER,
        )
    known = {name.split("For")[0] for name in supported}
    if kind is not None and (not classes or any(name.removesuffix("Model") in known for name in classes)):
        return UnsupportedModelError(
            f"{where}: {listed}: this is an encoder without a ranking head (a bi-encoder or a base model); "
            "it cannot score pairs.",
            hint=_ENCODER,
        )
    if kind is None:
        return UnsupportedModelError(
            f"{where}: config.json names no model_type; {listed} alone is not supported.",
            hint="Use the config.json that lies beside the weights in the model's repository.",
        )
    return UnsupportedModelError(f"{where}: model type {kind!r} is not supported ({listed}).", hint=RERANKER)


def _remote_code(values: Mapping[str, Any]) -> list[str]:
    """Return the classes of `auto_map`, the code that a repository brings with it."""
    mapped = values.get("auto_map")
    targets = [str(target) for target in mapped.values()] if isinstance(mapped, dict) else []
    return sorted(
        (target.rpartition(".")[2] for target in targets), key=lambda name: name.endswith(("Config", "Model"))
    )


def _module_chain(folder: Path) -> tuple[str, str] | None:
    """Return the modules after the transformer of a sentence-transformers folder that has no head, and what it is."""
    try:
        rows = parse_json((folder / "modules.json").read_bytes())
        kinds = [str(row["type"]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    names = [kind.rpartition(".")[2] for kind in kinds]
    listed = " and ".join(names[1:])
    if any("pylate" in kind for kind in kinds):
        return listed or "pylate", "a ColBERT model, which gives each token a vector and has no ranking head"
    if "SpladePooling" in names:
        return listed, "a sparse encoder (SPLADE), which gives each text a vector and cannot score pairs"
    if "Pooling" in names and names[-1] in ("Pooling", "Normalize"):
        return listed, "a bi-encoder (an embedding model), which gives each text a vector and cannot score pairs"
    return None


def wrong_labels(where: str, labels: int, names: Iterable[str]) -> UnsupportedModelError:
    """Return the error for a classifier with another number of labels than one.

    Args:
        where: name of the model.
        labels: number of labels.
        names: names of the labels, as far as they are known.
    """
    named = [str(name) for name in names if not re.fullmatch(r"LABEL_\d+", str(name))]
    kind = ""
    if {name.lower() for name in named} >= {"entailment", "neutral", "contradiction"}:
        kind = " These are those of natural language inference, which is not ranking."
    elif named:
        kind = f" Its labels are {', '.join(named[:5])}."
    return UnsupportedModelError(
        f"{where}: the head has {labels} labels; a reranker has one.{kind}",
        hint=f"Use a cross-encoder with one label, such as BAAI/bge-reranker-v2-m3{_one_label(labels)}.",
    )


def _one_label(labels: int) -> str:
    return ", or train the model with num_labels=1" if labels == 2 else ""
