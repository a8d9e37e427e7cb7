"""Characters that Word gives by their place in a font, such as a degree sign of Symbol, as Unicode."""

from __future__ import annotations

from typing import Any

from rerankd.retrieval.word_xml import attribute, child

_PRIVATE = range(0xF020, 0xF100)  # where symbol fonts have their characters
# Symbol from 0x20 to 0x7E and from 0xA0 to 0xFE; a replacement character where Unicode has none.
_SYMBOL = (
    " !∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_\ufffdαβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼",
    "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…\ufffd\ufffd↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊〈®©™∑",
)
_FONTS: dict[str, dict[int, str]] = {
    "symbol": {
        start + number: char
        for start, chars in zip((0x20, 0xA0), _SYMBOL, strict=True)
        for number, char in enumerate(chars)
        if char != "\ufffd"
    },
    "wingdings": {
        0x6C: "●", 0x6E: "■", 0x6F: "□", 0x71: "❑", 0xA7: "▪", 0xA8: "☐", 0xDF: "←", 0xE0: "→", 0xE1: "↑", 0xE2: "↓",
        0xFB: "✗", 0xFC: "✓", 0xFD: "☒", 0xFE: "☑",
    },
    "wingdings 2": {0x4F: "✗", 0x50: "✓", 0x51: "☒", 0x52: "☑", 0x54: "☒", 0xA3: "☐"},
}  # fmt: skip


def symbol(element: Any) -> str:
    """Return the character of a `sym` element; empty if it is a pictogram without equivalent."""
    code = attribute(element, "char")
    try:
        number = int(code, 16)
    except ValueError:
        return ""
    if number in _PRIVATE:
        return _FONTS.get(attribute(element, "font").lower(), {}).get(number - 0xF000, "")
    return chr(number) if 0 < number < 0x110000 else ""


def plain_text(element: Any) -> str:
    """Return the text of a `t` element; characters of a symbol font become those of Unicode where they are known."""
    text: str = (element.text or "").replace("\xad", "")
    if text.isascii() or not any(ord(char) in _PRIVATE for char in text):
        return text
    fonts = child(child(element.getparent(), "rPr"), "rFonts")
    known = _FONTS.get(attribute(fonts, "ascii").lower(), {}) if fonts is not None else {}
    return "".join(known.get(ord(char) - 0xF000, char) if ord(char) in _PRIVATE else char for char in text)
