"""Graphs of the families compute what their networks on torch compute, from the same random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rerankd.compiler.families import GRAPHS
from rerankd.models.architecture import Architecture
from rerankd.models.families.deberta import DebertaArchitecture
from rerankd.models.families.gte import GteArchitecture
from rerankd.scoring.encoder import EncodedPair
from rerankd.scoring.packed import packed_rows

SHAPE = {"layers": 2, "hidden": 32, "heads": 2, "intermediate": 64, "vocabulary": 50, "pad_id": 0}
DEBERTA: dict[str, Any] = SHAPE | {"family": "deberta-v2", "layer_norm_eps": 1e-7, "relative_positions": 24}
GTE: dict[str, Any] = SHAPE | {"family": "gte", "layer_norm_eps": 1e-12, "rotary_theta": 300.0, "rotary_divisor": 1.1}
ARCHITECTURES = {
    "deberta": DebertaArchitecture(**DEBERTA, positions=24, buckets=8),
    "deberta without buckets": DebertaArchitecture(**DEBERTA, positions=24, buckets=0),
    "deberta that ends early": DebertaArchitecture(**DEBERTA, positions=40, buckets=8),
    "gte": GteArchitecture(**GTE, positions=40, segment_types=1),
    "gte without segments": GteArchitecture(**GTE, positions=40, segment_types=0),
}
LENGTHS = (3, 24, 17, 4)


class RandomWeights:
    """Stands in for a checkpoint."""

    def __init__(self, architecture: Architecture) -> None:
        random = np.random.default_rng(1)
        self._weights = {
            name: random.standard_normal(shape).astype(np.float32) * np.float32(0.5)
            for name, shape in architecture.shapes().items()
        }

    def tensor(self, name: str) -> np.ndarray:
        return self._weights[name]


def pairs_of(lengths: tuple[int, ...]) -> list[EncodedPair]:
    random = np.random.default_rng(2)
    return [EncodedPair(random.integers(1, 50, length), 2, False) for length in lengths]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_graph_computes_what_the_network_does(name: str, precision: str) -> None:
    torch = pytest.importorskip("torch")
    import onnxruntime

    from rerankd.scoring.torch.batch import DeviceWeights, PackedBatch
    from rerankd.scoring.torch.networks import open_network

    architecture, pairs = ARCHITECTURES[name], pairs_of(LENGTHS)
    weights: Any = RandomWeights(architecture)
    rows = packed_rows(pairs, architecture)
    ids, positions, segments = (torch.from_numpy(part) for part in (rows.ids, rows.positions, rows.segments))
    batch = PackedBatch(ids, positions, segments, torch.from_numpy(rows.starts), rows.lengths)
    expected = open_network(architecture, DeviceWeights(weights, "cpu", "fp32")).logits(batch).numpy()
    graph = GRAPHS[type(architecture)](architecture, weights.tensor, precision).build()
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    ids = np.zeros((len(pairs), max(LENGTHS)), np.int64)
    for row, pair in enumerate(pairs):
        ids[row, : len(pair)] = pair.ids
    mask = (np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]).astype(np.int64)
    logits = session.run(None, {"input_ids": ids, "attention_mask": mask})[0][:, 0]
    assert np.std(expected) > 0.2
    np.testing.assert_allclose(logits, expected, atol=2e-5 if precision == "fp32" else 0.4)
