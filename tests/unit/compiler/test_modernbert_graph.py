"""The compiled graph against the torch network, at lengths around those at which it computes otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerankd.compiler.modernbert_graph import LONG_WINDOWS, ModernBertGraph
from rerankd.models.files import load_model
from rerankd.models.session import open_session
from rerankd.scoring.encoder import EncodedPair
from rerankd.scoring.torch.backend import TorchBackend
from tests.families.modernbert import WINDOW, write_reranker

LONG = LONG_WINDOWS * WINDOW // 2
LENGTHS = [[1], [WINDOW], [WINDOW + 1], [LONG], [LONG + 1], [4 * WINDOW], [301], [300, 3, LONG, 17], [LONG, 5]]


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("mean", {}),
        ("cls", {"layer_types": ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention"]}),
        ("cls", {"num_hidden_layers": 2, "layer_types": ["full_attention"] * 2, "classifier_activation": "tanh"}),
    ],
)
def test_graph_agrees_with_torch(form: str, options: dict[str, Any], tmp_path: Path, texts: list[str]) -> None:
    files = load_model(str(write_reranker(tmp_path / form, texts, form, **options)))
    architecture: Any = files.manifest.architecture
    graph = ModernBertGraph(architecture, files.checkpoint().tensor, "fp32").build()
    session = open_session(graph.SerializeToString(), 1)
    backend = TorchBackend(files, precision="fp32")
    draw = np.random.default_rng(0)
    for lengths in LENGTHS:
        pairs = [EncodedPair(draw.integers(5, 500, length), 1, truncated=False) for length in lengths]
        ids = np.zeros((len(pairs), max(lengths)), np.int64)
        mask = np.zeros_like(ids)
        for row, pair in enumerate(pairs):
            ids[row, : len(pair)], mask[row, : len(pair)] = pair.ids, 1
        logits = session.run(None, {"input_ids": ids, "attention_mask": mask})[0][:, 0]
        np.testing.assert_allclose(logits, backend.logits(pairs), atol=1e-5, err_msg=str(lengths))
