from __future__ import annotations

import numpy as np

from rerankd.scoring.encoder import EncodedPair
from rerankd.scoring.text_vector import to_vector


def test_a_vector_has_the_tokens_of_its_text() -> None:
    text = EncodedPair(np.array([0, 5, 6, 2]), 1, True)
    vector = to_vector([text], [np.array([0.6, 0.8], np.float32)])
    assert (vector.tokens, vector.truncated, vector.chunks, vector.raw_score) == (4, True, 1, 0.0)
    assert vector.vector.tolist() == np.array([0.6, 0.8], np.float32).tolist()
