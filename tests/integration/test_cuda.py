"""The packed backend on a GPU, where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rerankd import Reranker
from rerankd.scoring.backend import cuda_available

pytestmark = pytest.mark.skipif(not cuda_available(), reason="torch sees no CUDA GPU on this machine")


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("fp16", 0.02), ("bf16", 0.1)])
def test_gpu_agrees_with_cpu(
    checkpoint: Path, mixed_pairs: list[tuple[str, str]], precision: str, tolerance: float
) -> None:
    expected = Reranker(str(checkpoint), device="cpu", max_length=128).score(mixed_pairs, activation="none")
    reranker = Reranker(str(checkpoint), device="cuda", precision=precision, max_length=128)  # type: ignore[arg-type]
    np.testing.assert_allclose(reranker.score(mixed_pairs, activation="none"), expected, atol=tolerance)


def test_half_precision_is_the_default(checkpoint: Path) -> None:
    assert Reranker(str(checkpoint)).backend == "torch cuda fp16"
    assert Reranker(str(checkpoint), use_fp16=True, device="cuda").backend == "torch cuda fp16"
