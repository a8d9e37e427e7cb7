"""ONNX graph of a late-interaction ranker with BERT's three inputs, so that it runs like a cross-encoder.

A pair is `[CLS] query: ... [SEP] [CLS] passage: ... [SEP]`. The second [CLS] starts the document, which has its own
positions. In the first layers the two texts do not attend to each other; in the joint layers, the last ones, they do,
with a bias per head. The head compares them token by token.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rerankd.compiler.bert_graph import BertGraph

CLS, SEP = 2, 3  # ids of the special tokens in such a model's vocabulary
FLOAT, INT64 = 1, 7
MASKED = -10000.0  # added to attention scores and similarities that must not count


class LateInteractionGraph(BertGraph):
    """Builder that encodes query and document separately and compares them in the head.

    int8 gives an activation tensor one scale. In layers where the activations of [CLS] and [SEP] are many times those
    of other tokens, they would use up its range; there these four tokens are multiplied separately.

    Attributes:
        prefix: number of tokens between the first [CLS] and the query.
        outlier_layers: names of the linear layers in which special tokens are multiplied separately.
        joint_layers: number of last layers in which the texts attend to each other.
    """

    prefix = 0
    joint_layers = 0
    outlier_layers: frozenset[str] = frozenset()

    def _number(self, name: str, value: Any, kind: type = np.int64) -> str:
        return self.constant(name, np.array(value, kind))

    def constant(self, name: str, value: np.ndarray[Any, Any]) -> str:
        """Add a constant, unless one with this name exists."""
        return name if any(known.name == name for known in self.constants) else super().constant(name, value)

    def _embeddings(self) -> str:
        prefix = f"{self.architecture.prefix}.embeddings"
        unit, rows, columns = self._number("unit", 1), self._number("rows", [2]), self._number("across", [1])
        starts = self.op("Cast", self.op("Equal", "input_ids", self._number("cls", CLS)), to=INT64)
        begun = self.op("CumSum", starts, self._number("along axis", 1, np.int32))
        self._second = self.op("Sub", self.op("Min", begun, self._number("two", 2)), unit)
        first = self.op("Sub", unit, self._second)
        positions = self._positions()
        before = self.op("ReduceSum", first, columns, keepdims=1)
        restarted = self.op("Sub", positions, self.op("Mul", self._second, before))
        # The positions of padding are clipped to the table; padding is masked anyway.
        last = self._number("last place", self.architecture.positions - 1)
        restarted = self.op("Max", self.op("Min", restarted, last), self._number("nought", 0))
        separate = self.op("Equal", *(self.op("Unsqueeze", self._second, axis) for axis in (rows, columns)))
        separate = self.op("Cast", self.op("Not", separate), to=FLOAT)
        self._across = self.op("Unsqueeze", separate, columns)
        self._attention_bias = self.op("Mul", self._across, self._masked())
        self._add_masks(positions, first)
        self._add_special_positions(positions, before)
        self._words = self._lookup(f"{prefix}.word_embeddings.weight", "input_ids")
        position_rows = self._lookup(f"{prefix}.position_embeddings.weight", restarted)
        kind = self.constant("segment", self.weights(f"{prefix}.token_type_embeddings.weight")[0])
        return self._normalise(self.op("Add", self.op("Add", self._words, kind), position_rows), f"{prefix}.LayerNorm")

    def _add_special_positions(self, positions: str, before: str) -> None:
        """Add the positions of [CLS] and [SEP] of both texts, as indexes, as one-hot rows, and a mask of all others."""
        unit = self._number("unit", 1)
        end = self.op("Sub", self.op("ReduceSum", "attention_mask", self._number("across", [1]), keepdims=1), unit)
        special = self.op("Concat", self.op("Sub", before, before), self.op("Sub", before, unit), before, end, axis=1)
        self._special = self.op("Unsqueeze", special, self._number("deep", [-1]))
        beginnings = self.op("Concat", self.op("Sub", before, before), before, axis=1)
        self._beginnings = self.op("Unsqueeze", beginnings, self._number("deep", [-1]))
        across = self.op("Unsqueeze", special, self._number("across", [1]))
        one_hot = self.op("Equal", self.op("Unsqueeze", positions, self._number("deep", [-1])), across)
        self._one_hot = self.op("Cast", one_hot, to=FLOAT)
        unit = self._number("one float", 1.0, np.float32)
        self._others = self.op("Sub", unit, self.op("ReduceMax", self._one_hot, axes=[2], keepdims=1))

    def _matmul(self, value: str, layers: list[str], bias: str = "") -> str:
        if not self.int8 or layers[0] not in self.outlier_layers:
            return super()._matmul(value, layers, bias)
        special = super()._matmul(self.op("GatherND", value, self._special, batch_dims=1), layers)
        others = super()._matmul(self.op("Mul", value, self._others), layers, bias)
        return self.op("Add", others, self.op("MatMul", self._one_hot, special))

    def _masked(self) -> str:
        return self._number("hole", MASKED, np.float32)

    def _add_masks(self, positions: str, first: str) -> None:
        """Add masks of both sides' tokens, and of those without special and prefix tokens; shape (batch, length)."""

        def product(*values: str) -> str:
            mask = values[0]
            for value in values[1:]:
                mask = self.op("Mul", mask, value)
            return self.op("Cast", mask, to=FLOAT)

        content = self.op("Cast", self.op("Not", self.op("Equal", "input_ids", self._number("sep", SEP))), to=INT64)
        after = self.op("Greater", positions, self._number("prefix", self.prefix))
        after = self.op("Cast", after, to=INT64)
        self._sides = [product(side, "attention_mask") for side in (first, self._second)]
        self._query = product(first, content, after, "attention_mask")
        self._document = product("token_type_ids", content, "attention_mask")

    def _layer(self, hidden: str, layer: int, *, last: bool) -> str:
        """Add a layer with all tokens: the comparison reads the last layer of every token."""
        joint = layer - (self.architecture.layers - self.joint_layers)
        if joint >= 0:
            bias = self.constant(f"cross_bias.{joint}", self.weights("cross_bias")[joint][None, :, None, None])
            self._attention_bias = self.op("Mul", self._across, bias)
        return super()._layer(hidden, layer, last=False)

    def fused(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append a fused operator; attention gets a bias that hides the texts from each other, or a learned one."""
        if kind == "MultiHeadAttention":
            inputs = (*inputs, self._attention_bias)
        return super().fused(kind, *inputs, **attributes)

    def _head(self, hidden: str) -> None:
        columns, rows, last = self._number("across", [1]), self._number("rows", [2]), self._number("deep", [-1])
        document = self.op("Unsqueeze", self._document, columns)
        length = self.op("ReduceL2", hidden, axes=[2], keepdims=1)
        unit = self.op("Div", hidden, length)
        similar = self.op("MatMul", unit, self.op("Transpose", unit, perm=[0, 2, 1]))
        ones = self._number("one float", 1.0, np.float32)
        masked = self.op("Mul", self.op("Sub", ones, document), self._masked())
        best = self.op("ReduceMax", self.op("Add", similar, masked), axes=[2], keepdims=0)
        best = self.op("Max", best, self._number("least", -1.0, np.float32))
        same = self.op("Equal", *(self.op("Unsqueeze", "input_ids", axis) for axis in (rows, columns)))
        same = self.op("Mul", self.op("Cast", same, to=FLOAT), document)
        repeated = self.op("ReduceMax", same, axes=[2], keepdims=0)
        cosine = self._cosine(hidden, columns, last)
        features = [
            cosine,
            self._weighed(best, hidden, "meaning", last),
            self._weighed(repeated, self._words, "piece", last),
        ]
        parts = self.op("Concat", *features, axis=1)
        if not self.joint_layers:
            self.op("Gemm", parts, self._vector("mix"), self._vector("bias"), transB=1, output="logits")
            return
        similarity = self.op("Gemm", parts, self._vector("mix"), self._vector("bias"), transB=1)
        self.op("Add", similarity, self._joint_head(hidden), output="logits")

    def _joint_head(self, hidden: str) -> str:
        """Add the head on the states of both [CLS] tokens, computed in float32; shape (batch, 1)."""
        both = self.op("GatherND", hidden, self._beginnings, batch_dims=1)
        flat = self.op("Reshape", both, self._number("flat", [0, 2 * self.architecture.hidden]))
        weight = self._stored_rows("joint_dense.weight")
        inner = self.fused("Gelu", self.op("Gemm", flat, weight, self._vector("joint_dense.bias"), transB=1))
        return self._linear(inner, "joint_output")

    def _stored_rows(self, name: str) -> str:
        """Return a matrix; an int8 model stores it with one scale per row, and it is dequantized once, at loading."""
        if not self.int8:
            return self._vector(name)
        matrix = self.weights(name)
        scale = np.maximum(np.abs(matrix).max(axis=1, keepdims=True), 1e-12).astype(np.float32) / 127
        rows = self.constant(name, np.rint(matrix / scale).astype(np.int8))
        return self.op("Mul", self.op("Cast", rows, to=FLOAT), self.constant(f"{name}.scale", scale))

    def _cosine(self, hidden: str, columns: str, last: str) -> str:
        sums = [
            self.op("Squeeze", self.op("MatMul", self.op("Unsqueeze", side, columns), hidden), columns)
            for side in self._sides
        ]
        product = self.op("ReduceSum", self.op("Mul", *sums), last, keepdims=1)
        norms = [self.op("ReduceL2", each, axes=[1], keepdims=1) for each in sums]
        least = self._number("tiny", 1e-12, np.float32)
        return self.op("Div", product, self.op("Max", self.op("Mul", *norms), least))

    def _weighed(self, values: str, states: str, weigher: str, last: str) -> str:
        """Add the mean of values over the query's tokens, weighted by their states; shape (batch, 1)."""
        matrix = self.constant(f"{weigher}.weight", self.weights(f"{weigher}.weight").T)
        raw = self.op("Add", self.op("MatMul", states, matrix), self._vector(f"{weigher}.bias"))
        weights = self.op("Mul", self.op("Softplus", self.op("Squeeze", raw, last)), self._query)
        total = self.op("Max", self.op("ReduceSum", weights, last, keepdims=1), self._number("small", 1e-6, np.float32))
        return self.op("Div", self.op("ReduceSum", self.op("Mul", values, weights), last, keepdims=1), total)


def named(name: str) -> str:
    """Return the name in the checkpoint of a weight that the builder asks for.

    Example:
        >>> named("bert.embeddings.LayerNorm.bias"), named("mix")
        ('encoder.bert.embeddings.LayerNorm.bias', 'mix')
    """
    return f"encoder.{name}" if name.startswith("bert.") else name
