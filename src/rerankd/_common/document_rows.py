"""Documents in texts: lines, JSON, JSON lines, csv and tsv; every error names the line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rerankd._common.delimited import COMMA, TAB, Columns, Delimited
from rerankd._common.json_parsing import parse_json
from rerankd._common.lines import split_lines
from rerankd._common.validation import to_document
from rerankd.errors import InvalidInputFileError
from rerankd.types import Document

FORMATS = ("txt", "json", "jsonl", "csv", "tsv", "parquet")
LISTED = "txt, json, jsonl, csv, tsv or parquet"
_SUFFIXES = {"text": "txt", "ndjson": "jsonl", "tab": "tsv", "pq": "parquet"} | {name: name for name in FORMATS}
_LAID_OUT = {
    "doc", "docx", "htm", "html", "markdown", "md", "odp", "ods", "odt", "pdf", "ppt", "pptx", "rst", "rtf", "tar",
    "toml", "xhtml", "xls", "xlsx", "xml", "yaml", "yml", "zip",
}  # fmt: skip
_BINARY = {b"%PDF": "a PDF file", b"PK\x03\x04": "a ZIP archive or Office file", b"PAR1": "a Parquet file"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

Row = tuple[str, Any]
"""Position in the file, for messages, and a text, an object or a list."""


def documents_in(rows: Iterator[Row], field: str = "text") -> Iterator[Document]:
    """Yield the documents of rows.

    Args:
        rows: rows with their position, such as `text_rows` gives them.
        field: name of the text in rows that are objects.

    Raises:
        InvalidInputFileError: a row is not a document; the message names its position.

    Example:
        >>> [document.text for document in documents_in(text_rows("a\\nb", "text", "txt"))]
        ['a', 'b']
    """
    for position, row in rows:
        if not isinstance(row, str | dict):
            raise InvalidInputFileError(
                f"{position}: a {type(row).__name__}, not a document.", hint="Write strings or objects."
            )
        yield Document(row) if isinstance(row, str) else _document(row, field, position)


def text_columns(field: str) -> Columns:
    """Return the check of columns one of which is the text.

    Args:
        field: name of that column.
    """

    def columns(names: list[str], position: str) -> list[str]:
        if field not in names:
            raise _no_text(names, field, position)
        return names

    return columns


def text_rows(text: str, name: str, kind: str | None = None, delimited: Delimited | None = None) -> Iterator[Row]:
    """Yield the rows of a text.

    Args:
        text: the text.
        name: name of the text, for messages.
        kind: one of `FORMATS` but parquet; None to infer it from the first character.
        delimited: how csv and tsv are read; None for rows with a column `text`.

    Raises:
        InvalidInputFileError: the text is not of that kind; the message names the line.
    """
    kind = kind or _kind_of_text(text)
    if kind == "json":
        yield from _json(text, name)
    elif kind == "jsonl":
        yield from _jsonl(text, name)
    elif kind in ("csv", "tsv"):
        yield from (delimited or Delimited(text_columns("text"))).rows(text, name, TAB if kind == "tsv" else COMMA)
    else:
        yield from ((f"{name}, line {n}", line) for n, line in enumerate(split_lines(text), 1) if line.strip())


def kind_of_name(source: str) -> str | None:
    """Return the format that a file's name tells; None if the content has to.

    Args:
        source: name of the file.

    Raises:
        InvalidInputFileError: a format whose lines are not documents.
    """
    path = Path(source.lower().removesuffix(".gz"))
    suffix = path.suffix.lstrip(".")
    if suffix in _LAID_OUT:
        raise InvalidInputFileError(
            f"{source}: lines of a .{suffix} file are not documents.",
            hint="Search it with rerankd index, or pass --format txt to read each line as a document.",
        )
    return _SUFFIXES.get(suffix)


def decode_text(raw: bytes, name: str) -> str:
    """Return the text of a file: UTF-8, or UTF-16 with a byte order mark.

    Args:
        raw: content of the file.
        name: name of the file, for messages.

    Raises:
        InvalidInputFileError: neither of them, or a format that is not text.
    """
    if (kind := next((kind for magic, kind in _BINARY.items() if raw.startswith(magic)), None)) is not None:
        raise InvalidInputFileError(f"{name} is {kind}, not text.", hint=f"Pass {LISTED}, or use rerankd index.")
    encoding = "utf-16" if raw.startswith(_UTF16) else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InvalidInputFileError(
            f"{name}, line {line}: not {encoding.removesuffix('-sig').upper()}.",
            hint="Convert it: iconv -f GB18030 -t UTF-8.",
        ) from error
    if (position := text.find("\0")) >= 0:
        raise InvalidInputFileError(
            f"{name}, line {text.count(chr(10), 0, position) + 1}: a NUL character, which no UTF-8 text has.",
            hint="Convert it: iconv -f UTF-16LE -t UTF-8.",
        )
    return text


def _no_text(names: list[str], field: str, position: str) -> InvalidInputFileError:
    hint = "Name the column with --field."
    if len(names) == 1 and (other := next((mark for mark in ";\t|" if mark in names[0]), "")):
        hint = (
            f"The columns seem to be separated by {other!r}: pass --separator {'TAB' if other == TAB else repr(other)}."
        )
    columns = ", ".join(map(str, names)) or "none"
    return InvalidInputFileError(f"{position}: no text under {field!r} (columns: {columns[:200]}).", hint=hint)


def _document(row: dict[str, Any], field: str, position: str) -> Document:
    if not isinstance(row.get(field), str):
        raise _no_text(list(row), field, position)
    document = to_document(row, text=field, id_names=("id", "_id"))
    if isinstance(score := document.metadata.get("score"), str):  # in csv every cell is text
        with suppress(ValueError):
            return replace(document, metadata={**document.metadata, "score": float(score)})
    return document


def _kind_of_text(text: str) -> str:
    """Return the format of a text whose name tells none."""
    beginning = text.lstrip()[:1]
    if beginning == "[":
        try:
            return "json" if isinstance(parse_json(text), list) else "txt"
        except ValueError:
            return "txt"
    return "jsonl" if beginning and beginning in '{"' else "txt"


def _json(text: str, name: str) -> Iterator[Row]:
    """Yield the items of an array, or the one object; JSON lines under this name are read as such."""
    try:
        content = parse_json(text or "[]")
    except ValueError as error:
        if _is_json(next((line for line in split_lines(text) if line.strip()), "")):
            yield from _jsonl(text, name)
            return
        raise InvalidInputFileError(f"{name}: not JSON ({error}).", hint="Write an array of documents.") from error
    items = content if isinstance(content, list) else [content]
    yield from ((f"{name}, item {number}", item) for number, item in enumerate(items, 1))


def _is_json(line: str) -> bool:
    try:
        parse_json(line)
    except ValueError:
        return False
    return True


def _jsonl(text: str, name: str) -> Iterator[Row]:
    for number, line in enumerate(split_lines(text), 1):
        if not line.strip():
            continue
        try:
            yield f"{name}, line {number}", parse_json(line)
        except ValueError as error:
            raise InvalidInputFileError(
                f"{name}, line {number}: not JSON ({error}).", hint="Write one JSON value per line."
            ) from error
