"""The whole encoder as a frozen bi-encoder whose similarities are soft labels; its vectors are kept on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from . import model
from .tokens import CLS, SEP, Tokens, padded, parts

LENGTH = 160
KINDS = {"query": "query: ", "passage": "passage: "}


class Teacher:
    """A frozen bi-encoder.

    Args:
        folder: its weights and tokenizer.
        store: file of vectors already computed; `save` writes it.
    """

    def __init__(self, folder: Path, store: Path | None = None) -> None:
        self._tokens = Tokens(Tokenizer.from_file(str(folder / "tokenizer.json")))
        self._model = model.load(folder).encoder.bfloat16().eval()
        self._vectors: dict[bytes, torch.Tensor] = {}
        self._store = store
        if store is not None and store.exists():
            with np.load(store) as kept:
                keys, rows = kept["keys"], torch.from_numpy(kept["vectors"])
            self._vectors = {key.tobytes(): row for key, row in zip(keys, rows, strict=True)}

    @torch.inference_mode()
    def vectors(self, kind: str, texts: list[str]) -> torch.Tensor:
        """Unit vectors of the beginnings of queries or passages, shape (texts, hidden)."""
        keys = {text: hashlib.blake2b(f"{kind}:{text}".encode(), digest_size=16).digest() for text in texts}
        new = sorted({t for t in texts if keys[t] not in self._vectors})
        rows = [[CLS, *self._tokens(KINDS[kind] + text)[: LENGTH - 2], SEP] for text in new]
        for part in parts(list(map(len, rows))) if rows else ():
            ids, mask = padded([rows[i] for i in part])
            found = self._model.embed(ids, mask)[: len(part)]
            self._vectors |= {keys[new[i]]: vector.half() for i, vector in zip(part, found, strict=True)}
        return torch.stack([self._vectors[keys[t]] for t in texts]).float()

    def save(self) -> None:
        """Write every vector known so far."""
        if self._store is None or not self._vectors:
            return
        keys = np.stack([np.frombuffer(key, np.uint8) for key in self._vectors])
        temporary = self._store.with_suffix(".tmp.npz")
        np.savez(temporary, keys=keys, vectors=torch.stack(list(self._vectors.values())).numpy())
        temporary.replace(self._store)
