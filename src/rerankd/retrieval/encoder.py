"""Embeddings from a local Hugging Face encoder: BERT or XLM-RoBERTa, mean or [CLS] pooling, int8 or fp32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rerankd.models.encoder_files import encoder_files, find_encoder
from rerankd.models.files import ModelFiles
from rerankd.retrieval.embedding import Kind, Vectors
from rerankd.retrieval.vector_backend import open_vector_backend
from rerankd.scoring.encoder import PairEncoder, TruncationOptions


class ModelEmbedder:
    """An encoder in this process. Texts are encoded one at a time, so that a vector depends on its text alone.

    Args:
        folder: folder with config.json, tokenizer.json and safetensors; or its checked files.
        name: name that an index stores, to refuse vectors of another model.
        prefixes: texts put in front of queries and of passages.
        threads: CPU threads; 0 for one per core.
        precision: `int8` or `fp32`.
    """

    def __init__(
        self,
        folder: Path | ModelFiles,
        name: str,
        prefixes: tuple[str, str] = ("", ""),
        threads: int = 0,
        precision: str = "int8",
    ) -> None:
        files = encoder_files(folder, name) if isinstance(folder, Path) else folder
        self._backend = open_vector_backend(files, precision=precision, threads=threads)
        self._encoder = PairEncoder(files.tokenizer(), files.manifest.template)
        self._truncation = TruncationOptions(files.manifest.max_length)
        self._prefixes = {"query": prefixes[0], "passage": prefixes[1]}
        self._name = f"{name} {precision} {self._backend.pooling} {'|'.join(prefixes)}".strip()

    @property
    def name(self) -> str:
        """Name, precision, pooling and prefixes: everything that vectors depend on."""
        return self._name

    @property
    def dimensions(self) -> int:
        """Number of dimensions of a vector."""
        return self._backend.dimensions

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """Return unit vectors, shape (texts, dimensions), float32."""
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        encoded = self._encoder.encode("", [self._prefixes[kind] + text for text in texts], self._truncation)
        for row, sequences in enumerate(encoded):
            vectors[row] = self._backend.logits(sequences)[0]
        return vectors

    def close(self) -> None:
        """Do nothing: the session is freed with the object."""


def open_encoder(
    reference: str, threads: int = 0, prefixes: tuple[str, str] = ("", ""), cache_dir: str | None = None
) -> ModelEmbedder:
    """Load an encoder from a folder or from the hub.

    Raises:
        ModelNotFoundError: the reference names no encoder.
        UnsupportedModelError: the encoder's architecture or pooling is not supported.
        CorruptModelError: files are missing or damaged.
    """
    files = find_encoder(reference, cache_dir)
    return ModelEmbedder(files, files.manifest.name, prefixes, threads)
