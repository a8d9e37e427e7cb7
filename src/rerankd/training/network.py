"""Networks to train: torch weights, with pairs truncated exactly as in serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Module
from torch.nn.utils.rnn import pad_sequence

from rerankd.compiler.late_interaction_graph import SEP
from rerankd.errors import CorruptModelError
from rerankd.models.families import check_trained, family
from rerankd.models.families.bert import BertArchitecture, as_bert
from rerankd.models.files import ModelFiles
from rerankd.models.manifest import FILE_NAME
from rerankd.models.merged import apply_adapter
from rerankd.models.template import as_pair_template
from rerankd.scoring.encoder import PairEncoder, TruncationOptions
from rerankd.training.late_interaction import LateInteractionRanker, joint_layers
from rerankd.training.late_interaction_encoder import Side
from rerankd.training.options import check_length
from rerankd.training.weights import is_late_interaction, read_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Features = dict[str, torch.Tensor]
ModuleT = TypeVar("ModuleT", bound=torch.nn.Module)
WIDTH_STEP = 16  # tokens; padded widths are multiples of it


class Network(Module):
    """Cross-encoder as a module of a sentence-transformers `CrossEncoder`.

    Attributes:
        model: the torch model, which adapters are added to.
        max_length: longest pair in tokens.

    Args:
        files: files of the model.
        model: the torch model.
        max_length: longest pair in tokens.
    """

    def __init__(self, files: ModelFiles, model: torch.nn.Module, max_length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model
        self.max_length = check_length(max_length, files)
        self._files, self._segments = files, files.manifest.architecture.segments
        self._encoder = PairEncoder(files.tokenizer(), files.manifest.template)
        self._truncation = TruncationOptions(self.max_length)

    def preprocess(self, inputs: Sequence[tuple[str, str]], **_: Any) -> Features:
        """Tokenize and pad pairs; consecutive pairs of one query are tokenized together."""
        pairs = []
        start = 0
        while start < len(inputs):
            query, end = inputs[start][0], start
            while end < len(inputs) and inputs[end][0] == query:
                end += 1
            encoded = self._encoder.encode(query, [text for _, text in inputs[start:end]], self._truncation)
            pairs += [chunks[0] for chunks in encoded]
            start = end
        pad = self._files.manifest.architecture.pad_id
        ids = pad_sequence([torch.from_numpy(pair.ids) for pair in pairs], batch_first=True, padding_value=pad)
        width = _padded_width(ids.shape[1], self.max_length)
        ids = torch.nn.functional.pad(ids, (0, width - ids.shape[1]), value=pad)
        sizes = torch.tensor([len(pair) for pair in pairs])
        starts = torch.tensor([pair.document_start for pair in pairs])
        positions = torch.arange(ids.shape[1])[None]
        features = {"input_ids": ids, "attention_mask": (positions < sizes[:, None]).long()}
        if self._segments:
            features["token_type_ids"] = ((positions >= starts[:, None]) & (positions < sizes[:, None])).long()
        return features

    def forward(self, features: Features, **_: Any) -> Features:
        """Return the features with `scores`, shape (pairs, 1)."""
        return {**features, "scores": self.logits(features).view(-1, 1)}

    def logits(self, features: Features) -> torch.Tensor:
        """Return logits, shape (pairs,)."""
        names = ("input_ids", "attention_mask", "token_type_ids")
        inputs = {name: features[name] for name in names if name in features}
        logits: torch.Tensor = self.model(**inputs).logits[:, 0]
        return logits

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the trainer saves trainable weights, and `export.py` the result."""

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass: a third slower, a fraction of the memory."""
        from transformers import PreTrainedModel

        model: Any = next(module for module in self.model.modules() if isinstance(module, PreTrainedModel))
        # transformers 6 removes the second name. Reentrant checkpointing would stop the gradient at frozen embeddings.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})

    @property
    def adapted_layers(self) -> str:
        """Pattern of the encoder's linear layers, which get adapters; never the head."""
        return family(self._files.manifest.architecture.family).adapted_layers


