"""ModernBERT: pre-normalized encoders with rotary positions, whose layers attend globally or inside a window.

Two forms have the same head (pooling, dense, activation, normalization, linear): the sequence classifier of
transformers, and an encoder with a chain of modules saved by sentence-transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankd.errors import CorruptModelError, UnsupportedModelError
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
from rerankd.models.families.family import Family, ModelConfig, StoredWeight
from rerankd.models.module_head import ACTIVATIONS, NORM_EPS, read_module_head
from rerankd.models.modules import Module, read_modules, scores_pairs
from rerankd.models.template import PairTemplate

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_CLASS = "ModernBertForSequenceClassification"
_EMBEDDINGS = "model.embeddings.tok_embeddings.weight"
_KINDS = {"full_attention": "g", "sliding_attention": "l"}
_HEAD = {
    "head.dense.weight": "2_Dense.linear.weight",
    "head.dense.bias": "2_Dense.linear.bias",
    "head.norm.weight": "3_LayerNorm.norm.weight",
    "head.norm.bias": "3_LayerNorm.norm.bias",
    "classifier.weight": "4_Dense.linear.weight",
    "classifier.bias": "4_Dense.linear.bias",
}


@dataclass(frozen=True, slots=True)
class ModernBertArchitecture(Architecture):
    """Shape of a ModernBERT cross-encoder.

    Attributes:
        positions: longest input in tokens.
        attention: one letter for each layer: `g` attends to all tokens, `l` to those inside the window.
        window: distance in tokens that a layer with local attention reaches to each side, inclusive.
        global_base: base of the rotary positions in layers with global attention.
        local_base: the same in layers with local attention.
        norm_eps: epsilon of the encoder's layer normalizations.
        pooling: `cls`, the state of the first token, or `mean` of the states of all tokens.
        head_activation: `gelu`, `relu` or `tanh`.
        head_bias: True if the head's dense layer has a bias.
        head_norm_bias: True if the head's normalization has a bias.
        head_norm_eps: epsilon of the head's normalization.
    """

    positions: int
    attention: str
    window: int
    global_base: float
    local_base: float
    norm_eps: float
    pooling: str
    head_activation: str
    head_bias: bool
    head_norm_bias: bool
    head_norm_eps: float

    @property
    def max_length(self) -> int:
        """Longest input in tokens, special tokens included."""
        return self.positions

    @property
    def prefix(self) -> str:
        """Prefix of the names of the encoder's weights."""
        return "model"

    @property
    def head_prefixes(self) -> tuple[str, ...]:
        """Prefixes of the names of the ranking head's weights."""
        return "head", "classifier"

    def shapes(self) -> Shapes:
        """Return the shape of each required weight by name; query, key and value are stored in one matrix."""
        hidden, inner = self.hidden, self.intermediate
        shapes: Shapes = {
            _EMBEDDINGS: (self.vocabulary, hidden),
            **norm_shapes("model.embeddings.norm", hidden, bias=False),
        }
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}"
            if layer:
                shapes |= norm_shapes(f"{prefix}.attn_norm", hidden, bias=False)
            for part in ("query", "key", "value", "Wo"):
                shapes |= linear_shapes(f"{prefix}.attn.{part}", hidden, hidden, bias=False)
            shapes |= norm_shapes(f"{prefix}.mlp_norm", hidden, bias=False)
            shapes |= linear_shapes(f"{prefix}.mlp.Wi", hidden, 2 * inner, bias=False)
            shapes |= linear_shapes(f"{prefix}.mlp.Wo", inner, hidden, bias=False)
        shapes |= norm_shapes("model.final_norm", hidden, bias=False)
        shapes |= linear_shapes("head.dense", hidden, hidden, bias=self.head_bias)
        shapes |= norm_shapes("head.norm", hidden, bias=self.head_norm_bias)
        return shapes | linear_shapes("classifier", hidden, 1)


