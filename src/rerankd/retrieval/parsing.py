"""Parsing of files by their extension. An unreadable file raises an error of one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from rerankd.errors import InvalidInputFileError, RerankdError
from rerankd.retrieval.decoding import REPLACEMENT
from rerankd.retrieval.document_parsers import parse_markdown, parse_text
from rerankd.retrieval.html_parser import parse_html
from rerankd.retrieval.parsed_document import ParsedDocument
from rerankd.retrieval.parser_process import ParseLimits, ParseRequest, parse_in_process
from rerankd.retrieval.pdf_parser import parse_pdf
from rerankd.retrieval.table_parsers import parse_csv, parse_jsonl, parse_parquet
from rerankd.retrieval.word_parser import parse_docx

DEFAULT_MAX_MB = 100.0

DOCUMENTS: dict[str, Callable[[Path], ParsedDocument]] = {
    ".txt": parse_text,
    ".md": parse_markdown,
    ".markdown": parse_markdown,
    ".html": parse_html,
    ".htm": parse_html,
    ".pdf": parse_pdf,
    ".docx": parse_docx,
}
TABLES: dict[str, Callable[[Path, str | None, str | None], Iterator[ParsedDocument]]] = {
    ".csv": parse_csv,
    ".tsv": parse_csv,
    ".jsonl": parse_jsonl,
    ".ndjson": parse_jsonl,
    ".parquet": parse_parquet,
}
PARSERS = (*DOCUMENTS, *TABLES)


def parse(
    path: Path,
    *,
    text_field: str | None = None,
    max_mb: float = DEFAULT_MAX_MB,
    delimiter: str | None = None,
    limits: ParseLimits | None = None,
) -> Iterator[ParsedDocument]:
    """Parse a file by its extension, in a process of its own.

    Tables are read row by row, documents as a whole.

    Args:
        path: the file.
        text_field: column or key with the text of a row; None for a usual name.
        max_mb: maximum size of a document in MB; tables may be larger, because they are not held in memory.
        delimiter: character between the columns of a csv or tsv file; None to detect it where the rows agree.
        limits: time and memory that the file may cost.

    Raises:
        InvalidInputFileError: the file cannot be read, or costs more than the limits; raised while iterating too.
        MissingDependencyError: an extra is not installed.
    """
    if not sys.executable:  # Python within another program
        yield from parse_here(path, text_field=text_field, max_mb=max_mb, delimiter=delimiter)
        return
    request = ParseRequest(str(path.absolute()), text_field, max_mb, delimiter)
    yield from parse_in_process(request, limits or ParseLimits())


def parse_here(
    path: Path, *, text_field: str | None = None, max_mb: float = DEFAULT_MAX_MB, delimiter: str | None = None
) -> Iterator[ParsedDocument]:
    """Parse a file as `parse`, in this process and without limits."""
    extension = path.suffix.lower()
    if extension not in PARSERS:
        raise InvalidInputFileError(
            f"{extension or 'A file without an extension'} is not supported.",
            hint=f"Supported: {', '.join(PARSERS)}.",
        )
    try:
        size = path.stat().st_size
        if extension not in TABLES and size > max_mb * 1_000_000:
            raise InvalidInputFileError(
                f"The file has {size / 1e6:.0f} MB; the limit is {max_mb:g} MB.",
                hint="Split it, or raise --max-mb.",
            )
        if size == 0:
            return
        if extension in TABLES:
            yield from map(_with_losses, TABLES[extension](path, text_field, delimiter))
        else:
            yield _with_losses(DOCUMENTS[extension](path))
    except (RerankdError, MemoryError):
        raise
    except OSError as error:
        raise InvalidInputFileError(
            f"It cannot be read ({error.strerror or error}).", hint="Check that it exists and is readable."
        ) from error


def _with_losses(document: ParsedDocument) -> ParsedDocument:
    """Count the characters that could not be decoded, each of which stands as U+FFFD in the text."""
    blocks = list(document.blocks)
    headings = {heading for block in blocks for heading in block.headings}
    lost = sum(block.text.count(REPLACEMENT) for block in blocks) + sum(text.count(REPLACEMENT) for text in headings)
    return replace(document, blocks=blocks, lost_characters=lost)
