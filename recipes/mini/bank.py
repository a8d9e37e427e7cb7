"""Texts as token ids, and training steps drawn from them: the input of `train.py`.

A labelled group is a query, one answer and hard negatives from BM25's top 50. A group of sentences asks for the
translation among neighbouring sentences. Nothing here needs the data or the tokenizer once a bank is built.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from .groups import OBLIQUE, SENTENCES, SIZE, WEIGHTS
from .tokens import CLS, PAD, SEP
from .written import WrittenGroup

QUERY = 96
LENGTHS = ((112, 0.4), (208, 0.35), (384, 0.25))  # of passages, and the share of steps
WHOLE = 0.5  # share of groups read from the beginning
PARTS = 4  # passages of a step are padded in so many parts, by length
LONGEST = 500
WIDTH = 32  # texts are padded to multiples of it: each new shape costs allocations and a choice of kernels
WRITTEN_LENGTH = 112  # tokens of written passages
NEAR = 40  # pairs of a source that count as close
PLAIN = 1500  # paragraphs of running text from each source

Ids = np.ndarray[Any, np.dtype[np.uint16]]


@dataclass(frozen=True, slots=True)
class Rows:
    """Texts framed with special tokens and padded together.

    Attributes:
        ids: shape (texts, length).
        sizes: tokens of each text, special tokens included.
        positions: position of each text in the step.
    """

    ids: np.ndarray[Any, Any]
    sizes: np.ndarray[Any, Any]
    positions: np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """Groups of one query and `SIZE` passages, the answer first.

    Attributes:
        queries: the queries.
        passages: the passages in parts, by length.
        written: True for written groups, whose labels are certain and whose negatives mislead.
    """

    queries: Rows
    passages: list[Rows]
    written: bool = False


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query with its candidates: numbers of texts, first-stage scores and grades."""

    query: int
    candidates: list[int]
    first: list[float]
    grades: list[int]
    all_grades: list[int]


