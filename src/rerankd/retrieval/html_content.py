"""Which elements of a page are its content, and which surround it: navigation, banners, forms.

trafilatura was tried instead. Of six kinds of page it reads four alike; it drops a remark beside the text of a manual,
and keeps the cookie banner of a page without `main`. In an index, a menu too many costs less than a sentence lost.
"""

from __future__ import annotations

import re
from typing import Any

from rerankd.retrieval.formulas import fraction, indexed, power, root, superscript_mark

# fmt: off
_SKIPPED_TAGS = frozenset([
    "script", "style", "title", "noscript", "template", "svg", "nav", "iframe", "head", "button", "select", "dialog",
    "textarea", "annotation", "annotation-xml", "rt", "rp", "object", "canvas", "datalist", "menu",
])
# fmt: on
_SKIPPED_ROLES = frozenset(
    ["navigation", "banner", "contentinfo", "search", "dialog", "alertdialog", "menu", "menubar"]
)
_BANNER = re.compile(
    r"""(?:^|.*[-_])(?:cookies?|consent|gdpr|newsletter|subscri(?:be|ption)|onetrust|breadcrumbs?)
    (?:[-_]?(?:banner|bar|notice|popup|modal|overlay|message|dialog|box|sign-?up|form|container|wrapper|consent|alert|
    info|hint|law|sdk|widget|block|section))*$""",
    re.IGNORECASE | re.VERBOSE,
)
FORMULAS = frozenset(["mfrac", "msup", "msub", "msubsup", "msqrt", "mroot"])  # of MathML
_MAX_FORMULA_DEPTH = 30
_MIN_MAIN = 0.2  # share of a page's content; less is a frame around it
_NO_TEXT = frozenset(
    ["script", "style", "title", "head", "rt", "rp", "annotation", "annotation-xml", "datalist", "canvas", "td", "th"]
)
_KINDS = {
    "nav": "navigation", "navigation": "navigation", "menu": "menus", "menubar": "menus", "footer": "footers",
    "contentinfo": "footers", "aside": "asides", "complementary": "asides", "noscript": "noscript",
    "template": "templates", "svg": "labels of graphics", "iframe": "frames", "object": "frames",
    "dialog": "dialogs", "alertdialog": "dialogs", "button": "form controls", "select": "form controls",
    "textarea": "form controls", "search": "form controls",
}  # fmt: skip
HIDDEN = "hidden text"
_NOT_DISPLAYED = re.compile(r"(?:^|;)\s*display\s*:\s*none\b", re.IGNORECASE)
_INVISIBLE = re.compile(r"(?:^|;)\s*visibility\s*:\s*(?:hidden|collapse)\b", re.IGNORECASE)
_CELLS = ("td", "th")
_REVEALED = frozenset(["tabpanel", "region"])  # roles of what a click shows: tabs and accordions
# What assistive technology is told to skip because it is no text, or is there twice: icons, links to a heading itself,
# the drawn form of formulas.
_DECORATION_TAGS = frozenset(["a", "i", "img", "svg", "use"])
_DECORATION = re.compile(r"icon|symbols?\b|glyph|katex|mathjax|mjx|anchor|permalink|\bfa[srbl]?\b", re.IGNORECASE)
_IMAGE_FILE = re.compile(r"\S+\.(?:png|jpe?g|gif|webp|svg|avif|bmp|ico)", re.IGNORECASE)
_LINE_NUMBERS = frozenset(["linenos", "linenodiv", "lineno", "line-numbers", "gutter"])
_MAX_BANNER = 1500  # letters; what is longer is content, whatever its class says


def content_roots(tree: Any) -> tuple[list[Any], bool]:
    """Return the elements that hold the content of a page, and True if other text of the page is left out with that.

    These are the `main` elements, unless most of the page stands outside of them; then it is the body.
    """
    if tree.body is None:
        return [], False
    mains = [node for node in tree.css("main, [role=main]") if not _has_ancestor(node, ("main",), role="main")]
    mains = [node for node in mains if not _hides(node)] or mains  # of several views, the one that is shown
    inside = sum(_content_length(node) for node in mains)
    if not inside:
        return [tree.body], False
    length = _content_length(tree.body)
    return ([tree.body], False) if inside < _MIN_MAIN * length else (mains, length > inside)


def _content_length(root: Any) -> int:
    """Return the number of characters of a root's content."""
    count = 0
    stack = [(root, False)]
    while stack:
        node, within = stack.pop()
        if node.tag == "-text":
            count += len((node.text(deep=False) or "").strip())
        elif not node.tag.startswith(("-", "_")) and (node is root or not is_left_out(node, within_content=within)):
            within = within or node.tag in ("main", "article")
            stack += [(child, within) for child in node.iter(include_text=True)]
    return count


def left_out_kind(node: Any) -> str:
    """Return what an element is that is left out, for a note; empty if a reader would miss no text."""
    # The content of a template is a document of its own, whose text is not the element's.
    text = re.sub(r"<[^>]*>", "", node.html or "") if node.tag == "template" else node.text()
    if node.tag in _NO_TEXT or not text.strip():
        return ""
    other = HIDDEN if is_hidden(node) else "boxes beside the content"
    return _KINDS.get(node.tag, _KINDS.get((node.attributes or {}).get("role") or "", other))


