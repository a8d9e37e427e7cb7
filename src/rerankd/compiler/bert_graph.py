"""ONNX graph of BERT and XLM-RoBERTa cross-encoders."""

from __future__ import annotations

import numpy as np

from rerankd.compiler.graph import GraphBuilder
from rerankd.models.families.bert import BertArchitecture


class BertGraph(GraphBuilder):
    """Builder of `input_ids`, `attention_mask` (and `token_type_ids` for BERT) -> `logits`, shape (batch, 1)."""

    architecture: BertArchitecture

    def _embeddings(self) -> str:
        prefix = f"{self.architecture.prefix}.embeddings"
        words = self._lookup(f"{prefix}.word_embeddings.weight", "input_ids")
        positions = self._lookup(f"{prefix}.position_embeddings.weight", self._positions())
        table = self.weights(f"{prefix}.token_type_embeddings.weight")
        if self.architecture.segments:
            kinds = self.op("Gather", self.constant("segments", table), "token_type_ids")
        else:
            kinds = self.constant("segment", table[0])
        total = self.op("Add", self.op("Add", words, kinds), positions)
        return self._normalise(total, f"{prefix}.LayerNorm")

    def _positions(self) -> str:
        """Add the position ids: from 0 for BERT; for XLM-R after the padding id, without counting padding."""
        if self.architecture.position_offset == 0:
            ones = self.op("Sign", "attention_mask")
            every = self.op("Or", self.op("Cast", ones, to=9), self.constant("always", np.array(True)))
            counted = self.op("Cast", every, to=7)
            running = self.op("CumSum", counted, self.constant("axis", np.array(1, np.int64)))
            return self.op("Sub", running, self.constant("one", np.array(1, np.int64)))
        running = self.op("CumSum", "attention_mask", self.constant("axis", np.array(1, np.int64)))
        masked = self.op("Mul", running, "attention_mask")
        return self.op("Add", masked, self.constant("offset", np.array(self.architecture.position_offset, np.int64)))

    def _layer(self, hidden: str, layer: int, *, last: bool) -> str:
        prefix = f"{self.architecture.prefix}.encoder.layer.{layer}"
        attention = f"{prefix}.attention"
        query, key, value = (f"{attention}.self.{part}" for part in ("query", "key", "value"))
        kept = hidden
        if last:
            kept = self._first_token(hidden)
            q = self._matmul(kept, [query])
            k, v = self._split(self._matmul(hidden, [key, value]), 2)
        else:
            q, k, v = self._split(self._matmul(hidden, [query, key, value]), 3)
        bias = np.concatenate([self.weights(f"{part}.bias") for part in (query, key, value)])
        context = self.fused(
            "MultiHeadAttention",
            q,
            k,
            v,
            self.constant(f"{attention}.bias", bias),
            self._mask,
            num_heads=self.architecture.heads,
            mask_filter_value=-10000.0,
        )
        attended = self._dense(context, f"{attention}.output.dense")
        mixed = self._normalise(self.op("Add", attended, kept), f"{attention}.output.LayerNorm")
        active = self.fused("Gelu", self._dense(mixed, f"{prefix}.intermediate.dense"))
        fed = self._dense(active, f"{prefix}.output.dense")
        return self._normalise(self.op("Add", fed, mixed), f"{prefix}.output.LayerNorm")

    def _normalise(self, value: str, name: str) -> str:
        return self._layer_norm(value, name, self.architecture.layer_norm_eps)

    def _head(self, hidden: str) -> None:
        """Add the head: first token, dense, tanh, linear; always in float32."""
        first = self.op("Squeeze", hidden, self.constant("middle", np.array([1], np.int64)))
        dense, out = self.architecture.head
        inner = self._linear(first, dense)
        self._linear(self.op("Tanh", inner), out, output="logits")
