"""BERT and XLM-RoBERTa: encoders with absolute positions and a head on the state of the first token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from rerankd.models.families.family import Family, ModelConfig
from rerankd.models.refusals import wrong_labels
from rerankd.models.template import PairTemplate, special_token_template

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_CLASSES = {"xlm-roberta": "XLMRobertaForSequenceClassification", "bert": "BertForSequenceClassification"}
_ENCODERS = {"xlm-roberta": "XLMRobertaModel", "bert": "BertModel"}
_LINEAR = r"attention\.self\.(query|key|value)|attention\.output\.dense|intermediate\.dense|output\.dense"
_TOKENS = {
    "xlm-roberta": (("<s>",), ("</s>", "</s>"), ("</s>",)),
    "bert": (("[CLS]",), ("[SEP]",), ("[SEP]",)),
}


@dataclass(frozen=True, slots=True)
class BertArchitecture(Architecture):
    """Shape of a BERT or XLM-RoBERTa cross-encoder.

    Attributes:
        positions: rows of the position embedding table.
        segment_types: rows of the segment embedding table.
        layer_norm_eps: epsilon of every layer normalization.
    """

    positions: int
    segment_types: int
    layer_norm_eps: float

    @property
    def segments(self) -> bool:
        """True if the model reads segment ids: 0 for the query, 1 for the document."""
        return self.family == "bert"

    @property
    def position_offset(self) -> int:
        """Offset of the first position; XLM-RoBERTa counts positions from the padding id."""
        return 0 if self.family == "bert" else self.pad_id

    @property
    def max_length(self) -> int:
        """Longest input in tokens, special tokens included."""
        return self.positions if self.family == "bert" else self.positions - self.pad_id - 1

    @property
    def prefix(self) -> str:
        """Prefix of the names of the encoder's weights."""
        return "bert" if self.family == "bert" else "roberta"

    @property
    def head(self) -> tuple[str, str]:
        """Names of the head's inner and output layer."""
        if self.family == "bert":
            return "bert.pooler.dense", "classifier"
        return "classifier.dense", "classifier.out_proj"

    @property
    def head_prefixes(self) -> tuple[str, ...]:
        """Prefixes of the names of the ranking head's weights."""
        return self.head

    def shapes(self) -> Shapes:
        """Return the shape of each required weight by name."""
        hidden, inner = self.hidden, self.intermediate
        embeddings = f"{self.prefix}.embeddings"
        shapes: Shapes = {
            f"{embeddings}.word_embeddings.weight": (self.vocabulary, hidden),
            f"{embeddings}.position_embeddings.weight": (self.positions, hidden),
            f"{embeddings}.token_type_embeddings.weight": (self.segment_types, hidden),
            **norm_shapes(f"{embeddings}.LayerNorm", hidden),
        }
        for layer in range(self.layers):
            prefix = f"{self.prefix}.encoder.layer.{layer}"
            for part in ("query", "key", "value"):
                shapes |= linear_shapes(f"{prefix}.attention.self.{part}", hidden, hidden)
            shapes |= linear_shapes(f"{prefix}.attention.output.dense", hidden, hidden)
            shapes |= norm_shapes(f"{prefix}.attention.output.LayerNorm", hidden)
            shapes |= linear_shapes(f"{prefix}.intermediate.dense", hidden, inner)
            shapes |= linear_shapes(f"{prefix}.output.dense", inner, hidden)
            shapes |= norm_shapes(f"{prefix}.output.LayerNorm", hidden)
        dense, out = self.head
        return shapes | linear_shapes(dense, hidden, hidden) | linear_shapes(out, hidden, 1)


