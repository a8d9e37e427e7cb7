from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.retrieval.word_parser import parse_docx
from tests.unit.retrieval.files import p, r, write_word

HIDDEN = "Left out: hidden text."
STYLES = """
<w:style w:type="paragraph" w:default="1" w:styleId="Normal"><w:name w:val="Normal"/></w:style>
<w:style w:type="paragraph" w:styleId="Secret"><w:name w:val="Secret"/><w:rPr><w:vanish/></w:rPr></w:style>
<w:style w:type="paragraph" w:styleId="Below"><w:name w:val="Below"/><w:basedOn w:val="Secret"/></w:style>
<w:style w:type="paragraph" w:styleId="Shown"><w:basedOn w:val="Secret"/><w:rPr><w:vanish w:val="0"/></w:rPr></w:style>
<w:style w:type="character" w:styleId="Quiet"><w:name w:val="Quiet"/><w:rPr><w:vanish/></w:rPr></w:style>
"""


def run(text: str, properties: str) -> str:
    return f"<w:r><w:rPr>{properties}</w:rPr><w:t>{text}</w:t></w:r>"


def read(tmp_path: Path, body: str, **parts: str) -> tuple[list[str], tuple[str, ...]]:
    path = tmp_path / "a.docx"
    write_word(path, body, **({"styles": STYLES} | parts))
    document = parse_docx(path)
    return [" ".join(block.text.split()) for block in document.blocks], document.notes


@pytest.mark.parametrize(
    "body",
    [
        p("Seen.", run(" Hidden.", "<w:vanish/>")),
        p("Seen.", run(" Hidden.", '<w:b/><w:vanish w:val="true"/>')),
        p("Seen.") + p("Hidden.", style="Secret"),
        p("Seen.") + p("Hidden.", style="Below"),
        p("Seen.", run(" Hidden.", '<w:rStyle w:val="Quiet"/>')),
        p("Seen.", f"<w:hyperlink>{run(' Hidden.', '<w:vanish/>')}</w:hyperlink>"),
        p("Seen.") + f"<w:tbl><w:tr><w:trPr><w:hidden/></w:trPr><w:tc>{p('Hidden.')}</w:tc></w:tr></w:tbl>",
        f"<w:tbl><w:tr><w:tc>{p('Seen.', run('Hidden.', '<w:vanish/>'))}</w:tc></w:tr></w:tbl>",
        p(run("Seen.", '<w:vanish w:val="0"/>'), "Hidden.", style="Secret"),
        p(run("Seen.", '<w:rStyle w:val="Quiet"/>'), "Hidden.", style="Secret"),  # both styles: shown again
    ],
)
def test_hidden_text_is_left_out_and_named(tmp_path: Path, body: str) -> None:
    assert read(tmp_path, body) == (["Seen."], (HIDDEN,))


@pytest.mark.parametrize(
    "body",
    [
        p(run("Seen.", "<w:strike/>")),
        p(run("Seen.", "<w:dstrike/>")),
        p(run("Seen.", '<w:vanish w:val="false"/>')),
        p(run("Seen.", "<w:webHidden/>")),
        p(run("Seen.", '<w:color w:val="FFFFFF"/>')),
        p("Seen.", style="Shown"),
        "<w:p><w:pPr><w:rPr><w:vanish/></w:rPr></w:pPr>" + r("Seen.") + "</w:p>",  # only its mark is hidden
        p("Seen.", '<w:r><w:rPr><w:vanish/></w:rPr><w:instrText>XE "term"</w:instrText></w:r>'),
    ],
)
def test_other_text_is_read(tmp_path: Path, body: str) -> None:
    assert read(tmp_path, body) == (["Seen."], ())


def test_hidden_text_of_notes_and_margins_is_left_out(tmp_path: Path) -> None:
    note = p("Note.", '<w:r><w:footnoteReference w:id="2"/></w:r>')
    footnotes = f'<w:footnote w:id="2">{p("Seen.", run(" Hidden.", "<w:vanish/>"))}</w:footnote>'
    assert read(tmp_path, note, footnotes=footnotes) == (["Note.", "Seen."], (HIDDEN,))
    assert read(tmp_path, p("Text."), header=p(run("Hidden", "<w:vanish/>"), "Header")) == (
        ["Text.", "Header"],
        (HIDDEN,),
    )


def test_a_hidden_paragraph_has_no_number(tmp_path: Path) -> None:
    numbering = (
        '<w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="decimal"/>'
        '<w:lvlText w:val="%1."/></w:lvl></w:abstractNum><w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>'
    )
    item = '<w:p><w:pPr>{}<w:numPr><w:ilvl w:val="0"/><w:numId w:val="1"/></w:numPr></w:pPr>{}</w:p>'
    body = item.format("", r("One")) + item.format('<w:pStyle w:val="Secret"/>', r("No")) + item.format("", r("Two"))
    assert read(tmp_path, body, numbering=numbering)[0] == ["1. One", "2. Two"]
