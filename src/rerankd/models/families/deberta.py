"""DeBERTa-v2 and v3: encoders whose attention compares contents and relative positions separately.

Attention adds three products: content with content, content with position (c2p), and position with content (p2c).
Relative positions are sorted into buckets: near ones have one each, distant ones share one (He et al., "DeBERTa:
Decoding-enhanced BERT with Disentangled Attention", 2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

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
from rerankd.models.families.family import Family, ModelConfig
from rerankd.models.template import PairTemplate, special_token_template

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_CLASS = "DebertaV2ForSequenceClassification"
_TOKENS = (("[CLS]",), ("[SEP]",), ("[SEP]",))
# The only value that is supported, and the value that transformers takes if the option is missing.
_OPTIONS: Mapping[str, tuple[Any, Any]] = {
    "relative_attention": (True, False),
    "position_biased_input": (False, True),
    "share_att_key": (True, False),
    "norm_rel_ebd": ("layer_norm", "none"),
    "conv_kernel_size": (0, 0),
    "type_vocab_size": (0, 0),
    "hidden_act": ("gelu", "gelu"),
    "pooler_hidden_act": ("gelu", "gelu"),
}


_LINEAR = r"attention\.self\.(query|key|value)_proj|attention\.output\.dense|intermediate\.dense|output\.dense"


@dataclass(frozen=True, slots=True)
class DebertaArchitecture(Architecture):
    """Shape of a DeBERTa cross-encoder.

    Attributes:
        positions: longest input in tokens.
        relative_positions: distance up to which relative positions differ.
        buckets: buckets of relative positions on each side; 0 for one per distance.
        layer_norm_eps: epsilon of every layer normalization.
    """

    positions: int
    relative_positions: int
    buckets: int
    layer_norm_eps: float

    @property
    def max_length(self) -> int:
        """Longest input in tokens, special tokens included."""
        return self.positions

    @property
    def prefix(self) -> str:
        """Prefix of the names of the encoder's weights."""
        return "deberta"

    @property
    def head_prefixes(self) -> tuple[str, ...]:
        """Prefixes of the names of the ranking head's weights."""
        return "pooler.dense", "classifier"

    @property
    def span(self) -> int:
        """Rows of the table of relative positions on each side."""
        return self.buckets or self.relative_positions

    @property
    def attention_scale(self) -> float:
        """Factor of attention scores, which are sums of three products."""
        return float((3 * self.hidden // self.heads) ** -0.5)

    def relative_rows(self, length: int) -> npt.NDArray[np.int64]:
        """Return the row of the table of relative positions for each distance of a query from a key.

        Args:
            length: longest input in tokens.

        Returns:
            Rows of the distances from `1 - length` to `length - 1`, shape (2 * length - 1,), int64.
        """
        distance: npt.NDArray[np.int64] = np.arange(1 - length, length, dtype=np.int64)
        if self.buckets:
            distance = log_buckets(distance, self.buckets, self.relative_positions)
        rows: npt.NDArray[np.int64] = np.clip(distance + self.span, 0, 2 * self.span - 1)
        return rows

    def shapes(self) -> Shapes:
        """Return the shape of each required weight by name."""
        hidden, inner = self.hidden, self.intermediate
        shapes: Shapes = {
            "deberta.embeddings.word_embeddings.weight": (self.vocabulary, hidden),
            **norm_shapes("deberta.embeddings.LayerNorm", hidden),
            "deberta.encoder.rel_embeddings.weight": (2 * self.span, hidden),
            **norm_shapes("deberta.encoder.LayerNorm", hidden),
        }
        for layer in range(self.layers):
            prefix = f"deberta.encoder.layer.{layer}"
            for part in ("query_proj", "key_proj", "value_proj"):
                shapes |= linear_shapes(f"{prefix}.attention.self.{part}", hidden, hidden)
            shapes |= linear_shapes(f"{prefix}.attention.output.dense", hidden, hidden)
            shapes |= norm_shapes(f"{prefix}.attention.output.LayerNorm", hidden)
            shapes |= linear_shapes(f"{prefix}.intermediate.dense", hidden, inner)
            shapes |= linear_shapes(f"{prefix}.output.dense", inner, hidden)
            shapes |= norm_shapes(f"{prefix}.output.LayerNorm", hidden)
        return shapes | linear_shapes("pooler.dense", hidden, hidden) | linear_shapes("classifier", hidden, 1)


def log_buckets(distance: npt.NDArray[np.int64], buckets: int, longest: int) -> npt.NDArray[np.int64]:
    """Sort distances into buckets: half of them one by one, the more distant ones on a logarithmic scale.

    Computed in float32, as the models were trained: a boundary may depend on the rounding.

    Args:
        distance: signed distances.
        buckets: buckets on each side.
        longest: distance of the last bucket.

    Example:
        >>> log_buckets(np.array([-3, 0, 4, 5, 40]), 8, 64)
        array([-3,  0,  4,  5,  7])
    """
    middle = buckets // 2
    size = np.where(np.abs(distance) < middle, middle - 1, np.abs(distance))
    steps = np.log((size / middle).astype(np.float32)) / np.log(np.float32((longest - 1) / middle))
    wide = np.ceil(steps * np.float32(middle - 1)) + middle
    bucket: npt.NDArray[np.int64] = np.where(size <= middle, distance, wide * np.sign(distance)).astype(np.int64)
    return bucket


def read_deberta(config: ModelConfig) -> DebertaArchitecture:
    """Read the shape of a cross-encoder.

    Raises:
        UnsupportedModelError: the number of labels or an option is not supported.
    """
    values, where = config.values, config.where
    check_one_label(config)
    given = {name: values.get(name, default) for name, (_, default) in _OPTIONS.items()}
    check_options(given, where, **{name: value for name, (value, _) in _OPTIONS.items()})
    _check_attention(values, where)
    try:
        positions, relative = int(values["max_position_embeddings"]), int(values.get("max_relative_positions", -1))
        architecture = DebertaArchitecture(
            family="deberta-v2",
            layers=int(values["num_hidden_layers"]),
            hidden=int(values["hidden_size"]),
            heads=int(values["num_attention_heads"]),
            intermediate=int(values["intermediate_size"]),
            vocabulary=int(values["vocab_size"]),
            positions=positions,
            relative_positions=relative if relative > 0 else positions,
            buckets=max(0, int(values.get("position_buckets", -1))),
            layer_norm_eps=float(values.get("layer_norm_eps", 1e-7)),
            pad_id=int(values.get("pad_token_id", 0)),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UnsupportedModelError(f"{where}: config.json has no valid value for {error}.", hint=OWN_CONFIG) from error
    _check_sizes(architecture, values, where)
    return architecture


def _check_attention(values: Mapping[str, Any], where: str) -> None:
    kinds = values.get("pos_att_type")
    names = kinds.lower().split("|") if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
    if {str(name).strip() for name in names} != {"c2p", "p2c"}:
        raise UnsupportedModelError(
            f"{where}: pos_att_type {kinds!r} is not supported.", hint="It must be ['p2c', 'c2p']."
        )


def _check_sizes(architecture: DebertaArchitecture, values: Mapping[str, Any], where: str) -> None:
    names = {
        "num_hidden_layers": architecture.layers,
        "hidden_size": architecture.hidden,
        "num_attention_heads": architecture.heads,
        "intermediate_size": architecture.intermediate,
        "vocab_size": architecture.vocabulary,
        "max_position_embeddings": architecture.positions,
        "max_relative_positions": architecture.relative_positions,
        "position_buckets": architecture.buckets or 1,
    }
    check_sizes(names, where)
    check_heads(architecture, where)
    if architecture.buckets and not 2 < architecture.buckets < 2 * architecture.relative_positions - 2:
        raise UnsupportedModelError(
            f"{where}: position_buckets of config.json is {architecture.buckets}, for relative positions up to "
            f"{architecture.relative_positions}.",
            hint=OWN_CONFIG,
        )
    hidden = architecture.hidden
    head_size = hidden // architecture.heads
    check_options(values, where, embedding_size=hidden, pooler_hidden_size=hidden, attention_head_size=head_size)


def _template(architecture: Architecture, tokenizer: Tokenizer, folder: Path) -> PairTemplate:
    return special_token_template("deberta-v2", _TOKENS, tokenizer.token_to_id)


DEBERTA = Family(
    name="deberta-v2",
    classes=(_CLASS,),
    examples=(
        "mixedbread-ai/mxbai-rerank-xsmall-v1",
        "mixedbread-ai/mxbai-rerank-base-v1",
        "mixedbread-ai/mxbai-rerank-large-v1",
    ),
    languages="English",
    licence="Apache-2.0",
    architecture=DebertaArchitecture,
    recognises=lambda config: config.model_type == "deberta-v2" and _CLASS in config.classes,
    read=read_deberta,
    template=_template,
    trained=True,
    length="512",
    adapted_layers=rf".*encoder\.layer\.\d+\.({_LINEAR})",
)
