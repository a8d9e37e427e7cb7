"""Embeddings from a local Hugging Face encoder: BERT or XLM-RoBERTa, mean or [CLS] pooling, int8 or fp32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rerankd._common.json_parsing import parse_json
from rerankd._common.optional import require
from rerankd.compiler.encoder_graph import Pooling, graph_bytes
from rerankd.errors import CorruptModelError, ModelNotFoundError, UnsupportedModelError
from rerankd.models import hub
from rerankd.models.checkpoint import Checkpoint
from rerankd.models.families.bert import read_encoder_architecture
from rerankd.models.files import load_tokenizer, read_config
from rerankd.models.reference import parse_reference
from rerankd.models.session import open_session
from rerankd.retrieval.embedding import Kind, Vectors

MAX_LENGTH = 512


class ModelEmbedder:
    """An encoder in this process. Texts are encoded one at a time, so that a vector depends on its text alone.

    Args:
        folder: folder with config.json, tokenizer.json and safetensors.
        name: name that an index stores, to refuse vectors of another model.
        prefixes: texts put in front of queries and of passages.
        threads: CPU threads; 0 for one per core.
        precision: `int8` or `fp32`.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        prefixes: tuple[str, str] = ("", ""),
        threads: int = 0,
        precision: str = "int8",
    ) -> None:
        require("onnx", "torch", "Running an encoder")
        self._architecture = read_encoder_architecture(read_config(folder), str(folder))
        checkpoint = Checkpoint(folder, self._architecture, head=False)
        pooling = read_pooling(folder)
        self._session = open_session(graph_bytes(self._architecture, checkpoint.tensor, precision, pooling), threads)
        self._tokenizer = load_tokenizer(folder)
        self._tokenizer.enable_truncation(min(MAX_LENGTH, self._architecture.max_length))
        self._prefixes = {"query": prefixes[0], "passage": prefixes[1]}
        self._name = f"{name} {precision} {pooling} {'|'.join(prefixes)}".strip()

    @property
    def name(self) -> str:
        """Name, precision, pooling and prefixes: everything that vectors depend on."""
        return self._name

    @property
    def dimensions(self) -> int:
        """Number of dimensions of a vector."""
        return self._architecture.hidden

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """Return unit vectors, shape (texts, dimensions), float32."""
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        for row, text in enumerate(texts):
            encoding = self._tokenizer.encode(self._prefixes[kind] + text)
            ids = np.asarray([encoding.ids], np.int64)
            feed: dict[str, Any] = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            if self._architecture.segments:
                feed["token_type_ids"] = np.zeros_like(ids)
            vectors[row] = self._session.run(["vectors"], feed)[0][0]
        return vectors

    def close(self) -> None:
        """Do nothing: the session is freed with the object."""


def read_pooling(folder: Path) -> Pooling:
    """Return the pooling of a sentence-transformers folder; `mean` where it has no pooling configuration.

    Raises:
        UnsupportedModelError: the model uses a pooling other than mean or [CLS].
    """
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    try:
        config = parse_json(path.read_bytes())
    except ValueError as error:
        raise CorruptModelError(f"{path} is not valid JSON ({error}).", hint="Fetch the model again.") from error
    config = config if isinstance(config, dict) else {}
    modes = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    known: dict[str, Pooling] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    if len(modes) != 1 or modes[0] not in known:
        raise UnsupportedModelError(
            f"{folder}: the pooling {', '.join(modes) or 'none'} is not supported.",
            hint="Use a model with mean or cls pooling.",
        )
    return known[modes[0]]


def open_encoder(
    reference: str, threads: int = 0, prefixes: tuple[str, str] = ("", ""), cache_dir: str | None = None
) -> ModelEmbedder:
    """Load an encoder from a folder or from the hub.

    Raises:
        ModelNotFoundError: the reference names no encoder.
        UnsupportedModelError: the encoder's architecture or pooling is not supported.
        CorruptModelError: files are missing or damaged.
    """
    parsed = parse_reference(reference)
    if parsed.kind in ("bundled", "registry"):
        raise ModelNotFoundError(
            f"{reference!r} is not an encoder.", hint="Use a text encoder such as intfloat/multilingual-e5-small."
        )
    folder = hub.fetch(parsed, cache_dir=cache_dir) if parsed.kind == "hub" else Path(parsed.name)
    return ModelEmbedder(folder, folder.name if parsed.kind != "hub" else reference, prefixes, threads)
