"""What the cross-encoder learns from: groups of a query, passages, and how the probability should be shared out.

A labelled group is a query, one answer and hard negatives drawn from BM25's top 50, which is what it will have to
order. The label says which passage answers; the teachers (the bi-encoder's cosine, and BM25's own standardised score)
say that the others are not equally wrong. A group of sentences has no label, only the teacher.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch

from . import data, vocabulary
from .sentences import Sentences, load
from .teacher import Teacher

SIZE = 6
SENTENCES = 0.35  # share of groups; they are short
PLAIN = 0.25  # share of groups whose exact matches are not marked
OBLIQUE = 0.35  # share of labelled groups whose answer is the one of two that BM25 likes less
ELSEWHERE = 0.25  # share of heading groups whose answer is read anywhere, its rivals where they share most
TRADITIONAL = 0.08
TEACHER_TEMPERATURE = 0.06
LEXICAL = {"en": 0.4, "zh": 0.9}
SOFT = {"en": 0.4, "zh": 0.3}
TAUGHT = {"en": 1.0, "zh": 0.4}
WEIGHTS = {
    "toyhom-zh": 2.8,
    "medquad-en": 2.0,
    "covidqa-en": 1.8,
    "tatqa-en": 1.4,
    "drcd-zh": 0.6,
    "drcd-zhs": 0.6,
    "cmrc-zh": 0.6,
    "csl-zh": 0.4,
    "pubmedqa-en": 0.5,
    "dureader-zh": 0.5,
    "pairs-zh": 1.0,
    "pairs-en": 1.0,
    "pairs-xling": 0.6,
}


@dataclass(frozen=True, slots=True)
class Group:
    """A query, its passages, the probabilities to learn, and how the passages are read."""

    query: str
    texts: list[str]
    target: torch.Tensor
    marked: bool = True  # exact matches are marked
    anywhere: bool = False  # the first passage is read from any place, not where it shares most


def examples(root: Path, leave_out: frozenset[str] = frozenset()) -> dict[str, list[data.Example]]:
    """Training examples by source, without the packs named in `leave_out`."""
    by_source = {name: data.pack_examples(data.load_pack(root, name)) for name in data.PACKS if name not in leave_out}
    by_source |= {f"pairs-{name}": data.pair_examples(root, name) for name in ("zh", "en", "xling")}
    return by_source


def language(text: str) -> str:
    """`zh` when there is a Han character, else `en`."""
    return "zh" if any("一" <= char <= "鿿" for char in text) else "en"


class Groups:
    """Draws groups.

    Args:
        root: folder of the data.
        leave_out: packs that no group comes from.
        chinese: folder of the distilled sentence encoder.
        store: folder for the teachers' vectors and the sentences' neighbours.
    """

    def __init__(self, root: Path, leave_out: frozenset[str], chinese: Path, store: Path) -> None:
        store.mkdir(parents=True, exist_ok=True)
        self._teachers = {
            "en": Teacher(vocabulary.teacher_folder(), store / "english.npz"),
            "zh": Teacher(chinese, store / "chinese.npz"),
        }
        self._sentences: Sentences = load(root, Teacher(vocabulary.teacher_folder()), store / "sentences.npz")
        self._examples = {name: found for name, found in examples(root, leave_out).items() if found}
        self._names = [name for name in WEIGHTS if name in self._examples]
        self._weights = [WEIGHTS[name] for name in self._names]
        self._to_traditional = data.script_map(data.dictionary(root))

    @property
    def sizes(self) -> dict[str, int]:
        """Examples by source."""
        return {name: len(self._examples[name]) for name in self._names} | {"sentences": len(self._sentences.texts[0])}

    def save(self) -> None:
        """Keep the teachers' vectors for the next run."""
        for teacher in self._teachers.values():
            teacher.save()

    def draw(self, draw: random.Random) -> Group:
        """The next group."""
        marked = draw.random() >= PLAIN
        if draw.random() < SENTENCES:
            query, texts, target = self._sentences.group(draw, SIZE)
            anywhere = False
        else:
            (source,) = draw.choices(self._names, self._weights)
            query, texts, scores = self._labelled(draw, self._examples[source])
            target = self._target(draw, source, query, texts, scores)
            anywhere = source.startswith("pairs") and draw.random() < ELSEWHERE
        if draw.random() < TRADITIONAL:
            query, texts = query.translate(self._to_traditional), [t.translate(self._to_traditional) for t in texts]
        return Group(query, texts, target, marked, anywhere)

    def _labelled(self, draw: random.Random, source: list[data.Example]) -> tuple[str, list[str], list[float]]:
        """A query, its passages (the answer first) and what BM25 gave them."""
        example = draw.choice(source)
        if draw.random() < OBLIQUE:
            example = min(example, draw.choice(source), key=lambda e: max(e.positive_scores))
        which = draw.randrange(len(example.positives))
        count = SIZE - 1 - (draw.random() < 0.3)
        chosen = draw.sample(range(len(example.negatives)), min(count, len(example.negatives)))
        texts = [example.positives[which], *(example.negatives[i] for i in chosen)]
        scores = [example.positive_scores[which], *(example.negative_scores[i] for i in chosen)]
        while len(texts) < SIZE:
            other = draw.choice(draw.choice(source).positives)
            if other not in texts:
                texts.append(other)
                scores.append(-2.5)
        return example.query, texts, scores

    def _target(
        self, draw: random.Random, source: str, query: str, texts: list[str], scores: list[float]
    ) -> torch.Tensor:
        target = torch.zeros(SIZE)
        target[0] = 1.0
        spoken = language(query)
        crossed = source == "pairs-xling"
        if draw.random() >= TAUGHT[spoken]:
            return target
        vectors = self._teachers["zh" if crossed else spoken].vectors([query, *texts])
        soft = vectors[1:] @ vectors[0] / TEACHER_TEMPERATURE
        if not crossed:
            soft = soft + LEXICAL[spoken] * torch.tensor(scores)
        return (1 - SOFT[spoken]) * target + SOFT[spoken] * soft.softmax(-1)
