"""The document that a row of a table gives: its text, title and id are found under the usual names of columns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rerankd.errors import InvalidInputFileError
from rerankd.retrieval.outline import Outline
from rerankd.retrieval.parsed_document import ParsedDocument, RowFault

TEXT_FIELDS = ("text", "content", "contents", "body", "passage", "document")
ID_FIELDS = ("id", "_id", "doc_id", "docid")
TITLE_FIELDS = ("title", "heading", "question")
QUESTION_FIELDS = ("question", "q", "frage", "pregunta", "问题", "問題", "問", "问", "質問", "질문")
ANSWER_FIELDS = ("answer", "a", "antwort", "réponse", "respuesta", "答案", "回答", "答", "답변")


def row_document(row: Mapping[str, Any], number: int, text_field: str | None = None) -> ParsedDocument:
    """Return a row as a document; all columns but the text and the id are metadata.

    A row with a question and an answer, and without a text, becomes the answer under its question, so that both are
    searched. A question without an answer has no text, because who asks it would only get it back.

    Args:
        row: its values by column.
        number: number of the row, from 1, for messages.
        text_field: column with the text; None for a usual name.

    Raises:
        InvalidInputFileError: the row has no text column.

    Example:
        >>> row_document({"question": "How long?", "answer": "Three years."}, 1).blocks
        [Block(text='Three years.', headings=('How long?',), page=0, header_lines=0, line=0)]
    """
    columns = {str(name): value for name, value in row.items() if name is not None}
    text_column = text_field or _column(columns, TEXT_FIELDS)
    title_column = _column(columns, TITLE_FIELDS)
    if text_column is None and (question := _column(columns, QUESTION_FIELDS)) is not None:
        text_column = _column(columns, ANSWER_FIELDS)
        title_column = question if text_column is not None else title_column
    text = columns.get(text_column or "")
    if text_column is None or (text is not None and not isinstance(text, str)) or text_column not in columns:
        raise _no_text(columns, number, text_field)
    text = text or ""
    title = "" if title_column == text_column else columns.get(title_column or "") or ""
    fault = _fault(columns, text, title_column, text_column)
    outline = Outline()
    if fault != "no answer":
        outline.heading(1, title)
        for part in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
            outline.add(part)
    ids = {name: _id(value) for name, value in columns.items() if name.lower() in ID_FIELDS and name != text_column}
    id_column = next((name for name, value in ids.items() if value), None)
    read = {text_column, id_column, *(name for name in ids if columns[name] in (None, ""))}
    metadata = {name: value for name, value in columns.items() if name not in read}
    return ParsedDocument(outline.finish(), ids[id_column] if id_column else "", metadata, fault=fault)


def _fault(columns: Mapping[str, Any], text: str, title_column: str | None, text_column: str) -> RowFault:
    """Return what a row lacks whose title is a question, or whose text is an answer."""
    question = columns.get(title_column or "")
    has_question = isinstance(question, str) and bool(question.strip())
    if not text.strip():
        return "no answer" if has_question and _is(title_column, QUESTION_FIELDS) else ""
    is_answer = _is(text_column, ANSWER_FIELDS) and bool(_named(columns, QUESTION_FIELDS))
    return "no question" if is_answer and not has_question else ""


def _is(column: str | None, names: tuple[str, ...]) -> bool:
    return column is not None and column.strip().lower() in names


def _no_text(columns: Mapping[str, Any], number: int, text_field: str | None) -> InvalidInputFileError:
    named = text_field if text_field in columns else next(iter(_named(columns, TEXT_FIELDS)), None)
    if named is not None and columns[named] is not None:
        return InvalidInputFileError(
            f"Row {number}: the column {named!r} holds a {type(columns[named]).__name__}, not a text.",
            hint="Write texts there, or name another column with --field.",
        )
    return InvalidInputFileError(
        f"Row {number} has no text column{f' {text_field!r}' if text_field else ''};"
        f" its columns are {', '.join(columns)[:200]}.",
        hint="Name the column with --field.",
    )


def _id(value: Any) -> str:
    """Return an id as text; empty for a value that is none. Whole numbers may be floats, if other rows have no id."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _column(columns: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """Return the column with the first of some names that holds a text, else nothing; capitals do not matter."""
    found = _named(columns, names)
    texts = (column for column in found if isinstance(columns[column], str))
    return next(texts, next((column for column in found if columns[column] is None), None))


def _named(columns: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    by_name = {name.strip().lower(): name for name in reversed(list(columns))}
    return [by_name[name] for name in names if name in by_name]
