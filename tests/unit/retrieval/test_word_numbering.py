from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.retrieval.word_parser import parse_docx
from tests.unit.retrieval.files import p, r, write_word

STYLES = "".join(
    f'<w:style w:type="paragraph" w:styleId="H{n}"><w:name w:val="{name}"/>{properties}</w:style>'
    for n, name, properties in (
        (1, "heading 1", '<w:pPr><w:numPr><w:numId w:val="5"/></w:numPr></w:pPr>'),
        (2, "heading 2", '<w:pPr><w:numPr><w:ilvl w:val="1"/><w:numId w:val="5"/></w:numPr></w:pPr>'),
        (3, "Clause", '<w:basedOn w:val="H1"/>'),
    )
)


def level(number: int, text: str, kind: str = "decimal", more: str = "") -> str:
    return (
        f'<w:lvl w:ilvl="{number}"><w:start w:val="1"/><w:numFmt w:val="{kind}"/>{more}<w:lvlText w:val="{text}"/>'
        "</w:lvl>"
    )


def numbering(*levels: str, more: str = "") -> str:
    return (
        f'<w:abstractNum w:abstractNumId="0">{"".join(levels)}</w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num><w:num w:numId="5"><w:abstractNumId w:val="0"/></w:num>'
        + more
    )


def item(text: str, depth: int = 0, key: int = 1, mark: str = "") -> str:
    own = f'<w:numPr><w:ilvl w:val="{depth}"/><w:numId w:val="{key}"/></w:numPr>'
    return f"<w:p><w:pPr>{own}{mark}</w:pPr>{r(text) if text else ''}</w:p>"


def texts(tmp_path: Path, body: str, **parts: str) -> list[str]:
    write_word(tmp_path / "a.docx", body, **parts)
    return [" ".join(block.text.split()) for block in parse_docx(tmp_path / "a.docx").blocks]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("decimal", "%1.", ["1. a", "2. b"]),
        ("lowerLetter", "(%1)", ["(a) a", "(b) b"]),
        ("upperRoman", "Article %1", ["Article I a", "Article II b"]),
        ("decimalZero", "Step %1:", ["Step 01: a", "Step 02: b"]),
        ("chineseCountingThousand", "第%1条", ["第一条 a", "第二条 b"]),
        ("ordinal", "%1", ["1 a", "2 b"]),
        ("bullet", "\uf0b7", ["a", "b"]),
        ("none", "", ["a", "b"]),
    ],
)
def test_numbers_are_text_as_word_shows_them(tmp_path: Path, kind: str, text: str, expected: list[str]) -> None:
    assert texts(tmp_path, item("a") + item("b"), numbering=numbering(level(0, text, kind))) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (item("a") + item("b", 1) + item("c", 1) + item("d") + item("e", 1),
         ["1. a", "1.a b", "1.b c", "2. d", "2.a e"]),
        (item("a", 1), ["1.a a"]),
        (item("a") + item("") + item("b"), ["1. a", "3. b"]),
        (item("a") + "<w:ins>" + item("b") + "</w:ins>" + item("", mark="<w:rPr><w:del/></w:rPr>") + item("c"),
         ["1. a", "2. b", "3. c"]),
        (item("a") + item("off", key=0) + p("between") + item("b", key=5), ["1. a", "off", "between", "2. b"]),
        (item("a") + item("missing", key=99), ["1. a", "missing"]),
        (item("a") + item("b", key=7) + item("c", key=7), ["1. a", "4. b", "5. c"]),
        (item("a") + item("b", key=8), ["1. a", "§ 1 b"]),
        (f"<w:tbl><w:tr><w:tc>{item('')}</w:tc><w:tc>{p('Pump')}</w:tc></w:tr><w:tr><w:tc>{item('')}</w:tc>"
         f"<w:tc>{p('Lid')}</w:tc></w:tr></w:tbl>", ["1. | Pump 2. | Lid"]),
    ],
)  # fmt: skip
def test_numbers_are_counted_as_word_counts_them(tmp_path: Path, body: str, expected: list[str]) -> None:
    restarted = '<w:num w:numId="7"><w:abstractNumId w:val="0"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="4"/>'
    linked = '<w:abstractNum w:abstractNumId="3"><w:numStyleLink w:val="Legal"/></w:abstractNum>'
    style = f'<w:abstractNum w:abstractNumId="2"><w:styleLink w:val="Legal"/>{level(0, "§ %1")}</w:abstractNum>'
    part = numbering(
        level(0, "%1."), level(1, "%1.%2", "lowerLetter"),
        more=restarted + "</w:lvlOverride></w:num>" + linked + style
        + '<w:num w:numId="8"><w:abstractNumId w:val="3"/></w:num>',
    )  # fmt: skip
    assert texts(tmp_path, body, numbering=part) == expected


def test_headings_are_numbered_by_their_styles(tmp_path: Path) -> None:
    body = p("Scope", style="H1") + p("Terms", style="H2") + p("Text.") + p("Rights", style="H3") + p("More.")
    write_word(
        tmp_path / "a.docx", body, styles=STYLES,
        numbering=numbering(level(0, "%1", "upperRoman"), level(1, "%1.%2", more='<w:isLgl w:val="1"/>')),
    )  # fmt: skip
    document = parse_docx(tmp_path / "a.docx")
    assert [(block.text, block.headings) for block in document.blocks] == [
        ("Text.", ("I Scope", "1.1 Terms")),
        ("More.", ("II Rights",)),
    ]


def test_a_level_goes_on_if_it_never_begins_again(tmp_path: Path) -> None:
    part = numbering(level(0, "%1."), level(1, "%2)", more='<w:lvlRestart w:val="0"/>'))
    body = item("a") + item("b", 1) + item("c") + item("d", 1)
    assert texts(tmp_path, body, numbering=part) == ["1. a", "1) b", "2. c", "2) d"]
