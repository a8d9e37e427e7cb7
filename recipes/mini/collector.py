"""The content of a bank: texts of all sources, numbered and tokenized, with examples and evaluation queries."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from . import data
from .bank import LONGEST, PLAIN
from .evaluate import TRAPS, sample
from .groups import TRADITIONAL, examples
from .tokens import PREFIXES


class Collector:
    """Numbering of texts, and their token ids."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._numbers: dict[str, int] = {}
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> int:
        """Return the number of a text."""
        return self._numbers.setdefault(text[:3000], len(self._numbers))

    def arrays(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return the ids of all texts in one array, and the start of each text."""
        texts = list(self._numbers)
        ids: list[np.ndarray[Any, Any]] = []
        for start in range(0, len(texts), 5000):
            encoded = self._tokenizer.encode_batch(texts[start : start + 5000], add_special_tokens=False)
            ids += [np.array(encoding.ids[:LONGEST], np.uint16) for encoding in encoded]
        starts = np.concatenate([[0], np.cumsum([len(one) for one in ids])])
        return np.concatenate(ids), starts


def build(root: Path, tokenizer: Path, queries: int) -> dict[str, Any]:
    """Return the content of a bank from all sources.

    Args:
        root: folder of the data.
        tokenizer: file of the tokenizer.
        queries: evaluation queries of each split of a pack.
    """
    sentence_pair = Tokenizer.from_file(str(tokenizer))
    sentence_pair.no_truncation()
    sentence_pair.no_padding()
    number = Collector(sentence_pair)
    translate = data.script_map(data.dictionary(root))
    draw = random.Random(31)
    listed: dict[str, list[tuple[int, list[int], list[int], float]]] = {}
    examples_by_source = examples(root)
    for name, pack_examples in examples_by_source.items():
        rows = []
        for example in pack_examples:
            rows.append(_numbered(number, example, None))
            if name.endswith("-zh") and name != "drcd-zh" and draw.random() < TRADITIONAL:
                rows.append(_numbered(number, example, translate))
        if rows:
            listed[name] = rows
    asked: dict[str, dict[str, list[Any]]] = {"validation": {}, "held_out": {}, "any": {}}
    for name in data.PACKS:
        pack = data.load_pack(root, name)
        splits = {"validation": pack.validation_queries, "held_out": pack.held_out_queries, "any": sorted(pack.qrels)}
        for split, chosen in splits.items():
            seen = {"validation": pack.validation, "held_out": pack.held_out, "any": frozenset(pack.corpus)}[split]
            asked[split][name] = [_asked(number, pack, query, seen) for query in sample(chosen, queries)]
    traps = [json.loads(line) for line in TRAPS.read_text(encoding="utf-8").splitlines()]
    content: dict[str, Any] = {
        "examples": listed,
        "crosslingual": _by_direction(number, examples_by_source.get("pairs-xling", [])),
        "sentences": [(number(one), number(other)) for one, other, _ in data.parallel_sources(root)],
        "plain": [number(text) for lang in ("zh", "en") for text in data.paragraphs(root, lang, PLAIN)],
        "asked": asked,
        "traps": [(t["language"], number(t["query"]), [number(d) for d in t["documents"]], t["answer"]) for t in traps],
        "prefixes": {kind: sentence_pair.encode(text, add_special_tokens=False).ids for kind, text in PREFIXES.items()},
    }
    flat, starts = number.arrays()
    return content | {"flat": flat, "starts": starts}


def _numbered(
    number: Collector, example: data.Example, translate: dict[int, str] | None
) -> tuple[int, list[int], list[int], float]:
    def one(text: str) -> int:
        return number(text if translate is None else text.translate(translate))

    positives, negatives = [one(text) for text in example.positives], [one(text) for text in example.negatives]
    return one(example.query), positives, negatives, max(example.positive_scores)


def _by_direction(number: Collector, pairs: list[data.Example]) -> dict[str, list[tuple[int, int]]]:
    """Return queries and their passages in the other language, by direction, those of a source side by side."""
    directions: dict[str, list[tuple[int, int]]] = {}
    for pair in sorted(pairs, key=lambda example: example.origin):
        direction = "zh-en" if data.is_chinese(pair.query) else "en-zh"
        directions.setdefault(direction, []).append((number(pair.query), number(pair.positives[0])))
    return directions


def _asked(number: Collector, pack: data.Pack, query: str, seen: frozenset[str]) -> tuple[Any, ...]:
    candidates, judged = pack.candidates.get(query, {}), pack.qrels[query]
    texts = [number(pack.corpus[doc]) for doc in candidates]
    grades = [judged.get(doc, 0) if doc in seen else 0 for doc in candidates]
    return (
        number(pack.queries[query]),
        texts,
        list(candidates.values()),
        grades,
        [g for d, g in judged.items() if d in seen],
    )
