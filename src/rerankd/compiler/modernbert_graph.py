"""ONNX graph of ModernBERT cross-encoders.

Rotary positions and attention are fused operators. The tables of scores that attention makes are what grows with the
square of the length, so the graph avoids them where it can: without padding, layers with global attention pass no mask,
and ONNX Runtime computes them in tiles; in long inputs, layers with local attention attend in blocks of queries to the
keys that these can see.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rerankd.compiler.graph import GraphBuilder, Weights
from rerankd.models.families.modernbert import ModernBertArchitecture

HIDDEN_SCORE = -10000.0  # added to scores that a query does not see; the exponential of it is 0
BLOCK_WINDOWS = 2  # queries of a block; they see the keys of twice as many windows
LONG_WINDOWS = 6  # length beyond which blocks compute clearly less than the whole table of scores


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
        self._known: set[str] = set()
        self.first_token_only = architecture.pooling == "cls"

    def _embeddings(self) -> str:
        self._prepare()
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
        context = self._attend(q, self._rotate(k, kind), v, kind, last=last)
        mixed = self.op("Add", self._matmul(context, [f"{prefix}.attn.Wo"]), hidden)
        projected = self._matmul(self._normalise(mixed, f"{prefix}.mlp_norm"), [f"{prefix}.mlp.Wi"])
        inner = self.architecture.intermediate
        widths = self._integer([inner, inner])
        first = self.op("Split", projected, widths, outputs=2, axis=-1)
        gated = self.op("Mul", self.fused("Gelu", first), f"{first}_1")
        return self.op("Add", self._matmul(gated, [f"{prefix}.mlp.Wo"]), mixed)

    def _head(self, hidden: str) -> None:
        """Add the head: final normalization, pooling, dense, activation, normalization, linear; in float32."""
        states = self._normalise(hidden, "model.final_norm")
        axis = self._integer([1])
        if self.first_token_only:
            pooled = self.op("Squeeze", states, axis)
        else:
            counted = self.op("Cast", "attention_mask", to=1)
            column = self.op("Unsqueeze", counted, self._integer([-1]))
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
        return self.fused("RotaryEmbedding", value, self._integer([0]), *self._angles[kind])

    def _rotary_tables(self, kind: str, base: float) -> tuple[str, str]:
        """Add the cosines and sines of all positions, shape (positions, width of a head / 2)."""
        width = self.architecture.hidden // self.architecture.heads
        frequencies = (1.0 / np.float32(base) ** (np.arange(0, width, 2, dtype=np.float32) / width)).astype(np.float32)
        angles = np.arange(self.architecture.positions, dtype=np.float32)[:, None] * frequencies
        cosine, sine = (function(angles).astype(np.float32) for function in (np.cos, np.sin))
        return self.constant(f"rotary.{kind}.cosine", cosine), self.constant(f"rotary.{kind}.sine", sine)

    def _attend(self, query: str, key: str, value: str, kind: str, *, last: bool) -> str:
        if last:
            bias = [self._first_row_bias()] if kind == "l" else []
            return self._attention(query, key, value, self._mask, *bias)
        if kind == "g":
            return self._either(
                self._unpadded,
                lambda: self._attention(query, key, value),
                lambda: self._attention(query, key, value, self._mask),
            )
        return self._either(
            self._long,
            lambda: self._attend_blocks(query, key, value),
            lambda: self._attention(query, key, value, self._mask, self._bias),
        )

    def _attention(self, query: str, key: str, value: str, *mask: str) -> str:
        """Add attention; `mask` is that of padding and a bias of the scores, or nothing."""
        inputs = (query, key, value, *(["", *mask] if mask else []))
        return self.fused(
            "MultiHeadAttention", *inputs, num_heads=self.architecture.heads, mask_filter_value=HIDDEN_SCORE
        )

    def _attend_blocks(self, query: str, key: str, value: str) -> str:
        """Add local attention of blocks of queries, each to the keys from a window before to a window behind it."""
        queries = self.op("Reshape", self.op("Pad", query, self._query_pads), self._block_shape)
        keys, values = (self._key_blocks(states, self._key_pads, self._block_shape) for states in (key, value))
        context = self._attention(queries, keys, values, self._block_mask, self._band)
        rows = self.op("Reshape", context, self._row_shape)
        return self.op("Slice", rows, self._integer([0]), self._length, self._integer([1]))

    def _key_blocks(self, states: str, pads: str, shape: str) -> str:
        """Return what each block sees of (batch, length, ...): two blocks, which begin a window before it."""
        padded = self.op("Pad", states, pads)
        block, axis, end = self._block, self._integer([1]), self._integer([np.iinfo(np.int64).max])
        halves = (
            self.op("Slice", padded, self._integer([0]), self._integer([-block]), axis),
            self.op("Slice", padded, self._integer([block]), end, axis),
        )
        return self.op("Concat", *(self.op("Reshape", half, shape) for half in halves), axis=1)

    def _prepare(self) -> None:
        """Add what the layers share."""
        bases = {"g": self.architecture.global_base, "l": self.architecture.local_base}
        self._angles = {
            kind: self._rotary_tables(kind, bases[kind]) for kind in sorted(set(self.architecture.attention))
        }
        shape = self.op("Shape", "input_ids")
        self._batch, self._length = (self.op("Gather", shape, self._integer(n), axis=0) for n in ([0], [1]))
        lowest = self.op("ReduceMin", "attention_mask", keepdims=0)
        self._unpadded = self.op("Equal", lowest, self._integer(1))
        if "l" in self.architecture.attention:
            self._prepare_windows()

    def _prepare_windows(self) -> None:
        """Add what the layers with local attention share."""
        window, hidden = self.architecture.window, self.architecture.hidden
        self._block = block = BLOCK_WINDOWS * window
        self._long = self.op("Greater", self._scalar(self._length), self._integer(LONG_WINDOWS * window))
        self._bias = self._window_bias()
        # Blocks: the length is padded to whole ones, the keys by a window more on both sides.
        tail = self.op("Mod", self.op("Neg", self._length), self._integer([block]))
        zeros, side = self._integer([0, 0]), self._integer([window])
        behind, nothing = self.op("Add", tail, side), self._integer([0])
        self._query_pads = self.op("Concat", zeros, nothing, nothing, tail, nothing, axis=0)
        self._key_pads = self.op("Concat", nothing, side, nothing, nothing, behind, nothing, axis=0)
        self._block_shape = self._integer([-1, block, hidden])
        self._row_shape = self.op("Concat", self._batch, self._integer([-1, hidden]), axis=0)
        mask_pads = self.op("Concat", nothing, side, nothing, behind, axis=0)
        self._block_mask = self._key_blocks(self._mask, mask_pads, self._integer([-1, block]))
        distance = np.abs(np.arange(block)[:, None] + window - np.arange(2 * block))
        band = np.where(distance > window, HIDDEN_SCORE, 0).astype(np.float32)
        self._band = self.constant("band", band[None, None])

    def _window_bias(self) -> str:
        """Add the bias of the whole table of scores: 0 in the window, else `HIDDEN_SCORE`; empty for long inputs."""
        short = self.op("Cast", self.op("Not", self._long), to=7)
        positions = self._positions(self.op("Mul", self._scalar(self._length), short))
        distance = self.op("Abs", self.op("Sub", self.op("Unsqueeze", positions, self._integer([1])), positions))
        return self.op("Unsqueeze", self._hidden_beyond(distance), self._integer([0, 1]))

    def _first_row_bias(self) -> str:
        """Add the same for the first token, shape (1, 1, 1, length)."""
        distance = self._positions(self._scalar(self._length))
        return self.op("Unsqueeze", self._hidden_beyond(distance), self._integer([0, 1, 2]))

    def _hidden_beyond(self, distance: str) -> str:
        far = self.op("Greater", distance, self._integer(self.architecture.window))
        return self.op("Mul", self.op("Cast", far, to=1), self._number(HIDDEN_SCORE))

    def _positions(self, length: str) -> str:
        return self.op("Range", self._integer(0), length, self._integer(1))

    def _scalar(self, value: str) -> str:
        return self.op("Squeeze", value, self._integer([0]))

    def _integer(self, value: int | list[int]) -> str:
        return self._shared(f"int {value}", np.array(value, np.int64))

    def _number(self, value: float) -> str:
        return self._shared(f"float {value}", np.array(value, np.float32))

    def _shared(self, name: str, value: np.ndarray[Any, Any]) -> str:
        """Add a constant that is there once, however often it is used."""
        if name not in self._known:
            self._known.add(self.constant(name, value))
        return name

    def _either(self, condition: str, then: Callable[[], str], otherwise: Callable[[], str]) -> str:
        """Add a choice at run time; the functions add the nodes of its branches and return their result."""
        from onnx import TensorProto, helper

        outer, branches = self.nodes, []
        for build in (then, otherwise):
            self.nodes = []
            result = helper.make_tensor_value_info(build(), TensorProto.FLOAT, None)
            branches.append(helper.make_graph(self.nodes, f"branch_{self._count}", [], [result]))
        self.nodes = outer
        return self.op("If", condition, then_branch=branches[0], else_branch=branches[1])

    def _first_token(self, hidden: str) -> str:
        return self.op("Gather", hidden, self._integer([0]), axis=1)
