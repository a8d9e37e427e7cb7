"""Files as units of text: a document each, or a row each of tables. What cannot be read is said in one sentence."""

from __future__ import annotations

import csv
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from rerankd._common.optional import require
from rerankd.errors import InvalidInputFileError, MissingDependencyError, RerankdError
from rerankd.retrieval.decoding import decode
from rerankd.retrieval.splitting import Block

DEFAULT_MAX_MB = 100.0
MAX_UNPACKED = 500_000_000
MAX_FIELD = 10_000_000
TEXT_FIELDS = ("text", "content", "contents", "body", "passage", "document")
ID_FIELDS = ("id", "_id", "doc_id", "docid")
TITLE_FIELDS = ("title", "heading")
BLOCK_TAGS = frozenset(
    [
        "p",
        "div",
        "section",
        "article",
        "li",
        "ul",
        "ol",
        "dl",
        "dt",
        "dd",
        "table",
        "tr",
        "pre",
        "blockquote",
        "figure",
        "figcaption",
        "main",
        "header",
        "body",
        "br",
        "hr",
        "form",
        "fieldset",
        "details",
        "summary",
        "address",
    ]
)
SKIPPED_TAGS = frozenset(
    ["script", "style", "noscript", "template", "svg", "nav", "footer", "iframe", "head", "button", "select"]
)


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """What belongs together: a file, or a row of one.

    Attributes:
        blocks: its text.
        id: the row's own name; empty for none.
        metadata: other columns of a row, or the title of a document.
    """

    blocks: Iterable[Block]
    id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


def parse(path: Path, *, text_field: str | None = None, max_mb: float = DEFAULT_MAX_MB) -> Iterator[ParsedDocument]:
    """Read a file by its ending. Tables are read row by row, documents as a whole.

    Args:
        path: the file.
        text_field: column or key that holds the text of a row; None for a usual name.
        max_mb: size of a document at most, in MB; tables may be larger, since they are not held in memory.

    Raises:
        InvalidInputFileError: it cannot be read; raised while iterating too.
        MissingDependencyError: an extra is missing.
    """
    kind = path.suffix.lower()
    if kind not in PARSERS:
        raise InvalidInputFileError(
            f"{kind or 'A file without an ending'} is not read.", hint=f"Read are {', '.join(PARSERS)}."
        )
    try:
        size = path.stat().st_size
        if kind not in TABLES and size > max_mb * 1_000_000:
            raise InvalidInputFileError(
                f"It has {size / 1e6:.0f} MB; at most {max_mb:g} are read.", hint="Split it, or raise --max-mb."
            )
        if size == 0:
            return
        if kind in TABLES:
            yield from TABLES[kind](path, text_field)
        else:
            yield DOCUMENTS[kind](path)
    except (RerankdError, MemoryError):
        raise
    except OSError as error:
        raise InvalidInputFileError(
            f"It cannot be read ({error.strerror or error}).", hint="Check that it is there and may be read."
        ) from error


def _text(path: Path) -> ParsedDocument:
    return ParsedDocument([Block(part) for part in re.split(r"\n\s*\n", _decoded(path))])


def _markdown(path: Path) -> ParsedDocument:
    """Blocks of the source as they stand, so that code and tables keep their form."""
    markdown_it: Any = require("markdown_it", "rag", "Reading Markdown")
    text = _decoded(path)
    if text.startswith("---\n") and (end := text.find("\n---", 4)) > 0:  # front matter
        text = text[text.find("\n", end + 1) + 1 :] if "\n" in text[end + 1 :] else ""
    lines = text.splitlines()
    blocks: list[Block] = []
    headings: list[tuple[int, str]] = []
    tokens = markdown_it.MarkdownIt("commonmark").enable("table").parse(text)
    for place, token in enumerate(tokens):
        if token.level or token.map is None:
            continue
        if token.type == "heading_open":
            _under(headings, int(token.tag[1]), tokens[place + 1].content)
        elif token.type != "hr":
            own = "\n".join(lines[token.map[0] : token.map[1]])
            blocks.append(Block(own, tuple(title for _, title in headings)))
    return ParsedDocument(blocks, metadata=_titled(headings, blocks))


