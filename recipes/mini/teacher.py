"""Frozen bi-encoders whose similarities are soft labels; the vectors of texts are kept on disk between runs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from transformers import BertModel, BertTokenizerFast

from . import loop
from .tokens import Tokens, padded

LENGTH = 104
PART = 24


class Teacher:
    """A frozen bi-encoder.

    Args:
        folder: its weights and tokenizer.
        store: file of vectors already computed; `save` writes it.
    """

    def __init__(self, folder: Path, store: Path | None = None) -> None:
        tokenizer = BertTokenizerFast.from_pretrained(folder)
        self._tokens = Tokens(tokenizer)
        self._cls, self._sep = tokenizer.cls_token_id, tokenizer.sep_token_id
        self._model = BertModel.from_pretrained(folder, attn_implementation="eager").to(loop.device()).eval().bfloat16()
        self._vectors: dict[bytes, torch.Tensor] = {}
        self._store = store
        if store is not None and store.exists():
            with np.load(store) as kept:
                keys, rows = kept["keys"], torch.from_numpy(kept["vectors"])
            self._vectors = {key.tobytes(): row for key, row in zip(keys, rows, strict=True)}

    @torch.inference_mode()
    def vectors(self, texts: list[str]) -> torch.Tensor:
        """Unit vectors of the beginnings of texts, shape (texts, hidden)."""
        keys = {text: hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts}
        new = sorted({t for t in texts if keys[t] not in self._vectors}, key=lambda t: len(self._tokens(t)))
        for start in range(0, len(new), PART):
            part = new[start : start + PART]
            ids, mask = padded([[self._cls, *self._tokens(t)[: LENGTH - 2], self._sep] for t in part])
            hidden = self._model(ids, mask).last_hidden_state.float()
            weights = mask.unsqueeze(-1).float()
            mean = torch.nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=-1)
            self._vectors |= {keys[text]: vector.half() for text, vector in zip(part, mean, strict=True)}
        return torch.stack([self._vectors[keys[t]] for t in texts]).float()

    def save(self) -> None:
        """Write every vector known so far."""
        if self._store is None or not self._vectors:
            return
        keys = np.stack([np.frombuffer(key, np.uint8) for key in self._vectors])
        temporary = self._store.with_suffix(".tmp.npz")
        np.savez(temporary, keys=keys, vectors=torch.stack(list(self._vectors.values())).numpy())
        temporary.replace(self._store)
