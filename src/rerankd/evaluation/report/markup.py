"""SVG and HTML elements as text that escapes itself: a plain string is text, only `Markup` is markup."""

from __future__ import annotations

import html


class Markup(str):
    """Text that is markup already; Jinja2 does not escape it either."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


def escaped(text: str) -> Markup:
    """Return markup that shows a text, whatever is in it.

    Example:
        >>> escaped("<b>&")
        '&lt;b&gt;&amp;'
    """
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(printable(text), quote=True))


def printable(text: str) -> str:
    """Replace the characters that a document may not hold.

    Spaces of any kind become plain spaces; direction marks, control characters and lone surrogates become U+FFFD.
    """
    return text if text.isprintable() else "".join(map(_printable_char, text))


def element(tag: str, *children: str, **attributes: str | float) -> Markup:
    """Return an element.

    Args:
        tag: name of the element.
        children: texts and markup inside it.
        attributes: `class_` stands for `class`, an underscore for a hyphen; floats are rounded to hundredths.

    Example:
        >>> element("td", "a < b", class_="number", stroke_width=1.5)
        '<td class="number" stroke-width="1.5">a &lt; b</td>'
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escaped(_attribute(value))}"' for name, value in attributes.items()
    )
    return Markup(f"<{tag}{written}>{''.join(escaped(child) for child in children)}</{tag}>")


def joined(*parts: str) -> Markup:
    """Return texts and markup one after the other."""
    return Markup("".join(escaped(part) for part in parts))


def _printable_char(char: str) -> str:
    if char.isprintable() or char in "\n\t\u200c\u200d":
        return char
    return " " if char.isspace() else "\ufffd"


def _attribute(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
