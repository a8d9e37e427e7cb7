"""A late-interaction ranker as an ONNX graph with BERT's three inputs, so that it runs like any cross-encoder.

The product frames a pair by the template `[CLS] query: ... [SEP] [CLS] passage: ... [SEP]`; the second [CLS] begins the
second text, which sees nothing of the first, has positions of its own, and meets it in the last step only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rerankd.compiler.graph import GraphBuilder

CLS, SEP = 2, 3  # ids of the special tokens in such a model's vocabulary
FLOAT, INT64 = 1, 7
HIDDEN = -10000.0


class LateInteractionGraph(GraphBuilder):
    """Adds two texts apart and their comparison to the product's own builder.

    int8 gives an activation tensor one scale. Where [CLS] and [SEP] alone reach many times what all other tokens do,
    they would spend the range of all: there the four of them are multiplied by themselves.

    Attributes:
        prefix: tokens between the first [CLS] and the query.
        careful: names of the linear layers where special tokens are multiplied by themselves.
    """

    prefix = 0
    outlier_layers: frozenset[str] = frozenset()

    def _number(self, name: str, value: Any, kind: type = np.int64) -> str:
        return self.constant(name, np.array(value, kind))

    def constant(self, name: str, value: np.ndarray[Any, Any]) -> str:
        """Add a constant, once."""
        return name if any(known.name == name for known in self.constants) else super().constant(name, value)

    def _embeddings(self) -> str:
        prefix = f"{self.architecture.prefix}.embeddings"
        one, rows, columns = self._number("unit", 1), self._number("rows", [2]), self._number("across", [1])
        starts = self.op("Cast", self.op("Equal", "input_ids", self._number("cls", CLS)), to=INT64)
        begun = self.op("CumSum", starts, self._number("along axis", 1, np.int32))
        self._second = self.op("Sub", self.op("Min", begun, self._number("two", 2)), one)
        first = self.op("Sub", one, self._second)
        places = self._positions()
        before = self.op("ReduceSum", first, columns, keepdims=1)
        restarted = self.op("Sub", places, self.op("Mul", self._second, before))
        # Padding counts on; it is hidden anyway, and must not run off the table.
        last = self._number("last place", self.architecture.positions - 1)
        restarted = self.op("Max", self.op("Min", restarted, last), self._number("nought", 0))
        apart = self.op("Equal", *(self.op("Unsqueeze", self._second, axis) for axis in (rows, columns)))
        apart = self.op("Cast", self.op("Not", apart), to=FLOAT)
        self._apart = self.op("Unsqueeze", self.op("Mul", apart, self._hole()), columns)
        self._describe(places, first)
        self._find_special(places, before)
        self._words = self._lookup(f"{prefix}.word_embeddings.weight", "input_ids")
        where = self._lookup(f"{prefix}.position_embeddings.weight", restarted)
        kind = self.constant("segment", self.weights(f"{prefix}.token_type_embeddings.weight")[0])
        return self._normalise(self.op("Add", self.op("Add", self._words, kind), where), f"{prefix}.LayerNorm")

    def _find_special(self, places: str, before: str) -> None:
        """Where [CLS] and [SEP] of both texts are: numbers, a one for each, and the others."""
        one = self._number("unit", 1)
        end = self.op("Sub", self.op("ReduceSum", "attention_mask", self._number("across", [1]), keepdims=1), one)
        found = self.op("Concat", self.op("Sub", before, before), self.op("Sub", before, one), before, end, axis=1)
        self._special = self.op("Unsqueeze", found, self._number("deep", [-1]))
        across = self.op("Unsqueeze", found, self._number("across", [1]))
        found = self.op("Equal", self.op("Unsqueeze", places, self._number("deep", [-1])), across)
        self._ones = self.op("Cast", found, to=FLOAT)
        one = self._number("one float", 1.0, np.float32)
        self._others = self.op("Sub", one, self.op("ReduceMax", self._ones, axes=[2], keepdims=1))

    def _matmul(self, value: str, layers: list[str], bias: str = "") -> str:
        if not self.int8 or layers[0] not in self.outlier_layers:
            return super()._matmul(value, layers, bias)
        special = super()._matmul(self.op("GatherND", value, self._special, batch_dims=1), layers)
        others = super()._matmul(self.op("Mul", value, self._others), layers, bias)
        return self.op("Add", others, self.op("MatMul", self._ones, special))

    def _hole(self) -> str:
        return self._number("hole", HIDDEN, np.float32)

    def _describe(self, places: str, first: str) -> None:
        """Which tokens are there, on either side, and which are texts' own; floats of shape (batch, length)."""

        def product(*values: str) -> str:
            found = values[0]
            for value in values[1:]:
                found = self.op("Mul", found, value)
            return self.op("Cast", found, to=FLOAT)

        own = self.op("Cast", self.op("Not", self.op("Equal", "input_ids", self._number("sep", SEP))), to=INT64)
        after = self.op("Greater", places, self._number("prefix", self.prefix))
        after = self.op("Cast", after, to=INT64)
        self._sides = [product(side, "attention_mask") for side in (first, self._second)]
        self._query = product(first, own, after, "attention_mask")
        self._document = product("token_type_ids", own, "attention_mask")

    def _layer(self, hidden: str, layer: int, *, last: bool) -> str:
        """Every token in every layer, because the comparison reads them all."""
        return super()._layer(hidden, layer, last=False)

    def fused(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Attention gets a bias that keeps the texts apart."""
        if kind == "MultiHeadAttention":
            inputs = (*inputs, self._apart)
        return super().fused(kind, *inputs, **attributes)

    def _head(self, hidden: str) -> None:
        columns, rows, last = self._number("across", [1]), self._number("rows", [2]), self._number("deep", [-1])
        document = self.op("Unsqueeze", self._document, columns)
        length = self.op("ReduceL2", hidden, axes=[2], keepdims=1)
        unit = self.op("Div", hidden, length)
        similar = self.op("MatMul", unit, self.op("Transpose", unit, perm=[0, 2, 1]))
        one = self._number("one float", 1.0, np.float32)
        nowhere = self.op("Mul", self.op("Sub", one, document), self._hole())
        best = self.op("ReduceMax", self.op("Add", similar, nowhere), axes=[2], keepdims=0)
        best = self.op("Max", best, self._number("least", -1.0, np.float32))
        same = self.op("Equal", *(self.op("Unsqueeze", "input_ids", axis) for axis in (rows, columns)))
        same = self.op("Mul", self.op("Cast", same, to=FLOAT), document)
        repeated = self.op("ReduceMax", same, axes=[2], keepdims=0)
        cosine = self._cosine(hidden, columns, last)
        found = [
            cosine,
            self._weighed(best, hidden, "meaning", last),
            self._weighed(repeated, self._words, "piece", last),
        ]
        parts = self.op("Concat", *found, axis=1)
        self.op("Gemm", parts, self._vector("mix"), self._vector("bias"), transB=1, output="logits")

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
        """Mean of values over the query's tokens, each weighed by its state; shape (batch, 1)."""
        matrix = self.constant(f"{weigher}.weight", self.weights(f"{weigher}.weight").T)
        raw = self.op("Add", self.op("MatMul", states, matrix), self._vector(f"{weigher}.bias"))
        weights = self.op("Mul", self.op("Softplus", self.op("Squeeze", raw, last)), self._query)
        total = self.op("Max", self.op("ReduceSum", weights, last, keepdims=1), self._number("small", 1e-6, np.float32))
        return self.op("Div", self.op("ReduceSum", self.op("Mul", values, weights), last, keepdims=1), total)


def named(name: str) -> str:
    """The network's name of a weight that the builder asks for.

    Example:
        >>> named("bert.embeddings.LayerNorm.bias"), named("mix")
        ('encoder.bert.embeddings.LayerNorm.bias', 'mix')
    """
    return f"encoder.{name}" if name.startswith("bert.") else name
