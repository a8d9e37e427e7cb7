"""ONNX graph of DeBERTa-v2 cross-encoders.

The products of contents with positions are computed for each distance, and then moved into place: of a matrix with one
row per token and one column per distance, each row is shifted by one more column, by reshaping alone. Positions are
projected when the graph is built.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rerankd.compiler.graph import GraphBuilder, Weights
from rerankd.models.families.deberta import DebertaArchitecture

Array = np.ndarray[Any, Any]


class DebertaGraph(GraphBuilder):
    """Builder of `input_ids`, `attention_mask` -> `logits`, shape (batch, 1).

    Args:
        architecture: shape of the network.
        weights: function that returns a weight by name, float32.
        precision: `fp32` or `int8`.
        embedding_precision: with `int8`, word embeddings in `int8` or `int4`.
    """

    architecture: DebertaArchitecture

    def __init__(
        self, architecture: DebertaArchitecture, weights: Weights, precision: str, embedding_precision: str = "int8"
    ) -> None:
        positions = _Positions(architecture, weights)
        super().__init__(architecture, positions.weight, precision, embedding_precision)
        self._integers: dict[str, str] = {}

    def _embeddings(self) -> str:
        self._measure()
        words = self._lookup("deberta.embeddings.word_embeddings.weight", "input_ids")
        return self._normalise(words, "deberta.embeddings.LayerNorm")

    def _measure(self) -> None:
        """Add the length L, and the rows of the table of relative positions for the distances in both directions."""
        longest = self.architecture.max_length
        self._length = self.op("Slice", self.op("Shape", "input_ids"), self._list(1), self._list(2))
        self._before = self.op("Sub", self._length, self._list(1))  # L - 1
        self._narrow = self.op("Add", self._before, self._before)  # 2 L - 2
        first, end = (
            self.op("Squeeze", bound, self._list(0)) for bound in (self.op("Neg", self._before), self._length)
        )
        # The table ends at the longest input; more distant tokens share its last row.
        steps = self.op(
            "Clip", self.op("Range", first, end, self._int(1)), self._int(1 - longest), self._int(longest - 1)
        )
        rows = self.constant("relative_rows", self.architecture.relative_rows(longest))
        self._ahead = self.op("Gather", rows, self.op("Add", steps, self._int(longest - 1)))  # distances 1 - L to L - 1
        self._behind = self.op("Gather", rows, self.op("Sub", self._int(longest - 1), steps))  # L - 1 to 1 - L

    def _int(self, value: int) -> str:
        """Return the constant of an integer."""
        return self._integer(np.array(value, np.int64))

    def _list(self, *values: int) -> str:
        """Return the constant of a list of integers."""
        return self._integer(np.array(values, np.int64))

    def _integer(self, value: Array) -> str:
        name = f"integer_{value.tolist()}"
        if name not in self._integers:
            self._integers[name] = self.constant(name, value)
        return self._integers[name]

    def _layer(self, hidden: str, layer: int, *, last: bool) -> str:
        prefix = f"deberta.encoder.layer.{layer}"
        attention = f"{prefix}.attention"
        parts = [f"{attention}.self.{part}_proj" for part in ("query", "key", "value")]
        kept = self._first_token(hidden) if last else hidden
        if last:
            q = self._matmul(kept, parts[:1], self._bias(parts[:1]))
            k, v = self._split(self._matmul(hidden, parts[1:], self._bias(parts[1:])), 2)
            bias = self._first_token_bias(q, k, parts)
        else:
            q, k, v = self._split(self._matmul(hidden, parts, self._bias(parts)), 3)
            bias = self._bias_of_positions(q, k, parts)
        context = self.fused(
            "MultiHeadAttention",
            *(q, k, v, "", self._mask, bias),
            num_heads=self.architecture.heads,
            mask_filter_value=-10000.0,
            scale=self.architecture.attention_scale,
        )
        attended = self._dense(context, f"{attention}.output.dense")
        mixed = self._normalise(self.op("Add", attended, kept), f"{attention}.output.LayerNorm")
        active = self.fused("Gelu", self._dense(mixed, f"{prefix}.intermediate.dense"))
        fed = self._dense(active, f"{prefix}.output.dense")
        return self._normalise(self.op("Add", fed, mixed), f"{prefix}.output.LayerNorm")

    def _bias(self, layers: list[str]) -> str:
        return self.constant(f"{'+'.join(layers)}.bias", np.concatenate([self.weights(f"{n}.bias") for n in layers]))

    def _bias_of_positions(self, q: str, k: str, parts: list[str]) -> str:
        """Add c2p and p2c for every query and key, shape (batch, heads, L, L)."""
        query, key, _ = parts
        by_query = self.op("MatMul", self._by_head(q), self._table(key, self._behind, transposed=True))
        by_key = self.op("MatMul", self._by_head(k), self._table(query, self._ahead, transposed=True))
        back = self.op("Transpose", self._shifted(by_key), perm=[0, 1, 3, 2])
        return self.op("Add", self._shifted(by_query), back)

    def _first_token_bias(self, q: str, k: str, parts: list[str]) -> str:
        """Add c2p and p2c for the first token as query, shape (batch, heads, 1, L)."""
        query, key, _ = parts
        upto = self.op("Slice", self._ahead, self._list(0), self._length)
        rows = self.op("Slice", upto, self._list(-1), self._list(-(2**31)), self._list(0), self._list(-1))  # 0 to 1 - L
        by_query = self.op("MatMul", self._by_head(q), self._table(key, rows, transposed=True))
        product = self.op("Mul", self._by_head(k), self._table(query, rows))
        by_key = self.op("ReduceSum", product, self._list(-1), keepdims=0)
        return self.op("Add", by_query, self.op("Unsqueeze", by_key, self._list(2)))

    def _by_head(self, states: str, *, transposed: bool = False) -> str:
        """Turn (batch, tokens, hidden) into (batch, heads, tokens, width), or (batch, heads, width, tokens)."""
        heads = self.architecture.heads
        shape = self._list(0, -1, heads, self.architecture.hidden // heads)
        return self.op(
            "Transpose", self.op("Reshape", states, shape), perm=[0, 2, 3, 1] if transposed else [0, 2, 1, 3]
        )

    def _table(self, layer: str, rows: str, *, transposed: bool = False) -> str:
        """Add the projected positions of `rows`, shape (1, heads, rows, width), or (1, heads, width, rows)."""
        positions = self._lookup(f"{layer}{RELATIVE}", self.op("Unsqueeze", rows, self._list(0)))
        return self._by_head(positions, transposed=transposed)

    def _shifted(self, scores: str) -> str:
        """Move (batch, heads, L, 2 L - 1), a column per distance, to (.., L, L): row i begins at column L - 1 - i."""
        end = self.op("Add", self._before, self.op("Mul", self._length, self._narrow))
        flat = self.op("Reshape", scores, self._list(0, 0, -1))
        cut = self.op("Slice", flat, self._before, end, self._list(2))
        rows = self.op("Reshape", cut, self.op("Concat", self._list(0, 0), self._length, self._narrow, axis=0))
        return self.op("Slice", rows, self._list(0), self._length, self._list(3))

    def _normalise(self, value: str, name: str) -> str:
        return self._layer_norm(value, name, self.architecture.layer_norm_eps)

    def _head(self, hidden: str) -> None:
        """Add the head: first token, dense, GELU, linear; always in float32."""
        first = self.op("Squeeze", hidden, self.constant("middle", np.array([1], np.int64)))
        dense, out = self.architecture.head_prefixes
        self._linear(self.fused("Gelu", self._linear(first, dense)), out, output="logits")


RELATIVE = ".relative"


class _Positions:
    """Weights of a checkpoint, and with them the projected relative positions of each query and key layer."""

    def __init__(self, architecture: DebertaArchitecture, weights: Weights) -> None:
        self._weights, self._scale = weights, np.float32(architecture.attention_scale)
        table = weights("deberta.encoder.rel_embeddings.weight").astype(np.float64)
        centred = table - table.mean(axis=1, keepdims=True)
        normal = centred / np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + architecture.layer_norm_eps)
        gain, shift = (weights(f"deberta.encoder.LayerNorm.{part}") for part in ("weight", "bias"))
        self._table: Array = (normal * gain + shift).astype(np.float32)

    def weight(self, name: str) -> Array:
        """Return a weight, or the positions projected by a layer and scaled like attention: `LAYER.relative`."""
        if not name.endswith(RELATIVE):
            return self._weights(name)
        layer = name.removesuffix(RELATIVE)
        projected: Array = self._table @ self._weights(f"{layer}.weight").T + self._weights(f"{layer}.bias")
        return projected * self._scale
