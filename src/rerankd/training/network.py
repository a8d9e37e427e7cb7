"""A model as something to train: torch weights, and pairs cut exactly as they are when they are served."""

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
from rerankd.models.architecture import Architecture
from rerankd.models.files import ModelFiles
from rerankd.models.manifest import FILE_NAME
from rerankd.scoring.encoder import PairEncoder, TruncationOptions
from rerankd.training.late_interaction import Ranker, Side
from rerankd.training.weights import is_late_interaction, read_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Features = dict[str, torch.Tensor]
Filled = TypeVar("Filled", bound=torch.nn.Module)
WIDTH = 16


class Network(Module):
    """Logits of pairs, as a module of a sentence-transformers `CrossEncoder`.

    Attributes:
        model: the torch model, which adapters are put into.
        max_length: longest pair in tokens.

    Args:
        files: of the model.
        max_length: longest pair in tokens.
    """

    def __init__(self, files: ModelFiles, model: torch.nn.Module, max_length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model
        self.max_length = min(max_length, files.manifest.architecture.max_length)
        self._files, self._segments = files, files.manifest.architecture.segments
        self._encoder = PairEncoder(files.tokenizer(), files.manifest.template)
        self._truncation = TruncationOptions(self.max_length)

    def preprocess(self, inputs: Sequence[tuple[str, str]], **_: Any) -> Features:
        """Ids of pairs, padded; pairs of one query that follow each other are tokenised together."""
        pairs = []
        start = 0
        while start < len(inputs):
            query, end = inputs[start][0], start
            while end < len(inputs) and inputs[end][0] == query:
                end += 1
            windows = self._encoder.encode(query, [text for _, text in inputs[start:end]], self._truncation)
            pairs += [one[0] for one in windows]
            start = end
        pad = self._files.manifest.architecture.pad_id
        ids = pad_sequence([torch.from_numpy(pair.ids) for pair in pairs], batch_first=True, padding_value=pad)
        width = _rounded(ids.shape[1], self.max_length)
        ids = torch.nn.functional.pad(ids, (0, width - ids.shape[1]), value=pad)
        sizes = torch.tensor([len(pair) for pair in pairs])
        starts = torch.tensor([pair.document_start for pair in pairs])
        places = torch.arange(ids.shape[1])[None]
        features = {"input_ids": ids, "attention_mask": (places < sizes[:, None]).long()}
        if self._segments:
            features["token_type_ids"] = ((places >= starts[:, None]) & (places < sizes[:, None])).long()
        return features

    def forward(self, features: Features, **_: Any) -> Features:
        """Put `scores`, shape (pairs, 1), beside the features."""
        return {**features, "scores": self.logits(features).view(-1, 1)}

    def logits(self, features: Features) -> torch.Tensor:
        """Logits of pairs, shape (pairs,)."""
        names = ("input_ids", "attention_mask", "token_type_ids")
        found: torch.Tensor = self.model(**{name: features[name] for name in names if name in features}).logits[:, 0]
        return found

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Nothing: what is trained is saved by the trainer, what comes out of it by `writing.py`."""

    def checkpointing(self) -> None:
        """Compute activations again on the way back: a third slower, a fraction of the memory."""
        from transformers import PreTrainedModel

        model: Any = next(module for module in self.model.modules() if isinstance(module, PreTrainedModel))
        # The older name goes away in transformers 6. Not reentrant, or frozen embeddings would end the gradient.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})

    @property
    def body(self) -> str:
        """Pattern of the encoder's linear layers, which adapters belong on; the head is never among them."""
        layers = r"attention\.self\.(query|key|value)|attention\.output\.dense|intermediate\.dense|output\.dense"
        return rf".*encoder\.layer\.\d+\.({layers})"


class LateInteractionNetwork(Network):
    """The bundled model's network: query and document apart, compared token by token at the end."""

    def logits(self, features: Features) -> torch.Tensor:
        """Logits of pairs, shape (pairs,)."""
        ids, segments, mask = features["input_ids"], features["token_type_ids"], features["attention_mask"]
        template = self._files.manifest.template
        lead = len(template.middle) - 1  # the document's own [CLS] and prefix, before its first token
        starts = segments.argmax(1) - lead  # the closing [SEP] is of the second segment, so there is always one
        begins = self._fresh(ids, starts)
        query = self._side(ids[begins], torch.zeros_like(starts[begins]), starts[begins], len(template.start))
        query = query.rows(begins.cumsum(0) - 1)
        document = self._side(ids, starts, mask.sum(1), len(template.middle) - 1)
        found: torch.Tensor = self.model(query, document)
        return found

    @staticmethod
    def _fresh(ids: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """Rows whose query is not that of the row before; a query is encoded once for the documents that follow it."""
        fresh = torch.ones_like(starts, dtype=torch.bool)
        read = torch.arange(ids.shape[1], device=ids.device)[None] < starts[1:, None]
        fresh[1:] = (starts[1:] != starts[:-1]) | ((ids[1:] != ids[:-1]) & read).any(1)
        return fresh

    def _side(self, ids: torch.Tensor, begin: torch.Tensor, end: torch.Tensor, lead: int) -> Side:
        """Texts from `begin` to `end`, moved to the left, encoded."""
        sizes = end - begin
        width = _rounded(int(sizes.max()), self.max_length)
        places = torch.arange(width, device=ids.device)[None]
        mask = (places < sizes[:, None]).long()
        rows = ids.gather(1, (places + begin[:, None]).clamp(max=ids.shape[1] - 1)) * mask
        content = mask * (places >= lead) * (rows != SEP)
        return self._ranker.side(rows, mask, content)

    @property
    def _ranker(self) -> Ranker:
        """The ranker, below its adapters too."""
        return next(module for module in self.model.modules() if isinstance(module, Ranker))

    def checkpointing(self) -> None:
        """Compute activations again on the way back."""
        self._ranker.encoder.checkpointing = True


def _rounded(width: int, limit: int) -> int:
    """The width that rows are padded to: few widths, because kernels are made anew for each shape."""
    return max(width, min(limit, -(-width // WIDTH) * WIDTH))


def open_network(files: ModelFiles, max_length: int) -> Network:
    """The network of a checkpoint or of a compiled model, float32, on the CPU.

    Raises:
        InvalidRequestError: a compiled model whose weights cannot be read back.
        CorruptModelError: weights that do not fit.
    """
    if is_late_interaction(files):
        return LateInteractionNetwork(files, late_interaction(files, read_weights(files)), max_length)
    if files.compiled:
        return Network(files, sequence_classifier(files, read_weights(files)), max_length)
    from transformers import AutoModelForSequenceClassification

    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        files.folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
    )
    return Network(files, model, max_length)


def sequence_classifier(files: ModelFiles, weights: Mapping[str, Any]) -> PreTrainedModel:
    """The network of a cross-encoder with these weights."""
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        XLMRobertaConfig,
        XLMRobertaForSequenceClassification,
    )

    shape = files.manifest.architecture
    settings = _settings(shape) | {"num_labels": 1}
    model: PreTrainedModel
    if shape.family == "bert":
        model = BertForSequenceClassification(BertConfig(**settings))
    else:
        model = XLMRobertaForSequenceClassification(XLMRobertaConfig(**settings))
    return _filled(model, weights, files)


def _filled(module: Filled, weights: Mapping[str, Any], files: ModelFiles) -> Filled:
    """A network with these weights, which it takes as they are."""
    try:
        module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, assign=True)
    except RuntimeError as error:
        said = str(error).splitlines()[-1].strip()
        raise CorruptModelError(
            f"{files.reference}: the weights do not fit what {FILE_NAME} says ({said}).",
            hint="Compile the model again, or pass the checkpoint it was compiled from.",
        ) from error
    return module


def _settings(shape: Architecture) -> dict[str, Any]:
    """Of a transformers encoder."""
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


def late_interaction(files: ModelFiles, weights: Mapping[str, Any]) -> Ranker:
    """The network of a late-interaction model with these weights; its pieces do not learn."""
    from transformers import BertConfig, BertModel

    config = BertConfig(**_settings(files.manifest.architecture))
    ranker = _filled(Ranker(BertModel(config, add_pooling_layer=False)), weights, files)
    ranker.encoder.bert.embeddings.word_embeddings.requires_grad_(False)
    return ranker


def cross_encoder(network: Network, device: str) -> CrossEncoder:
    """The network as a sentence-transformers model, for its trainer and its losses."""
    model: CrossEncoder = CrossEncoder(modules=[network], device=device, num_labels=None)
    model.activation_fn = torch.nn.Identity()
    return model


@torch.inference_mode()
def logits_of(network: Network, pairs: Sequence[tuple[str, str]], batch: int = 16) -> torch.Tensor:
    """Logits of pairs, shape (pairs,), float32, without training anything."""
    network.eval()
    device = next(network.parameters()).device
    found = []
    for start in range(0, len(pairs), batch):
        features = {name: value.to(device) for name, value in network.preprocess(pairs[start : start + batch]).items()}
        found.append(network.logits(features).float().cpu())
    return torch.cat(found)


def state_file(folder: Path) -> Path:
    """Where a trainer's checkpoint keeps what is trained."""
    return folder / "trained.safetensors"