def _html(path: Path) -> ParsedDocument:
    parser: Any = require("selectolax.lexbor", "rag", "Reading HTML")
    tree = parser.LexborHTMLParser(_decoded_html(path.read_bytes()))
    blocks: list[Block] = []
    headings: list[tuple[int, str]] = []
    held: list[str] = []

    def flush() -> None:
        text = "".join(held)
        held.clear()
        if text.strip():
            blocks.append(Block(text if "\n" in text.strip() else _spaced(text), tuple(title for _, title in headings)))

    # Without recursion: pages may be nested thousands of tags deep.
    stack: list[tuple[Any, bool]] = [(tree.body, False)] if tree.body is not None else []
    while stack:
        node, left = stack.pop()
        tag = node.tag
        if left:
            flush()
            continue
        if tag == "-text":
            text = node.text(deep=False) or ""
            kept = node.parent is not None and node.parent.tag == "pre"
            held.append(text if kept else re.sub(r"\s+", " ", text))
            continue
        if tag in SKIPPED_TAGS or tag.startswith(("-", "_")):
            continue
        if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
            flush()
            _under(headings, int(tag[1]), _spaced(node.text(separator=" ")))
            continue
        if tag in ("td", "th"):
            held.append(" ")
        if tag in BLOCK_TAGS:
            flush()
            stack.append((node, True))
        children = list(node.iter(include_text=True))
        stack += [(child, False) for child in reversed(children)]
    flush()
    title = tree.css_first("title")
    named = {"title": _spaced(title.text())} if title is not None and title.text().strip() else {}
    return ParsedDocument(blocks, metadata=named or _titled(headings, blocks))


def _pdf(path: Path) -> ParsedDocument:
    reader_of: Any = require("pypdf", "rag", "Reading PDF").PdfReader
    try:
        reader = reader_of(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise InvalidInputFileError("It is locked by a password.", hint="Save it without one.")
        blocks = [
            Block(part, page=number)
            for number, page in enumerate(reader.pages, 1)
            for part in re.split(r"\n\s*\n", page.extract_text() or "")
        ]
        about = reader.metadata
        title = str(about.title).strip() if about is not None and about.title else ""
    except (InvalidInputFileError, MissingDependencyError, MemoryError):
        raise
    except Exception as error:  # whatever a library makes of a broken file
        raise InvalidInputFileError(
            f"It is no PDF that can be read ({_short(error)}).", hint="Open it and save it anew."
        ) from error
    if not any(block.text.strip() for block in blocks):
        raise InvalidInputFileError("It has pages, but no text: pictures of pages, perhaps.", hint="Run OCR first.")
    return ParsedDocument(blocks, metadata={"title": title} if title else {})


def _docx(path: Path) -> ParsedDocument:
    docx: Any = require("docx", "rag", "Reading Word documents")
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(item.file_size for item in archive.infolist()) > MAX_UNPACKED:
                raise InvalidInputFileError(
                    f"It unpacks to more than {MAX_UNPACKED // 1_000_000} MB.", hint="Remove large pictures from it."
                )
        document = docx.Document(str(path))
        blocks: list[Block] = []
        headings: list[tuple[int, str]] = []
        for item in document.iter_inner_content():
            above = tuple(title for _, title in headings)
            if hasattr(item, "rows"):
                rows = [" | ".join(_spaced(cell.text) for cell in row.cells) for row in item.rows]
                blocks.append(Block("\n".join(rows), above))
                continue
            style = (item.style.name if item.style is not None else "") or ""
            level = re.fullmatch(r"(?:Heading|标题) ?(\d)", style)
            if (level or style == "Title") and item.text.strip():
                _under(headings, int(level[1]) if level else 0, item.text)
            else:
                blocks.append(Block(item.text, above))
    except (InvalidInputFileError, MissingDependencyError, MemoryError):
        raise
    except Exception as error:  # whatever a library makes of a broken file
        raise InvalidInputFileError(
            f"It is no Word document that can be read ({_short(error)}).", hint="Open it and save it as .docx."
        ) from error
    return ParsedDocument(blocks, metadata=_titled(headings, blocks))


def _csv(path: Path, text_field: str | None) -> Iterator[ParsedDocument]:
    with path.open("rb") as file:
        encoding = _encoding(file.read(1_000_000))
    with path.open(encoding=encoding, newline="", errors="strict") as lines:
        csv.field_size_limit(MAX_FIELD)
        try:
            yield from _rows(csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ","), text_field)
        except (csv.Error, UnicodeDecodeError) as error:
            raise InvalidInputFileError(f"It is no CSV that can be read ({error}).", hint="Save it anew.") from error


