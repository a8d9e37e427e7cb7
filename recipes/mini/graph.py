"""The ranker of `model.py` as an ONNX graph with BERT's three inputs, so that the product runs it like any other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rerankd.models.graph import GraphBuilder

from .model import LAST_SPECIAL, SPLIT

FLOAT, INT64 = 1, 7
INNER = ".intermediate.dense"


class RankerGraph(GraphBuilder):
    """Adds match levels, split layers and the cosine to the product's own builder.

    int8 gives an activation tensor one scale. In the feed-forward [CLS] alone reaches 30 where every other token stays
    below 8, and would spend the range of all: it gets products of its own. Where `ranges` knows the largest value of
    each channel, its few wide channels are multiplied in float32 (LLM.int8, Dettmers et al. 2022).

    Attributes:
        ranges: largest absolute input per channel, by name of the linear layer.
        split: so many first layers see query and document apart.
        rank: width of the word table where a matrix makes it wide, else 0.
    """

    split = SPLIT
    rank = 0
    ranges: Mapping[str, np.ndarray[Any, Any]] = {}
    wide = 2.5  # times the median range
    share = 16  # one channel in so many at most

    def _number(self, name: str, value: Any, kind: type = np.int64) -> str:
        return self.constant(name, np.array(value, kind))

    def _embeddings(self) -> str:
        prefix = f"{self.architecture.prefix}.embeddings"
        words = self._lookup(f"{prefix}.word_embeddings.weight", "input_ids")
        if self.rank:
            words = self.op("MatMul", words, self.constant("projection.weight", self.weights("projection.weight").T))
        places = self._lookup(f"{prefix}.position_embeddings.weight", self._restarted_positions())
        table = self.constant("segments", self.weights(f"{prefix}.token_type_embeddings.weight"))
        kinds = self.op("Gather", table, self._kinds())
        total = self.op("Add", self.op("Add", words, places), kinds)
        return self._normalise(total, f"{prefix}.LayerNorm")

    def _restarted_positions(self) -> str:
        one = self._number("unit", 1)
        self._query = self.op("Mul", self.op("Sub", one, "token_type_ids"), "attention_mask")
        self._document = self.op("Mul", "token_type_ids", "attention_mask")
        length = self.op("ReduceSum", self._query, self._number("columns", [1]), keepdims=1)
        back = self.op("Mul", "token_type_ids", self.op("Sub", length, one))
        places = self._positions()
        after_first = self.op("Cast", self.op("Sign", places), to=FLOAT)
        self._others = self.op("Unsqueeze", after_first, self._number("deep", [2]))
        return self.op("Sub", places, back)

    def _kinds(self) -> str:
        """Segment plus twice the match level, as `model.match_levels` computes it."""
        self._rows, self._columns = self._number("rows", [2]), self._number("across", [1])
        self._same = self._pairwise("Equal", "token_type_ids")
        real = self.op("Greater", "input_ids", self._number("special", LAST_SPECIAL))
        equal = self.op("And", self._pairwise("Equal", "input_ids"), self.op("Not", self._same))
        equal = self.op("Cast", self.op("And", equal, self._pairwise("And", real)), to=FLOAT)
        before, after = self._shifted(equal, 1), self._shifted(equal, -1)
        two = self.op("Mul", equal, self.op("Max", before, after))
        beyond = [self.op("Mul", near, self._shifted(equal, by)) for near, by in ((before, 2), (after, -2))]
        three = self.op("Mul", equal, self.op("Max", self.op("Mul", before, after), *beyond))
        found = [self.op("ReduceMax", each, axes=[-1], keepdims=0) for each in (equal, two, three)]
        level = self.op("Cast", self.op("Sum", *found), to=INT64)
        return self.op("Add", "token_type_ids", self.op("Mul", level, self._number("double", 2)))

    def _pairwise(self, kind: str, value: str) -> str:
        return self.op(kind, self.op("Unsqueeze", value, self._rows), self.op("Unsqueeze", value, self._columns))

    def _shifted(self, value: str, by: int) -> str:
        size, name = abs(by), f"shift{by}"
        axes = self._number(f"{name}.axes", [1, 2])
        starts, ends = ([0, 0], [-size, -size]) if by > 0 else ([size, size], [2**31, 2**31])
        kept = self.op("Slice", value, self._number(f"{name}.from", starts), self._number(f"{name}.to", ends), axes)
        pads = [0, size, size, 0, 0, 0] if by > 0 else [0, 0, 0, 0, size, size]
        return self.op("Pad", kept, self._number(f"{name}.pads", pads))

    def _layer(self, hidden: str, layer: int, *, last: bool) -> str:
        """Every token in every layer, because the cosine reads them all."""
        if layer == 0:
            hole = self.constant("hole", np.array(-10000.0, np.float32))
            across = self.op("Cast", self.op("Not", self._same), to=FLOAT)
            self._apart = self.op("Unsqueeze", self.op("Mul", across, hole), self._columns)
        self._inside = layer
        return super()._layer(hidden, layer, last=False)

    def fused(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """The first layers' attention gets a bias that keeps query and document apart."""
        if kind == "MultiHeadAttention" and self._inside < self.split:
            inputs = (*inputs, self._apart)
        return super().fused(kind, *inputs, **attributes)

    def constant(self, name: str, value: np.ndarray[Any, Any]) -> str:
        """Add a constant, once: [CLS] and the others share their weights."""
        return name if any(known.name == name for known in self.constants) else super().constant(name, value)

    def _matmul(self, value: str, layers: list[str]) -> str:
        if self.int8 and layers[0].endswith(INNER):
            self._alone = self._first_token(value)
            value = self.op("Mul", value, self._others)
        return super()._matmul(value, layers)

    def _add_normalise(self, value: str, residual: str, norm: str, bias: str) -> str:
        """After the feed-forward, [CLS] as computed alone takes its place before the others."""
        every = super()._add_normalise(value, residual, norm, bias)
        prefix = norm.removesuffix(".output.LayerNorm")
        if not self.int8 or prefix.endswith(".attention"):
            return every
        inner = self._careful_matmul(self._alone, f"{prefix}{INNER}")
        active = self.fused("BiasGelu", inner, self._vector(f"{prefix}{INNER}.bias"))
        outer = self._careful_matmul(active, f"{prefix}.output.dense")
        first = super()._add_normalise(outer, self._alone, norm, bias)
        bounds = [self._number(f"others.{n}", [v]) for n, v in (("from", 1), ("to", 2**31), ("along", 1))]
        return self.op("Concat", first, self.op("Slice", every, *bounds), axis=1)

    def _careful_matmul(self, value: str, layer: str) -> str:
        """An int8 product whose widest input channels are multiplied in float32."""
        largest = self.ranges.get(layer, np.ones(1))
        order = np.argsort(-largest)[: len(largest) // self.share]
        wide = np.sort(order[largest[order] > self.wide * np.median(largest)])
        if not len(wide):
            return super()._matmul(value, [layer])
        narrow = np.ones(len(largest), np.float32)
        narrow[wide] = 0
        kept = self.op("Mul", value, self.constant(f"{layer}.narrow", narrow))
        apart = self.op("Gather", value, self.constant(f"{layer}.wide", wide.astype(np.int64)), axis=-1)
        matrix = self.weights(f"{layer}.weight")[:, wide].T
        exact = self.op("MatMul", apart, self.constant(f"{layer}.exact", matrix.astype(np.float32)))
        return self.op("Add", super()._matmul(kept, [layer]), exact)

    def _head(self, hidden: str) -> None:
        first = self.op("Squeeze", self._first_token(hidden), self._number("middle", [1]))
        dense, out = self.architecture.head
        read = self._linear(self.op("Tanh", self._linear(first, dense)), out)
        sums = []
        for weights in (self._query, self._document):
            row = self.op("Unsqueeze", self.op("Cast", weights, to=FLOAT), self._columns)
            sums.append(self.op("Squeeze", self.op("MatMul", row, hidden), self._columns))
        product = self.op("ReduceSum", self.op("Mul", *sums), self._columns, keepdims=1)
        norms = [self.op("ReduceL2", each, axes=[1], keepdims=1) for each in sums]
        cosine = self.op("Div", product, self.op("Mul", *norms))
        scale = self.constant("cosine", 10 * self.weights("cosine"))
        self.op("Add", read, self.op("Mul", cosine, scale), output="logits")
