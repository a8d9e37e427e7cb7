"""Parsing of files by their extension. An unreadable file raises an error of one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from rerankd.errors import InvalidInputFileError, RerankdError
from rerankd.retrieval.document_parsers import parse_docx, parse_html, parse_markdown, parse_pdf, parse_text
from rerankd.retrieval.parsed_document import ParsedDocument
from rerankd.retrieval.table_parsers import parse_csv, parse_jsonl, parse_parquet

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
TABLES: dict[str, Callable[[Path, str | None], Iterator[ParsedDocument]]] = {
    ".csv": parse_csv,
    ".tsv": parse_csv,
    ".jsonl": parse_jsonl,
    ".ndjson": parse_jsonl,
    ".parquet": parse_parquet,
}
PARSERS = (*DOCUMENTS, *TABLES)


def parse(path: Path, *, text_field: str | None = None, max_mb: float = DEFAULT_MAX_MB) -> Iterator[ParsedDocument]:
    """Parse a file by its extension. Tables are read row by row, documents as a whole.

    Args:
        path: the file.
        text_field: column or key with the text of a row; None for a usual name.
        max_mb: maximum size of a document in MB; tables may be larger, because they are not held in memory.

    Raises:
        InvalidInputFileError: the file cannot be read; raised while iterating too.
        MissingDependencyError: an extra is not installed.
    """
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
            yield from TABLES[extension](path, text_field)
        else:
            yield DOCUMENTS[extension](path)
    except (RerankdError, MemoryError):
        raise
    except OSError as error:
        raise InvalidInputFileError(
            f"It cannot be read ({error.strerror or error}).", hint="Check that it exists and is readable."
        ) from error
