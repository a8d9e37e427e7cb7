"""ONNX graph of causal rerankers (Qwen3 and Qwen2).

Rows are padded at their end. Rotary embedding, causal mask and the sharing of keys and values by heads are one fused
operator of ONNX Runtime. In the last layer, what follows the attention is computed for the last token of a row only.
The two answers are one vector: the difference of their rows in the output table.
"""

from __future__ import annotations

import numpy as np

from rerankd.compiler.graph import GraphBuilder, Weights
from rerankd.errors import UnsupportedModelError
from rerankd.models.families.decoder import DecoderArchitecture

MAX_PARAMETERS = 1_000_000_000  # larger models take more than seconds a pair on a CPU


class DecoderGraph(GraphBuilder):
    """Builder of `input_ids`, `attention_mask` -> `logits`, shape (batch, 1)."""

    architecture: DecoderArchitecture

    def __init__(
        self, architecture: DecoderArchitecture, weights: Weights, precision: str, embedding_precision: str = "int8"
    ) -> None:
        if (count := architecture.parameters) > MAX_PARAMETERS:
            raise UnsupportedModelError(
                f"Causal models of up to 1 billion parameters are compiled; this one has {count / 1e9:.1f}.",
                hint="Use it as it is, best on a GPU: it runs on the torch backend.",
            )
        if architecture.head_width % 8:
            raise UnsupportedModelError(
                f"Attention heads of width {architecture.head_width} cannot be compiled: it is no multiple of 8.",
                hint="Use the checkpoint: it runs on the torch backend.",
            )
        super().__init__(architecture, weights, precision, embedding_precision)

    def _embeddings(self) -> str:
        axis = self.constant("token_axis", np.array([1], np.int64))
        counts = self.op("ReduceSum", self._mask, axis, keepdims=0)
        self._last_keys = self.op("Sub", counts, self.constant("one", np.array(1, np.int32)))
        places = self.op("Unsqueeze", self.op("Cast", self._last_keys, to=7), axis)
        self._last_rows = places
        length = self.op("Gather", self.op("Shape", "input_ids"), self.constant("second", np.array(1, np.int64)))
        self._length = self.op("Cast", length, to=6)
        width, positions = self.architecture.head_width, np.arange(self.architecture.positions, dtype=np.float32)
        exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
        frequencies = (1.0 / np.float32(self.architecture.rope_base) ** exponents).astype(np.float32)
        angles = positions[:, None] * frequencies
        self._cosine = self.constant("cosine", np.cos(angles).astype(np.float32))
        self._sine = self.constant("sine", np.sin(angles).astype(np.float32))
        return self._lookup("model.embed_tokens.weight", "input_ids")

    def _layer(self, hidden: str, layer: int, *, last: bool) -> str:
        prefix = f"model.layers.{layer}"
        context = self._attention(self._normalise(hidden, f"{prefix}.input_layernorm"), f"{prefix}.self_attn")
        if last:
            context = self.op("GatherND", context, self._last_rows, batch_dims=1)
            hidden = self.op("GatherND", hidden, self._last_rows, batch_dims=1)
        output = f"{prefix}.self_attn.o_proj"
        bias = self._vector(f"{output}.bias") if self.architecture.output_bias else ""
        mixed = self.op("Add", self._matmul(context, [output], bias), hidden)
        states = self._normalise(mixed, f"{prefix}.post_attention_layernorm")
        inner = self._matmul(states, [f"{prefix}.mlp.gate_proj", f"{prefix}.mlp.up_proj"])
        sizes = self.constant(f"{prefix}.sizes", np.full(2, self.architecture.intermediate, np.int64))
        gate = self.op("Split", inner, sizes, outputs=2, axis=-1)
        active = self.op("Mul", self.fused("QuickGelu", gate, alpha=1.0), f"{gate}_1")
        return self.op("Add", self._matmul(active, [f"{prefix}.mlp.down_proj"]), mixed)

    def _attention(self, states: str, prefix: str) -> str:
        shape = self.architecture
        parts = [f"{prefix}.{part}_proj" for part in ("q", "k", "v")]
        bias = ""
        if shape.projection_bias:
            vectors = [self.weights(f"{part}.bias") for part in parts]
            bias = self.constant(f"{prefix}.bias", np.concatenate(vectors))
        keys = shape.key_heads * shape.head_width
        sizes = self.constant(f"{prefix}.sizes", np.array([shape.heads * shape.head_width, keys, keys], np.int64))
        query = self.op("Split", self._matmul(states, parts, bias), sizes, outputs=3, axis=-1)
        key, value = f"{query}_1", f"{query}_2"
        if shape.query_key_norm:
            query = self._normalise_heads(query, f"{prefix}.q_norm")
            key = self._normalise_heads(key, f"{prefix}.k_norm")
        return self.op(
            "GroupQueryAttention",
            *(query, key, value, "", "", self._last_keys, self._length, self._cosine, self._sine),
            domain="com.microsoft",
            outputs=3,
            num_heads=shape.heads,
            kv_num_heads=shape.key_heads,
            do_rotary=1,
        )

    def _normalise_heads(self, states: str, name: str) -> str:
        apart = self.constant(f"{name}.apart", np.array([0, 0, -1, self.architecture.head_width], np.int64))
        joined = self.constant(f"{name}.joined", np.array([0, 0, -1], np.int64))
        return self.op("Reshape", self._normalise(self.op("Reshape", states, apart), name), joined)

    def _normalise(self, states: str, name: str) -> str:
        weight, epsilon = self._vector(f"{name}.weight"), self.architecture.norm_eps
        return self.op("SimplifiedLayerNormalization", states, weight, axis=-1, epsilon=epsilon, stash_type=1)

    def _head(self, hidden: str) -> None:
        """Add the head, always in float32."""
        answer, *opposite = (self.weights(name) for name in self.architecture.answers)
        vector = answer - opposite[0] if opposite else answer
        self.op("MatMul", self._normalise(hidden, "model.norm"), self.constant("answers", vector.T), output="logits")
