"""Qwen3 and Qwen2: causal language models that answer whether a document is relevant, and classifiers made of them.

The score is the logit of the answer that means "relevant", less that of its opposite, behind the last token; that of a
classifier is the logit of its one label there. The files of sentence-transformers win over the published defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rerankd.errors import CorruptModelError, UnsupportedModelError
from rerankd.models.architecture import (
    OWN_CONFIG,
    Architecture,
    Shapes,
    check_options,
    check_sizes,
    linear_shapes,
    norm_shapes,
)
from rerankd.models.causal_options import (
    LOGIT_SCORE,
    MODULES,
    is_bi_encoder,
    saved_answers,
    saved_chat_template,
    token_id,
)
from rerankd.models.chat_template import prompt_of
from rerankd.models.families.bert import check_one_label
from rerankd.models.families.family import Family, ModelConfig, StoredWeight
from rerankd.models.families.prompts import MXBAI_RERANK, QWEN3_RERANKER
from rerankd.models.template import PromptTemplate

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CAUSAL, CLASSIFIER = "ForCausalLM", "ForSequenceClassification"
TRUE_ANSWER, FALSE_ANSWER, SCORE = "answers.true.weight", "answers.false.weight", "score.weight"
_TABLE, _OUTPUT = "model.embed_tokens.weight", "lm_head.weight"
_YES_NO, _MXBAI_ANSWERS = ("yes", "no"), ("1", "0")
_QWEN3_HEAD_WIDTH = 128  # of a config.json that names none


@dataclass(frozen=True, slots=True)
class DecoderArchitecture(Architecture):
    """Shape of a causal reranker.

    Attributes:
        key_heads: heads of keys and values, each shared by several heads of queries.
        head_width: width of a head.
        positions: longest input that the model was made for, in tokens.
        rope_base: base of the rotary position embedding.
        norm_eps: epsilon of every RMS normalization.
        query_key_norm: True if the heads of queries and keys are normalized.
        projection_bias: True if the layers of queries, keys and values have biases.
        output_bias: True if the layer behind the attention has a bias.
        tied: True if the output table is that of the word embeddings.
        true_id: token that means "relevant"; None for a classifier.
        false_id: token that means "not relevant"; None if its logit does not count.
    """

    key_heads: int
    head_width: int
    positions: int
    rope_base: float
    norm_eps: float
    query_key_norm: bool
    projection_bias: bool
    output_bias: bool
    tied: bool
    true_id: int | None
    false_id: int | None

    @property
    def max_length(self) -> int:
        """Longest input in tokens, the prompt included."""
        return self.positions

    @property
    def prefix(self) -> str:
        """Prefix of the names of the layers' weights."""
        return "model"

    @property
    def answers(self) -> tuple[str, ...]:
        """Names of the weights of the answers: the score is the first one's logit less that of the second."""
        if self.true_id is None:
            return (SCORE,)
        return (TRUE_ANSWER,) if self.false_id is None else (TRUE_ANSWER, FALSE_ANSWER)

    @property
    def head_prefixes(self) -> tuple[str, ...]:
        """Prefixes of the names of the weights that make the score."""
        return tuple(name.removesuffix(".weight") for name in self.answers)

    def shapes(self) -> Shapes:
        """Return the shape of each required weight by name; of the output table, the rows of the answers."""
        hidden, queries, keys = self.hidden, self.heads * self.head_width, self.key_heads * self.head_width
        shapes: Shapes = {_TABLE: (self.vocabulary, hidden)}
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}"
            shapes |= norm_shapes(f"{prefix}.input_layernorm", hidden, bias=False)
            for part, size in (("q", queries), ("k", keys), ("v", keys)):
                shapes |= linear_shapes(f"{prefix}.self_attn.{part}_proj", hidden, size, bias=self.projection_bias)
            shapes |= linear_shapes(f"{prefix}.self_attn.o_proj", queries, hidden, bias=self.output_bias)
            if self.query_key_norm:
                for part in ("q", "k"):
                    shapes |= norm_shapes(f"{prefix}.self_attn.{part}_norm", self.head_width, bias=False)
            shapes |= norm_shapes(f"{prefix}.post_attention_layernorm", hidden, bias=False)
            for part in ("gate", "up"):
                shapes |= linear_shapes(f"{prefix}.mlp.{part}_proj", hidden, self.intermediate, bias=False)
            shapes |= linear_shapes(f"{prefix}.mlp.down_proj", self.intermediate, hidden, bias=False)
        shapes |= norm_shapes("model.norm", hidden, bias=False)
        return shapes | dict.fromkeys(self.answers, (1, hidden))


