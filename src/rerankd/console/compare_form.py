"""The form of the page that compares: its fields, and the documents that were pasted or sent as a file."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Any, Literal, get_args

import orjson
from pydantic import BaseModel, Field, field_validator
from starlette.datastructures import FormData

from rerankd._common.document_rows import Row, decode_text, documents_in, kind_of_name, text_rows
from rerankd._common.validation import plain_metadata, to_query
from rerankd.errors import InvalidInputFileError, InvalidRequestError, PayloadTooLargeError
from rerankd.evaluation.report.markup import printable
from rerankd.ranking.order import SCORE
from rerankd.types import Document

Mode = Literal["before_after", "models", "rules"]
MODES: tuple[Mode, ...] = get_args(Mode)
MAX_DOCUMENTS = 500
MAX_QUERY = 10_000
MAX_RULES = 200_000
PASTED = "Documents"
DRAFT = "Draft rules"
_FILE_HINT = "Send jsonl, json, csv, tsv or txt in UTF-8."
_DOCUMENT_HINT = "Give each document as a text, or as an object or a row of comma-separated columns with 'text'."


class CompareQuery(BaseModel):
    """Parameters of the page's address.

    Attributes:
        trace: number of the trace to show; None for the empty form.
        model: name of the model that replays it; None to show it as it was.
    """

    trace: int | None = Field(None, ge=1, lt=2**63)
    model: str | None = Field(None, max_length=512)


class CompareForm(BaseModel):
    """Fields of the form.

    Attributes:
        mode: what is compared: the order before with that after, two models, or the rules in force with a draft.
        query: the query.
        documents: the documents, one a line, as JSON or as JSON lines.
        model: name of the model; empty for the default. On the left, where two models are compared.
        other_model: name of the model on the right.
        rules: draft of the rules, in YAML.
        trace: number of the trace that the draft is tried on, in place of query and documents.
    """

    mode: Mode = "before_after"
    query: Annotated[str, Field(max_length=MAX_QUERY)] = ""
    documents: str = ""
    model: Annotated[str, Field(max_length=512)] = ""
    other_model: Annotated[str, Field(max_length=512)] = ""
    rules: Annotated[str, Field(max_length=MAX_RULES)] = ""
    trace: Annotated[int | None, Field(ge=1, lt=2**63)] = None

    @field_validator("documents", "rules")
    @classmethod
    def _with_line_feeds(cls, value: str) -> str:
        """Return what was typed: browsers send carriage returns too."""
        return value.replace("\r\n", "\n")

    def checked_query(self) -> str:
        """Return the query.

        Raises:
            InvalidRequestError: it is empty.
        """
        return to_query(self.query)


def read_pasted(text: str) -> list[Document]:
    """Return the documents of a pasted text: lines, a JSON array, JSON lines, or the body of a rerank request.

    Args:
        text: the text.

    Raises:
        InvalidInputFileError: a line or an item that is not a document; the message names it.
        PayloadTooLargeError: there are too many.

    Example:
        >>> [document.text for document in read_pasted('{"text": "a", "id": 7}\\n"b"')]
        ['a', 'b']
    """
    return _read(text_rows(_documents_of_body(text), PASTED))


def read_file(name: str, content: bytes, most_bytes: int) -> list[Document]:
    """Return the documents of a file, as `rerankd rank` reads it: txt, json, jsonl, csv or tsv, also with gzip.

    Args:
        name: name of the file, which tells its format.
        content: its content.
        most_bytes: limit on its size, unpacked.

    Raises:
        InvalidInputFileError: it cannot be read; the message names the line.
        PayloadTooLargeError: it is too large, or holds too many documents.
    """
    name = name[:100]
    if name.lower().endswith((".parquet", ".pq")):
        raise InvalidInputFileError(f"{name} is a Parquet file.", hint=_FILE_HINT)
    try:
        kind, text = kind_of_name(name), decode_text(_unpacked(name, content, most_bytes), name)
    except InvalidInputFileError as error:
        raise _without_flags(error, _FILE_HINT) from None
    return _read(text_rows(text, name, kind))


async def uploaded(form: FormData, most_bytes: int) -> tuple[str, bytes] | None:
    """Return name and content of the file of a form; None if there is none.

    Raises:
        PayloadTooLargeError: it is too large.
    """
    file = form.get("file")
    if file is None or isinstance(file, str) or not file.filename:
        return None
    content = await file.read(most_bytes + 1)
    _check_size(file.filename, content, most_bytes)
    return file.filename, content


def shown_in_field(text: str, documents: Sequence[Document]) -> str:
    r"""Return the text that the field shows for documents: what was pasted, or JSON lines that a page can hold.

    Args:
        text: what was pasted; empty for the documents of a file.
        documents: the documents.

    Example:
        >>> shown_in_field("a\u200bb", [Document("a\u200bb")])
        '"a\\u200bb"'
    """
    return text if text and printable(text) == text else as_lines(documents)


def as_lines(documents: Sequence[Document]) -> str:
    r"""Return documents as JSON lines; characters that nobody sees are escaped.

    Example:
        >>> as_lines([Document("b", "x", {"score": 2.5})])
        '{"text":"b","id":"x","score":2.5}'
    """
    return "\n".join(map(_visible, map(_line, documents)))


def _visible(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)


def _line(document: Document) -> str:
    if document.id is None and not document.metadata:
        return orjson.dumps(document.text).decode()
    metadata = plain_metadata(document.metadata)
    fields: dict[str, Any] = {"text": document.text}
    if document.id is not None:
        fields["id"] = document.id
    if SCORE in metadata:
        fields[SCORE] = metadata.pop(SCORE)
    return orjson.dumps(fields | ({"metadata": metadata} if metadata else {})).decode()


def _documents_of_body(text: str) -> str:
    """Return the documents of a request body as JSON; a text that is none as it is."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    documents = body.get("documents") if isinstance(body, dict) else None
    return orjson.dumps(documents if isinstance(documents, list) else [body]).decode()