def _jsonl(path: Path, text_field: str | None) -> Iterator[ParsedDocument]:
    def lines() -> Iterator[Mapping[str, Any]]:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
                except orjson.JSONDecodeError as error:
                    raise InvalidInputFileError(
                        f"Line {number} is no JSON ({error}).", hint="One object a line, in UTF-8."
                    ) from error
                if not isinstance(row, dict):
                    raise InvalidInputFileError(f"Line {number} is no JSON object.", hint="One object a line.")
                yield row

    yield from _rows(lines(), text_field)


def _parquet(path: Path, text_field: str | None) -> Iterator[ParsedDocument]:
    parquet: Any = require("pyarrow.parquet", "rag", "Reading parquet")
    try:
        with parquet.ParquetFile(path) as file:
            batches = (row for batch in file.iter_batches(1000) for row in batch.to_pylist())
            yield from _rows(batches, text_field)
    except (InvalidInputFileError, MemoryError):
        raise
    except Exception as error:  # whatever a library makes of a broken file
        raise InvalidInputFileError(
            f"It is no parquet that can be read ({_short(error)}).", hint="Write it anew."
        ) from error


def _rows(rows: Iterable[Mapping[str, Any]], text_field: str | None) -> Iterator[ParsedDocument]:
    """Rows as units: a text, perhaps a title and a name, and the rest as metadata."""
    for number, row in enumerate(rows, 1):
        named = {str(name): value for name, value in row.items() if name is not None}
        field_name = text_field or next((name for name in TEXT_FIELDS if isinstance(named.get(name), str)), None)
        text = named.get(field_name or "")
        if field_name is None or (text is not None and not isinstance(text, str)) or field_name not in named:
            raise InvalidInputFileError(
                f"Row {number} has no text in {field_name or 'a usual column'!r}; it has {', '.join(named)[:200]}.",
                hint="Name the column with --field.",
            )
        title = next((named[name] for name in TITLE_FIELDS if isinstance(named.get(name), str)), "")
        name = next((str(named[name]) for name in ID_FIELDS if isinstance(named.get(name), str | int)), "")
        own = {key: value for key, value in named.items() if key != field_name and key not in ID_FIELDS}
        blocks = [Block(part, (title,) if title else ()) for part in re.split(r"\n\s*\n", text or "")]
        yield ParsedDocument(blocks, name, own)


def _decoded(path: Path) -> str:
    return decode(path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")


def _decoded_html(content: bytes) -> str:
    """HTML may name its own encoding."""
    named = re.search(rb"""<meta[^>]+charset=["']?([\w-]+)""", content[:2048], re.IGNORECASE)
    if named:
        name = named[1].decode("ascii").lower()
        try:
            return content.decode("gb18030" if name in ("gb2312", "gbk") else name)
        except (LookupError, UnicodeDecodeError):
            pass
    return decode(content)


def _encoding(sample: bytes) -> str:
    """The encoding of a file by its beginning, which may end within a character."""
    cut = sample[: sample.rfind(b"\n") + 1] or sample
    text = decode(cut)
    for name in ("utf-8-sig", "utf-16", "gb18030", "cp1252"):
        try:
            if cut.decode(name).removeprefix("\ufeff") == text.removeprefix("\ufeff"):
                return name
        except UnicodeDecodeError:
            continue
    return "utf-8"


def _under(headings: list[tuple[int, str]], level: int, title: str) -> None:
    """Put a heading below those that are above it."""
    while headings and headings[-1][0] >= level:
        headings.pop()
    if title.strip():
        headings.append((level, _spaced(title)[:200]))


def _titled(headings: list[tuple[int, str]], blocks: list[Block]) -> dict[str, Any]:
    first = next((block.headings[0] for block in blocks if block.headings), headings[0][1] if headings else "")
    return {"title": first} if first else {}


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]


DOCUMENTS: dict[str, Callable[[Path], ParsedDocument]] = {
    ".txt": _text,
    ".md": _markdown,
    ".markdown": _markdown,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
    ".docx": _docx,
}
TABLES: dict[str, Callable[[Path, str | None], Iterator[ParsedDocument]]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _parquet,
}
PARSERS = (*DOCUMENTS, *TABLES)
