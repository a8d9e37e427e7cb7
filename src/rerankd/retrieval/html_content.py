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
_LINE_NUMBERS = frozenset(["linenos", "linenodiv", "lineno", "line-numbers", "gutter"])
_MAX_BANNER = 1500  # letters; what is longer is content, whatever its class says


def content_roots(tree: Any) -> list[Any]:
    """Return the elements that hold the content of a page: `main` if it has text, else the body."""
    if tree.body is None:
        return []
    mains = [node for node in tree.css("main, [role=main]") if not _has_ancestor(node, ("main",), role="main")]
    return mains if sum(len(node.text().strip()) for node in mains) > 0 else [tree.body]


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
    if attributes.get("aria-hidden") == "true" and tag not in ("body", "main", "div", "section", "article"):
        return True
    names = (attributes.get("class") or "").split()
    if any(name in _LINE_NUMBERS for name in names):
        return True
    if within_content or tag in ("body", "main", "article", "html", "h1", "h2", "h3", "h4", "h5", "h6"):
        return False
    names.append(attributes.get("id") or "")
    return any(_BANNER.match(name) for name in names) and len(node.text()) <= _MAX_BANNER


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
        elif item.tag not in _SKIPPED_TAGS:
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
