"""HTML and SVG elements as text that escapes itself: a plain string is text, only `Markup` is markup."""

from __future__ import annotations

import html


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    """Markup that shows the text, whatever is in it; characters that no document may hold become a sign.

    Example:
        >>> escaped("<b>&")
        '&lt;b&gt;&amp;'
    """
    if isinstance(text, Markup):
        return text
    return Markup(html.escape("".join(map(_legal, text)), quote=True))


def element(tag: str, *children: str, **attributes: str | float) -> Markup:
    """An element; `class_` stands for `class`, an underscore for a hyphen, floats are rounded to hundredths.

    Example:
        >>> element("td", "a < b", class_="number", stroke_width=1.5)
        '<td class="number" stroke-width="1.5">a &lt; b</td>'
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escaped(_value(value))}"' for name, value in attributes.items()
    )
    return Markup(f"<{tag}{written}>{''.join(escaped(child) for child in children)}</{tag}>")


def joined(*parts: str) -> Markup:
    """Several pieces one after the other."""
    return Markup("".join(escaped(part) for part in parts))


def _legal(char: str) -> str:
    """Spaces of any kind stay spaces; direction marks, controls and halves of characters do not get through."""
    if char.isprintable() or char in "\n\t\u200c\u200d":
        return char
    return " " if char.isspace() else "�"


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
