"""Parser of HTML: the content of a page without what surrounds it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rerankd._common.optional import require
from rerankd.errors import InvalidInputFileError
from rerankd.retrieval.decoding import decode_html
from rerankd.retrieval.formulas import superscript_mark
from rerankd.retrieval.html_content import (
    FORMULAS,
    HIDDEN,
    content_roots,
    formula_text,
    has_hidden,
    image_text,
    inline_text,
    is_left_out,
    left_out_kind,
)
from rerankd.retrieval.html_lists import LISTS, item_numbers
from rerankd.retrieval.html_tables import data_rows, is_data
from rerankd.retrieval.outline import Outline, given_title, spaced
from rerankd.retrieval.parsed_document import ParsedDocument

# fmt: off
BLOCK_TAGS = frozenset([
    "p", "div", "section", "article", "li", "ul", "ol", "dl", "dt", "dd",
    "table", "tr", "pre", "blockquote", "figure", "figcaption", "main", "header", "footer", "aside",
    "body", "br", "hr", "form", "fieldset", "details", "summary", "address", "caption", "hgroup", "center",
    "listing", "xmp", "option", "legend",
])
# Tags that need no end, so that many of them may follow each other.
_UNNESTED = frozenset([
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
    "path", "p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "colgroup", "option", "optgroup", "rt",
    "rp",
])
# fmt: on
_TAG = re.compile(r"<(?:(/?)([a-z][a-z0-9-]*)(?![^<>]*/>)|!--)")
_RAW = {name: f"</{name}" for name in ("script", "style", "textarea", "title", "xmp", "noscript")} | {"!--": "-->"}
_XHTML = re.compile(r"<\?xml\s|//DTD XHTML|http://www\.w3\.org/1999/xhtml")
_EMPTY_RAW = re.compile(
    r"<(script|style|title|textarea|iframe|noscript|xmp|noframes|template)\b([^<>]*)/>", re.IGNORECASE
)
_BEGINNING = 2000
MAX_DEPTH = 10_000
_HEADINGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])
_VERBATIM = frozenset(["pre", "listing", "xmp"])
_PERMALINK = re.compile(r"\s+[¶#§🔗]$|¶$")
_DATES = ("date", "dc.date", "dcterms.date", "dcterms.created", "article:published_time", "datepublished")


def parse_html(path: Path) -> ParsedDocument:
    """Parse HTML: the content of `main` if there is one, else the page without navigation, banners and forms.

    Hidden elements are left out. A note names what was left out.

    Raises:
        InvalidInputFileError: its elements are nested deeper than `MAX_DEPTH`.
        MissingDependencyError: the extra `rag` is not installed.
    """
    parser: Any = require("selectolax.lexbor", "rag", "Reading HTML")
    page = _with_ends(decode_html(path.read_bytes()))
    _check_depth(page)
    tree = parser.LexborHTMLParser(page)
    found = tree.css_first("title")
    title = "" if found is None else given_title(found.text())
    roots, has_more = content_roots(tree)
    outline = Outline()
    if not any(root.tag in _HEADINGS or root.css_first("h1") is not None for root in roots):
        heading = tree.css_first("h1")  # of the page's header, outside its content
        above = "" if heading is None else inline_text(heading, BLOCK_TAGS)
        outline.heading(0, above or ("" if any(root.css_first("h2, h3") is not None for root in roots) else title))
    left_out = {"text outside of main"} if has_more else set[str]()
    for root in roots:
        left_out |= _Walk(outline).add(root)
    metadata = {"title": title or outline.title} if title or outline.title else {}
    date = _date(tree)
    notes = (f"Left out: {', '.join(sorted(left_out))}.",) if left_out else ()
    return ParsedDocument(outline.finish(), metadata=metadata | ({"date": date} if date else {}), notes=notes)


class _Walk:
    """One pass over the elements of a root, without recursion, because pages may be nested thousands of tags deep."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._texts: list[str] = []
        self._verbatim = 0  # number of open elements that keep their lines
        self._content = 0  # number of open elements that hold content alone, such as `article`
        self._left_out: set[str] = set()
        self._lists: list[Iterator[str]] = []  # numbers of the items of the open lists
        self._number = ""  # of the item that begins, until its first text

    def add(self, root: Any) -> set[str]:
        """Add the text of an element and all below it; return the kinds of elements with text that are left out."""
        stack: list[tuple[Any, bool]] = [(root, False)]  # True marks the end of an element
        while stack:
            node, is_end = stack.pop()
            if is_end:
                self._close(node.tag)
            elif node.tag == "-text":
                self._text(node.text(deep=False) or "")
            elif self._open(node):
                stack.append((node, True))
                stack += [(child, False) for child in reversed(list(node.iter(include_text=True)))]
        self._flush()
        return self._left_out - {""}

    def _open(self, node: Any) -> bool:
        """Begin an element; return True if its children are to be read."""
        tag = node.tag
        if tag.startswith(("-", "_")):
            return False
        if is_left_out(node, within_content=self._content > 0):
            self._left_out.add(left_out_kind(node))
            return False
        if tag == "table" and not self._verbatim and is_data(node):
            self._flush()
            self._table(node)
            return False
        if tag in FORMULAS:
            self._texts.append(formula_text(node))
            return False
        if tag == "img":
            self._texts.append(image_text(node))
        elif tag == "sup":
            self._texts.append(superscript_mark("".join(self._texts[-4:]), node.text()))
        elif tag in ("td", "th"):
            self._texts.append(" ")
        if tag in BLOCK_TAGS or tag in _HEADINGS:
            self._end_line()
        self._verbatim += tag in _VERBATIM
        self._content += tag in ("main", "article")
        if tag in LISTS:
            self._lists.append(item_numbers(node))
        elif tag == "li" and self._lists:
            self._number += next(self._lists[-1], "")
        return True

    def _close(self, tag: str) -> None:
        if tag in _HEADINGS and not self._verbatim:
            title = self._number * any(map(str.strip, self._texts)) + "".join(self._texts)
            self._texts.clear()
            self._number = ""
            self._outline.heading(int(tag[1]), _PERMALINK.sub("", spaced(title)))
        elif tag in _VERBATIM:
            self._verbatim -= 1
            if not self._verbatim:
                self._outline.add("".join(self._texts).strip("\n").rstrip())
                self._texts.clear()
        elif tag in BLOCK_TAGS and tag != "br":
            self._end_line()
        self._content -= tag in ("main", "article")
        if tag in LISTS:
            self._lists.pop()
        elif tag == "li":
            self._number = ""

    def _end_line(self) -> None:
        if not self._verbatim:
            self._flush()
        elif self._texts and not self._texts[-1].endswith("\n"):
            self._texts.append("\n")

    def _text(self, text: str) -> None:
        text = text.replace("\xad", "")
        self._texts.append(text if self._verbatim else re.sub(r"\s+", " ", text))

    def _flush(self) -> None:
        text = spaced("".join(self._texts))
        self._texts.clear()
        if text:
            self._outline.add(self._number + text)
            self._number = ""

    def _table(self, table: Any) -> None:
        """Add a table as one block, a row on each line."""
        if has_hidden(table):
            self._left_out.add(HIDDEN)
        caption = table.css_first("caption")
        if caption is not None:
            self._outline.add(inline_text(caption, BLOCK_TAGS))
        rows, header_lines = data_rows(table, BLOCK_TAGS)
        self._outline.add("\n".join(rows), header_lines)


