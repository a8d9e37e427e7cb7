"""Keyword traps by the thousand, made without any label: passages that share a query's words, about something else.

Every query looks, by BM25, for sentences of running text from another field than its own: a question about a dog's
bite finds novels and software manuals with dogs and bites in them. What it finds is no answer, whatever it shares.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import data
from .tokens import language

FIELDS = {
    "laws": "law",
    "laws-cases": "law",
    "tico-19": "medicine",
    "howtocook": "home",
    "tatoeba": "talk",
    "kdconv": "talk",
    "cmrc2019": "story",
    "openstax-philosophy": "thought",
    "openstax-polisci": "politics",
    "vagov-content": "politics",
    "opensource.guide": "software",
}
PACK_FIELDS = {"toyhom-zh": "medicine", "medquad-en": "medicine", "pubmedqa-en": "medicine", "covidqa-en": "medicine"}
PER_SOURCE = 9000
LONGEST = 220
FOUND = 12


def field(source: str, origin: str) -> str:
    """The field of an example of a pack or of a file of pairs."""
    return PACK_FIELDS.get(source, FIELDS.get(origin, "software") if origin else "")


def sentences(text: str) -> list[str]:
    """Pieces of one to three sentences, at most `LONGEST` characters."""
    parts = re.split(r"(?<=[。！？!?])|(?<=[.;；])\s", text)
    found, current = [], ""
    for part in parts:
        if current and len(current) + len(part) > (LONGEST if part.isascii() else LONGEST // 3):
            found.append(current.strip())
            current = ""
        current += part if not part.isascii() else f"{part} "
    return [piece[:LONGEST] for piece in [*found, current.strip()] if len(piece) >= 8]


def texts(root: Path) -> dict[str, list[tuple[str, str]]]:
    """By language: sentences and the field that each is from."""
    draw = random.Random(41)
    by_source: dict[tuple[str, str], list[str]] = defaultdict(list)
    for spoken in ("zh", "en"):
        for source, paragraph in data.sourced_paragraphs(root, spoken, 6000):
            by_source[spoken, source] += sentences(paragraph)
    for chinese, english, source in data.parallel_sources(root):
        if source == "tatoeba":
            by_source["zh", source].append(chinese)
            by_source["en", source].append(english)
    found: dict[str, list[tuple[str, str]]] = {"zh": [], "en": []}
    for (spoken, source), pieces in sorted(by_source.items()):
        unique = sorted(set(pieces))
        found[spoken] += [
            (piece, FIELDS.get(source, "software")) for piece in draw.sample(unique, min(PER_SOURCE, len(unique)))
        ]
    return found


class Strangers:
    """Finds passages of other fields for queries.

    Args:
        root: folder of the data.
        queries: those that need strangers, and the field of each.
        store: file that keeps what was found.
    """

    def __init__(self, root: Path, queries: Sequence[tuple[str, str]], store: Path) -> None:
        self._texts = texts(root)
        wanted = sorted(set(queries))
        if not store.exists():
            self._search(wanted, store)
        with np.load(store) as kept:
            rows = kept["rows"]
        if len(rows) != len(wanted):
            raise ValueError(f"{store} is of other queries; delete it.")
        self._rows = dict(zip((query for query, _ in wanted), rows, strict=True))

    def of(self, query: str) -> list[str]:
        """Passages that share words with a query, the nearest first; none for a query that was not announced."""
        listed = self._texts[language(query)]
        return [listed[i][0] for i in self._rows.get(query, ()) if i >= 0]

    def _search(self, wanted: Sequence[tuple[str, str]], store: Path) -> None:
        import bm25s  # type: ignore[import-untyped]

        rows = np.full((len(wanted), FOUND), -1, np.int32)
        for spoken, listed in self._texts.items():
            mine = [i for i, (query, _) in enumerate(wanted) if language(query) == spoken]
            vocabulary: dict[str, int] = {}
            tokens = [data.bm25_tokens(piece) for piece, _ in listed]
            ids = [[vocabulary.setdefault(token, len(vocabulary)) for token in each] for each in tokens]
            asked = [data.bm25_tokens(wanted[i][0]) for i in mine]
            asked_ids = [[vocabulary[t] for t in each if t in vocabulary] or [0] for each in asked]
            index = bm25s.BM25()
            index.index((ids, vocabulary), show_progress=False)
            found, _ = index.retrieve((asked_ids, vocabulary), k=4 * FOUND, show_progress=False, n_threads=2)
            for place, ranked in zip(mine, found, strict=True):
                query, own = wanted[place]
                kept = [int(i) for i in ranked if listed[i][1] != own and query not in listed[i][0]][:FOUND]
                rows[place, : len(kept)] = kept
        np.savez(store.with_suffix(".tmp.npz"), rows=rows)
        store.with_suffix(".tmp.npz").replace(store)
