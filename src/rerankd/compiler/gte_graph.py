"""ONNX graph of GTE cross-encoders."""

from __future__ import annotations

import numpy as np

from rerankd.compiler.graph import GraphBuilder
from rerankd.models.families.gte import GteArchitecture
from rerankd.models.rotary import rotary_tables


class GteGraph(GraphBuilder):
    """Builder of `input_ids`, `attention_mask` -> `logits`, shape (batch, 1); positions count from the first column."""

    architecture: GteArchitecture

    def _embeddings(self) -> str:
        self._add_turns()
        total = self._lookup("new.embeddings.word_embeddings.weight", "input_ids")
        if self.architecture.segment_types:
            segment = self.weights("new.embeddings.token_type_embeddings.weight")[0]
            total = self.op("Add", total, self.constant("segment", segment))
        return self._normalise(total, "new.embeddings.LayerNorm")

    def _add_turns(self) -> None:
        shape = self.architecture
        width = shape.hidden // shape.heads
        tables = rotary_tables(width, shape.rotary_theta, shape.positions, shape.rotary_divisor)
        names = zip(("cosines", "sines"), tables, strict=True)
        self._turns = [self.constant("first_position", np.zeros(1, np.int64)), *(self.constant(*one) for one in names)]

    def _layer(self, hidden: str, layer: int, *, last: bool) -> str:
        prefix = f"new.encoder.layer.{layer}"
        query, key, value = (f"{prefix}.attention.{part}_proj" for part in "qkv")
        kept = hidden
        if last:
            kept = self._first_token(hidden)
            q = self._matmul(kept, [query], self._bias(query))  # position 0 is not turned
            k, v = self._split(self._matmul(hidden, [key, value], self._bias(key, value)), 2)
        else:
            q, k, v = self._split(self._matmul(hidden, [query, key, value], self._bias(query, key, value)), 3)
            q = self._rotate(q)
        context = self.fused(
            "MultiHeadAttention",
            *(q, self._rotate(k), v, "", self._mask),
            num_heads=self.architecture.heads,
            mask_filter_value=-10000.0,
        )
        attended = self._dense(context, f"{prefix}.attention.o_proj")
        mixed = self._normalise(self.op("Add", attended, kept), f"{prefix}.attn_ln")
        fed = self._dense(self._gated(mixed, f"{prefix}.mlp"), f"{prefix}.mlp.down_proj")
        return self._normalise(self.op("Add", fed, mixed), f"{prefix}.mlp_ln")

    def _bias(self, *layers: str) -> str:
        return self.constant(f"{'+'.join(layers)}.bias", np.concatenate([self.weights(f"{n}.bias") for n in layers]))

    def _rotate(self, states: str) -> str:
        return self.fused("RotaryEmbedding", states, *self._turns, interleaved=0)

    def _gated(self, states: str, name: str) -> str:
        both = self._matmul(states, [f"{name}.up_proj", f"{name}.gate_proj"])
        sizes = self.constant(f"{name}.sizes", np.full(2, self.architecture.intermediate, np.int64))
        up = self.op("Split", both, sizes, outputs=2, axis=-1)
        return self.op("Mul", self.fused("Gelu", f"{up}_1"), up)

    def _normalise(self, value: str, name: str) -> str:
        return self._layer_norm(value, name, self.architecture.layer_norm_eps)

    def _head(self, hidden: str) -> None:
        """Add the head: first token, dense, tanh, linear; always in float32."""
        first = self.op("Squeeze", hidden, self.constant("middle", np.array([1], np.int64)))
        dense, out = self.architecture.head_prefixes
        self._linear(self.op("Tanh", self._linear(first, dense)), out, output="logits")
