"""Parser of PDF, with PDFium: blocks are paragraphs, and each knows its page.

PDFium was chosen over pypdf because it opens AES-encrypted files without another package and gives the place of each
character, from which `pdf_layout` restores columns and broken words.
"""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rerankd._common.error_text import first_line
from rerankd._common.optional import require
from rerankd._common.plural import counted
from rerankd.errors import InvalidInputFileError, MissingDependencyError
from rerankd.retrieval.outline import given_title
from rerankd.retrieval.parsed_document import ParsedDocument
from rerankd.retrieval.pdf_layout import Line, begins_broken, downwards, in_reading_order, join, paragraphs
from rerankd.retrieval.pdf_text import PdfText
from rerankd.retrieval.splitting import Block

_PASSWORD = 4  # FPDF_ERR_PASSWORD
_SECURITY = 5  # FPDF_ERR_SECURITY
_REMARKS = frozenset([1, *range(3, 16)])  # FPDF_ANNOT_*: text, free text, shapes, marked text, stamp, caret, ink
_WIDE_STRING = ctypes.POINTER(ctypes.c_ushort)


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
            read = [_read(pdfium.raw, document, number) for number in range(len(document))]
            title = given_title(document.get_metadata_value("Title"))
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
    pages = [lines for lines, _ in read]
    blocks = _blocks(pages)
    if not blocks:
        raise InvalidInputFileError("The PDF contains no text; its pages may be scanned images.", hint="Run OCR first.")
    return ParsedDocument(
        blocks, metadata={"title": title} if title else {}, notes=(*_blank_pages(pages), *_remarks(read))
    )


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


def _read(raw: Any, document: Any, number: int) -> tuple[list[Line], int]:
    """Return the lines of a page in reading order, and the number of remarks whose text is not among them.

    Values of form fields and visible text of annotations become part of the page.
    """
    page = document[number]
    remarks = list(_annotations(raw, page))
    if raw.FPDFPage_GetAnnotCount(page) > 0:
        raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY)
        page.close()
        page = document[number]
    text_page = page.get_textpage()
    try:
        lines = in_reading_order(downwards(list(PdfText(raw, text_page).pieces())))
    finally:
        text_page.close()
        page.close()
    text = "".join("".join(line.text.split()) for line in lines)
    return lines, sum("".join(remark.split()) not in text for remark in remarks)


def _annotations(raw: Any, page: Any) -> Iterator[str]:
    """Yield the texts of sticky notes, remarks on marked text and the like."""
    for index in range(raw.FPDFPage_GetAnnotCount(page)):
        annotation = raw.FPDFPage_GetAnnot(page, index)
        if raw.FPDFAnnot_GetSubtype(annotation) in _REMARKS:
            size = raw.FPDFAnnot_GetStringValue(annotation, b"Contents", None, 0)
            buffer = ctypes.create_string_buffer(size)
            raw.FPDFAnnot_GetStringValue(annotation, b"Contents", ctypes.cast(buffer, _WIDE_STRING), size)
            if remark := buffer.raw.decode("utf-16-le", "replace").strip("\0 \t\r\n"):
                yield remark
        raw.FPDFPage_CloseAnnot(annotation)


def _remarks(read: list[tuple[list[Line], int]]) -> tuple[str, ...]:
    count = sum(remarks for _, remarks in read)
    return (f"{counted(count, 'remark in annotations was', 'remarks in annotations were')} left out.",) if count else ()


def _blank_pages(pages: list[list[Line]]) -> tuple[str, ...]:
    blank = [str(number) for number, lines in enumerate(pages, 1) if not lines]
    if not blank:
        return ()
    shown = ", ".join(blank[:10]) + (f" and {len(blank) - 10} more" if len(blank) > 10 else "")
    return (f"No text on page {shown}; scanned pages need OCR.",)
