"""Parser of Word documents: the text that a reader sees, in its order.

The XML is read directly. python-docx skips content controls, tracked insertions, nested tables, text boxes and notes,
and repeats merged cells; mammoth reads these, but no headers and footers, no formulas, no text boxes without an older
form, and takes the prompt of an empty content control for text.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from rerankd._common.error_text import first_line
from rerankd._common.optional import require
from rerankd._common.plural import counted
from rerankd.errors import InvalidInputFileError, MissingDependencyError
from rerankd.retrieval.outline import Outline, spaced
from rerankd.retrieval.parsed_document import ParsedDocument
from rerankd.retrieval.word_hidden import HiddenText
from rerankd.retrieval.word_numbering import Numbering
from rerankd.retrieval.word_objects import chart_lines
from rerankd.retrieval.word_styles import heading_levels
from rerankd.retrieval.word_symbols import symbol
from rerankd.retrieval.word_text import LEFT_OUT, header_rows, is_placeholder, rows_of, text_of
from rerankd.retrieval.word_xml import attribute, child, name_of

MAX_UNPACKED = 200_000_000
_OLE = b"\xd0\xcf\x11\xe0"
_READ_ROLES = ("footnotes", "endnotes", "header", "footer")
_INLINE = frozenset(["oMath", "oMathPara", "r", "hyperlink", "fldSimple"])  # Word reads them outside of paragraphs, too
_NOTES = {"footnoteReference": "footnotes", "endnoteReference": "endnotes"}


def parse_docx(path: Path) -> ParsedDocument:
    """Parse a Word document; headings are told by their style or outline level.

    Automatic numbers of lists and headings are text, as Word shows them. Tracked insertions are text, deletions are
    not. A footnote follows its paragraph, a text box the paragraph to which it is anchored; headers and footers come
    last, once each.

    Raises:
        InvalidInputFileError: the file is damaged or locked, or unpacks to more than `MAX_UNPACKED` bytes.
        MissingDependencyError: the extra `rag` is not installed.
    """
    etree: Any = require("lxml.etree", "rag", "Reading Word documents")
    with path.open("rb") as file:
        if file.read(4) == _OLE:
            raise InvalidInputFileError(
                "The Word document is locked with a password, or is in the older .doc format.",
                hint="Save it as .docx without a password.",
            )
    try:
        with zipfile.ZipFile(path) as archive:
            return _Document(_Package(archive, etree)).parsed()
    except (InvalidInputFileError, MissingDependencyError, MemoryError, OSError):
        raise
    except Exception as error:  # libraries raise anything on a damaged file
        raise InvalidInputFileError(
            f"The Word document cannot be read ({first_line(error)}).", hint="Open it and save it as .docx."
        ) from error


class _Package:
    """The XML parts of a Word document by their role."""

    def __init__(self, archive: zipfile.ZipFile, etree: Any) -> None:
        self._archive, self._etree = archive, etree
        self._names = set(archive.namelist())
        self._room = MAX_UNPACKED
        self._parts: dict[str, list[Any]] = {}
        main = next(iter(self._targets("_rels/.rels", "officeDocument")), "word/document.xml")
        folder, name = PurePosixPath(main).parent, PurePosixPath(main).name
        self.main = self._read(main)
        self._relations = f"{folder}/_rels/{name}.rels" if str(folder) != "." else f"_rels/{name}.rels"

    def parts(self, role: str) -> list[Any]:
        """Return the roots of the parts in a role, such as `footnotes`; each is read once."""
        if role not in self._parts:
            names = self._targets(self._relations, role)
            self._parts[role] = [self._read(name) for name in names if name in self._names]
        return self._parts[role]

    def _targets(self, relations: str, role: str) -> list[str]:
        if relations not in self._names:
            return []
        base = PurePosixPath(relations).parent.parent
        targets = [
            item.get("Target", "")
            for item in self._read(relations)
            if isinstance(item.tag, str) and item.get("Type", "").rsplit("/", 1)[-1] == role
        ]
        return [target.lstrip("/") if target.startswith("/") else str(base / target) for target in targets]

    def _read(self, name: str) -> Any:
        self._room -= self._archive.getinfo(name).file_size
        if self._room < 0:
            raise InvalidInputFileError(
                f"The text of the document unpacks to more than {MAX_UNPACKED // 1_000_000} MB.", hint="Split it."
            )
        parser = self._etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
        tree = self._etree.fromstring(self._archive.read(name), parser)
        if tree.getroottree().docinfo.internalDTD is not None:
            raise InvalidInputFileError("The Word document defines XML entities.", hint="Save it again with Word.")
        return tree


class _Document:
    """One pass over a document's body."""

    def __init__(self, package: _Package) -> None:
        self._package = package
        styles = package.parts("styles")
        self._levels = heading_levels(styles)
        hidden = HiddenText(styles)
        roots = [package.main, *(root for role in _READ_ROLES for root in package.parts(role))]
        self._has_hidden = sum(map(hidden.remove, roots)) > 0
        Numbering(package.parts("numbering"), styles).write(package.main)
        self._outline = Outline()
        self._notes = {
            (role, attribute(note, "id")): note
            for role in ("footnotes", "endnotes")
            for root in package.parts(role)
            for note in root
            if attribute(note, "type") in ("", "normal")
        }
        self._read_notes: set[tuple[str, str]] = set()

    def parsed(self) -> ParsedDocument:
        for part in self._package.main:
            self._blocks(part)
        title = self._outline.title
        self._outline.heading(0, "")
        margins = {
            spaced(text_of(root)): None
            for role in ("header", "footer", "diagramData")
            for root in self._package.parts(role)
        }
        for text in margins:
            if len(re.findall(r"[^\W\d_]", text)) > 1:  # not just the number of the page
                self._outline.add(text)
        for root in self._package.parts("chart"):
            self._outline.add("\n".join(chart_lines(root)))
        return ParsedDocument(
            self._outline.finish(), metadata={"title": title} if title else {}, notes=self._left_out()
        )

    def _left_out(self) -> tuple[str, ...]:
        """Return a sentence for each kind of content that is not read."""
        roots = [*self._package.main, *(root for role in _READ_ROLES for root in self._package.parts(role))]
        elements = [element for root in roots for element in root.iter()]
        found = Counter(map(name_of, elements))
        main = self._package.main.iter()
        counts = {
            ("comment in the margin", "comments in the margin"): sum(
                len(root) for root in self._package.parts("comments")
            ),
            ("embedded document", "embedded documents"): found["altChunk"] + found["subDoc"],
            ("embedded object", "embedded objects"): found["OLEObject"],
            ("picture", "pictures"): sum(name_of(item) in ("blip", "imagedata") and _is_read(item) for item in main),
            ("character of a symbol font", "characters of symbol fonts"): sum(
                name_of(item) == "sym" and not symbol(item) for item in elements
            ),
        }
        notes = [f"{counted(n, f'{one} was', f'{many} were')} left out." for (one, many), n in counts.items() if n]
        return tuple([*notes, "Left out: hidden text."] if self._has_hidden else notes)

    def _blocks(self, container: Any) -> None:
        """Add the blocks of a container: the body, a content control, an insertion, a note or a text box."""
        for element in container:
            name = name_of(element)
            if name == "p":
                self._paragraph(element)
            elif name == "tbl":
                rows = list(rows_of(element))
                self._outline.add("\n".join(rows), header_rows(element))
                self._attached(element)
            elif name == "AlternateContent":
                for chosen in element[:1]:
                    self._blocks(chosen)
            elif name in _INLINE:
                self._outline.add(text_of(element))
            elif name not in LEFT_OUT and not is_placeholder(element):
                self._blocks(element)

    def _paragraph(self, element: Any) -> None:
        text = text_of(element)
        level = self._level(element)
        if level is not None and text.strip():
            self._outline.heading(level, text)
        else:
            self._outline.add(text)
        if len(element):
            self._attached(element)

    def _level(self, element: Any) -> int | None:
        properties = child(element, "pPr")
        if properties is None:
            return self._levels.get("", None)
        outline = child(properties, "outlineLvl")
        if outline is not None and attribute(outline, "val").isdigit():
            level = int(attribute(outline, "val"))
            return level + 1 if level < 9 else None
        style = child(properties, "pStyle")
        return self._levels.get(attribute(style, "val") if style is not None else "", None)

    def _attached(self, element: Any) -> None:
        """Add the notes that a paragraph or table refers to, and the text boxes that are anchored to it."""
        for item in element.iter():
            name = name_of(item)
            if name == "txbxContent" and not _is_fallback(item, element):
                self._blocks(item)
            elif name in _NOTES:
                key = (_NOTES[name], attribute(item, "id"))
                if key in self._notes and key not in self._read_notes:
                    self._read_notes.add(key)
                    self._blocks(self._notes[key])


def _is_read(element: Any) -> bool:
    """Return False for the second form of a drawing, and for the picture of an embedded object, which is counted."""
    above = {name_of(parent) for parent in element.iterancestors()}
    return not above & {"Fallback", "object"}


def _is_fallback(element: Any, top: Any) -> bool:
    """Return True for the second form of a text box, which Word writes for older programs."""
    parent = element.getparent()
    while parent is not None and parent is not top:
        if name_of(parent) == "Fallback":
            return parent.getprevious() is not None
        if name_of(parent) == "txbxContent":
            return True  # a text box within a text box, which is read with it
        parent = parent.getparent()
    return False