class LateInteractionNetwork(Network):
    """Network of the bundled model: late interaction of a query and a document encoded separately."""

    def logits(self, features: Features) -> torch.Tensor:
        """Return logits, shape (pairs,)."""
        ids, segments, mask = features["input_ids"], features["token_type_ids"], features["attention_mask"]
        template = as_pair_template(self._files.manifest.template)
        lead = len(template.middle) - 1  # [CLS] and prefix of the document, before its first token
        starts = segments.argmax(1) - lead  # the final [SEP] has segment 1, so it exists
        is_new = self._starts_new_query(ids, starts)
        query = self._side(ids[is_new], torch.zeros_like(starts[is_new]), starts[is_new], len(template.start))
        query = query.rows(is_new.cumsum(0) - 1)
        document = self._side(ids, starts, mask.sum(1), len(template.middle) - 1)
        logits: torch.Tensor = self.model(query, document)
        return logits

    @staticmethod
    def _starts_new_query(ids: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """Return True for rows whose query differs from the row before: a query is encoded once for its documents."""
        is_new = torch.ones_like(starts, dtype=torch.bool)
        in_query = torch.arange(ids.shape[1], device=ids.device)[None] < starts[1:, None]
        is_new[1:] = (starts[1:] != starts[:-1]) | ((ids[1:] != ids[:-1]) & in_query).any(1)
        return is_new

    def _side(self, ids: torch.Tensor, begin: torch.Tensor, end: torch.Tensor, lead: int) -> Side:
        """Encode the tokens from `begin` to `end` of each row, moved to the left."""
        sizes = end - begin
        width = _padded_width(int(sizes.max()), self.max_length)
        positions = torch.arange(width, device=ids.device)[None]
        mask = (positions < sizes[:, None]).long()
        rows = ids.gather(1, (positions + begin[:, None]).clamp(max=ids.shape[1] - 1)) * mask
        content = mask * (positions >= lead) * (rows != SEP)
        return self._ranker.side(rows, mask, content)

    @property
    def _ranker(self) -> LateInteractionRanker:
        """The ranker, also below adapters."""
        return next(module for module in self.model.modules() if isinstance(module, LateInteractionRanker))

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass."""
        self._ranker.encoder.checkpointing = True


def _padded_width(width: int, limit: int) -> int:
    """Return the width to pad rows to: few different widths, because kernels are compiled for each shape."""
    return max(width, min(limit, -(-width // WIDTH_STEP) * WIDTH_STEP))


def open_network(files: ModelFiles, max_length: int) -> Network:
    """Open the network of a checkpoint or of a compiled model, in float32 on the CPU.

    Raises:
        InvalidRequestError: the weights of a compiled model cannot be read back, or `max_length` is above its limit.
        UnsupportedModelError: the model's family cannot be trained.
        CorruptModelError: the weights do not fit the architecture.
    """
    check_trained(files.manifest.architecture, str(files.reference))
    if is_late_interaction(files):
        return LateInteractionNetwork(files, late_interaction(files, read_weights(files)), max_length)
    if files.compiled:
        return Network(files, sequence_classifier(files, read_weights(files)), max_length)
    checkpoint = files.checkpoint()
    if checkpoint.own_layout:
        return Network(files, sequence_classifier(files, checkpoint.tensors()), max_length)
    from transformers import AutoModelForSequenceClassification

    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        files.weights_folder,
        dtype=torch.float32,
        trust_remote_code=False,
        use_safetensors=True,
        **({"key_mapping": renamed} if (renamed := checkpoint.key_mapping) else {}),
    )
    apply_adapter(model, files)
    return Network(files, model, max_length)


def sequence_classifier(files: ModelFiles, weights: Mapping[str, Any]) -> PreTrainedModel:
    """Return the network of a cross-encoder with these weights."""
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        XLMRobertaConfig,
        XLMRobertaForSequenceClassification,
    )

    shape = as_bert(files.manifest.architecture, "A compiled model as start of training")
    config = _encoder_config(shape) | {"num_labels": 1}
    model: PreTrainedModel
    if shape.family == "bert":
        model = BertForSequenceClassification(BertConfig(**config))
    else:
        model = XLMRobertaForSequenceClassification(XLMRobertaConfig(**config))
    return _load_weights(model, weights, files)


def _load_weights(module: ModuleT, weights: Mapping[str, Any], files: ModelFiles) -> ModuleT:
    """Load weights into a module without copying them."""
    try:
        module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CorruptModelError(
            f"{files.reference}: the weights do not match {FILE_NAME} ({reason}).",
            hint="Compile the model again, or pass the checkpoint it was compiled from.",
        ) from error
    return module


def _encoder_config(shape: BertArchitecture) -> dict[str, Any]:
    """Return the configuration of a transformers encoder."""
    return {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": shape.positions,
        "type_vocab_size": shape.segment_types,
        "layer_norm_eps": shape.layer_norm_eps,
        "pad_token_id": shape.pad_id,
    }


def late_interaction(files: ModelFiles, weights: Mapping[str, Any]) -> LateInteractionRanker:
    """Return the network of a late-interaction model with these weights; word embeddings are frozen."""
    from transformers import BertConfig, BertModel

    config = BertConfig(**_encoder_config(as_bert(files.manifest.architecture, "Late interaction")))
    model = LateInteractionRanker(BertModel(config, add_pooling_layer=False), joint_layers(weights))
    ranker = _load_weights(model, weights, files)
    ranker.encoder.bert.embeddings.word_embeddings.requires_grad_(False)
    return ranker


def cross_encoder(network: Network, device: str) -> CrossEncoder:
    """Wrap a network as a sentence-transformers model, for its trainer and losses."""
    model: CrossEncoder = CrossEncoder(modules=[network], device=device, num_labels=None)
    model.activation_fn = torch.nn.Identity()
    return model


@torch.inference_mode()
def logits_of(network: Network, pairs: Sequence[tuple[str, str]], batch: int = 16) -> torch.Tensor:
    """Compute logits of pairs without gradients, shape (pairs,), float32."""
    network.eval()
    device = next(network.parameters()).device
    logits = []
    for start in range(0, len(pairs), batch):
        features = {name: value.to(device) for name, value in network.preprocess(pairs[start : start + batch]).items()}
        logits.append(network.logits(features).float().cpu())
    return torch.cat(logits)


def state_file(folder: Path) -> Path:
    """Return the file with the trainable weights in a trainer's checkpoint."""
    return folder / "trained.safetensors"