def _with_ends(page: str) -> str:
    """Return XHTML as HTML reads it: without `<script/>` and the like, which take in the rest of a page of HTML."""
    if not _XHTML.search(page, 0, _BEGINNING):
        return page
    return _EMPTY_RAW.sub(r"<\1\2></\1>", page)


def _check_depth(page: str) -> None:
    """Refuse a page whose nesting would take the parser a time that grows with its square."""
    lowered = page.lower()
    depth = position = 0
    while (match := _TAG.search(lowered, position)) is not None:
        closes, name = match[1] == "/", match[2] or "!--"
        position = match.end()
        if (end := _RAW.get(name)) is not None and not closes:  # a script may be full of "a<b"
            position = lowered.find(end, position)
            if position < 0:
                return
        elif name not in _UNNESTED:
            depth = max(0, depth - 1) if closes else depth + 1
            if depth > MAX_DEPTH:
                raise InvalidInputFileError(
                    f"Its elements are nested more than {MAX_DEPTH:,} deep.", hint="Save the page again with a browser."
                )


def _date(tree: Any) -> str:
    """Return the date on which a page says that it was published."""
    for meta in tree.css("meta[content]"):
        attributes = meta.attributes
        name = attributes.get("name") or attributes.get("property") or attributes.get("itemprop") or ""
        if name.lower() in _DATES:
            return spaced(attributes["content"] or "")
    return ""