def read_bert(config: ModelConfig) -> BertArchitecture:
    """Read the shape of a cross-encoder.

    Raises:
        UnsupportedModelError: the head, the number of labels or an option is not supported.
    """
    values, where, family = config.values, config.where, config.model_type
    check_one_label(config)
    check_options(values, where, hidden_act="gelu", position_embedding_type="absolute")
    try:
        architecture = BertArchitecture(
            family=family,
            layers=int(values["num_hidden_layers"]),
            hidden=int(values["hidden_size"]),
            heads=int(values["num_attention_heads"]),
            intermediate=int(values["intermediate_size"]),
            vocabulary=int(values["vocab_size"]),
            positions=int(values["max_position_embeddings"]),
            segment_types=int(values.get("type_vocab_size", 2)),
            layer_norm_eps=float(values.get("layer_norm_eps", 1e-12)),
            pad_id=int(values.get("pad_token_id", 1 if family == "xlm-roberta" else 0)),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UnsupportedModelError(f"{where}: config.json has no valid value for {error}.", hint=OWN_CONFIG) from error
    names = {
        "num_hidden_layers": architecture.layers,
        "hidden_size": architecture.hidden,
        "num_attention_heads": architecture.heads,
        "intermediate_size": architecture.intermediate,
        "vocab_size": architecture.vocabulary,
        "max_position_embeddings": architecture.positions,
        "type_vocab_size": architecture.segment_types,
    }
    check_sizes(names, where)
    check_heads(architecture, where)
    return architecture


def read_encoder_architecture(config: Mapping[str, Any], where: str) -> BertArchitecture:
    """Read the shape of a text encoder, which has no ranking head, from a parsed `config.json`.

    Args:
        config: the parsed file.
        where: name of the model, for error messages.

    Raises:
        UnsupportedModelError: the architecture or one of its options is not supported.

    Example:
        >>> read_encoder_architecture({"model_type": "t5"}, "some/model")
        Traceback (most recent call last):
        rerankd.errors.UnsupportedModelError: some/model: no architecture named: this is not a text encoder. ...
    """
    given = ModelConfig(config, where)
    if _ENCODERS.get(given.model_type) not in given.classes:
        raise UnsupportedModelError(
            f"{where}: {', '.join(given.classes) or 'no architecture named'}: this is not a text encoder.",
            hint=f"Use a {' or '.join(_ENCODERS.values())}, such as intfloat/multilingual-e5-small or BAAI/bge-m3.",
        )
    return read_bert(ModelConfig({**config, "num_labels": 1}, where))


def as_bert(architecture: Architecture, what: str) -> BertArchitecture:
    """Return an architecture that is BERT's or XLM-RoBERTa's.

    Args:
        architecture: the architecture.
        what: what needs it, for the error message.

    Raises:
        UnsupportedModelError: it belongs to another family.
    """
    if isinstance(architecture, BertArchitecture):
        return architecture
    raise UnsupportedModelError(
        f"{what} supports BERT and XLM-RoBERTa, not the family {architecture.family}.",
        hint="Use a model of these families: rerankd models families.",
    )


def check_one_label(config: ModelConfig) -> None:
    """Check that a classifier has one label.

    Raises:
        UnsupportedModelError: it has another number of labels, or config.json does not say how many.
    """
    try:
        labels = _labels(config.values)
    except (TypeError, ValueError) as error:
        raise UnsupportedModelError(
            f"{config.where}: config.json has no valid value for num_labels.", hint=OWN_CONFIG
        ) from error
    if labels != 1:
        names = config.values.get("id2label")
        raise wrong_labels(config.where, labels, names.values() if isinstance(names, Mapping) else [])


def _labels(config: Mapping[str, Any]) -> int:
    if (number := config.get("num_labels")) is not None:
        return int(number)
    labels = config.get("id2label")
    return len(labels) if isinstance(labels, Sequence | Mapping) else 2


def _template(architecture: Architecture, tokenizer: Tokenizer, folder: Path) -> PairTemplate:
    return special_token_template(architecture.family, _TOKENS[architecture.family], tokenizer.token_to_id)


def _family(name: str, examples: tuple[str, ...], languages: str, licence: str, length: str) -> Family:
    return Family(
        name=name,
        classes=(_CLASSES[name],),
        examples=examples,
        languages=languages,
        licence=licence,
        architecture=BertArchitecture,
        recognises=lambda config: config.model_type == name and _CLASSES[name] in config.classes,
        read=read_bert,
        template=_template,
        trained=True,
        length=length,
        adapted_layers=rf".*encoder\.layer\.\d+\.({_LINEAR})",
    )


XLM_ROBERTA = _family(
    "xlm-roberta",
    (
        "BAAI/bge-reranker-v2-m3",
        "BAAI/bge-reranker-base",
        "BAAI/bge-reranker-large",
        "maidalun1020/bce-reranker-base_v1",
        "cross-encoder/mmarco-mMiniLMv2-L12-H384-v1",
    ),
    "100 languages (v2-m3); Chinese and English (base, large, bce)",
    "Apache-2.0, MIT",
    "8192 (v2-m3), 512",
)
BERT = _family(
    "bert",
    (
        "cross-encoder/ms-marco-MiniLM-L4-v2",
        "cross-encoder/ms-marco-MiniLM-L6-v2",
        "cross-encoder/ms-marco-MiniLM-L12-v2",
    ),
    "English",
    "Apache-2.0",
    "512",
)
