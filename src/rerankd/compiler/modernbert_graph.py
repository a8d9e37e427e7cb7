"""ONNX graph of ModernBERT cross-encoders.

Rotary positions and attention are fused operators; layers with local attention share one bias that hides what is
outside the window, made once for each run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rerankd.compiler.graph import GraphBuilder, Weights
from rerankd.models.families.modernbert import ModernBertArchitecture

if TYPE_CHECKING:
    from onnx import ModelProto

HIDDEN_SCORE = -10000.0  # added to scores that a query does not see; the exponential of it is 0


class ModernBertGraph(GraphBuilder):
    """Builder of `input_ids`, `attention_mask` -> `logits`, shape (batch, 1).

    Args:
        architecture: shape of the network.
        weights: function that returns a weight by name.
        precision: `fp32` or `int8`.
        embedding_precision: with `int8`, word embeddings in `int8` or `int4`.
    """

    architecture: ModernBertArchitecture

    def __init__(
        self,
        architecture: ModernBertArchitecture,
        weights: Weights,
        precision: str,
        embedding_precision: str = "int8",
    ) -> None:
        super().__init__(architecture, weights, precision, embedding_precision)
        self.first_token_only = architecture.pooling == "cls"

    def build(self) -> ModelProto:
        """Return the finished model."""
        self._first = self.constant("first", np.array([0], np.int64))
        bases = {"g": self.architecture.global_base, "l": self.architecture.local_base}
        self._angles = {kind: self._rotary_tables(kind, bases[kind]) for kind in set(self.architecture.attention)}
        self._window = self._window_bias() if "l" in self.architecture.attention else ""
        return super().build()

    def _embeddings(self) -> str:
        words = self._lookup("model.embeddings.tok_embeddings.weight", "input_ids")
        return self._normalise(words, "model.embeddings.norm")

    def _layer(self, hidden: str, layer: int, *, last: bool) -> str:
        prefix, kind = f"model.layers.{layer}", self.architecture.attention[layer]
        normal = self._normalise(hidden, f"{prefix}.attn_norm") if layer else hidden
        query, key, value = (f"{prefix}.attn.{part}" for part in ("query", "key", "value"))
        if last:  # the first token is at position 0: nothing to rotate
            q = self._matmul(self._first_token(normal), [query])
            k, v = self._split(self._matmul(normal, [key, value]), 2)
            hidden = self._first_token(hidden)
        else:
            q, k, v = self._split(self._matmul(normal, [query, key, value]), 3)
            q = self._rotate(q, kind)
        bias = [self._first_row(self._window) if last else self._window] if kind == "l" else []
        context = self.fused(
            "MultiHeadAttention",
            *(q, self._rotate(k, kind), v, "", self._mask, *bias),
            num_heads=self.architecture.heads,
            mask_filter_value=HIDDEN_SCORE,
        )
        mixed = self.op("Add", self._matmul(context, [f"{prefix}.attn.Wo"]), hidden)
        projected = self._matmul(self._normalise(mixed, f"{prefix}.mlp_norm"), [f"{prefix}.mlp.Wi"])
        inner = self.architecture.intermediate
        widths = self.constant(f"{prefix}.mlp.widths", np.array([inner, inner], np.int64))
        first = self.op("Split", projected, widths, outputs=2, axis=-1)
        gated = self.op("Mul", self.fused("Gelu", first), f"{first}_1")
        return self.op("Add", self._matmul(gated, [f"{prefix}.mlp.Wo"]), mixed)

    def _head(self, hidden: str) -> None:
        """Add the head: final normalization, pooling, dense, activation, normalization, linear; in float32."""
        states = self._normalise(hidden, "model.final_norm")
        axis = self.constant("token_axis", np.array([1], np.int64))
        if self.first_token_only:
            pooled = self.op("Squeeze", states, axis)
        else:
            counted = self.op("Cast", "attention_mask", to=1)
            column = self.op("Unsqueeze", counted, self.constant("last_axis", np.array([-1], np.int64)))
            total = self.op("ReduceSum", self.op("Mul", states, column), axis, keepdims=0)
            pooled = self.op("Div", total, self.op("ReduceSum", counted, axis, keepdims=1))
        shape = self.architecture
        inputs = ["head.dense.weight", *(["head.dense.bias"] if shape.head_bias else [])]
        inner = self.op("Gemm", pooled, *map(self._vector, inputs), transB=1)
        active = self._activate(inner)
        norm = ["head.norm.weight", *(["head.norm.bias"] if shape.head_norm_bias else [])]
        normal = self.op("LayerNormalization", active, *map(self._vector, norm), axis=-1, epsilon=shape.head_norm_eps)
        self._linear(normal, "classifier", output="logits")

    def _activate(self, value: str) -> str:
        kind = self.architecture.head_activation
        return self.fused("Gelu", value) if kind == "gelu" else self.op(kind.title(), value)

    def _normalise(self, value: str, name: str) -> str:
        epsilon = self.architecture.norm_eps
        return self.op("LayerNormalization", value, self._vector(f"{name}.weight"), axis=-1, epsilon=epsilon)

    def _rotate(self, value: str, kind: str) -> str:
        """Rotate each head by its position."""
        return self.fused("RotaryEmbedding", value, self._first, *self._angles[kind])

    def _rotary_tables(self, kind: str, base: float) -> tuple[str, str]:
        """Add the cosines and sines of all positions, shape (positions, width of a head / 2)."""
        width = self.architecture.hidden // self.architecture.heads
        frequencies = (1.0 / np.float32(base) ** (np.arange(0, width, 2, dtype=np.float32) / width)).astype(np.float32)
        angles = np.arange(self.architecture.positions, dtype=np.float32)[:, None] * frequencies
        cosine, sine = (function(angles).astype(np.float32) for function in (np.cos, np.sin))
        return self.constant(f"rotary.{kind}.cosine", cosine), self.constant(f"rotary.{kind}.sine", sine)

    def _window_bias(self) -> str:
        """Add the bias of local attention: 0 inside the window, `HIDDEN_SCORE` outside."""
        length = self.op("Gather", self.op("Shape", "input_ids"), self.constant("length_axis", np.array(1, np.int64)))
        zero, one = (self.constant(f"range_{n}", np.array(n, np.int64)) for n in (0, 1))
        positions = self.op("Range", zero, length, one)
        column = self.op("Unsqueeze", positions, self.constant("column", np.array([1], np.int64)))
        distance = self.op("Abs", self.op("Sub", column, positions))
        limit = self.constant("window", np.array(self.architecture.window, np.int64))
        values = [self.constant(f"bias_{n}", np.array(v, np.float32)) for n, v in (("far", HIDDEN_SCORE), ("near", 0))]
        bias = self.op("Where", self.op("Greater", distance, limit), *values)
        return self.op("Unsqueeze", bias, self.constant("head_axes", np.array([0, 1], np.int64)))

    def _first_token(self, hidden: str) -> str:
        return self.op("Gather", hidden, self._first, axis=1)

    def _first_row(self, bias: str) -> str:
        return self.op("Gather", bias, self._first, axis=2)
