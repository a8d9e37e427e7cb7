"""ONNX graph of a text encoder: the layers of a cross-encoder, with pooling and normalization as its head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rerankd.compiler.bert_graph import BertGraph
from rerankd.compiler.graph import Weights
from rerankd.models.families.bert import BertArchitecture

if TYPE_CHECKING:
    from onnx import ModelProto

Pooling = Literal["mean", "cls"]


class EncoderGraph(BertGraph):
    """Builder of `input_ids`, `attention_mask` (and `token_type_ids` for BERT) -> `vectors`, shape (batch, hidden).

    Args:
        architecture: shape of the encoder.
        weights: function that returns a weight by name.
        precision: `fp32` or `int8`.
        pooling: `mean` of the hidden states of all tokens, or `cls`, the hidden state of the first.
    """

    output_name = "vectors"

    def __init__(self, architecture: BertArchitecture, weights: Weights, precision: str, pooling: Pooling) -> None:
        super().__init__(architecture, weights, precision)
        self.pooling = pooling
        self.first_token_only = pooling == "cls"

    def build(self) -> ModelProto:
        """Return the finished model."""
        return self._built(self.architecture.hidden)

    def _head(self, hidden: str) -> None:
        if self.pooling == "cls":
            pooled = self.op("Squeeze", hidden, self.constant("middle", np.array([1], np.int64)))
        else:
            axis = self.constant("token_axis", np.array([1], np.int64))
            weights = self.op("Cast", "attention_mask", to=1)
            column = self.op("Unsqueeze", weights, self.constant("last_axis", np.array([-1], np.int64)))
            total = self.op("ReduceSum", self.op("Mul", hidden, column), axis, keepdims=0)
            pooled = self.op("Div", total, self.op("ReduceSum", weights, axis, keepdims=1))
        self.op("LpNormalization", pooled, output="vectors", axis=-1, p=2)


def graph_bytes(architecture: BertArchitecture, weights: Weights, precision: str, pooling: Pooling) -> bytes:
    """Return the graph of an encoder as serialized ONNX, of at most 2 GiB."""
    model: Any = EncoderGraph(architecture, weights, precision, pooling).build()
    data: bytes = model.SerializeToString()
    return data
