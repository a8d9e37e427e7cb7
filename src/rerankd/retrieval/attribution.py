"""Sentences of an answer and the passages that they stand on: cited by the language model, or matched by the reranker.

A small language model writes what the passages say and forgets to cite them. Each sentence that it leaves uncited is
scored with every passage, as a query with documents: the best passage from the threshold on that has the sentence's
numbers is attributed to it, or one that it copies; a sentence without one is unsupported. What states nothing is left
alone: code, questions, headings, and fragments of a few letters.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from rerankd._common.sentences import sentences
from rerankd.retrieval.citations import CitedPart, cited_parts
from rerankd.retrieval.code_spans import CodeSplitter
from rerankd.retrieval.duplicates import shingles
from rerankd.retrieval.figures import figures

ScoreFunction = Callable[[Sequence[tuple[str, Sequence[str]]]], Awaitable[Sequence[Sequence[float]]]]
"""A function from queries, each with texts, to the sigmoid scores of the texts."""

DEFAULT_SUPPORT = 0.35
COPIED = 0.8  # share of a sentence's shingles that a passage has, from which on it is copied
MAX_SENTENCES = 100  # of one answer that are matched
_HAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_WORD = re.compile(r"[^\W\d_]{2,}|\d+")
MIN_HAN, MIN_WORDS = 4, 3


@dataclass(frozen=True, slots=True)
class AnswerSentence:
    """A sentence of an answer; joined, the sentences give the answer again.

    Attributes:
        text: its text, with its citations and the spaces around it.
        citations: numbers of the passages that the language model cites behind it.
        attributed: number of the passage that the reranker matched to it; empty if it has citations, or no match.
        score: score of the passage that is attributed, or of the best one, 0 to 1; None if it was not matched.
        unsupported: True if it states something that no passage supports.
    """

    text: str
    citations: tuple[int, ...] = ()
    attributed: tuple[int, ...] = ()
    score: float | None = None
    unsupported: bool = False


def split_answer(text: str, passages: int) -> list[AnswerSentence]:
    """Return the sentences of an answer, with the citations that stand behind each.

    Args:
        text: the answer, its citations checked.
        passages: number of passages that it may cite.

    Example:
        >>> [(each.text, each.citations) for each in split_answer("Pandas eat bamboo. [1] They sleep [2].", 2)]
        [('Pandas eat bamboo. [1]', (1,)), (' They sleep [2].', (2,))]
    """
    found: list[AnswerSentence] = []
    for piece in _pieces(text):
        parts = cited_parts(piece, passages)
        # What begins a line is cited for what follows it.
        trailing = _trailing(parts) if found and not found[-1].text.endswith("\n") else 0
        if trailing:
            found[-1] = _extended(found[-1], parts[:trailing])
        if rest := parts[trailing:]:
            found.append(_extended(AnswerSentence(""), rest))
    return found


async def attribute(
    answer: Sequence[AnswerSentence],
    passages: Sequence[str],
    score: ScoreFunction,
    threshold: float = DEFAULT_SUPPORT,
) -> list[AnswerSentence]:
    """Match the sentences that cite nothing to passages.

    Args:
        answer: sentences of the answer.
        passages: texts of the passages; the first has the number 1.
        score: scores each sentence with all passages.
        threshold: lowest score, 0 to 1, at which a passage supports a sentence.

    Raises:
        RerankdError: the model cannot score now.
    """
    open_positions = [position for position, each in enumerate(answer) if _states_something(each)][:MAX_SENTENCES]
    matched = list(answer)
    if not open_positions or not passages:
        return matched
    scores = await score([(answer[position].text.strip(), passages) for position in open_positions])
    facts = [(figures(passage), shingles(passage)) for passage in passages]
    for position, row in zip(open_positions, scores, strict=True):
        stated, own = figures(answer[position].text), shingles(answer[position].text)
        copied = [len(own & words) >= COPIED * len(own) for _, words in facts]
        supporting = [
            i for i, (numbers, _) in enumerate(facts) if stated <= numbers and (copied[i] or row[i] >= threshold)
        ]
        best = max(supporting, key=lambda i: (copied[i], row[i]), default=None)
        matched[position] = replace(
            answer[position],
            attributed=() if best is None else (best + 1,),
            score=float(max(row) if best is None else row[best]),
            unsupported=best is None,
        )
    return matched


def _states_something(sentence: AnswerSentence) -> bool:
    text = sentence.text.strip()
    if sentence.citations or text.startswith(("```", "~~~", "#")) or text.endswith(("?", "？", ":", "：")):
        return False
    return len(_HAN.findall(text)) >= MIN_HAN or len(_WORD.findall(text)) >= MIN_WORDS


def _pieces(text: str) -> list[str]:
    """Return the sentences, and blocks of code as a whole."""
    splitter, pieces, pending = CodeSplitter(), list[str](), ""
    parts = splitter.feed(text) + splitter.flush()
    for is_code, group in itertools.groupby(parts, key=lambda part: part[1]):
        joined = "".join(part for part, _ in group)
        if is_code and "\n" in joined:  # a block; a span in backticks is a part of its sentence
            pieces += [*sentences(pending), joined]
            pending = ""
        else:
            pending += joined
    return pieces + sentences(pending)


def _trailing(parts: Sequence[CitedPart]) -> int:
    """Return how many parts at the beginning belong to the sentence before: citations, and what is no word."""
    count = 0
    for position, (text, cited) in enumerate(parts, 1):
        if cited:
            count = position
        elif re.search(r"\w", text):
            return count
    return len(parts) if count else 0


def _extended(sentence: AnswerSentence, parts: Sequence[CitedPart]) -> AnswerSentence:
    numbers = dict.fromkeys((*sentence.citations, *(number for _, cited in parts for number in cited)))
    return replace(sentence, text=sentence.text + "".join(text for text, _ in parts), citations=tuple(numbers))
