"""GTE (mGTE, `NewModel`): encoders with rotary positions and gated feed-forward layers.

The published checkpoints come with code of their own, which is never run. Their weights and values of `config.json` are
read as that code reads them; those of transformers' own `GteForSequenceClassification` are read too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rerankd.errors import UnsupportedModelError
from rerankd.models.architecture import (
    OWN_CONFIG,
    Architecture,
    Shapes,
    check_heads,
    check_options,
    check_sizes,
    linear_shapes,
    norm_shapes,
)
from rerankd.models.families.bert import check_one_label
from rerankd.models.families.family import Family, ModelConfig, StoredWeight, merged_weights
from rerankd.models.template import PairTemplate, special_token_template

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_CLASSES = {"new": "NewForSequenceClassification", "gte": "GteForSequenceClassification"}
_THETA = {"new": 10_000.0, "gte": 160_000.0}
_XLMR_TOKENS = (("<s>",), ("</s>", "</s>"), ("</s>",))
_BERT_TOKENS = (("[CLS]",), ("[SEP]",), ("[SEP]",))


@dataclass(frozen=True, slots=True)
class GteArchitecture(Architecture):
    """Shape of a GTE cross-encoder.

    Attributes:
        positions: longest input in tokens.
        segment_types: rows of the segment embedding table, 0 or 1; every token has the first.
        layer_norm_eps: epsilon of every layer normalization.
        rotary_theta: base of the rotary frequencies.
        rotary_divisor: divisor of the rotary frequencies.
    """

    positions: int
    segment_types: int
    layer_norm_eps: float
    rotary_theta: float
    rotary_divisor: float

    @property
    def max_length(self) -> int:
        """Longest input in tokens, special tokens included."""
        return self.positions

    @property
    def prefix(self) -> str:
        """Prefix of the names of the encoder's weights."""
        return "new"

    @property
    def head_prefixes(self) -> tuple[str, ...]:
        """Prefixes of the names of the ranking head's weights."""
        return "new.pooler.dense", "classifier"

    def shapes(self) -> Shapes:
        """Return the shape of each required weight by name."""
        hidden, inner = self.hidden, self.intermediate
        shapes: Shapes = {"new.embeddings.word_embeddings.weight": (self.vocabulary, hidden)}
        if self.segment_types:
            shapes["new.embeddings.token_type_embeddings.weight"] = (self.segment_types, hidden)
        shapes |= norm_shapes("new.embeddings.LayerNorm", hidden)
        for layer in range(self.layers):
            prefix = f"new.encoder.layer.{layer}"
            for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
                shapes |= linear_shapes(f"{prefix}.attention.{part}", hidden, hidden)
            shapes |= norm_shapes(f"{prefix}.attn_ln", hidden)
            for part in ("up_proj", "gate_proj"):
                shapes |= linear_shapes(f"{prefix}.mlp.{part}", hidden, inner, bias=False)
            shapes |= linear_shapes(f"{prefix}.mlp.down_proj", inner, hidden)
            shapes |= norm_shapes(f"{prefix}.mlp_ln", hidden)
        return shapes | linear_shapes("new.pooler.dense", hidden, hidden) | linear_shapes("classifier", hidden, 1)


def stored_weights(architecture: Architecture, names: Sequence[str]) -> Mapping[str, StoredWeight]:
    """Return where a checkpoint stores each weight: query, key and value in one layer, and up and gate in another.

    Args:
        architecture: of the model.
        names: names of the stored tensors; those of transformers begin with `gte` instead of `new`.
    """
    stored = "gte" if any(name.startswith("gte.") for name in names) else "new"
    separate = any(".attention.q_proj." in name for name in names)
    places = {
        name: StoredWeight(name.replace("new.", f"{stored}.", 1))
        for name in architecture.shapes()
        if stored != "new" and name.startswith("new.")
    }
    for layer in range(architecture.layers):
        prefix, place = f"new.encoder.layer.{layer}", f"{stored}.encoder.layer.{layer}"
        if not separate:
            parts = [f"{prefix}.attention.{part}_proj" for part in "qkv"]
            places |= merged_weights(f"{place}.attention.qkv_proj", parts, architecture.hidden, ("weight", "bias"))
        parts = [f"{prefix}.mlp.{part}_proj" for part in ("up", "gate")]
        places |= merged_weights(f"{place}.mlp.up_gate_proj", parts, architecture.intermediate, ("weight",))
    return places


