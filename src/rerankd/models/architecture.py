"""Architecture of a checkpoint, read from its `config.json`; unsupported architectures are rejected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rerankd.errors import UnsupportedModelError

MAX_SIZE = 10_000_000
SUPPORTED = "XLMRobertaForSequenceClassification or BertForSequenceClassification with one label"

_ENCODERS = {"xlm-roberta": "XLMRobertaModel", "bert": "BertModel"}
_FAMILIES = {"xlm-roberta": "XLMRobertaForSequenceClassification", "bert": "BertForSequenceClassification"}


@dataclass(frozen=True, slots=True)
class Architecture:
    """Shape of a cross-encoder.

    Attributes:
        family: `xlm-roberta` or `bert`; decides template, positions and names of weights.
        layers: number of transformer layers.
        hidden: width of a token's state.
        heads: attention heads per layer.
        intermediate: width of the feed-forward layer.
        vocabulary: rows of the word embedding table.
        positions: rows of the position embedding table.
        segment_types: rows of the segment embedding table.
        layer_norm_eps: epsilon of every layer normalisation.
        pad_id: id of the padding token.
    """

    family: str
    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    segment_types: int
    layer_norm_eps: float
    pad_id: int

    @property
    def segments(self) -> bool:
        """True if the model reads segment ids: 0 for the query, 1 for the document."""
        return self.family == "bert"

    @property
    def position_offset(self) -> int:
        """Offset of the first position; XLM-R counts positions from the padding id."""
        return 0 if self.family == "bert" else self.pad_id

    @property
    def max_length(self) -> int:
        """Longest input in tokens, special tokens included."""
        return self.positions if self.family == "bert" else self.positions - self.pad_id - 1

    @property
    def prefix(self) -> str:
        """Prefix of the encoder's weight names."""
        return "bert" if self.family == "bert" else "roberta"

    @property
    def head(self) -> tuple[str, str]:
        """Names of the head's inner and output layer."""
        if self.family == "bert":
            return "bert.pooler.dense", "classifier"
        return "classifier.dense", "classifier.out_proj"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each required weight by name."""
        hidden, inner = self.hidden, self.intermediate
        embeddings = f"{self.prefix}.embeddings"
        shapes: dict[str, tuple[int, ...]] = {
            f"{embeddings}.word_embeddings.weight": (self.vocabulary, hidden),
            f"{embeddings}.position_embeddings.weight": (self.positions, hidden),
            f"{embeddings}.token_type_embeddings.weight": (self.segment_types, hidden),
            **_norm(f"{embeddings}.LayerNorm", hidden),
        }
        for layer in range(self.layers):
            prefix = f"{self.prefix}.encoder.layer.{layer}"
            for part in ("query", "key", "value"):
                shapes |= _linear(f"{prefix}.attention.self.{part}", hidden, hidden)
            shapes |= _linear(f"{prefix}.attention.output.dense", hidden, hidden)
            shapes |= _norm(f"{prefix}.attention.output.LayerNorm", hidden)
            shapes |= _linear(f"{prefix}.intermediate.dense", hidden, inner)
            shapes |= _linear(f"{prefix}.output.dense", inner, hidden)
            shapes |= _norm(f"{prefix}.output.LayerNorm", hidden)
        dense, out = self.head
        return shapes | _linear(dense, hidden, hidden) | _linear(out, hidden, 1)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        total = 0
        for shape in self.shapes().values():
            size = 1
            for n in shape:
                size *= n
            total += size
        return total


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def _labels(config: Mapping[str, Any]) -> int:
    if (number := config.get("num_labels")) is not None:
        return int(number)
    labels = config.get("id2label")
    return len(labels) if isinstance(labels, Sequence | Mapping) else 2


def _named_classes(config: Mapping[str, Any]) -> list[str]:
    """Return the classes that a model was saved from."""
    named = config.get("architectures")
    return [str(name) for name in named] if isinstance(named, list) else []


def read_encoder_architecture(config: Mapping[str, Any], where: str) -> Architecture:
    """Read the shape of a text encoder, which has no ranking head, from a parsed `config.json`.

    Args:
        config: the parsed file.
        where: name of the model, for error messages.

    Raises:
        UnsupportedModelError: the architecture or one of its options is not supported.

    Example:
        >>> read_encoder_architecture({"model_type": "t5"}, "some/model")
        Traceback (most recent call last):
        rerankd.errors.UnsupportedModelError: some/model: model type 't5' is not supported. ...
    """
    named = _named_classes(config)
    family = str(config.get("model_type", ""))
    if family in _ENCODERS and _ENCODERS[family] not in named:
        raise UnsupportedModelError(
            f"{where}: {', '.join(named) or 'no architecture named'}: this is not a text encoder.",
            hint=f"Use a {' or '.join(_ENCODERS.values())}, such as intfloat/multilingual-e5-small or BAAI/bge-m3.",
        )
    headed = {"architectures": [_FAMILIES.get(family)], "num_labels": 1}
    return read_architecture({**config, **headed}, where)


def _check_sizes(architecture: Architecture, where: str) -> None:
    """Check that all sizes are positive, and none is larger than that of any model."""
    sizes = {
        "num_hidden_layers": architecture.layers,
        "hidden_size": architecture.hidden,
        "num_attention_heads": architecture.heads,
        "intermediate_size": architecture.intermediate,
        "vocab_size": architecture.vocabulary,
        "max_position_embeddings": architecture.positions,
        "type_vocab_size": architecture.segment_types,
    }
    if (wrong := next((name for name, size in sizes.items() if not 0 < size <= MAX_SIZE), None)) is not None:
        raise UnsupportedModelError(
            f"{where}: {wrong} of config.json is {sizes[wrong]}.", hint="Use the model's own config.json."
        )


def read_architecture(config: Mapping[str, Any], where: str) -> Architecture:
    """Read the shape from a parsed `config.json`.

    Args:
        config: the parsed file.
        where: name of the model, for error messages.

    Raises:
        UnsupportedModelError: the architecture, its head, the number of labels or an option is not supported.

    Example:
        >>> read_architecture({"model_type": "t5"}, "some/model")
        Traceback (most recent call last):
        rerankd.errors.UnsupportedModelError: some/model: model type 't5' is not supported. ...
    """
    family = str(config.get("model_type", ""))
    if family not in _FAMILIES:
        raise UnsupportedModelError(f"{where}: model type {family!r} is not supported.", hint=f"Use {SUPPORTED}.")
    named = _named_classes(config)
    if _FAMILIES[family] not in named:
        raise UnsupportedModelError(
            f"{where}: {', '.join(named) or 'no architecture named'}: this is an encoder without a ranking head "
            "(a bi-encoder or a base model); it cannot score pairs.",
            hint=f"Use {SUPPORTED}.",
        )
    try:
        labels = _labels(config)
    except (TypeError, ValueError) as error:
        raise UnsupportedModelError(
            f"{where}: config.json has no valid value for num_labels.", hint="Use the model's own config.json."
        ) from error
    if labels != 1:
        raise UnsupportedModelError(
            f"{where}: the head has {labels} labels; a reranker has one.", hint=f"Use {SUPPORTED}."
        )
    for key, allowed in (("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        if config.get(key, allowed) != allowed:
            raise UnsupportedModelError(
                f"{where}: {key} {config[key]!r} is not supported.", hint=f"It must be {allowed!r}."
            )
    try:
        architecture = Architecture(
            family=family,
            layers=int(config["num_hidden_layers"]),
            hidden=int(config["hidden_size"]),
            heads=int(config["num_attention_heads"]),
            intermediate=int(config["intermediate_size"]),
            vocabulary=int(config["vocab_size"]),
            positions=int(config["max_position_embeddings"]),
            segment_types=int(config.get("type_vocab_size", 2)),
            layer_norm_eps=float(config.get("layer_norm_eps", 1e-12)),
            pad_id=int(config.get("pad_token_id", 1 if family == "xlm-roberta" else 0)),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UnsupportedModelError(
            f"{where}: config.json has no valid value for {error}.", hint="Use the model's own config.json."
        ) from error
    _check_sizes(architecture, where)
    if architecture.hidden % architecture.heads:
        raise UnsupportedModelError(
            f"{where}: hidden_size {architecture.hidden} is not a multiple of "
            f"num_attention_heads {architecture.heads}.",
            hint="Use the model's own config.json.",
        )
    return architecture