def read_modernbert(config: ModelConfig) -> ModernBertArchitecture:
    """Read the shape of a cross-encoder.

    Raises:
        UnsupportedModelError: the head, the number of labels or an option is not supported.
        CorruptModelError: a configuration file of a module is not valid.
    """
    values, where = config.values, config.where
    biases = dict.fromkeys(("attention_bias", "mlp_bias", "norm_bias"), False)
    check_options(values, where, hidden_activation="gelu", rope_scaling=None, **biases)
    try:
        layers = int(values["num_hidden_layers"])
        global_base, local_base = _bases(config)
        architecture = ModernBertArchitecture(
            family="modernbert",
            layers=layers,
            hidden=int(values["hidden_size"]),
            heads=int(values["num_attention_heads"]),
            intermediate=int(values["intermediate_size"]),
            vocabulary=int(values["vocab_size"]),
            pad_id=int(values.get("pad_token_id", 50283)),
            positions=int(values["max_position_embeddings"]),
            attention=_attention(values, layers),
            window=int(values.get("local_attention", 128)) // 2,
            global_base=global_base,
            local_base=local_base,
            norm_eps=float(values.get("norm_eps", 1e-5)),
            **_head(config),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UnsupportedModelError(f"{where}: config.json has no valid value for {error}.", hint=OWN_CONFIG) from error
    _check(architecture, where)
    return architecture


def _check(architecture: ModernBertArchitecture, where: str) -> None:
    sizes = {
        "num_hidden_layers": architecture.layers,
        "hidden_size": architecture.hidden,
        "num_attention_heads": architecture.heads,
        "intermediate_size": architecture.intermediate,
        "vocab_size": architecture.vocabulary,
        "max_position_embeddings": architecture.positions,
        "local_attention": architecture.window,
    }
    check_sizes(sizes, where)
    check_heads(architecture, where)
    if len(architecture.attention) != architecture.layers or architecture.hidden // architecture.heads % 2:
        raise UnsupportedModelError(
            f"{where}: layer_types must name each layer, and the width of a head must be even.", hint=OWN_CONFIG
        )


def _attention(values: Mapping[str, Any], layers: int) -> str:
    if (kinds := values.get("layer_types")) is not None:
        return "".join(_KINDS[kind] for kind in kinds)
    every = int(values.get("global_attn_every_n_layers", 3))
    return "".join("l" if layer % every else "g" for layer in range(min(layers, 10_000)))


def _bases(config: ModelConfig) -> tuple[float, float]:
    """Return the bases of the rotary positions of global and of local attention."""
    values = config.values
    first = float(values.get("global_rope_theta", 160_000.0))
    second = values.get("local_rope_theta", 10_000.0)
    bases = []
    for kind, default in (("full_attention", first), ("sliding_attention", first if second is None else second)):
        parameters = (values.get("rope_parameters") or {}).get(kind) or {}
        check_options(parameters, config.where, rope_type="default")
        bases.append(float(parameters.get("rope_theta", default)))
    return bases[0], bases[1]


def _head(config: ModelConfig) -> dict[str, Any]:
    """Return the architecture's attributes that describe pooling and head."""
    if modules := _chain(config):
        head = read_module_head(modules, config.where)
        return {
            "pooling": head.pooling,
            "head_activation": head.activation,
            "head_bias": head.bias,
            "head_norm_bias": True,
            "head_norm_eps": NORM_EPS,
        }
    values = config.values
    check_one_label(config)
    pooling = values.get("classifier_pooling", "cls")
    if pooling not in ("cls", "mean"):
        raise UnsupportedModelError(
            f"{config.where}: classifier_pooling {pooling!r} is not supported.", hint="It must be 'cls' or 'mean'."
        )
    return {
        "pooling": pooling,
        "head_activation": _activation(str(values.get("classifier_activation", "gelu")), config),
        "head_bias": bool(values.get("classifier_bias", False)),
        "head_norm_bias": False,
        "head_norm_eps": float(values.get("norm_eps", 1e-5)),
    }


def _activation(name: str, config: ModelConfig) -> str:
    if name not in ACTIVATIONS:
        raise UnsupportedModelError(
            f"{config.where}: classifier_activation {name!r} is not supported.",
            hint=f"It must be one of {', '.join(ACTIVATIONS)}.",
        )
    return name


def _chain(config: ModelConfig) -> list[Module]:
    """Return the modules of a reranker saved as a chain; none for another model."""
    modules = read_modules(config.folder) if config.folder is not None else []
    return modules if scores_pairs(modules) else []


def _recognises(config: ModelConfig) -> bool:
    if config.model_type != "modernbert":
        return False
    return _CLASS in config.classes or bool(_chain(config))


def _stored_weights(architecture: Architecture, names: Sequence[str]) -> Mapping[str, StoredWeight]:
    """Return the stored names: an encoder's without `model.`, a chain's head in the folders of its modules."""
    known, hidden = set(names), architecture.hidden
    bare = _EMBEDDINGS not in known
    chain = _HEAD["classifier.weight"] in known
    places = {}
    for name in architecture.shapes():
        stored = name.removeprefix("model.") if bare else name
        if chain and name in _HEAD:
            stored = _HEAD[name]
        base, _, part = stored.removesuffix(".weight").rpartition(".attn.")
        rows = None
        if part in ("query", "key", "value"):
            start = ("query", "key", "value").index(part) * hidden
            stored, rows = f"{base}.attn.Wqkv.weight", (start, start + hidden)
        places[name] = StoredWeight(stored, rows)
    return places


def _template(architecture: Architecture, tokenizer: Tokenizer, folder: Path) -> PairTemplate:
    """Return the special tokens that the tokenizer itself puts around a pair; they differ between vocabularies."""
    encoding = tokenizer.encode("a", "b")
    sides = encoding.sequence_ids
    if 0 not in sides or 1 not in sides or None not in sides:
        raise CorruptModelError(
            f"{folder}: the tokenizer puts no special tokens around a pair.",
            hint="Use tokenizer.json from the same repository as the weights.",
        )
    bounds = [sides.index(0), len(sides) - sides[::-1].index(0), sides.index(1), len(sides) - sides[::-1].index(1)]
    ids = encoding.ids
    return PairTemplate(tuple(ids[: bounds[0]]), tuple(ids[bounds[1] : bounds[2]]), tuple(ids[bounds[3] :]))


MODERNBERT = Family(
    name="modernbert",
    classes=(_CLASS,),
    examples=(
        "Alibaba-NLP/gte-reranker-modernbert-base",
        "ibm-granite/granite-embedding-reranker-english-r2",
        "cross-encoder/ettin-reranker-17m-v1",
        "cross-encoder/ettin-reranker-32m-v1",
        "cross-encoder/ettin-reranker-68m-v1",
        "cross-encoder/ettin-reranker-150m-v1",
        "cross-encoder/ettin-reranker-400m-v1",
        "cross-encoder/ettin-reranker-1b-v1",
    ),
    languages="English",
    licence="Apache-2.0",
    architecture=ModernBertArchitecture,
    recognises=_recognises,
    read=read_modernbert,
    template=_template,
    stored_weights=_stored_weights,
    length="8192",
)
