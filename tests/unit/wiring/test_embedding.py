from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerankd.engine.pool import ModelPool
from rerankd.engine.request import ScoreRequest
from rerankd.errors import InvalidRequestError
from rerankd.retrieval.encoder import ModelEmbedder
from rerankd.scoring.text_vector import TextVector
from rerankd.settings import load_settings
from rerankd.wiring.embedding import EncoderLoader
from rerankd.wiring.engine import SettingsLoader, open_pool
from tests.encoders import make_encoder


@pytest.mark.slow
def test_the_engine_has_the_vectors_of_the_library(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "small", "bert", "cls", special_tokens=True)
    loader = EncoderLoader(load_settings(threads=2))
    files = loader.find(str(folder))
    engine, truncation = loader.open("small", files)
    texts = [f"text {'word ' * number}" for number in range(20)]
    (result,) = engine.submit(ScoreRequest([("", texts)], truncation)).future.result(60).scores
    engine.close()
    vectors = np.stack([text.vector for text in result if isinstance(text, TextVector)])
    assert np.abs(vectors - ModelEmbedder(folder, "small").embed(texts, "query")).max() < 1e-6


def open_with(**values: Any) -> ModelPool:
    settings = load_settings(**values)
    return open_pool(settings, SettingsLoader(settings), EncoderLoader(settings))


def test_the_settings_name_the_embedding_models() -> None:
    pool = open_with(embedding_models={"e5": "intfloat/multilingual-e5-small"}, preload=["e5"])
    assert (pool.names, list(pool.encoders)) == (["mini"], ["e5"])
    assert open_with().encoders == {}


def test_a_name_means_one_model() -> None:
    with pytest.raises(InvalidRequestError, match="'mini' is a name in embedding_models and of a reranker"):
        open_with(embedding_models={"mini": "org/name"})