def read_gte(config: ModelConfig) -> GteArchitecture:
    """Read the shape of a cross-encoder.

    Raises:
        UnsupportedModelError: the number of labels or an option is not supported.
    """
    values, where = config.values, config.where
    check_one_label(config)
    check_options(
        values,
        where,
        hidden_act="gelu",
        position_embedding_type="rope",
        layer_norm_type="layer_norm",
        logn_attention_scale=False,
    )
    try:
        hidden, heads = int(values["hidden_size"]), int(values["num_attention_heads"])
        check_sizes({"hidden_size": hidden, "num_attention_heads": heads}, where)
        theta, divisor = _rotary(config, hidden // heads)
        architecture = GteArchitecture(
            family="gte",
            layers=int(values["num_hidden_layers"]),
            hidden=hidden,
            heads=heads,
            intermediate=int(values["intermediate_size"]),
            vocabulary=int(values["vocab_size"]),
            positions=int(values["max_position_embeddings"]),
            segment_types=int(values.get("type_vocab_size", 1)),
            layer_norm_eps=float(values.get("layer_norm_eps", 1e-12)),
            pad_id=int(values.get("pad_token_id", 1)),
            rotary_theta=theta,
            rotary_divisor=divisor,
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UnsupportedModelError(f"{where}: config.json has no valid value for {error}.", hint=OWN_CONFIG) from error
    _check_sizes(architecture, where)
    return architecture


def _rotary(config: ModelConfig, width: int) -> tuple[float, float]:
    """Return base and divisor of the rotary frequencies.

    Fixed NTK scaling, as the published code computes it, multiplies the base by the factor, and divides the frequencies
    by its power of 2 / width.
    """
    values = config.values
    options = values.get("rope_scaling") or values.get("rope_parameters") or {}
    if not isinstance(options, Mapping):
        raise ValueError("rope_scaling")
    kind = options.get("rope_type", options.get("type", "default"))
    theta = float(options.get("rope_theta", values.get("rope_theta", _THETA[config.model_type])))
    factor = float(options.get("factor", 1.0))
    supported = {"default", "linear", "ntk"} if config.model_type == "new" else {"default", "linear"}
    if kind not in supported or options.get("mixed_b") is not None:
        raise UnsupportedModelError(
            f"{config.where}: rope_scaling {dict(options)!r} is not supported.",
            hint=f"Its type must be {' or '.join(sorted(supported))}.",
        )
    if not 1 <= theta < float("inf") or not 1 <= factor < float("inf"):
        raise ValueError("rope_theta, or the factor of rope_scaling")
    if kind == "ntk":
        return theta * factor, factor ** (2 / width)
    return theta, factor if kind == "linear" else 1.0


def _check_sizes(architecture: GteArchitecture, where: str) -> None:
    names = {
        "num_hidden_layers": architecture.layers,
        "intermediate_size": architecture.intermediate,
        "vocab_size": architecture.vocabulary,
        "max_position_embeddings": architecture.positions,
        "type_vocab_size": architecture.segment_types + 1,
    }
    check_sizes(names, where)
    check_heads(architecture, where)
    if architecture.segment_types > 1:
        raise UnsupportedModelError(
            f"{where}: type_vocab_size {architecture.segment_types} is not supported.", hint="It must be 0 or 1."
        )
    if architecture.hidden // architecture.heads % 2:
        raise UnsupportedModelError(
            f"{where}: rotary positions need attention heads of an even width, "
            f"not {architecture.hidden // architecture.heads}.",
            hint=OWN_CONFIG,
        )


def _template(architecture: Architecture, tokenizer: Tokenizer, folder: Path) -> PairTemplate:
    tokens = _XLMR_TOKENS if tokenizer.token_to_id("<s>") is not None else _BERT_TOKENS
    return special_token_template("gte", tokens, tokenizer.token_to_id)


def _recognises(config: ModelConfig) -> bool:
    return _CLASSES.get(config.model_type) in config.classes


GTE = Family(
    name="gte",
    classes=tuple(_CLASSES.values()),
    examples=("Alibaba-NLP/gte-multilingual-reranker-base",),
    languages="70 languages",
    licence="Apache-2.0",
    architecture=GteArchitecture,
    recognises=_recognises,
    read=read_gte,
    template=_template,
    stored_weights=stored_weights,
    length="8192",
)