class Bank:
    """Texts by number, and the training steps drawn from them.

    Args:
        content: output of `build`.
    """

    def __init__(self, content: dict[str, Any]) -> None:
        self._flat, self._starts = content["flat"], content["starts"]
        self.examples: dict[str, list[tuple[int, list[int], list[int], float]]] = content["examples"]
        self.sentences: list[tuple[int, int]] = content["sentences"]
        self.crosslingual: dict[str, list[tuple[int, int]]] = content.get("crosslingual", {})
        self.plain: list[int] = content["plain"]
        self.asked: dict[str, dict[str, list[JudgedQuery]]] = {
            split: {name: [JudgedQuery(*row) for row in rows] for name, rows in packs.items()}
            for split, packs in content["asked"].items()
        }
        self.traps: list[tuple[str, int, list[int], int]] = content["traps"]
        self.prefixes: dict[str, list[int]] = content["prefixes"]
        self.written: dict[str, list[tuple[int, int, list[int]]]] = {}
        counts: Counter[int] = Counter(np.bincount(self._flat, minlength=40_000).nonzero()[0].tolist())
        for text in range(0, len(self._starts) - 1, 7):
            counts.update(set(self[text].tolist()))
        total = (len(self._starts) - 1) / 7
        self._rarity = np.log((total + 2) / (np.array([counts[i] for i in range(40_000)]) + 1))

    def __getitem__(self, number: int) -> Ids:
        tokens: Ids = self._flat[self._starts[number] : self._starts[number + 1]]
        return tokens

    def window(self, query: Ids, text: Ids, size: int, draw: random.Random) -> Ids:
        """Return the part of a text, `size` tokens long, that shares most rare tokens with the query."""
        if len(text) <= size:
            return text
        gains = np.where(np.isin(text, query), self._rarity[text], 0.0).cumsum()
        step = max(8, size // 6)
        starts = np.minimum(np.arange(0, len(text) - size + step, step), len(text) - size)
        sums = gains[starts + size - 1] - np.where(starts > 0, gains[starts - 1], 0.0)
        best = int(starts[int(sums.argmax())])
        best = max(0, min(len(text) - size, best + draw.randint(-step, step)))
        return text[best : best + size]

    def add_written(self, groups: Sequence[WrittenGroup], tokenizer: Tokenizer) -> None:
        """Add written groups to those that `written_step` draws from.

        Raises:
            ValueError: a language has one group only, so nothing can fill it up.
        """
        tokenizer.no_truncation()
        tokenizer.no_padding()
        flat, ends = [self._flat], list(self._starts)

        def number(text: str) -> int:
            flat.append(np.array(tokenizer.encode(text, add_special_tokens=False).ids[:LONGEST], np.uint16))
            ends.append(ends[-1] + len(flat[-1]))
            return len(ends) - 2

        for group in groups:
            row = number(group.query), number(group.answer), [number(text) for text in group.others]
            self.written.setdefault(group.language, []).append(row)
        if lonely := [language for language, rows in self.written.items() if len(rows) < 2]:
            raise ValueError(f"One written group in {lonely[0]}: at least two are needed in a language.")
        self._flat, self._starts = np.concatenate(flat), np.array(ends)

    def written_step(self, seed: str, tokens: int) -> Step:
        """Draw a step of written groups; answers of other queries in the language fill up groups."""
        draw = random.Random(seed)
        texts: list[Ids] = []
        queries: list[Ids] = []
        languages, count = sorted(self.written), 0
        while count < tokens:
            (language,) = draw.choices(languages, [len(self.written[language]) for language in languages])
            listed = self.written[language]
            query, answer, others = draw.choice(listed)
            chosen = [answer, *draw.sample(others, min(SIZE - 1, len(others)))]
            while len(chosen) < SIZE:
                other = draw.choice(listed)
                if other[0] != query:
                    chosen.append(draw.choice([other[1], *other[2]]))
            queries.append(self[query][:QUERY])
            texts += [self[text][:WRITTEN_LENGTH] for text in chosen]
            count += sum(map(len, texts[-SIZE:]))
        return Step(self.framed(queries, "query", 1)[0], self.framed(texts, "passage", PARTS), written=True)

    def step(
        self,
        seed: str,
        tokens: int,
        leave_out: frozenset[str] = frozenset(),
        lengths: Sequence[tuple[int, float]] = LENGTHS,
        shares: Mapping[str, float] = WEIGHTS,
        sentences: float = SENTENCES,
        crosslingual: float = 0.0,
    ) -> Step:
        """Draw a step of about `tokens` tokens; steps of one length have equally many groups.

        Args:
            seed: decides what is drawn.
            tokens: size of the step.
            leave_out: packs that are not drawn from.
            lengths: tokens of passages, and the share of steps.
            shares: sampling weights of the sources.
            sentences: share of groups that ask for a sentence's translation.
            crosslingual: share of groups whose query is in one language and all passages in the other.
        """
        draw = random.Random(seed)
        names = [name for name in shares if name in self.examples and name not in leave_out]
        weights = [shares[name] for name in names]
        (length,) = draw.choices([size for size, _ in lengths], [share for _, share in lengths])
        queries: list[Ids] = []
        passages: list[Ids] = []
        for _ in range(max(1, tokens // (SIZE * length))):
            kind = draw.random()
            if kind < sentences:
                query, texts = self._sentence_group(draw)
            elif kind < sentences + crosslingual and self.crosslingual:
                query, texts = self._crosslingual_group(draw)
            else:
                query, texts = self._group(draw, names, weights)
            asked, whole = self[query][:QUERY], draw.random() < WHOLE
            queries.append(asked)
            for text in texts:
                passage = self[text]
                passages.append(passage[:length] if whole else self.window(asked, passage, length, draw))
        return Step(self.framed(queries, "query", 1)[0], self.framed(passages, "passage", PARTS))

    def plain_step(self, seed: str, tokens: int, leave_out: frozenset[str] = frozenset()) -> list[Rows]:
        """Draw texts for imitating the teacher's states: running text, sentences, passages and queries."""
        draw = random.Random(seed)
        names = [name for name in WEIGHTS if name in self.examples and name not in leave_out]
        (length,) = draw.choices([size for size, _ in LENGTHS], [share for _, share in LENGTHS])
        texts: list[Ids] = []
        for _ in range(max(1, tokens // length)):
            kind = draw.random()
            if kind < 0.5:
                number = draw.choice(self.plain)
            elif kind < 0.6:
                number = draw.choice(draw.choice(self.sentences))
            else:
                query, positives, negatives, _ = draw.choice(self.examples[draw.choice(names)])
                number = query if kind < 0.7 else draw.choice(positives + negatives)
            text = self[number]
            begin = draw.randrange(max(1, len(text) - length)) if len(text) > length else 0
            texts.append(text[begin : begin + length])
        return self.framed(texts, "passage" if draw.random() < 0.7 else "query", PARTS)

    def framed(self, texts: Sequence[Ids], kind: str, parts: int) -> list[Rows]:
        """Frame texts and pad them in parts of nearly equal length."""
        prefix = [CLS, *self.prefixes[kind]]
        sizes = np.array([len(text) for text in texts]) + len(prefix) + 1
        order = sizes.argsort(kind="stable")
        sequences = []
        for positions in np.array_split(order, parts):
            if not len(positions):
                continue
            width = -(-int(sizes[positions].max()) // WIDTH) * WIDTH
            ids = np.full((len(positions), width), PAD, np.int64)
            for row, position in zip(ids, positions, strict=True):
                size = sizes[position]
                row[: len(prefix)], row[size - 1] = prefix, SEP
                row[len(prefix) : size - 1] = texts[position]
            sequences.append(Rows(ids, sizes[positions], positions))
        return sequences

    def _group(self, draw: random.Random, names: list[str], weights: list[float]) -> tuple[int, list[int]]:
        (source,) = draw.choices(names, weights)
        listed = self.examples[source]
        example = draw.choice(listed)
        if draw.random() < OBLIQUE:
            example = min(example, draw.choice(listed), key=lambda entry: entry[3])
        query, positives, negatives, _ = example
        texts = [draw.choice(positives), *draw.sample(negatives, min(SIZE - 1, len(negatives)))]
        while len(texts) < SIZE:
            texts.append(draw.choice(draw.choice(listed)[1]))
        return query, texts

    def _crosslingual_group(self, draw: random.Random) -> tuple[int, list[int]]:
        """Draw a query with its passage and others in the passage's language, half of them close to it."""
        listed = self.crosslingual[draw.choice(sorted(self.crosslingual))]
        position = draw.randrange(len(listed))
        query, answer = listed[position]
        texts, others = [answer], {answer}
        for tries in range(20 * SIZE):
            near = max(0, min(len(listed) - 1, position + draw.randint(-NEAR, NEAR)))
            other = listed[near][1] if tries % 2 else draw.choice(listed)[1]
            if other not in others:
                texts.append(other)
                others.add(other)
            if len(texts) == SIZE:
                break
        while len(texts) < SIZE:
            texts.append(draw.choice(self.sentences)[draw.randrange(2)])
        return query, texts

    def _sentence_group(self, draw: random.Random) -> tuple[int, list[int]]:
        position, side, count = draw.randrange(len(self.sentences)), draw.randrange(2), len(self.sentences)
        sentence_pair = self.sentences[position]
        near = [self.sentences[max(0, min(count - 1, position + k))] for k in draw.sample(range(-8, 9), SIZE)]
        others = [pair for pair in near[: SIZE - 3] if not set(pair) & set(sentence_pair)]
        while len(others) < SIZE - 1:
            pair = draw.choice(self.sentences)
            if not set(pair) & set(sentence_pair):
                others.append(pair)
        return sentence_pair[side], [sentence_pair[1 - side], *(pair[draw.choice((side, 1 - side))] for pair in others)]
