"""Parser of PDF, with PDFium: blocks are paragraphs, and each knows its page.

PDFium was chosen over pypdf because it opens AES-encrypted files without another package and gives the place of each
character, from which `pdf_layout` restores columns and broken words.
"""

from __future__ import annotations

import ctypes
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rerankd._common.error_text import first_line
from rerankd._common.optional import require
from rerankd.errors import InvalidInputFileError, MissingDependencyError
from rerankd.retrieval.parsed_document import ParsedDocument
from rerankd.retrieval.pdf_layout import Line, begins_broken, in_reading_order, join, paragraphs
from rerankd.retrieval.splitting import Block

_PASSWORD = 4  # FPDF_ERR_PASSWORD
_SECURITY = 5  # FPDF_ERR_SECURITY
_LINE_HYPHENS = frozenset(["\x02", "\ufffe"])  # PDFium's signs for a hyphen at a line's end
_LIGATURES = {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}
_GAP = 1.2  # a gap of so many heights of a letter separates columns


def parse_pdf(path: Path) -> ParsedDocument:
    """Parse PDF; blocks know their page.

    Raises:
        InvalidInputFileError: the file is damaged or locked, or has no text.
        MissingDependencyError: the extra `rag` is not installed.
    """
    pdfium: Any = require("pypdfium2", "rag", "Reading PDF")
    try:
        document = pdfium.PdfDocument(path)
        try:
            pages = [
                in_reading_order(list(_pieces(pdfium.raw, _page(pdfium.raw, document, number))))
                for number in range(len(document))
            ]
            title = " ".join(document.get_metadata_value("Title").split())
        finally:
            document.close()
    except (InvalidInputFileError, MissingDependencyError, MemoryError, OSError):
        raise
    except Exception as error:  # libraries raise anything on a damaged file
        code = getattr(error, "err_code", None)
        if code in (_PASSWORD, _SECURITY):
            raise InvalidInputFileError(
                "The PDF is locked with a password.", hint="Save it without a password."
            ) from error
        raise InvalidInputFileError(
            f"The PDF cannot be read ({first_line(error)}).", hint="Open it and save it again."
        ) from error
    blocks = _blocks(pages)
    if not blocks:
        raise InvalidInputFileError("The PDF contains no text; its pages may be scanned images.", hint="Run OCR first.")
    return ParsedDocument(blocks, metadata={"title": title} if title else {}, notes=_blank_pages(pages))


def _blocks(pages: list[list[Line]]) -> list[Block]:
    """Return the paragraphs of all pages; a word that is broken between two pages stands on the first."""
    words = Counter(
        word.lower() for lines in pages for line in lines for word in re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", line.text)
    )
    blocks: list[Block] = []
    for number, lines in enumerate(pages, 1):
        texts = paragraphs(lines, words)
        if blocks and texts and blocks[-1].page == number - 1 and begins_broken(blocks[-1].text):
            start, _, rest = texts[0].partition(" ")
            if start[:1].islower():
                blocks[-1] = Block(join(blocks[-1].text, start, words), page=number - 1)
                texts[0] = rest
        blocks += [Block(text, page=number) for text in texts if text.strip()]
    return blocks


def _page(raw: Any, document: Any, number: int) -> Any:
    """Return a page, the values of its form fields and its text notes being part of it."""
    page = document[number]
    if raw.FPDFPage_GetAnnotCount(page) > 0:
        raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY)
        page.close()
        page = document[number]
    return page


def _pieces(raw: Any, page: Any) -> Iterator[Line]:
    """Yield the pieces of text of a page, line by line, cut at wide gaps."""
    text_page = page.get_textpage()
    try:
        row = 0
        letters: list[str] = []
        box: list[float] = []
        edges = [ctypes.c_double() for _ in range(4)]
        for index in range(text_page.count_chars()):
            char = _character(raw, text_page, index)
            if char in _LINE_HYPHENS:
                letters.append("-")
            if char in "\r\n" or char in _LINE_HYPHENS:
                if letters and box:
                    yield _line(letters, box, row)
                letters, box = [], []
                row += char != "\r"
                continue
            if char == " " or not raw.FPDFText_GetCharBox(text_page, index, *map(ctypes.byref, edges)):
                letters.append(char)
                continue
            left, right, bottom, top = (edge.value for edge in edges)
            if box and left - box[1] > _GAP * (box[3] - box[2]) > 0:
                yield _line(letters, box, row)
                letters, box = [], []
            letters.append(char)
            box = [min(box[0], left), max(box[1], right), min(box[2], bottom), max(box[3], top)] if box else [
                left, right, bottom, top,
            ]  # fmt: skip
        if letters and box:
            yield _line(letters, box, row)
    finally:
        text_page.close()
        page.close()


def _character(raw: Any, text_page: Any, index: int) -> str:
    code = raw.FPDFText_GetUnicode(text_page, index)
    char = chr(code) if 0 < code < 0x110000 else "\ufffd"
    if char in "\t\xa0\v\f":
        return " "
    return _LIGATURES.get(char, char)


def _line(letters: list[str], box: list[float], row: int) -> Line:
    text = " ".join("".join(letters).split())
    return Line(text[:-1].replace("\xad", "") + text[-1:], box[0], box[1], box[2], box[3], row)


def _blank_pages(pages: list[list[Line]]) -> tuple[str, ...]:
    blank = [str(number) for number, lines in enumerate(pages, 1) if not lines]
    if not blank:
        return ()
    shown = ", ".join(blank[:10]) + (f" and {len(blank) - 10} more" if len(blank) > 10 else "")
    return (f"No text on page {shown}; scanned pages need OCR.",)
