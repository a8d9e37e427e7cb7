"""Small documents of other programs' formats."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_pdf(path: Path, pages: Sequence[str]) -> None:
    """Return a PDF with a line of Latin text on each page, written by hand."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    kids = []
    for text in pages:
        stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        page_attributes = f"/MediaBox [0 0 612 792] /Resources << /Font << /F1 {font} >> >>"
        objects.append(f"<< /Type /Page /Parent 2 0 R /Contents {len(objects)} 0 R {page_attributes} >>")
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    content, positions = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        positions.append(len(content))
        content += f"{number} 0 obj\n{body}\nendobj\n".encode()
    start = len(content)
    content += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    content += b"".join(f"{position:010d} 00000 n \n".encode() for position in positions)
    content += f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF".encode()
    path.write_bytes(content)


def write_docx(path: Path) -> None:
    """Return a Word document with headings and a table."""
    import docx

    document = docx.Document()
    document.add_heading("保修手册", 0)
    document.add_paragraph("开头的一段。")
    document.add_heading("期限", 1)
    document.add_paragraph("一年。")
    table = document.add_table(rows=2, cols=2)
    for row, texts in zip(table.rows, (("项目", "时间"), ("手机", "一年")), strict=True):
        for cell, text in zip(row.cells, texts, strict=True):
            cell.text = text
    document.save(str(path))


WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_CONTENT = "http://schemas.openxmlformats.org/package/2006/content-types"
_TYPES = "application/vnd.openxmlformats-officedocument.wordprocessingml"
_DEFAULTS = {"rels": "application/vnd.openxmlformats-package.relationships+xml", "xml": "application/xml"}
_ROLES = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def write_word(path: Path, body: str, **parts: str) -> None:
    """Write a Word document from the XML of its body and of further parts, such as `footnotes`, by their role."""

    def relations(targets: dict[str, str]) -> str:
        items = "".join(
            f'<Relationship Id="r{role}" Type="{_ROLES}/{role.rstrip("0123456789")}" Target="{target}"/>'
            for role, target in targets.items()
        )
        return f'<Relationships xmlns="{_RELATIONS}">{items}</Relationships>'

    def part(tag: str, content: str) -> str:
        return (
            f'<w:{tag} xmlns:w="{WORD}" xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
            ' xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape" xmlns:v="urn:schemas-'
            'microsoft-com:vml" xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math">'
            f"{content}</w:{tag}>"
        )

    tags = {"header": "hdr", "footer": "ftr"}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        types = "".join(
            f'<Override PartName="/word/{name}.xml" ContentType="{_TYPES}.{kind}+xml"/>'
            for name, kind in [("document", "document.main"), *((role, role.rstrip("0123456789")) for role in parts)]
        )
        defaults = "".join(f'<Default Extension="{name}" ContentType="{kind}"/>' for name, kind in _DEFAULTS.items())
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{_CONTENT}">{defaults}{types}</Types>')
        archive.writestr("_rels/.rels", relations({"officeDocument": "word/document.xml"}))
        archive.writestr("word/document.xml", part("document", f"<w:body>{body}</w:body>"))
        archive.writestr("word/_rels/document.xml.rels", relations({role: f"{role}.xml" for role in parts}))
        for role, content in parts.items():
            name = role.rstrip("0123456789")
            archive.writestr(f"word/{role}.xml", part(tags.get(name, name), content))


def p(*texts: str, style: str = "") -> str:
    """Return the XML of a paragraph; a text that is XML is taken as it is."""
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}{''.join(text if text.startswith('<') else r(text) for text in texts)}</w:p>"


def r(text: str) -> str:
    """Return the XML of a run of text."""
    return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'


def draw_pdf(
    path: Path, pages: Sequence[Sequence[tuple[float, float, str]]], title: str = "Manual", **password: Any
) -> None:
    """Write a PDF with texts at x and y in points on each page, and encrypt it with AES-256 if passwords are given."""
    from reportlab.pdfgen import canvas

    drawing = canvas.Canvas(str(path))
    drawing.setTitle(title)
    for texts in pages:
        for x, y, text in texts:
            drawing.drawString(x, y, text)
        drawing.showPage()
    drawing.save()
    if password:
        from pypdf import PdfWriter

        writer = PdfWriter(clone_from=str(path))
        writer.encrypt(**password, algorithm="AES-256")
        writer.write(str(path))


def column(x: float, lines: Sequence[str], top: float = 780.0) -> list[tuple[float, float, str]]:
    """Return lines below each other, as `draw_pdf` takes them."""
    return [(x, top - 14 * number, line) for number, line in enumerate(lines)]
