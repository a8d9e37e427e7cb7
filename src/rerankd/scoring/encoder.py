"""Encoder: pairs to token ids. The query is tokenized once, the documents in one parallel call.

Does: `only_second` truncation (the query limited to 3/4 of the length first, as FlagEmbedding) and `longest_first` (as
transformers), overlapping chunks of long documents, prompts, and texts of any size. Does not: pad.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from rerankd._common.characters import is_blank
from rerankd.errors import InvalidRequestError
from rerankd.models.template import Template
from rerankd.scoring.prompt import Layout, Place, PlacedIds, layout_of
from rerankd.scoring.special_tokens import SpecialTokens
from rerankd.types import LongDocuments, Truncation, TruncationSide

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = list[int]
Text = TypeVar("Text", str, Ids)

CHARACTERS_PER_TOKEN = 32
DOCUMENTS_PER_CALL = 1024
MAX_LAYOUTS = 64  # of instructions in a row
MAX_CHARACTERS = 2_000_000  # of one text; a longer one with so few tokens is no text, and takes a second


@dataclass(frozen=True, slots=True)
class TruncationOptions:
    """Truncation of pairs to the length that the model reads.

    Attributes:
        max_length: longest pair in tokens, special tokens included.
        truncation: `only_second` cuts the document (and a query beyond 3/4 of the length); or `longest_first`.
        long_documents: `truncate` reads the beginning; `chunk` scores overlapping chunks and keeps the best score.
        chunk_overlap: tokens that neighbouring chunks share, half a chunk at most.
        max_chunks: chunks of one document that are read at most; the rest of the document is not read.
        truncation_side: `right` cuts the end of a text, `left` its beginning.
        max_query_tokens: tokens of the query that are read at most; None for as many as fit.
        max_document_tokens: tokens of a document that are read at most; None for as many as fit.
        instruction: what counts as relevant, for templates with a place for it; None for the template's default.

    Raises:
        InvalidRequestError: an unknown option or a value out of range.
    """

    max_length: int
    truncation: Truncation = "only_second"
    long_documents: LongDocuments = "truncate"
    chunk_overlap: int = 64
    max_chunks: int = 16
    truncation_side: TruncationSide = "right"
    max_query_tokens: int | None = None
    max_document_tokens: int | None = None
    instruction: str | None = None

    def __post_init__(self) -> None:
        if self.truncation not in ("only_second", "longest_first"):
            raise InvalidRequestError(
                f"Unknown truncation {self.truncation!r}.", hint="Use only_second or longest_first."
            )
        if self.long_documents not in ("truncate", "chunk"):
            raise InvalidRequestError(f"Unknown long_documents {self.long_documents!r}.", hint="Use truncate or chunk.")
        if self.max_length < 8:
            raise InvalidRequestError(
                f"max_length is {self.max_length}, which is too short for a pair.", hint="Use at least 8 tokens."
            )
        if self.chunk_overlap < 0 or self.max_chunks < 1:
            raise InvalidRequestError("chunk_overlap must be at least 0 and max_chunks at least 1.")
        if self.truncation_side not in ("right", "left"):
            raise InvalidRequestError(f"Unknown truncation_side {self.truncation_side!r}.", hint="Use right or left.")
        for limit in (self.max_query_tokens, self.max_document_tokens):
            if limit is not None and limit < 1:
                raise InvalidRequestError("max_query_tokens and max_document_tokens must be at least 1.")

    @property
    def identity(self) -> str:
        """Text that identifies the options in cache keys and in the checkpoints of bulk runs."""
        options = repr(self).removeprefix(type(self).__name__)
        # Identities of options without one stay what they were. No instruction ends as this suffix: it is quoted.
        return options.removesuffix(", instruction=None)") + ")" if self.instruction is None else options


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """One sequence for the model.

    Attributes:
        ids: token ids, shape (length,), int64.
        document_start: position of the first token of the second segment, or of the document in a prompt.
        truncated: True if text of the pair's query or document was cut.
    """

    ids: npt.NDArray[np.int64]
    document_start: int
    truncated: bool

    def __len__(self) -> int:
        return len(self.ids)


def longest_first_lengths(first: int, second: int, room: int) -> tuple[int, int]:
    """Return the lengths of two sequences truncated to `room` tokens, as the tokenizers library truncates them.

    Args:
        first: tokens of the first sequence.
        second: tokens of the second sequence.
        room: tokens of both at most; the longer one is cut first.

    Example:
        >>> longest_first_lengths(10, 100, 50)
        (10, 40)
    """
    if first + second <= room:
        return first, second
    short = min(first, second)
    if short <= room // 2:
        return (short, room - short) if first <= second else (room - short, short)
    half = room // 2
    return (half, room - half) if first <= second else (room - half, half)


class PairEncoder:
    """Encoder of a query and its documents into sequences of token ids.

    Args:
        tokenizer: tokenizer without truncation and padding.
        template: special tokens, or the texts of a prompt, around query and document.

    Example:
        >>> encoder = PairEncoder(files.tokenizer(), files.manifest.template)  # doctest: +SKIP
        >>> encoder.encode("panda?", ["a bear"], TruncationOptions(max_length=512))  # doctest: +SKIP
        [[EncodedPair(ids=array([...]), document_start=4, truncated=False)]]
    """

    def __init__(self, tokenizer: Tokenizer, template: Template) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._layouts: dict[str | None, Layout] = {}
        self._special_tokens = SpecialTokens(tokenizer)
        self._process = os.getpid()

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer; not to be changed."""
        return self._tokenizer

    @property
    def special(self) -> int:
        """Number of tokens in a pair that are not of the query or the document."""
        return self._layout(None).special

    def encode(self, query: str, documents: Sequence[str], truncation: TruncationOptions) -> list[list[EncodedPair]]:
        """Encode one query with its documents.

        Args:
            query: query text.
            documents: document texts.
            truncation: truncation of the pairs.

        Returns:
            One list per document: a single pair, or one per chunk with `long_documents="chunk"`.

        Raises:
            InvalidRequestError: the model's prompt alone, with its instruction, is as long as a pair may be.
        """
        layout = self._layout(truncation.instruction)
        if layout.prompt and layout.special + 2 > truncation.max_length:
            raise InvalidRequestError(
                f"The model's prompt takes {layout.special} tokens, and max_length is {truncation.max_length}.",
                hint="Set a larger max_length, or send a shorter instruction.",
            )
        ((query_ids, query_cut),) = self._tokenize([query], truncation, layout.query, layout.strip)
        encoded: list[list[EncodedPair]] = []
        for start in range(0, len(documents), DOCUMENTS_PER_CALL):
            part = documents[start : start + DOCUMENTS_PER_CALL]
            encoded += [
                list(self._pairs(layout, query_ids, ids, truncation, query_cut or cut))
                for ids, cut in self._tokenize(part, truncation, layout.document, layout.strip)
            ]
        return encoded

    def _layout(self, instruction: str | None) -> Layout:
        """Return the layout of the sequences with an instruction."""
        if not self._template.takes_instruction:
            instruction = None
        if (layout := self._layouts.get(instruction)) is None:
            told = None if instruction is None else replace_surrogates(instruction)
            layout = layout_of(self._template, self._tokenizer, told)
            if len(self._layouts) >= MAX_LAYOUTS:
                self._layouts = {}
            self._layouts[instruction] = layout
        return layout

    def _tokenize(
        self, texts: Sequence[str], truncation: TruncationOptions, place: Place, strip: bool
    ) -> list[tuple[Ids, bool]]:
        """Return the ids of each text and of what is tokenized with it at its place.

        Of a text that is far too long only the part that can be read is tokenized.

        The second value is True if characters were cut although there was room for more ids.
        """
        if self._process != os.getpid():  # the tokenizer's threads did not follow into the forked process
            os.environ["TOKENIZERS_PARALLELISM"] = "false"
            self._process = os.getpid()
        chunks = truncation.max_chunks if truncation.long_documents == "chunk" else 1
        needed = truncation.max_length * chunks + 1
        ids: list[tuple[Ids, bool] | None] = [None] * len(texts)
        limit, waiting = needed * CHARACTERS_PER_TOKEN, list(range(len(texts)))
        longest = max(limit, MAX_CHARACTERS)
        while waiting:
            heads = [self._readable(_kept(texts[i], limit, truncation.truncation_side), strip) for i in waiting]
            heads = [f"{place.lead}{head}{place.tail}" for head in heads]
            encodings = self._tokenizer.encode_batch_fast(heads, add_special_tokens=False)
            for i, encoding in zip(waiting, encodings, strict=True):
                enough = len(texts[i]) <= limit or len(encoding.ids) >= 2 * needed
                if enough or limit >= longest:
                    ids[i] = self._special_tokens.removed_from(encoding.ids), not enough
            waiting = [i for i in waiting if ids[i] is None]
            limit = min(limit * 4, longest)
        return [text_ids for text_ids in ids if text_ids is not None]

    def _readable(self, text: str, strip: bool) -> str:
        """Return what is tokenized of a text: invisible characters alone are no text, whatever tokens they have."""
        if is_blank(text):
            return ""
        return self._special_tokens.split_in(replace_surrogates(text.strip() if strip else text))

    def _pairs(
        self, layout: Layout, query: Ids, document: Ids, truncation: TruncationOptions, cut: bool
    ) -> Iterator[EncodedPair]:
        # Even if a few special tokens alone fill the length, one token of each text is read.
        room = max(2, truncation.max_length - layout.special)
        side = truncation.truncation_side
        first_text, second_text = PlacedIds.of(query, layout.query), PlacedIds.of(document, layout.document)
        asked = first_text.kept(truncation.max_query_tokens, side)
        read = second_text.kept(truncation.max_document_tokens, side)
        cut = cut or len(asked) < len(first_text) or len(read) < len(second_text)
        if truncation.truncation == "longest_first" and truncation.long_documents == "truncate":
            first, second = longest_first_lengths(len(asked), len(read), room)
            cut = cut or first < len(asked) or second < len(read)
            yield _assemble(layout, asked.kept(first, side), read.kept(second, side), cut)
            return
        first = min(len(asked), (room if layout.prompt else truncation.max_length) * 3 // 4, room)
        size = room - first
        cut = cut or first < len(asked)
        asked = asked.kept(first, side)
        if len(read) <= size or truncation.long_documents == "truncate" or size < 1:
            yield _assemble(layout, asked, read.kept(size, side), cut or len(read) > size)
            return
        overlap = min(truncation.chunk_overlap, size // 2)
        starts = range(0, len(read) - overlap, size - overlap)
        unread = len(starts) > truncation.max_chunks
        for start in starts[: truncation.max_chunks]:
            yield _assemble(layout, asked, read.part(start, start + size), cut or unread)


def _assemble(layout: Layout, query: PlacedIds, document: PlacedIds, truncated: bool) -> EncodedPair:
    first = [*layout.start, *query.ids, *query.tail, *layout.middle]
    ids = np.array([*first, *document.ids, *document.tail, *layout.end], dtype=np.int64)
    return EncodedPair(ids, len(first), truncated)


def _kept(text: Text, limit: int | None, side: TruncationSide) -> Text:
    """Return the part of a text, or of its ids, that is read."""
    if limit is None or len(text) <= limit:
        return text
    return text[:limit] if side == "right" else text[len(text) - limit :]


def replace_surrogates(text: str) -> str:
    """Return a text with lone surrogates, which UTF-8 cannot represent, replaced by U+FFFD.

    Example:
        >>> replace_surrogates("a\\ud800b")
        'a\ufffdb'
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
