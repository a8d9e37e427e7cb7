"""Splitting of texts into passages: whole Chinese and English sentences up to a token limit, headings repeated."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rerankd.errors import InvalidRequestError

TokenOffsets = Callable[[str], Sequence[tuple[int, int]]]

DEFAULT_TOKENS = 256
DEFAULT_OVERLAP = 32
MIN_TOKENS = 16
_HEADING_SHARE = 4  # headings take at most a quarter of a passage
_END = re.compile(r"""(?:[。！？；…]+[”’」』）》"']*)|(?:[.!?]+["'”’)\]]*(?=\s))|\n+""")
_SHORT = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|prof|st|vs|no|fig|eq|sec|ch|vol|pp|al|etc|inc|ltd|co|corp|approx|e\.g|i\.e|cf|[a-z])|\d)\.$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, list item, table or piece of code.

    Attributes:
        text: its text.
        headings: headings above it, outermost first.
        page: page of the file, from 1; 0 in formats without pages.
        header_lines: number of lines at the start of a table that name its columns; 0 in all other blocks.
    """

    text: str
    headings: tuple[str, ...] = ()
    page: int = 0
    header_lines: int = 0


@dataclass(frozen=True, slots=True)
class TextChunk:
    """A part of a text that fits into a model's input.

    Attributes:
        text: headings in the first line, then the part itself.
        headings: headings above it, outermost first.
        page: page on which it begins.
    """

    text: str
    headings: tuple[str, ...] = ()
    page: int = 0


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """Sizes of passages.

    Attributes:
        tokens: maximum number of tokens of a passage, headings included.
        overlap: maximum number of tokens that neighbouring passages share.

    Raises:
        InvalidRequestError: a size is out of range.
    """

    tokens: int = DEFAULT_TOKENS
    overlap: int = DEFAULT_OVERLAP

    def __post_init__(self) -> None:
        if self.tokens < MIN_TOKENS or not 0 <= self.overlap <= self.tokens // 2:
            raise InvalidRequestError(
                f"Passages of {self.tokens} tokens cannot overlap by {self.overlap}.",
                hint=f"Use at least {MIN_TOKENS} tokens, and an overlap of at most half of them.",
            )


def sentences(text: str) -> list[str]:
    """Split a text after each sentence; joined, the sentences give the text again.

    Example:
        >>> sentences("天气好。Dr. Li left. 走吧！")
        ['天气好。', 'Dr. Li left.', ' 走吧！']
    """
    parts, start = [], 0
    for match in _END.finditer(text):
        end = match.end()
        if match[0][0] == "." and _SHORT.search(text[max(start, end - 8) : end]):
            continue
        parts.append(text[start:end])
        start = end
    if start < len(text):
        parts.append(text[start:])
    return parts


def split(blocks: Iterable[Block], offsets: TokenOffsets, options: SplitOptions | None = None) -> Iterator[TextChunk]:
    """Split blocks into passages.

    Blocks under the same headings share passages; a sentence longer than a passage is cut between tokens.

    Args:
        blocks: blocks in reading order.
        offsets: returns start and end in characters of each token of a text.
        options: sizes of passages.

    Example:
        >>> words = lambda text: [match.span() for match in re.finditer(r"[^ ]+", text)]
        >>> [p.text for p in split([Block("One two. Three four.", ("Top",))], words, SplitOptions(16, 0))]
        ['Top\\nOne two. Three four.']
    """
    options = options or SplitOptions()
    section: list[Block] = []
    for block in blocks:
        if section and block.headings != section[0].headings:
            yield from _passages(section, offsets, options)
            section = []
        if block.text.strip():
            section.append(block)
    if section:
        yield from _passages(section, offsets, options)


def _passages(blocks: Sequence[Block], offsets: TokenOffsets, options: SplitOptions) -> Iterator[TextChunk]:
    """Yield the passages of blocks under the same headings."""
    headings = blocks[0].headings
    title = _cut(" > ".join(headings), offsets, options.tokens // _HEADING_SHARE)
    room = options.tokens - len(offsets(title))
    parts = [part for block in blocks for part in _parts(block, offsets, room)]
    pending: list[tuple[str, int, int]] = []
    has_new = False  # True if it holds more than the overlap with the passage before
    for part in parts:
        if pending and sum(count for _, count, _ in pending) + part[1] > room:
            if has_new:
                yield _join(pending, title, headings)
            pending, has_new = _tail(pending, min(options.overlap, room - part[1])), False
        pending.append(part)
        has_new = True
    if has_new:
        yield _join(pending, title, headings)


def _join(parts: Sequence[tuple[str, int, int]], title: str, headings: tuple[str, ...]) -> TextChunk:
    body = "".join(text for text, _, _ in parts).strip()
    return TextChunk(f"{title}\n{body}" if title else body, headings, parts[0][2])


def _tail(parts: Sequence[tuple[str, int, int]], tokens: int) -> list[tuple[str, int, int]]:
    """Return the last parts of at most `tokens` tokens together; never all of the parts."""
    kept: list[tuple[str, int, int]] = []
    for part in reversed(parts[1:]):
        if sum(count for _, count, _ in kept) + part[1] > tokens:
            break
        kept.insert(0, part)
    return kept


def _parts(block: Block, offsets: TokenOffsets, room: int) -> Iterator[tuple[str, int, int]]:
    """Yield sentences of at most `room` tokens with token count and page; the last ends with a newline."""
    block_sentences = sentences(block.text.strip())
    for index, sentence in enumerate(block_sentences):
        spans = offsets(sentence)
        ending = "\n" if index == len(block_sentences) - 1 else ""
        if len(spans) <= room:
            yield sentence + ending, len(spans), block.page
            continue
        starts = [0, *(spans[i][0] for i in range(room, len(spans), room)), len(sentence)]
        for number, (start, end) in enumerate(itertools.pairwise(starts)):
            yield sentence[start:end], min(room, len(spans) - number * room), block.page
        if ending:
            yield ending, 0, block.page


def _cut(text: str, offsets: TokenOffsets, tokens: int) -> str:
    spans = offsets(text)
    return text if len(spans) <= tokens else text[: spans[tokens - 1][1]]