def is_hidden(node: Any) -> bool:
    """Return True for an element that says itself that it is not shown, and that no click is known to show.

    A page that is hidden as a whole is one that a script shows once it is loaded.
    """
    return node.tag not in ("html", "body", "main") and _hides(node)


def has_hidden(root: Any) -> bool:
    """Return True if an element or one below it is hidden, and a reader misses its text."""
    nodes = [root, *root.css("[hidden], [style]")]
    return any(
        is_hidden(node) and ((node.tag in _CELLS and node.text().strip()) or left_out_kind(node) == HIDDEN)
        for node in nodes
    )


def is_invisible(node: Any) -> bool:
    """Return True for an element that is not seen, but keeps its place."""
    return _INVISIBLE.search((node.attributes or {}).get("style") or "") is not None


def _hides(node: Any) -> bool:
    attributes = node.attributes
    if not attributes or (attributes.get("role") or "") in _REVEALED:
        return False
    if "hidden" in attributes:
        return str(attributes["hidden"] or "").strip().lower() != "until-found"
    return is_invisible(node) or _NOT_DISPLAYED.search(attributes.get("style") or "") is not None


def image_text(node: Any) -> str:
    """Return the description of an image; empty if there is none but the name of its file."""
    description = " ".join((node.attributes.get("alt") or "").split())
    return f"[{description}]" if description and not _IMAGE_FILE.fullmatch(description) else ""


def is_left_out(node: Any, *, within_content: bool) -> bool:
    """Return True for an element that is no content.

    Args:
        node: the element.
        within_content: True below `main` or `article`, where an `aside` is a remark and a class is about the subject.
    """
    tag = node.tag
    if tag in _SKIPPED_TAGS:
        return True
    if tag == "footer":
        return not within_content
    if tag == "aside" and not within_content:
        return True
    attributes = node.attributes
    if not attributes:
        return False
    role = attributes.get("role") or ""
    if role in _SKIPPED_ROLES or (role == "complementary" and not within_content):
        return True
    if is_hidden(node) or (attributes.get("aria-hidden") == "true" and _is_decoration(node)):
        return True
    names = (attributes.get("class") or "").split()
    if any(name in _LINE_NUMBERS for name in names):
        return True
    if within_content or tag in ("body", "main", "article", "html", "h1", "h2", "h3", "h4", "h5", "h6"):
        return False
    names.append(attributes.get("id") or "")
    return any(_BANNER.match(name) for name in names) and len(node.text()) <= _MAX_BANNER


def _is_decoration(node: Any) -> bool:
    if node.tag in _DECORATION_TAGS or _DECORATION.search(node.attributes.get("class") or ""):
        return True
    return not any(char.isalnum() for char in node.text())


def inline_text(node: Any, breaks: frozenset[str]) -> str:
    """Return the text of an element on one line.

    Args:
        node: the element.
        breaks: tags at which words end; within all others a word may go on.
    """
    texts: list[str] = []
    stack = [node]
    while stack:
        item = stack.pop()
        if item.tag == "-text":
            texts.append(item.text(deep=False) or "")
        elif item.tag == "img":
            texts.append(image_text(item))
        elif item.tag not in _SKIPPED_TAGS and not is_hidden(item):
            if item.tag in breaks:
                texts.append(" ")
            elif item.tag in FORMULAS:
                texts.append(formula_text(item))
                continue
            elif item.tag == "sup":
                texts.append(superscript_mark("".join(texts[-4:]), item.text()))
            stack += reversed(list(item.iter(include_text=True)))
    return " ".join("".join(texts).replace("\xad", "").split())


def formula_text(node: Any, depth: int = 0) -> str:
    """Return a part of a MathML formula on one line."""
    if node.tag == "-text":
        return "".join((node.text(deep=False) or "").split())
    if node.tag in _SKIPPED_TAGS:
        return ""
    if depth == _MAX_FORMULA_DEPTH:
        return "".join(node.text().split())
    parts = [formula_text(item, depth + 1) for item in node.iter(include_text=True)]
    if node.tag in FORMULAS and node.tag != "msqrt":
        parts = [part for part in parts if part]
    first, second, third = [*parts, "", "", ""][:3]
    shown = {
        "mfrac": lambda: fraction(first, second),
        "msup": lambda: power(first, second),
        "msub": lambda: indexed(first, second),
        "msubsup": lambda: power(indexed(first, second), third),
        "msqrt": lambda: root("".join(parts)),
        "mroot": lambda: root(first, second),
    }.get(node.tag)
    return "".join(parts) if shown is None else shown()


def _has_ancestor(node: Any, tags: tuple[str, ...], role: str) -> bool:
    parent = node.parent
    while parent is not None:
        if parent.tag in tags or (parent.attributes or {}).get("role") == role:
            return True
        parent = parent.parent
    return False
