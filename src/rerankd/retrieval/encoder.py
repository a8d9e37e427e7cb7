"""Vectors from a Hugging Face encoder that runs here: BERT and XLM-RoBERTa, mean or first-token pooling, int8."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rerankd._common.optional import require
from rerankd.compiler.encoder_graph import Pooling, graph_bytes
from rerankd.errors import ModelNotFoundError, UnsupportedModelError
from rerankd.models import hub
from rerankd.models.architecture import Architecture, read_encoder_architecture
from rerankd.models.checkpoint import Checkpoint
from rerankd.models.files import load_tokenizer, read_config
from rerankd.models.reference import parse_reference
from rerankd.models.session import open_session
from rerankd.retrieval.embedding import Kind, Vectors

MAX_LENGTH = 512


class ModelEmbedder:
    """An encoder in this process. Texts are computed one by one: a vector depends on nothing beside its text.

    Args:
        folder: with config.json, tokenizer.json and safetensors.
        name: what indexes are marked with.
        prefixes: put before queries and passages.
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
        self._architecture: Architecture = read_encoder_architecture(read_config(folder), str(folder))
        checkpoint = Checkpoint(folder, self._architecture, head=False)
        pooling = read_pooling(folder)
        self._session = open_session(graph_bytes(self._architecture, checkpoint.tensor, precision, pooling), threads)
        self._tokenizer = load_tokenizer(folder)
        self._tokenizer.enable_truncation(min(MAX_LENGTH, self._architecture.max_length))
        self._prefixes = {"query": prefixes[0], "passage": prefixes[1]}
        self._name = f"{name} {precision} {pooling} {'|'.join(prefixes)}".strip()

    @property
    def name(self) -> str:
        """Name, precision, pooling and prefixes: what vectors depend on."""
        return self._name

    @property
    def dimensions(self) -> int:
        """Numbers of a vector."""
        return self._architecture.hidden

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """Unit vectors, shape (texts, dimensions), float32."""
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        for place, text in enumerate(texts):
            encoding = self._tokenizer.encode(self._prefixes[kind] + text)
            ids = np.asarray([encoding.ids], np.int64)
            feed: dict[str, Any] = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            if self._architecture.segments:
                feed["token_type_ids"] = np.zeros_like(ids)
            vectors[place] = self._session.run(["vectors"], feed)[0][0]
        return vectors

    def close(self) -> None:
        """Nothing is held that is not let go with it."""


def read_pooling(folder: Path) -> Pooling:
    """How a sentence-transformers folder makes one vector of many; the mean where it does not say.

    Raises:
        UnsupportedModelError: another way than mean or first token.
    """
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    said = json.loads(path.read_text(encoding="utf-8"))
    wanted = [name for name, value in said.items() if name.startswith("pooling_mode_") and value is True]
    known: dict[str, Pooling] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    if len(wanted) != 1 or wanted[0] not in known:
        raise UnsupportedModelError(
            f"{folder}: {', '.join(wanted) or 'no pooling'} is not computed.",
            hint="Use a model with mean or cls pooling.",
        )
    return known[wanted[0]]


def open_encoder(
    reference: str, threads: int = 0, prefixes: tuple[str, str] = ("", ""), cache_dir: str | None = None
) -> ModelEmbedder:
    """An encoder by its folder or its name on the hub.

    Raises:
        ModelNotFoundError: nothing there.
        UnsupportedModelError: not an encoder that is computed here.
        CorruptModelError: files missing or damaged.
    """
    parsed = parse_reference(reference)
    if parsed.kind in ("bundled", "registry"):
        raise ModelNotFoundError(f"{reference!r} is no encoder.", hint="Use intfloat/multilingual-e5-small.")
    folder = hub.fetch(parsed, cache_dir=cache_dir) if parsed.kind == "hub" else Path(parsed.name)
    return ModelEmbedder(folder, folder.name if parsed.kind != "hub" else reference, prefixes, threads)
