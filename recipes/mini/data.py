"""Datasets of the recipe: read them, split them by document, and sample from them.

Every split is by connected group of documents (same title, or answering the same query), decided by a hash, so that
it is the same on every run and the two scripts of one pack never fall on both sides.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKS = (
    "cmrc-zh",
    "drcd-zh",
    "drcd-zhs",
    "toyhom-zh",
    "dureader-zh",
    "csl-zh",
    "medquad-en",
    "pubmedqa-en",
    "tatqa-en",
    "covidqa-en",
)
HELD_OUT_SHARE = 0.15
VALIDATION_SHARE = 0.03


@dataclass(frozen=True, slots=True)
class Pack:
    """A retrieval dataset: texts, judgements and its first-stage run.

    `held_out` names the documents that training never sees, neither as positives nor as negatives; `validation` those
    that choices are made on. `candidates` maps a query to its first-stage documents and their scores, best first.
    """

    name: str
    queries: dict[str, str]
    corpus: dict[str, str]
    qrels: dict[str, dict[str, int]]
    candidates: dict[str, dict[str, float]]
    held_out: frozenset[str]
    validation: frozenset[str]

    @property
    def held_out_queries(self) -> list[str]:
        """Queries with a judged document on the held-out side, in a fixed order."""
        return sorted(query for query, judged in self.qrels.items() if self.held_out & judged.keys())

    @property
    def validation_queries(self) -> list[str]:
        """Queries with a judged document on the validation side and none held out, in a fixed order."""
        out = set(self.held_out_queries)
        return sorted(q for q, judged in self.qrels.items() if self.validation & judged.keys() and q not in out)


@dataclass(frozen=True, slots=True)
class Example:
    """A query, its positives and hard negatives (texts), and their BM25 scores, standardised per query.

    `source` is the pack or the file of pairs, `origin` where the pair in that file is from.
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    positive_scores: tuple[float, ...]
    negative_scores: tuple[float, ...]
    source: str
    origin: str = ""


