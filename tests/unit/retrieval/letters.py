"""The simplest tokenizer and the simplest embedder."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from rerankd.retrieval.embedding import Kind, Vectors


def offsets(text: str) -> list[tuple[int, int]]:
    """Return the tokens of a text: words and Han characters."""
    return [match.span() for match in re.finditer(r"[\u4e00-\u9fff]|[^\s\u4e00-\u9fff]+", text)]


class Letters:
    """An embedder that counts letters."""

    def __init__(self, name: str = "letters") -> None:
        self.name, self.dimensions = name, 26

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """Return unit vectors."""
        rows = np.array([[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts], np.float32) + 0.01
        unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def close(self) -> None:
        """Nothing is held."""
