"""Splitting of texts into passages: whole sentences up to a token limit, with headings, table headers and places.

A passage never reaches beyond its page or its section, so that what it cites is where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from rerankd._common.sentences import sentences
from rerankd._common.text import UNSPACED
from rerankd.errors import InvalidRequestError

TokenOffsets = Callable[[str], Sequence[tuple[int, int]]]

DEFAULT_TOKENS = 256
DEFAULT_OVERLAP = 32
MIN_TOKENS = 16
_HEADING_SHARE = 4  # headings take at most a quarter of a passage, and a table's header half of the rest
_WORD = re.compile(rf"[{UNSPACED}][^\w\s]*\s*|[^\s{UNSPACED}]+\s*|\s+")


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, list item, table or piece of code.

    Attributes:
        text: its text.
        headings: headings above it, outermost first.
        page: page of the file, from 1; 0 in formats without pages.
        header_lines: number of lines at the start of a table that name its columns; 0 in all other blocks.
        line: line of the file on which it begins, from 1; 0 in formats without lines.
    """

    text: str
    headings: tuple[str, ...] = ()
    page: int = 0
    header_lines: int = 0
    line: int = 0


@dataclass(frozen=True, slots=True)
class TextChunk:
    """A part of a text that fits into a model's input.

    Attributes:
        text: headings in the first line, then the part itself.
        headings: headings above it, outermost first.
        page: page on which it stands; 0 in formats without pages.
        line: line on which it begins; 0 in formats without lines.
    """

    text: str
    headings: tuple[str, ...] = ()
    page: int = 0
    line: int = 0


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


@dataclass(frozen=True, slots=True)
class _Part:
    """The least that a passage takes in: a sentence, a row of a table, or a piece of one that is too long."""

    text: str
    tokens: int
    line: int
    header: str = ""  # the header of its table, which comes once in each passage
    header_tokens: int = 0


def split(blocks: Iterable[Block], offsets: TokenOffsets, options: SplitOptions | None = None) -> Iterator[TextChunk]:
    """Split blocks into passages.

    Blocks on the same page and under the same headings share passages. A sentence longer than a passage is cut between
    lines, else between words. Each passage of a table carries the table's header.

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
    written = (block for block in blocks if block.text.strip())
    for (headings, page), section in groupby(written, key=lambda block: (block.headings, block.page)):
        for text, line in _passages(headings, section, offsets, options):
            yield TextChunk(text, headings, page, line)


def _passages(
    headings: tuple[str, ...], blocks: Iterable[Block], offsets: TokenOffsets, options: SplitOptions
) -> Iterator[tuple[str, int]]:
    """Yield text and line of the passages of blocks on the same page and under the same headings."""
    whole_title = " > ".join(headings)
    title = _cut(whole_title, offsets, options.tokens // _HEADING_SHARE)
    room = options.tokens - len(offsets(title))
    parts = [part for block in blocks for part in _parts(block, offsets, room)]
    if title != whole_title:  # so that each of its words is in a passage
        pieces = _fitting(f"{whole_title}\n", offsets, room)
        parts = [*(_Part(text, count, parts[0].line) for text, count in pieces), *parts]
    pending: list[_Part] = []
    size = 0
    for part in parts:
        if pending and size + _cost(part, pending[-1]) > room:
            yield _joined(pending, title)
            pending = _tail(pending, min(options.overlap, room - _cost(part, None)))
            size = _size(pending)
        size += _cost(part, pending[-1] if pending else None)
        pending.append(part)
    if pending:
        yield _joined(pending, title)


def _cost(part: _Part, before: _Part | None) -> int:
    """Return the tokens that a part adds after another one, its table's header included if that is not there yet."""
    return part.tokens if before is not None and before.header == part.header else part.tokens + part.header_tokens


def _size(parts: Sequence[_Part]) -> int:
    return sum(_cost(part, before) for before, part in pairwise([None, *parts]) if part is not None)


def _joined(parts: Sequence[_Part], title: str) -> tuple[str, int]:
    texts: list[str] = []
    header = ""
    for part in parts:
        if part.header != header:
            texts.append(part.header)
            header = part.header
        texts.append(part.text)
    body = "".join(texts).strip()
    return f"{title}\n{body}" if title else body, parts[0].line


def _tail(parts: Sequence[_Part], tokens: int) -> list[_Part]:
    """Return the last parts of at most `tokens` tokens together; never all of the parts."""
    kept: list[_Part] = []
    for part in reversed(parts[1:]):
        if _size([part, *kept]) > tokens:
            break
        kept.insert(0, part)
    return kept


def _parts(block: Block, offsets: TokenOffsets, room: int) -> Iterator[_Part]:
    """Yield a block's sentences, or a table's rows, of at most `room` tokens; the last ends with a newline."""
    text = block.text.strip()
    line = block.line + block.text[: block.text.index(text)].count("\n")
    lines = re.findall(r"[^\n]*\n", f"{text}\n") if block.header_lines else []
    header, units = "".join(lines[: block.header_lines]), lines[block.header_lines :]
    if not units:  # not a table, or one that has no rows
        header, units = "", sentences(f"{text}\n")
    header_line, line = line, line + header.count("\n")
    header = _cut(header.rstrip("\n"), offsets, room // 2) + "\n" if header else ""
    header_tokens = len(offsets(header))
    is_first = True
    for unit in units:
        for piece, tokens in _fitting(unit, offsets, room - header_tokens):
            begins = header_line if is_first and header else line + _leading_breaks(piece)
            yield _Part(piece, tokens, begins if block.line else 0, header, header_tokens)
            line, is_first = line + piece.count("\n"), False


def _leading_breaks(text: str) -> int:
    return text[: len(text) - len(text.lstrip())].count("\n")


def _fitting(text: str, offsets: TokenOffsets, room: int) -> Iterator[tuple[str, int]]:
    """Yield the pieces of a text, of at most `room` tokens each, with their number of tokens."""
    spans = offsets(text)
    if len(spans) <= room:
        yield text, len(spans)
    elif "\n" in text.rstrip("\n"):
        for line in re.findall(r"[^\n]*\n+|[^\n]+", text):
            yield from _fitting(line, offsets, room)
    else:
        yield from _words(text, spans, room)


def _words(text: str, spans: Sequence[tuple[int, int]], room: int) -> Iterator[tuple[str, int]]:
    """Yield the words of a text with their number of tokens; only a word that is too long is cut between tokens."""
    last = first = 0
    for word in _WORD.finditer(text):
        while last < len(spans) and max(spans[last][0], spans[last][1] - 1) < word.end():
            last += 1
        cuts = [word.start(), *(spans[i][0] for i in range(first + room, last, room)), word.end()]
        for number, (start, end) in enumerate(pairwise(cuts)):
            yield text[start:end], min(room, last - first - number * room)
        first = last


def _cut(text: str, offsets: TokenOffsets, tokens: int) -> str:
    spans = offsets(text)
    return text if len(spans) <= tokens else text[: spans[tokens - 1][1]]
