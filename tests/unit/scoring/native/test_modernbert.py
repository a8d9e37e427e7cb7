"""ModernBERT on the native kernels, against torch in float32: each pooling and head, with and without a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rerankd.compiler.first_use import FirstUse, open_compiled
from rerankd.models.files import ModelFiles, load_model
from rerankd.scoring.backend import choose_backend
from rerankd.scoring.encoder import EncodedPair
from rerankd.scoring.native import backend as native_backend
from rerankd.scoring.native.backend import NativeBackend
from rerankd.scoring.native.modernbert import gated_rows
from rerankd.scoring.torch.backend import TorchBackend
from tests.families.modernbert import FORMS, write_reranker

LENGTHS = (3, 8, 9, 16, 17, 18, 31, 33, 40, 64, 100, 190, 300, 511)
SIZES = {"hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 192, "num_hidden_layers": 5}
pytestmark = pytest.mark.usefixtures("instructions")


@pytest.fixture(scope="module", params=FORMS)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> ModelFiles:
    folder = tmp_path_factory.mktemp("modernbert") / request.param
    return load_model(str(write_reranker(folder, texts, request.param, by_library=False, **SIZES)))


@pytest.fixture(scope="module")
def pairs(files: ModelFiles) -> list[EncodedPair]:
    draw, vocabulary = np.random.default_rng(0), files.manifest.architecture.vocabulary
    return [EncodedPair(draw.integers(5, vocabulary, length), length // 3, False) for length in LENGTHS]


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.05), ("int8", 0.15)])
def test_logits_are_those_of_torch(
    files: ModelFiles, pairs: list[EncodedPair], precision: str, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = TorchBackend(files, device="cpu", precision="fp32").logits(pairs)
    backend = NativeBackend(files, precision=precision, threads=1)
    logits = backend.logits(pairs)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance * expected.std())
    alone = [float(backend.logits([pair])[0]) for pair in pairs]
    assert logits.tolist() == alone
    assert backend.logits(pairs[::-1] * 2).tolist() == alone[::-1] * 2
    monkeypatch.setattr(native_backend, "MIN_PRODUCTS", 1)
    divided = NativeBackend(files, precision=precision, threads=3)
    assert [float(divided.logits([pair])[0]) for pair in pairs] == alone


def test_what_was_kept_gives_the_same_scores(files: ModelFiles, pairs: list[EncodedPair], tmp_path: Path) -> None:
    use = FirstUse(device="cpu", precision="int8", cache_dir=str(tmp_path))
    opened = [open_compiled(files, use) for _ in range(2)]
    assert [backend.name for backend in opened] == ["native", "native"]
    expected = NativeBackend(files, precision="int8").logits(pairs).tolist()
    assert [backend.logits(pairs).tolist() for backend in opened] == [expected, expected]


def test_choice(files: ModelFiles) -> None:
    choice = choose_backend(files, device="cpu")
    assert (choice.name, choice.precision) == ("native", "bf16")


def test_gated_rows_alternate() -> None:
    rows = np.arange(64, dtype=np.float32)[:, None]
    assert gated_rows(rows)[:, 0].tolist() == [*range(16), *range(32, 48), *range(16, 32), *range(48, 64)]