def _stored_weights(architecture: Architecture, names: Sequence[str]) -> Mapping[str, StoredWeight]:
    """Return the rows of the output table that hold the answers."""
    if not isinstance(architecture, DecoderArchitecture) or architecture.true_id is None:
        return {}
    table = _TABLE if architecture.tied else _OUTPUT
    ids = (architecture.true_id, architecture.false_id)
    named = zip((TRUE_ANSWER, FALSE_ANSWER), ids, strict=True)
    return {name: StoredWeight(table, (number, number + 1)) for name, number in named if number is not None}


def _read(config: ModelConfig) -> DecoderArchitecture:
    values, where = config.values, config.where
    classifier = any(name.endswith(CLASSIFIER) for name in config.classes)
    if classifier:
        check_one_label(config)
    if config.folder is not None and is_bi_encoder(config.folder):
        raise UnsupportedModelError(
            f"{where}: this is a bi-encoder (its modules pool the tokens into a vector); it cannot score pairs.",
            hint="Use a reranker of the same family, such as Qwen/Qwen3-Reranker-0.6B.",
        )
    check_options(values, where, hidden_act="silu", use_sliding_window=False)
    qwen3 = config.model_type == "qwen3"
    try:
        heads, hidden = int(values["num_attention_heads"]), int(values["hidden_size"])
        vocabulary = int(values["vocab_size"])
        true_id, false_id = (None, None) if classifier else _answers(config, vocabulary)
        architecture = DecoderArchitecture(
            family=config.model_type,
            layers=int(values["num_hidden_layers"]),
            hidden=hidden,
            heads=heads,
            intermediate=int(values["intermediate_size"]),
            vocabulary=vocabulary,
            pad_id=int(values.get("pad_token_id") or 0),
            key_heads=int(values.get("num_key_value_heads") or heads),
            head_width=int(values.get("head_dim") or (_QWEN3_HEAD_WIDTH if qwen3 else hidden // max(heads, 1))),
            positions=int(values.get("max_position_embeddings", 32_768)),
            rope_base=_rope_base(config),
            norm_eps=float(values.get("rms_norm_eps", 1e-6)),
            query_key_norm=qwen3,
            projection_bias=bool(values.get("attention_bias", False)) if qwen3 else True,
            output_bias=bool(values.get("attention_bias", False)) if qwen3 else False,
            tied=bool(values.get("tie_word_embeddings", False)),
            true_id=true_id,
            false_id=false_id,
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UnsupportedModelError(f"{where}: config.json has no valid value for {error}.", hint=OWN_CONFIG) from error
    _check(architecture, where)
    return architecture


def _check(architecture: DecoderArchitecture, where: str) -> None:
    names = {
        "num_hidden_layers": architecture.layers,
        "hidden_size": architecture.hidden,
        "num_attention_heads": architecture.heads,
        "num_key_value_heads": architecture.key_heads,
        "head_dim": architecture.head_width,
        "intermediate_size": architecture.intermediate,
        "vocab_size": architecture.vocabulary,
        "max_position_embeddings": architecture.positions,
    }
    check_sizes(names, where)
    if architecture.heads % architecture.key_heads or architecture.head_width % 2:
        raise UnsupportedModelError(
            f"{where}: {architecture.heads} attention heads of width {architecture.head_width} cannot share "
            f"{architecture.key_heads} heads of keys and values.",
            hint=OWN_CONFIG,
        )


def _rope_base(config: ModelConfig) -> float:
    """Return the base of the rotary embedding, which transformers 5 nests in `rope_parameters`.

    Raises:
        UnsupportedModelError: the embedding is scaled.
    """
    nested = config.values.get("rope_parameters") or config.values.get("rope_scaling") or {}
    if not isinstance(nested, Mapping):
        raise ValueError("rope_parameters")
    kind = nested.get("rope_type", nested.get("type", "default"))
    if kind != "default":
        raise UnsupportedModelError(
            f"{config.where}: the rotary embedding {kind!r} is not supported.",
            hint="Remove rope_scaling from config.json; then inputs up to the original length are read.",
        )
    base = float(nested.get("rope_theta", config.values.get("rope_theta", 10_000.0)))
    if not base > 0:
        raise ValueError("rope_theta")
    return base


def _answers(config: ModelConfig, vocabulary: int) -> tuple[int, int | None]:
    """Return the ids of the answers; (0, None) before the files are there.

    Raises:
        CorruptModelError: the tokenizer has no such tokens.
    """
    if config.folder is None:
        return 0, None
    if (saved := saved_answers(config.folder, vocabulary)) is not None:
        return saved
    words = _MXBAI_ANSWERS if _is_mxbai(config) else _YES_NO
    ids = [token_id(config.folder, word) for word in words]
    missing = [word for word, number in zip(words, ids, strict=True) if number is None or number >= vocabulary]
    if missing:
        raise CorruptModelError(
            f"{config.where}: the tokenizer has no token {missing[0]!r}, which the model answers with.",
            hint="Use tokenizer.json from the same repository as the weights, or name the tokens in "
            '1_LogitScore/config.json: {"true_token_id": ..., "false_token_id": ...}.',
        )
    return ids[0] or 0, ids[1]


def _made_to_rank(config: ModelConfig) -> bool:
    """Return False for a causal model whose name and files say nothing of ranking: it is a chat model, most likely."""
    if any(name.endswith(CLASSIFIER) for name in config.classes) or "rerank" in config.where.lower():
        return True
    return config.folder is not None and any((config.folder / name).exists() for name in (MODULES, LOGIT_SCORE))


def _is_mxbai(config: ModelConfig) -> bool:
    """Return True for mxbai-rerank v2, whose files do not differ from those of any Qwen2 but for its name."""
    names = [config.where, str(config.values.get("_name_or_path", ""))]
    if config.folder is not None:
        names.append(str(config.folder.resolve()))
    return config.model_type == "qwen2" and any("mxbai-rerank" in name.lower() for name in names)


def _template(architecture: Architecture, tokenizer: Tokenizer, folder: Path) -> PromptTemplate:
    """Return the prompt of the folder's chat template if that is one for rerankers, else the published one.

    Raises:
        UnsupportedModelError: a classifier made of Qwen2, for which none is published.
    """
    chat = saved_chat_template(folder)
    if chat is not None and (prompt := prompt_of(chat, str(folder))) is not None:
        return prompt
    if not isinstance(architecture, DecoderArchitecture):
        raise TypeError(f"{type(architecture).__name__} has no prompt")
    marked = "mxbai-rerank" in str(folder.resolve()).lower()
    answers = tuple(tokenizer.token_to_id(word) for word in _MXBAI_ANSWERS)
    if (architecture.true_id, architecture.false_id) == answers or (architecture.true_id is None and marked):
        return MXBAI_RERANK
    if architecture.true_id is None and architecture.family == "qwen2":
        raise UnsupportedModelError(
            f"{folder}: nothing says with which prompt this Qwen2 classifier was trained.",
            hint="Add its chat_template.jinja, which writes the messages with the roles 'query' and 'document'.",
        )
    return QWEN3_RERANKER


def _family(name: str, model: str, examples: tuple[str, ...], languages: str) -> Family:
    classes = (f"{model}{CAUSAL}", f"{model}{CLASSIFIER}")
    return Family(
        name=name,
        classes=classes,
        examples=examples,
        languages=languages,
        licence="Apache-2.0",
        architecture=DecoderArchitecture,
        recognises=lambda config: config.model_type == name and bool(set(classes) & set(config.classes)),
        read=_read,
        template=_template,
        stored_weights=_stored_weights,
        instruction=True,
        length="32768",
        made_to_rank=_made_to_rank,
    )


QWEN3 = _family(
    "qwen3",
    "Qwen3",
    (
        "Qwen/Qwen3-Reranker-0.6B",
        "Qwen/Qwen3-Reranker-4B",
        "Qwen/Qwen3-Reranker-8B",
        "tomaarsen/Qwen3-Reranker-0.6B-seq-cls",
    ),
    "over 100 languages",
)
QWEN2 = _family(
    "qwen2",
    "Qwen2",
    ("mixedbread-ai/mxbai-rerank-base-v2", "mixedbread-ai/mxbai-rerank-large-v2", "Qwen/Qwen2.5-0.5B-Instruct"),
    "over 100 languages",
)
