"""Token ids of the texts around a query and a document, and the characters that are tokenized together with them.

A tokenizer cuts a text into words before it looks up tokens, and a word may reach across the end of a query: `?` and
the line end behind it are one token of Qwen. So a prompt is divided where the tokenizer always divides it, and the
characters between that point and the query or document are tokenized with it: the ids are those of the whole prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rerankd.models.template import PairTemplate, PromptTemplate, Template
from rerankd.scoring.special_tokens import SpecialTokens
from rerankd.types import TruncationSide

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = list[int]

LONGEST_EDGE = 64  # characters that are tokenized with a text at most
# Texts that may stand at a point: letters, digits, signs, spaces and line ends of several scripts, and none.
_NEIGHBOURS: tuple[str, ...] = (
    "",
    "a",
    "A",
    "é",
    "好",
    "1",
    "?",
    ".",
    "。",
    ")",
    "(",
    "'",
    '"',
    "-",
    "_",
    "<",
    ">",
    ":",
    "😀",
    " ",
    "  ",
)
_NEIGHBOURS += ("\t", "\n", "\r\n", "\n\n", " \n", "\u3000", "\u00a0")


@dataclass(frozen=True, slots=True)
class Place:
    """Place of a query or a document in a sequence.

    Attributes:
        lead: characters in front of the text that are tokenized with it.
        tail: characters behind the text that are tokenized with it.
        tail_ids: ids of `tail` by itself, which follow a text that is cut.
    """

    lead: str = ""
    tail: str = ""
    tail_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PlacedIds:
    """Ids of a text at its place.

    Attributes:
        ids: ids of the text.
        tail: ids of the characters behind it; their first may be of the end of the text, too.
        cut_tail: ids of these characters by themselves, for a text whose end is cut.
    """

    ids: Ids
    tail: Ids
    cut_tail: tuple[int, ...]

    @classmethod
    def of(cls, ids: Ids, place: Place) -> PlacedIds:
        """Divide the ids of a text and its tail: the last of them may belong to both."""
        end = max(0, len(ids) - len(place.tail_ids))
        return cls(ids[:end], ids[end:], place.tail_ids)

    def __len__(self) -> int:
        return len(self.ids)

    def kept(self, limit: int | None, side: TruncationSide) -> PlacedIds:
        """Return the part that is read of `limit` tokens."""
        if limit is None or len(self.ids) <= limit:
            return self
        end = len(self.ids)
        return self.part(0, limit) if side == "right" else self.part(end - limit, end)

    def part(self, start: int, end: int) -> PlacedIds:
        """Return the tokens from `start` to `end`."""
        tail = self.tail if end >= len(self.ids) else list(self.cut_tail)
        return PlacedIds(self.ids[start:end], tail, self.cut_tail)


@dataclass(frozen=True, slots=True)
class Layout:
    """Parts of a sequence: `start query middle document end`.

    Attributes:
        start: ids before the query.
        query: place of the query.
        middle: ids between query and document.
        document: place of the document.
        end: ids after the document.
        strip: True if spaces around the texts are removed.
        prompt: True for a prompt, of which the texts get what is left; False for a few special tokens.
    """

    start: tuple[int, ...]
    query: Place
    middle: tuple[int, ...]
    document: Place
    end: tuple[int, ...]
    strip: bool = False
    prompt: bool = False

    @property
    def special(self) -> int:
        """Number of tokens that are not of the query or the document."""
        fixed = len(self.start) + len(self.middle) + len(self.end)
        return fixed + len(self.query.tail_ids) + len(self.document.tail_ids)


def layout_of(template: Template, tokenizer: Tokenizer, instruction: str | None) -> Layout:
    """Return the layout of the sequences of a template.

    Args:
        template: special tokens, or a prompt.
        tokenizer: tokenizer without truncation and padding.
        instruction: what counts as relevant; None for the template's default. Special tokens in it are read as text.
    """
    if isinstance(template, PairTemplate):
        return Layout(template.start, Place(), template.middle, Place(), template.end)
    if instruction is not None:
        instruction = SpecialTokens(tokenizer).split_in(instruction)
    return _prompt_layout(template, tokenizer, template.texts(instruction))


def _prompt_layout(template: PromptTemplate, tokenizer: Tokenizer, texts: tuple[str, str, str]) -> Layout:
    points = _SafePoints(tokenizer)
    before, between, after = texts

    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(text, add_special_tokens=False).ids)

    query_lead = points.last(before, 0)
    query_tail = points.first(between) if template.joined else 0
    document_lead = points.last(between, query_tail)
    document_tail = points.first(after) if template.joined else 0
    first, second = between[:query_tail], after[:document_tail]
    return Layout(
        ids(before[:query_lead]),
        Place(before[query_lead:], first, ids(first)),
        ids(between[query_tail:document_lead]),
        Place(between[document_lead:], second, ids(second)),
        ids(after[document_tail:]),
        strip=template.strip,
        prompt=True,
    )


class _SafePoints:
    """Points of a text at which a tokenizer divides it, whatever stands in front of it or behind it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._pre_tokenizer = tokenizer.pre_tokenizer
        self._added = sorted({token.content for token in tokenizer.get_added_tokens_decoder().values()})

    def first(self, text: str) -> int:
        """Return the first point that does not depend on what stands in front of the text; 0 if there is none."""
        end = min((text.find(token) for token in self._added if token in text), default=len(text))
        edge = text[: min(end, LONGEST_EDGE)]
        shared = self._shared(edge, [(neighbour, "") for neighbour in _NEIGHBOURS])
        if end <= LONGEST_EDGE:
            shared |= {end} if end < len(text) or not edge else set()
        return min(shared, default=0)

    def last(self, text: str, start: int) -> int:
        """Return the last point behind `start` that does not depend on what stands behind the text.

        The end of the text if there is none.
        """
        begin = max((text.rfind(token) + len(token) for token in self._added if token in text), default=0)
        begin = max(begin, start)
        floor = max(begin, len(text) - LONGEST_EDGE)
        shared = {point + begin for point in self._shared(text[begin:], [("", after) for after in _NEIGHBOURS])}
        return max((point for point in shared | {begin} if floor <= point), default=len(text))

    def _shared(self, text: str, neighbours: list[tuple[str, str]]) -> set[int]:
        """Return the points of a text at which the tokenizer divides it between all of these neighbours."""
        if self._pre_tokenizer is None:
            return set()
        shared = set(range(len(text) + 1))
        for before, after in neighbours:
            words = self._pre_tokenizer.pre_tokenize_str(before + text + after)
            starts = {start - len(before) for _, (start, _) in words}
            if not before:
                starts.add(0)
            shared &= starts | ({len(text)} if not after else set())
        return shared
