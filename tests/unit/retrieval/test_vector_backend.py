from __future__ import annotations

import numpy as np
import pytest

from rerankd.models.encoder_files import encoder_files
from rerankd.models.files import ModelFiles
from rerankd.retrieval.vector_backend import open_vector_backend
from rerankd.scoring.encoder import PairEncoder, TruncationOptions
from rerankd.scoring.parallel import WorkerPool
from tests.encoders import make_encoder

pytestmark = pytest.mark.slow
TEXTS = ["a", "pandas eat bamboo and nothing else at all", "保修期为一年", "b c"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    folder = tmp_path_factory.mktemp("encoders") / "small"
    return encoder_files(make_encoder(folder, "xlm-roberta", "mean", special_tokens=True), "small")


def test_texts_computed_side_by_side_have_the_vectors_of_one_after_the_other(files: ModelFiles) -> None:
    backend = open_vector_backend(files, threads=2, side_by_side=True)
    encoder = PairEncoder(files.tokenizer(), files.manifest.template)
    texts = encoder.encode("", TEXTS, TruncationOptions(64))
    assert backend.workers == 2
    assert backend.max_batch_pairs == 1
    parallel = list(WorkerPool(backend).map(lambda each, batch: each.logits(batch), texts))
    assert all(np.array_equal(vector, backend.logits(text)) for vector, text in zip(parallel, texts, strict=True))


def test_a_padded_batch_has_the_vectors_of_its_texts(files: ModelFiles) -> None:
    backend = open_vector_backend(files, precision="fp32")
    encoder = PairEncoder(files.tokenizer(), files.manifest.template)
    texts = [sequence for (sequence,) in encoder.encode("", TEXTS, TruncationOptions(64))]
    together = backend.logits(texts)
    assert together.shape == (4, backend.dimensions)
    assert np.abs(together - np.concatenate([backend.logits([text]) for text in texts])).max() < 1e-5
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