def unit_hash(text: str) -> float:
    """Return a number from 0 to 1 that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _read_jsonl(path: Path) -> Iterator[dict[str, str]]:
    opener = lzma.open if path.suffix == ".xz" else gzip.open
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _groups(titles: dict[str, str], qrels: dict[str, dict[str, int]]) -> dict[str, str]:
    """Map each document id to its connected group (union-find over shared titles and shared queries)."""
    parent: dict[str, str] = {}

    def find(node: str) -> str:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def join(a: str, b: str) -> None:
        a, b = sorted((find(a), find(b)))
        parent[b] = a

    for doc_id, title in titles.items():
        join(doc_id, f"title:{title}" if title else doc_id)
    for judged in qrels.values():
        first, *rest = judged
        for other in rest:
            join(first, other)
    return {doc_id: find(doc_id) for doc_id in titles}


def load_pack(root: Path, name: str) -> Pack:
    """Read one pack in BEIR layout with its BM25 run; titles are put before texts, the BEIR convention."""
    folder = root / "dev" / name
    titles, corpus = {}, {}
    for row in _read_jsonl(folder / "corpus.jsonl.gz"):
        titles[row["_id"]] = row.get("title", "")
        corpus[row["_id"]] = f"{row.get('title', '')} {row['text']}".strip()
    queries = {row["_id"]: row["text"] for row in _read_jsonl(folder / "queries.jsonl.gz")}
    qrels: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        query_id, doc_id, grade = line.split("\t")
        if int(grade) > 0:
            qrels[query_id][doc_id] = int(grade)
    candidates: dict[str, dict[str, float]] = defaultdict(dict)
    with gzip.open(folder / "candidates.trec.gz", "rt") as lines:
        for line in lines:
            query_id, _, doc_id, _, score, _ = line.split()
            candidates[query_id][doc_id] = float(score)
    groups = _groups(titles, qrels)
    held_out = frozenset(d for d, group in groups.items() if unit_hash(f"mini:{group}") < HELD_OUT_SHARE)
    validation = frozenset(
        d for d, group in groups.items() if d not in held_out and unit_hash(f"choice:{group}") < VALIDATION_SHARE
    )
    return Pack(name, queries, corpus, dict(qrels), dict(candidates), held_out, validation)


def standardised(scores: Sequence[float]) -> list[float]:
    """Return scores with mean 0 and standard deviation 1 (all 0 if they are equal)."""
    mean = sum(scores) / max(1, len(scores))
    deviation = (sum((s - mean) ** 2 for s in scores) / max(1, len(scores))) ** 0.5
    return [(s - mean) / deviation if deviation > 0 else 0.0 for s in scores]


def pack_examples(pack: Pack, negatives: int = 50) -> list[Example]:
    """Return the training examples of a pack: its queries, with first-stage candidates for hard negatives."""
    left_out = {*pack.held_out_queries, *pack.validation_queries}
    unseen = pack.held_out | pack.validation
    examples = []
    for query_id, judged in pack.qrels.items():
        if query_id in left_out:
            continue
        candidates = pack.candidates.get(query_id, {})
        scores = dict(zip(candidates, standardised(list(candidates.values())), strict=True))
        lowest = min(scores.values(), default=0.0)
        hard = [d for d in candidates if d not in judged and d not in unseen][:negatives]
        examples.append(
            Example(
                pack.queries[query_id],
                tuple(pack.corpus[d] for d in judged),
                tuple(pack.corpus[d] for d in hard),
                tuple(scores.get(d, lowest) for d in judged),
                tuple(scores[d] for d in hard),
                pack.name,
            )
        )
    return examples


def bm25_tokens(text: str) -> list[str]:
    """Return Latin words and Han bigrams, which suffice for hard negatives."""
    tokens, word, previous = [], [], ""
    for char in text.lower():
        if "一" <= char <= "鿿":
            tokens.append(previous + char if previous else char)
            previous = char
            if word:
                tokens.append("".join(word))
                word = []
            continue
        previous = ""
        if char.isalnum():
            word.append(char)
        elif word:
            tokens.append("".join(word))
            word = []
    return [*tokens, "".join(word)] if word else tokens


def pair_examples(root: Path, name: str, per_source: int = 3000, negatives: int = 30) -> list[Example]:
    """Return heading-passage pairs with BM25 hard negatives from the same file; large sources are sampled."""
    import bm25s  # type: ignore[import-untyped]

    by_source: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in _read_jsonl(root / "corpora" / "pairs" / f"{name}.jsonl.xz"):
        if name != "xling" or not crosslingual_held_out(row["query"]):
            by_source[row["source"]].append(row)
    draw = random.Random(13)
    rows = [row for group in by_source.values() for row in draw.sample(group, min(per_source, len(group)))]
    passages = sorted({row["positive"] for row in rows})
    vocabulary: dict[str, int] = {}

    def ids(text: str) -> list[int]:
        return [vocabulary.setdefault(token, len(vocabulary)) for token in bm25_tokens(text)]

    passage_ids = [ids(p) for p in passages]
    query_ids = [ids(row["query"]) for row in rows]
    index = bm25s.BM25()
    index.index((passage_ids, vocabulary), show_progress=False)
    retrieved, scored = index.retrieve((query_ids, vocabulary), k=negatives + 1, show_progress=False)
    examples = []
    for row, ranked, raw in zip(rows, retrieved, scored, strict=True):
        texts = [passages[i] for i in ranked]
        scores = dict(zip(texts, standardised([float(s) for s in raw]), strict=True))
        hard = [text for text in texts if text != row["positive"]]
        examples.append(
            Example(
                row["query"],
                (row["positive"],),
                tuple(hard),
                (scores.get(row["positive"], min(scores.values())),),
                tuple(scores[text] for text in hard),
                f"pairs-{name}",
                row["source"],
            )
        )
    return examples


def pair_texts(root: Path, name: str) -> Iterator[str]:
    """Return the queries and passages of a file of pairs."""
    for row in _read_jsonl(root / "corpora" / "pairs" / f"{name}.jsonl.xz"):
        yield row["query"]
        yield row["positive"]


def is_chinese(text: str) -> bool:
    """Return True if a text has a Chinese character."""
    return any("一" <= char <= "鿿" for char in text)


def crosslingual_held_out(row_query: str) -> bool:
    """Return True if a query of the cross-lingual pairs is held out for the cross-lingual test."""
    return unit_hash(f"xling:{row_query}") < 0.04


def crosslingual_test(root: Path) -> dict[str, list[tuple[str, str, str]]]:
    """Return held-out cross-lingual pairs (query, passage, source) by direction; none is used in training."""
    pairs: dict[str, list[tuple[str, str, str]]] = {"zh-en": [], "en-zh": []}
    for row in _read_jsonl(root / "corpora" / "pairs" / "xling.jsonl.xz"):
        if crosslingual_held_out(row["query"]):
            direction = "zh-en" if is_chinese(row["query"]) else "en-zh"
            pairs[direction].append((row["query"], row["positive"], row["source"]))
    return pairs


def parallel_sources(root: Path) -> list[tuple[str, str, str]]:
    """Return Chinese-English sentence pairs with their sources."""
    with lzma.open(root / "corpora" / "parallel" / "zh-en.tsv.xz", "rt", encoding="utf-8") as lines:
        return [(row[0], row[1], row[2]) for row in (line.rstrip("\n").split("\t") for line in lines)]


def dictionary(root: Path) -> list[tuple[str, str, str]]:
    """Return (simplified form, traditional form, first two English glosses) entries."""
    with lzma.open(root / "corpora" / "dict" / "cedict.tsv.xz", "rt", encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    return [(row[0], row[1], "; ".join(row[2].split("; ")[:2])) for row in rows]


def sourced_paragraphs(root: Path, language: str, per_source: int) -> list[tuple[str, str]]:
    """Return sources and paragraphs of running text, at most `per_source` of each source."""
    with lzma.open(root / "corpora" / "text" / f"{language}.txt.xz", "rt", encoding="utf-8") as lines:
        text = [line.rstrip("\n") for line in lines]
    draw = random.Random(13)
    chosen: list[tuple[str, str]] = []
    for line in (root / "corpora" / "text" / "sources.tsv").read_text().splitlines():
        fields = line.split("\t")
        if fields[0] != f"{language}.txt":
            continue
        rows = text[int(fields[2]) - 1 : int(fields[3])]
        chosen += [(fields[1], row) for row in draw.sample(rows, min(per_source, len(rows)))]
    return chosen


def paragraphs(root: Path, language: str, per_source: int) -> list[str]:
    """Return paragraphs of running text, at most `per_source` of each source."""
    return [text for _, text in sourced_paragraphs(root, language, per_source)]


def script_map(entries: Sequence[tuple[str, str, str]]) -> dict[int, str]:
    """Return a simplified-to-traditional table for `str.translate`, by the most frequent dictionary counterpart."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for simplified, traditional, _ in entries:
        if len(simplified) == len(traditional):
            for a, b in zip(simplified, traditional, strict=True):
                counts[a][b] += 1
    return {ord(a): max(to, key=lambda b: to[b]) for a, to in counts.items() if a not in to or len(to) == 1}
