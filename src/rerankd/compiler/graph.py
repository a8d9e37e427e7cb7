"""ONNX graph of a cross-encoder, built from its weights.

`GraphBuilder` has what all families share: float32 or dynamic int8 products, embeddings, normalization. Each family's
builder adds its layers and its head (`compiler.families` names it). Graphs take any batch size and length. Nothing here
reads files or runs a graph.

Two properties make a graph faster than a traced one. Attention, and an int8 product with its scales and bias, are fused
operators of ONNX Runtime's CPU provider; residual and layer normalization are not fused, because
`SkipLayerNormalization` takes six times as long as the two operators. And the last layer computes query, output and
feed-forward only for the first token, because the head reads nothing else; that saves about five sixths of a layer.

int8 quantizes weights per output channel to 7 bits, so that the 16-bit sums of CPUs without VNNI do not saturate
(255 x 63 x 2 < 2^15); activations get one scale per tensor at run time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from rerankd.models.architecture import Architecture
from rerankd.models.compiled_weights import BLOCK

if TYPE_CHECKING:
    from onnx import ModelProto

Weights = Callable[[str], "np.ndarray[Any, Any]"]

OPSET = 17
INT8_LIMIT = 63


def four_bit_blocks(table: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Quantize a table to blocks of `BLOCK` numbers from -8 to 7 with one half-precision scale each.

    Several scales are tried for each block, and the one with the least squared error is kept. A table that was
    quantized this way before is reproduced exactly.

    Args:
        table: shape (rows, columns), columns a multiple of `BLOCK`.

    Returns:
        Bytes of shape (rows, columns / 2), in which byte j of a block holds number j in its low half and number j + 16
        in its high half; and scales of shape (rows, columns / BLOCK), float16.
    """
    rows, columns = table.shape
    packed = np.empty((rows, columns // 2), np.uint8)
    scales = np.empty((rows, columns // BLOCK), np.float16)
    for start in range(0, rows, 20_000):  # in parts: the search needs several times the memory of the table
        part = table[start : start + 20_000].astype(np.float32).reshape(-1, BLOCK)
        widest = np.take_along_axis(part, np.abs(part).argmax(axis=1, keepdims=True), axis=1)
        best = np.full(len(part), np.inf, np.float32)
        kept, scale = np.zeros(part.shape, np.uint8), np.zeros(len(part), np.float16)
        for share in (-8.0, 7.0, -7.0, -7.5, -8.5):
            tried = (widest / share).astype(np.float16)
            step = tried.astype(np.float32)
            quotient = np.divide(part, step, out=np.zeros_like(part), where=step != 0)
            numbers = np.clip(np.rint(quotient), -8, 7)
            error = np.square(part - numbers * step).sum(axis=1)
            better = error < best
            best = np.where(better, error, best)
            kept[better] = (numbers[better] + 8).astype(np.uint8)
            scale[better] = tried[better, 0]
        half = BLOCK // 2
        both = kept[:, :half] | (kept[:, half:] << 4)
        packed[start : start + 20_000] = both.reshape(-1, columns // 2)
        scales[start : start + 20_000] = scale.reshape(-1, columns // BLOCK)
    return packed, scales


class GraphBuilder(ABC):
    """Builder of one graph: it collects nodes and constants.

    Args:
        architecture: shape of the network.
        weights: function that returns a weight by name, float32.
        precision: `fp32` or `int8`.
        embedding_precision: with `int8`, word embeddings in `int8` or `int4`.
    """

    output_name = "logits"
    first_token_only = True  # in the last layer

    def __init__(
        self, architecture: Architecture, weights: Weights, precision: str, embedding_precision: str = "int8"
    ) -> None:
        self.architecture = architecture
        self.weights = weights
        self.int8 = precision == "int8"
        self.four_bit_embeddings = self.int8 and embedding_precision == "int4"
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._count = 0

    def build(self) -> ModelProto:
        """Return the finished model: `input_ids`, `attention_mask` (and `token_type_ids` for BERT) -> `logits`."""
        return self._built(1)

    def _built(self, width: int) -> ModelProto:
        from onnx import TensorProto, helper

        segments = self.architecture.segments
        names = ["input_ids", "attention_mask", *(["token_type_ids"] if segments else [])]
        inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "length"]) for n in names]
        output = helper.make_tensor_value_info(self.output_name, TensorProto.FLOAT, ["batch", width])
        self._mask = self.op("Cast", "attention_mask", to=TensorProto.INT32)
        hidden = self._embeddings()
        for layer in range(self.architecture.layers):
            last = layer == self.architecture.layers - 1
            hidden = self._layer(hidden, layer, last=last and self.first_token_only)
        self._head(hidden)
        graph = helper.make_graph(self.nodes, "cross-encoder", inputs, [output], self.constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, producer_name="rerankd", ir_version=9)

    def op(
        self, kind: str, *inputs: str, domain: str = "", outputs: int = 1, output: str = "", **attributes: Any
    ) -> str:
        """Append a node and return the name of its first output."""
        from onnx import helper

        self._count += 1
        names = [output or f"{kind}_{self._count}", *(f"{kind}_{self._count}_{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attributes))
        return names[0]

    def fused(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append one of ONNX Runtime's fused operators."""
        return self.op(kind, *inputs, domain="com.microsoft", **attributes)

    def constant(self, name: str, value: np.ndarray[Any, Any]) -> str:
        """Add a constant tensor under `name`."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    @abstractmethod
    def _embeddings(self) -> str:
        """Add the embeddings and return their name, shape (batch, length, hidden)."""

    @abstractmethod
    def _layer(self, hidden: str, layer: int, *, last: bool) -> str:
        """Add a layer; the last one is computed for the first token only."""

    @abstractmethod
    def _head(self, hidden: str) -> None:
        """Add what turns the states of the last layer into the graph's output."""

    def _lookup(self, name: str, ids: str) -> str:
        """Look up rows of an embedding table; int8 quantizes it with one scale per row."""
        table = self.weights(name)
        if not self.int8:
            return self.op("Gather", self.constant(name, table), ids)
        if self.four_bit_embeddings and name == next(iter(self.architecture.shapes())):  # the word embeddings
            return self._lookup_blocks(name, table, ids)
        scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12).astype(np.float32) / 127
        rows = self.constant(name, np.rint(table / scale).astype(np.int8))
        chosen = self.op("Cast", self.op("Gather", rows, ids), to=1)
        return self.op("Mul", chosen, self.op("Gather", self.constant(f"{name}.scale", scale), ids))

    def _lookup_blocks(self, name: str, table: np.ndarray[Any, Any], ids: str) -> str:
        """Look up rows of a table of 4-bit blocks; only the rows that are read are unpacked, two numbers per byte."""
        packed, scale = four_bit_blocks(table)
        bytes_ = self.op("Cast", self.op("Gather", self.constant(f"{name}.packed", packed), ids), to=1)
        high = self.op("Floor", self.op("Mul", bytes_, self.constant("sixteenth", np.array(1 / 16, np.float32))))
        low = self.op("Sub", bytes_, self.op("Mul", high, self.constant("sixteen", np.array(16, np.float32))))
        blocks = self.constant(f"{name}.blocks", np.array([0, 0, -1, BLOCK // 2], np.int64))
        halves = [self.op("Reshape", half, blocks) for half in (low, high)]
        numbers = self.op("Sub", self.op("Concat", *halves, axis=-1), self.constant("centre", np.array(8, np.float32)))
        scales = self.op("Cast", self.op("Gather", self.constant(f"{name}.scale", scale), ids), to=1)
        wide = self.op("Unsqueeze", scales, self.constant(f"{name}.axis", np.array([-1], np.int64)))
        rows = self.constant(f"{name}.row", np.array([0, 0, -1], np.int64))
        return self.op("Reshape", self.op("Mul", numbers, wide), rows)

    def _first_token(self, hidden: str) -> str:
        bounds = [self.constant(n, np.array([v], np.int64)) for n, v in (("from", 0), ("to", 1), ("along", 1))]
        return self.op("Slice", hidden, *bounds)

    def _split(self, packed: str, parts: int) -> tuple[str, ...]:
        width = self.constant(f"split_{self._count}", np.full(parts, self.architecture.hidden, np.int64))
        first = self.op("Split", packed, width, outputs=parts, axis=-1)
        return (first, *(f"{first}_{i}" for i in range(1, parts)))

    def _dense(self, value: str, layer: str) -> str:
        """Multiply by the weights of a layer and add its bias."""
        return self._matmul(value, [layer], self._vector(f"{layer}.bias"))

    def _matmul(self, value: str, layers: list[str], bias: str = "") -> str:
        """Multiply by the concatenated weights of `layers`; add the constant `bias` if it is given."""
        matrix = np.concatenate([self.weights(f"{layer}.weight") for layer in layers]).T
        name = "+".join(layers)
        if not self.int8:
            product = self.op("MatMul", value, self.constant(f"{name}.weight", matrix))
            return self.op("Add", product, bias) if bias else product
        scale = np.maximum(np.abs(matrix).max(axis=0), 1e-12).astype(np.float32) / INT8_LIMIT
        weight = self.constant(f"{name}.weight", np.rint(matrix / scale).astype(np.int8))
        zero = self.constant(f"{name}.zero", np.zeros(scale.shape, np.int8))
        last = [bias] if bias else []
        return self.fused("DynamicQuantizeMatMul", value, weight, self.constant(f"{name}.scale", scale), zero, *last)

    def _vector(self, name: str) -> str:
        return self.constant(name, self.weights(name))

    def _layer_norm(self, value: str, name: str, epsilon: float) -> str:
        """Normalize over the last axis, with the weights `name`."""
        weight, bias = self._vector(f"{name}.weight"), self._vector(f"{name}.bias")
        return self.op("LayerNormalization", value, weight, bias, axis=-1, epsilon=epsilon)

    def _linear(self, value: str, layer: str, output: str = "") -> str:
        return self.op(
            "Gemm", value, self._vector(f"{layer}.weight"), self._vector(f"{layer}.bias"), transB=1, output=output
        )