def _read(rows: Iterator[Row]) -> list[Document]:
    try:
        documents = [_sendable(document) for document in islice(documents_in(rows), MAX_DOCUMENTS + 1)]
    except InvalidInputFileError as error:
        raise _without_flags(error, _DOCUMENT_HINT) from None
    if len(documents) > MAX_DOCUMENTS:
        raise PayloadTooLargeError(
            f"There are more than {MAX_DOCUMENTS} documents.", hint="Compare fewer, or use rerankd rank."
        )
    if not documents:
        raise InvalidRequestError("There are no documents.", hint="Paste them one a line, or choose a file.")
    return documents


def _sendable(document: Document) -> Document:
    """Return a document that JSON can carry: without lone surrogates, and with numbers that every program reads."""
    fields: dict[str, Any] = {"text": document.text, "metadata": plain_metadata(document.metadata)}
    fields |= plain_metadata({"id": document.id})
    try:
        orjson.dumps(fields)
    except TypeError:
        text = json.dumps(fields, ensure_ascii=False)
        fields = json.loads("".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text))
    return Document(**fields)


def _without_flags(error: InvalidInputFileError, hint: str) -> InvalidInputFileError:
    """Return an error whose hint is not to pass a flag of the command line."""
    return InvalidInputFileError(error.message, hint=hint) if "--" in error.hint else error


def _unpacked(name: str, content: bytes, most_bytes: int) -> bytes:
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            content = file.read(most_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInputFileError(f"{name} cannot be unpacked ({error}).", hint="Pack it again.") from error
    _check_size(name, content, most_bytes)
    return content


def _check_size(name: str, content: bytes, most_bytes: int) -> None:
    if len(content) > most_bytes:
        raise PayloadTooLargeError(f"{name[:100]} is larger than {most_bytes:,} bytes.", hint="Send less.")
