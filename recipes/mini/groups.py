"""What the ranker learns from: groups of a query and passages, the answer first.

A labelled group is a query, one answer and hard negatives drawn from BM25's top 50. A group of sentences asks for the
translation among sentences that stand near.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from . import data

SIZE = 6
SENTENCES = 0.08  # share of groups
OBLIQUE = 0.3  # share of labelled groups whose answer is the one of two that BM25 likes less
TRADITIONAL = 0.06
WEIGHTS = {
    "toyhom-zh": 2.4,
    "medquad-en": 2.0,
    "covidqa-en": 2.0,
    "tatqa-en": 1.4,
    "drcd-zh": 0.9,
    "drcd-zhs": 0.5,
    "cmrc-zh": 0.9,
    "csl-zh": 0.6,
    "pubmedqa-en": 0.6,
    "dureader-zh": 0.4,
    "pairs-zh": 2.2,
    "pairs-en": 2.0,
    "pairs-xling": 1.0,
}


@dataclass(frozen=True, slots=True)
class Group:
    """A query and its passages, the answer first."""

    query: str
    texts: list[str]


def examples(root: Path, leave_out: frozenset[str] = frozenset()) -> dict[str, list[data.Example]]:
    """Training examples by source, without the packs named in `leave_out`."""
    by_source = {name: data.pack_examples(data.load_pack(root, name)) for name in data.PACKS if name not in leave_out}
    by_source |= {f"pairs-{name}": data.pair_examples(root, name) for name in ("zh", "en", "xling")}
    return by_source


class Groups:
    """Draws groups.

    Args:
        root: folder of the data.
        leave_out: packs that no group comes from.
    """

    def __init__(self, root: Path, leave_out: frozenset[str] = frozenset()) -> None:
        self._examples = {name: found for name, found in examples(root, leave_out).items() if found}
        self._names = [name for name in WEIGHTS if name in self._examples]
        self._weights = [WEIGHTS[name] for name in self._names]
        self._pairs = data.parallel(root)
        self._to_traditional = data.script_map(data.dictionary(root))

    @property
    def sizes(self) -> dict[str, int]:
        """Examples by source."""
        return {name: len(self._examples[name]) for name in self._names} | {"sentences": len(self._pairs)}

    def draw(self, draw: random.Random) -> Group:
        """The next group."""
        if draw.random() < SENTENCES:
            group = self._sentences(draw)
        else:
            (source,) = draw.choices(self._names, self._weights)
            group = self._labelled(draw, source)
        if draw.random() < TRADITIONAL:
            translate = self._to_traditional
            texts = [text.translate(translate) if draw.random() < 0.7 else text for text in group.texts]
            group = replace(group, query=group.query.translate(translate), texts=texts)
        return group

    def _labelled(self, draw: random.Random, source: str) -> Group:
        """The answer first, then hard negatives."""
        listed = self._examples[source]
        example = draw.choice(listed)
        if draw.random() < OBLIQUE:
            example = min(example, draw.choice(listed), key=lambda e: max(e.positive_scores))
        texts = [draw.choice(example.positives)]
        _add(texts, draw.sample(example.negatives, min(SIZE, len(example.negatives))), SIZE)
        while len(texts) < SIZE:
            _add(texts, [draw.choice(draw.choice(listed).positives)], SIZE)
        return Group(example.query, texts)

    def _sentences(self, draw: random.Random) -> Group:
        """A sentence and its translation, among sentences of both languages that stand near."""
        place, side = draw.randrange(len(self._pairs)), draw.randrange(2)
        texts = [self._pairs[place][1 - side]]
        near = [self._pairs[max(0, min(len(self._pairs) - 1, place + k))] for k in draw.sample(range(-8, 9), SIZE)]
        far = [draw.choice(self._pairs) for _ in range(SIZE)]
        own = self._pairs[place]
        others = [pair[draw.choice((side, 1 - side))] for pair in (*near[: SIZE - 3], *far) if not set(pair) & set(own)]
        _add(texts, others, SIZE)
        return Group(own[side], texts)


def _add(texts: list[str], more: Iterable[str], size: int) -> None:
    """Add new texts up to `size`."""
    for text in more:
        if len(texts) < size and text not in texts:
            texts.append(text)
