"""Texts cut into passages: whole sentences of Chinese and English, so many tokens at most, headings kept in view."""

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
_HEADING_SHARE = 4  # at most one in so many tokens of a passage
_END = re.compile(r"""(?:[。！？；…]+[”’」』）》"']*)|(?:[.!?]+["'”’)\]]*(?=\s))|\n+""")
_SHORT = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|prof|st|vs|no|fig|eq|sec|ch|vol|pp|al|etc|inc|ltd|co|corp|approx|e\.g|i\.e|cf|[a-z])|\d)\.$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, list item, table or piece of code.

    Attributes:
        text: what stands there.
        headings: those above it, the highest first.
        page: of the file, from 1; 0 where there are none.
    """

    text: str
    headings: tuple[str, ...] = ()
    page: int = 0


@dataclass(frozen=True, slots=True)
class TextChunk:
    """A part of a text, small enough to be read by a model.

    Attributes:
        text: headings in the first line, then the part itself.
        headings: those above it.
        page: where it begins.
    """

    text: str
    headings: tuple[str, ...] = ()
    page: int = 0


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """How texts are cut.

    Attributes:
        tokens: of a passage at most, its headings counted in.
        overlap: tokens that neighbouring passages share at most.

    Raises:
        InvalidRequestError: sizes that make no sense.
    """

    tokens: int = DEFAULT_TOKENS
    overlap: int = DEFAULT_OVERLAP

    def __post_init__(self) -> None:
        if self.tokens < MIN_TOKENS or not 0 <= self.overlap <= self.tokens // 2:
            raise InvalidRequestError(
                f"Passages of {self.tokens} tokens with {self.overlap} shared cannot be made.",
                hint=f"Use at least {MIN_TOKENS} tokens, of which at most half are shared.",
            )


def sentences(text: str) -> list[str]:
    """A text cut behind each sentence; joined they are the text again.

    Example:
        >>> sentences("天气好。Dr. Li left. 走吧！")
        ['天气好。', 'Dr. Li left.', ' 走吧！']
    """
    found, start = [], 0
    for match in _END.finditer(text):
        end = match.end()
        if match[0][0] == "." and _SHORT.search(text[max(start, end - 8) : end]):
            continue
        found.append(text[start:end])
        start = end
    if start < len(text):
        found.append(text[start:])
    return found


def split(blocks: Iterable[Block], offsets: TokenOffsets, options: SplitOptions | None = None) -> Iterator[TextChunk]:
    """Cut blocks into passages. Blocks under the same headings share passages; a long sentence is cut by tokens.

    Args:
        blocks: in reading order.
        offsets: start and end in characters of each token of a text.
        options: sizes.

    Example:
        >>> words = lambda text: [match.span() for match in re.finditer(r"[^ ]+", text)]
        >>> [p.text for p in split([Block("One two. Three four.", ("Top",))], words, SplitOptions(16, 0))]
        ['Top\\nOne two. Three four.']
    """
    options = options or SplitOptions()
    waiting: list[Block] = []
    for block in blocks:
        if waiting and block.headings != waiting[0].headings:
            yield from _passages(waiting, offsets, options)
            waiting = []
        if block.text.strip():
            waiting.append(block)
    if waiting:
        yield from _passages(waiting, offsets, options)


def _passages(blocks: Sequence[Block], offsets: TokenOffsets, options: SplitOptions) -> Iterator[TextChunk]:
    """Passages of blocks under the same headings."""
    headings = blocks[0].headings
    title = _cut(" > ".join(headings), offsets, options.tokens // _HEADING_SHARE)
    room = options.tokens - len(offsets(title))
    parts = [part for block in blocks for part in _parts(block, offsets, room)]
    held: list[tuple[str, int, int]] = []
    fresh = False  # whether there is something in it that the passage before had not
    for part in parts:
        if held and sum(count for _, count, _ in held) + part[1] > room:
            if fresh:
                yield _joined(held, title, headings)
            held, fresh = _tail(held, min(options.overlap, room - part[1])), False
        held.append(part)
        fresh = True
    if fresh:
        yield _joined(held, title, headings)


def _joined(parts: Sequence[tuple[str, int, int]], title: str, headings: tuple[str, ...]) -> TextChunk:
    body = "".join(text for text, _, _ in parts).strip()
    return TextChunk(f"{title}\n{body}" if title else body, headings, parts[0][2])


def _tail(parts: Sequence[tuple[str, int, int]], tokens: int) -> list[tuple[str, int, int]]:
    """The last parts that have so many tokens at most, never all of them."""
    kept: list[tuple[str, int, int]] = []
    for part in reversed(parts[1:]):
        if sum(count for _, count, _ in kept) + part[1] > tokens:
            break
        kept.insert(0, part)
    return kept


def _parts(block: Block, offsets: TokenOffsets, room: int) -> Iterator[tuple[str, int, int]]:
    """Sentences with their tokens and page, none of more than `room` tokens; the last ends with a new line."""
    listed = sentences(block.text.strip())
    for place, sentence in enumerate(listed):
        spans = offsets(sentence)
        ending = "\n" if place == len(listed) - 1 else ""
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
