"""Parsers of documents: text, Markdown, HTML, PDF and Word. A file gives one document."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

from rerankd._common.error_text import first_line
from rerankd._common.optional import require
from rerankd.errors import InvalidInputFileError, MissingDependencyError
from rerankd.retrieval.decoding import decode
from rerankd.retrieval.parsed_document import ParsedDocument
from rerankd.retrieval.splitting import Block

MAX_UNPACKED = 500_000_000
# fmt: off
BLOCK_TAGS = frozenset([
    "p", "div", "section", "article", "li", "ul", "ol", "dl", "dt", "dd",
    "table", "tr", "pre", "blockquote", "figure", "figcaption", "main", "header",
    "body", "br", "hr", "form", "fieldset", "details", "summary", "address",
])
SKIPPED_TAGS = frozenset([
    "script", "style", "noscript", "template", "svg", "nav", "footer", "iframe", "head", "button", "select",
])
# fmt: on


def parse_text(path: Path) -> ParsedDocument:
    """Parse plain text: a paragraph is a block."""
    return ParsedDocument([Block(part) for part in re.split(r"\n\s*\n", _decoded(path))])


def parse_markdown(path: Path) -> ParsedDocument:
    """Parse Markdown; blocks are slices of the source, so that code and tables keep their form."""
    markdown_it: Any = require("markdown_it", "rag", "Reading Markdown")
    text = _decoded(path)
    if text.startswith("---\n") and (end := text.find("\n---", 4)) > 0:  # front matter
        text = text[text.find("\n", end + 1) + 1 :] if "\n" in text[end + 1 :] else ""
    lines = text.splitlines()
    blocks: list[Block] = []
    headings: list[tuple[int, str]] = []
    tokens = markdown_it.MarkdownIt("commonmark").enable("table").parse(text)
    for position, token in enumerate(tokens):
        if token.level or token.map is None:
            continue
        if token.type == "heading_open":
            _under(headings, int(token.tag[1]), tokens[position + 1].content)
        elif token.type != "hr":
            source = "\n".join(lines[token.map[0] : token.map[1]])
            blocks.append(Block(source, tuple(title for _, title in headings)))
    return ParsedDocument(blocks, metadata=_titled(headings, blocks))


def parse_html(path: Path) -> ParsedDocument:
    """Parse HTML without navigation, scripts and styles.

    Raises:
        MissingDependencyError: the extra `rag` is not installed.
    """
    parser: Any = require("selectolax.lexbor", "rag", "Reading HTML")
    tree = parser.LexborHTMLParser(_decoded_html(path.read_bytes()))
    blocks: list[Block] = []
    headings: list[tuple[int, str]] = []
    texts: list[str] = []

    def flush() -> None:
        text = "".join(texts)
        texts.clear()
        if text.strip():
            blocks.append(Block(text if "\n" in text.strip() else _spaced(text), tuple(title for _, title in headings)))

    # Without recursion, because pages may be nested thousands of tags deep; True marks the end of a block.
    stack: list[tuple[Any, bool]] = [(tree.body, False)] if tree.body is not None else []
    while stack:
        node, is_end = stack.pop()
        tag = node.tag
        if is_end:
            flush()
            continue
        if tag == "-text":
            text = node.text(deep=False) or ""
            preformatted = node.parent is not None and node.parent.tag == "pre"
            texts.append(text if preformatted else re.sub(r"\s+", " ", text))
            continue
        if tag in SKIPPED_TAGS or tag.startswith(("-", "_")):
            continue
        if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
            flush()
            _under(headings, int(tag[1]), _spaced(node.text(separator=" ")))
            continue
        if tag in ("td", "th"):
            texts.append(" ")
        if tag in BLOCK_TAGS:
            flush()
            stack.append((node, True))
        children = list(node.iter(include_text=True))
        stack += [(child, False) for child in reversed(children)]
    flush()
    title = tree.css_first("title")
    metadata = {"title": _spaced(title.text())} if title is not None and title.text().strip() else {}
    return ParsedDocument(blocks, metadata=metadata or _titled(headings, blocks))


def parse_pdf(path: Path) -> ParsedDocument:
    """Parse PDF; blocks know their page.

    Raises:
        InvalidInputFileError: the file is damaged or encrypted, or has no text.
        MissingDependencyError: the extra `rag` is not installed.
    """
    reader_of: Any = require("pypdf", "rag", "Reading PDF").PdfReader
    try:
        reader = reader_of(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise InvalidInputFileError("The PDF is password-protected.", hint="Save it without a password.")
        blocks = [
            Block(part, page=number)
            for number, page in enumerate(reader.pages, 1)
            for part in re.split(r"\n\s*\n", page.extract_text() or "")
        ]
        metadata = reader.metadata
        title = str(metadata.title).strip() if metadata is not None and metadata.title else ""
    except (InvalidInputFileError, MissingDependencyError, MemoryError):
        raise
    except Exception as error:  # libraries raise anything on a damaged file
        raise InvalidInputFileError(
            f"The PDF cannot be read ({first_line(error)}).", hint="Open it and save it again."
        ) from error
    if not any(block.text.strip() for block in blocks):
        raise InvalidInputFileError("The PDF contains no text; its pages may be scanned images.", hint="Run OCR first.")
    return ParsedDocument(blocks, metadata={"title": title} if title else {})


def parse_docx(path: Path) -> ParsedDocument:
    """Parse a Word document; headings are told by their style.

    Raises:
        InvalidInputFileError: the file is damaged, or unpacks to more than `MAX_UNPACKED` bytes.
        MissingDependencyError: the extra `rag` is not installed.
    """
    docx: Any = require("docx", "rag", "Reading Word documents")
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(item.file_size for item in archive.infolist()) > MAX_UNPACKED:
                raise InvalidInputFileError(
                    f"The document unpacks to more than {MAX_UNPACKED // 1_000_000} MB.",
                    hint="Remove large pictures from it.",
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
    except Exception as error:  # libraries raise anything on a damaged file
        raise InvalidInputFileError(
            f"The Word document cannot be read ({first_line(error)}).", hint="Open it and save it as .docx."
        ) from error
    return ParsedDocument(blocks, metadata=_titled(headings, blocks))


def _decoded(path: Path) -> str:
    return decode(path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")


def _decoded_html(content: bytes) -> str:
    """Decode HTML by the encoding that it names, if it names one."""
    declared = re.search(rb"""<meta[^>]+charset=["']?([\w-]+)""", content[:2048], re.IGNORECASE)
    if declared:
        name = declared[1].decode("ascii").lower()
        try:
            return content.decode("gb18030" if name in ("gb2312", "gbk") else name)
        except (LookupError, UnicodeDecodeError):
            pass
    return decode(content)


def _under(headings: list[tuple[int, str]], level: int, title: str) -> None:
    """Add a heading, and remove those that it ends."""
    while headings and headings[-1][0] >= level:
        headings.pop()
    if title.strip():
        headings.append((level, _spaced(title)[:200]))


def _titled(headings: list[tuple[int, str]], blocks: list[Block]) -> dict[str, Any]:
    first = next((block.headings[0] for block in blocks if block.headings), headings[0][1] if headings else "")
    return {"title": first} if first else {}


def _spaced(text: str) -> str:
    return " ".join(text.split())
