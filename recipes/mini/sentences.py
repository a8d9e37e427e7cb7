"""Groups of sentences in which shared words are a poor guide, made without any label.

Of a parallel sentence the English side has an embedding that is worth trusting (MiniLM's), so the Chinese side has the
same one. A sentence's neighbours by words (BM25, in its own language) and by meaning (the embeddings) then make a
group: the teacher says how near each is in meaning, whatever the language and however many words it shares.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from . import data
from .teacher import Teacher

PER_SOURCE = {"tatoeba": 30000, "python-docs": 6000, "django-docs": 6000}
OTHERS = 5000
NEAR = 12
TEMPERATURE = 0.06


@dataclass(frozen=True, slots=True)
class Sentences:
    """Parallel sentences, their vectors, and neighbours by number: by words of each side, and by meaning."""

    texts: tuple[list[str], list[str]]  # Chinese, English
    vectors: np.ndarray
    by_words: tuple[np.ndarray, np.ndarray]
    by_meaning: np.ndarray

    def group(self, draw: random.Random, size: int) -> tuple[str, list[str], torch.Tensor]:
        """A sentence, `size` texts near it by words or by meaning, and how the teacher shares out the probability."""
        place = draw.randrange(len(self.texts[0]))
        side = draw.randrange(2)
        crossed = draw.random() < 0.4
        chosen: list[tuple[int, int]] = [(place, 1 - side)] if crossed else []
        words = [(int(i), side) for i in draw.sample(list(self.by_words[side][place]), 3)]
        meaning = [(int(i), (1 - side) if crossed else side) for i in draw.sample(list(self.by_meaning[place]), 2)]
        far = [(draw.randrange(len(self.texts[0])), draw.choice((side, 1 - side)) if crossed else side) for _ in words]
        query = self.texts[side][place]
        for item in [*meaning, *words, *far]:
            text = self.texts[item[1]][item[0]]
            if len(chosen) < size and text != query and all(text != self.texts[s][i] for i, s in chosen):
                chosen.append(item)
        while len(chosen) < size:
            chosen.append((draw.randrange(len(self.texts[0])), side))
        similarity = self.vectors[[i for i, _ in chosen]] @ self.vectors[place]
        target = (torch.from_numpy(similarity.astype(np.float32)) / TEMPERATURE).softmax(-1)
        return query, [self.texts[s][i] for i, s in chosen], target


def _rows(root: Path) -> list[tuple[str, str]]:
    """Sentences of every source; the same one with another translation is a paraphrase and welcome."""
    by_source: dict[str, list[tuple[str, str]]] = defaultdict(list)
    seen: set[tuple[str, str]] = set()
    for chinese, english, source in data.parallel_sources(root):
        key = (chinese, english.lower().strip(" .!?"))
        if key in seen or not 12 <= len(english) <= 320 or len(chinese) < 4:
            continue
        seen.add(key)
        by_source[source].append((chinese, english))
    draw = random.Random(31)
    rows = []
    for source, items in sorted(by_source.items()):
        rows += draw.sample(items, min(len(items), PER_SOURCE.get(source, OTHERS)))
    return rows


def _by_words(texts: Sequence[str]) -> np.ndarray:
    import bm25s  # type: ignore[import-untyped]

    vocabulary: dict[str, int] = {}
    ids = [[vocabulary.setdefault(token, len(vocabulary)) for token in data.bm25_tokens(text)] for text in texts]
    index = bm25s.BM25()
    index.index((ids, vocabulary), show_progress=False)
    found, _ = index.retrieve((ids, vocabulary), k=NEAR + 1, show_progress=False)
    return np.asarray(found)[:, 1:].astype(np.int32)


def _by_meaning(vectors: torch.Tensor) -> np.ndarray:
    found = []
    for start in range(0, len(vectors), 1000):
        found.append((vectors[start : start + 1000] @ vectors.T).topk(NEAR).indices.int())
    return torch.cat(found).numpy()


def load(root: Path, teacher: Teacher, store: Path) -> Sentences:
    """Sentences with their neighbours, read from `store` or made and written there."""
    rows = _rows(root)
    texts = ([chinese for chinese, _ in rows], [english for _, english in rows])
    if not store.exists():
        vectors = teacher.vectors(texts[1])
        np.savez(
            store.with_suffix(".tmp.npz"), vectors=vectors.half().numpy(), chinese=_by_words(texts[0]),
            english=_by_words(texts[1]), meaning=_by_meaning(vectors),
        )  # fmt: skip
        store.with_suffix(".tmp.npz").replace(store)
    with np.load(store) as kept:
        return Sentences(texts, kept["vectors"].astype(np.float32), (kept["chinese"], kept["english"]), kept["meaning"])
