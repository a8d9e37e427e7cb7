from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from rerankd.errors import InvalidInputFileError
from rerankd.retrieval import word_parser
from rerankd.retrieval.parsed_document import ParsedDocument
from rerankd.retrieval.word_parser import parse_docx
from tests.unit.retrieval.files import p, r, write_word


def parsed(tmp_path: Path, body: str, **parts: str) -> ParsedDocument:
    path = tmp_path / "a.docx"
    write_word(path, body, **parts)
    return parse_docx(path)


def texts(tmp_path: Path, body: str, **parts: str) -> list[str]:
    return [" ".join(block.text.split()) for block in parsed(tmp_path, body, **parts).blocks]


def sdt(content: str, properties: str = "") -> str:
    return f"<w:sdt><w:sdtPr>{properties}</w:sdtPr><w:sdtContent>{content}</w:sdtContent></w:sdt>"


def table(*rows: str, properties: str = "") -> str:
    return f"<w:tbl><w:tblPr>{properties}</w:tblPr>{''.join(f'<w:tr>{row}</w:tr>' for row in rows)}</w:tbl>"


def cell(text: str, properties: str = "") -> str:
    content = text if text.startswith("<") else p(text)
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{content}</w:tc>"


def box(text: str) -> str:
    return f"<w:txbxContent>{p(text)}</w:txbxContent>"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (sdt(p("The contract ends in March.")), ["The contract ends in March."]),
        (p("Customer: ", sdt(r("Helvetia Ltd")), " is the buyer."), ["Customer: Helvetia Ltd is the buyer."]),
        (sdt(sdt(p("Two controls deep."))), ["Two controls deep."]),
        (table(sdt(cell("a") + cell("b"))), ["a | b"]),
        (f"<w:tbl>{sdt('<w:tr>' + cell('row in a control') + '</w:tr>')}</w:tbl>", ["row in a control"]),
        (sdt(p("Click here to enter text."), "<w:showingPlcHdr/>") + p("Kept."), ["Kept."]),
        (f"<w:customXml>{p('Custom XML.')}</w:customXml>", ["Custom XML."]),
        (p("<w:smartTag>" + r("Zürich") + "</w:smartTag>", " is a city."), ["Zürich is a city."]),
        (p("See ", "<w:hyperlink>" + r("the manual") + "</w:hyperlink>", "."), ["See the manual."]),
        (p("Page ", '<w:fldSimple w:instr="PAGE">' + r("7") + "</w:fldSimple>"), ["Page 7"]),
        (p("The sum ", "<m:oMath><m:r><m:t>a+b</m:t></m:r></m:oMath>", " counts."), ["The sum a+b counts."]),
        (p("a", "<w:r><w:noBreakHyphen/><w:t>b</w:t><w:softHyphen/><w:t>c</w:t><w:tab/><w:t>d</w:t></w:r>"),
         ["a-bc d"]),
    ],
)  # fmt: skip
def test_text_is_read_wherever_word_puts_it(tmp_path: Path, body: str, expected: list[str]) -> None:
    assert texts(tmp_path, body) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (p("Notice: ", "<w:del><w:r><w:delText>one month</w:delText></w:r></w:del>", "<w:ins>" + r("three months")
           + "</w:ins>", "."), ["Notice: three months."]),
        ("<w:ins>" + p("A new paragraph.") + "</w:ins>", ["A new paragraph."]),
        (p("<w:moveFrom>" + r("Moved. ") + "</w:moveFrom>", "Stays. ", "<w:moveTo>" + r("Moved. ") + "</w:moveTo>"),
         ["Stays. Moved."]),
        (table(cell("kept"), "<w:trPr><w:del/></w:trPr>" + cell("deleted row")), ["kept"]),
        (table("<w:trPr><w:ins/></w:trPr>" + cell("inserted row")), ["inserted row"]),
    ],
)  # fmt: skip
def test_tracked_insertions_are_read_and_deletions_are_not(tmp_path: Path, body: str, expected: list[str]) -> None:
    assert texts(tmp_path, body) == expected


def test_a_merged_cell_stands_once_and_columns_stay_aligned(tmp_path: Path) -> None:
    span, start, covered = '<w:gridSpan w:val="2"/>', '<w:vMerge w:val="restart"/>', "<w:vMerge/>"
    body = table(
        cell("Opening hours", '<w:gridSpan w:val="4"/>'),
        cell("Weekdays", start) + cell("Mon") + cell("Tue", span),
        cell("", covered) + cell("9-17") + cell("10-18") + cell("closed"),
        cell("a", span) + cell("b") + cell("c"),
    )
    [block] = parsed(tmp_path, body).blocks
    assert block.text == "Opening hours\nWeekdays | Mon | Tue\n | 9-17 | 10-18 | closed\na |  | b | c"


def test_nested_tables_and_header_rows(tmp_path: Path) -> None:
    inner = table(cell("Mon") + cell("9-17"), cell("Tue") + cell("closed")) + p("")
    header = "<w:trPr><w:tblHeader/></w:trPr>"
    [block] = parsed(tmp_path, table(header + cell("branch") + cell("hours"), cell("Basel") + cell(inner))).blocks
    assert block.text == "branch | hours\nBasel | Mon, 9-17; Tue, closed"
    assert block.header_lines == 1
    [block] = parsed(tmp_path, table(cell("a"), properties='<w:tblLook w:firstRow="1"/>')).blocks
    assert block.header_lines == 1
    [block] = parsed(tmp_path, table(cell("a"))).blocks
    assert block.header_lines == 0


@pytest.mark.parametrize(
    "shape",
    [
        "<w:drawing><wps:txbx>{}</wps:txbx></w:drawing>",
        "<w:pict><v:textbox>{}</v:textbox></w:pict>",
        "<mc:AlternateContent><mc:Choice><w:drawing>{0}</w:drawing></mc:Choice>"
        "<mc:Fallback><w:pict>{0}</w:pict></mc:Fallback></mc:AlternateContent>",
    ],
)
def test_a_text_box_is_read_once_after_its_paragraph(tmp_path: Path, shape: str) -> None:
    drawing = f"<w:r>{shape.format(box('In the box.'))}</w:r>"
    assert texts(tmp_path, p("Before", drawing, " after.")) == ["Before after.", "In the box."]
    assert texts(tmp_path, table(cell(p("cell", drawing)))) == ["cell", "In the box."]


def test_notes_follow_their_paragraph_and_margins_come_last_once(tmp_path: Path) -> None:
    foot = '<w:r><w:footnoteReference w:id="2"/></w:r>'
    end = '<w:r><w:endnoteReference w:id="1"/></w:r>'
    document = parsed(
        tmp_path,
        p("First.", foot) + p("Second.", end),
        footnotes=f'<w:footnote w:type="separator" w:id="0">{p("x")}</w:footnote><w:footnote w:id="2">{p("Foot.")}'
        "</w:footnote>",
        endnotes=f'<w:endnote w:id="1">{p("End.")}</w:endnote>',
        header1=p("Contract 4711, confidential"),
        header2=p("Contract 4711, confidential"),
        footer1=p("3 / 7"),
        comments=f'<w:comment w:id="0">{p("Really?")}</w:comment>',
    )
    expected = ["First.", "Foot.", "Second.", "End.", "Contract 4711, confidential"]
    assert [block.text for block in document.blocks] == expected
    assert document.notes == ("1 comment in the margin was left out.",)


def test_headings_by_name_by_outline_level_and_by_the_style_they_are_based_on(tmp_path: Path) -> None:
    styles = (
        '<w:style w:type="paragraph" w:styleId="1"><w:name w:val="heading 1"/></w:style>'
        '<w:style w:type="paragraph" w:styleId="own"><w:name w:val="House"/><w:basedOn w:val="2"/></w:style>'
        '<w:style w:type="paragraph" w:styleId="2"><w:name w:val="标题 2"/><w:basedOn w:val="own"/></w:style>'
        '<w:style w:type="paragraph" w:styleId="T"><w:name w:val="Title"/></w:style>'
    )
    by_level = '<w:p><w:pPr><w:outlineLvl w:val="2"/></w:pPr>' + r("Third") + "</w:p>"
    body = (
        p("Whole", style="T") + p("One", style="1") + p("a") + p("Two", style="own") + by_level + p("b")
        + p("Last", style="1")
    )  # fmt: skip
    document = parsed(tmp_path, body, styles=styles)
    assert [(block.text, block.headings) for block in document.blocks] == [
        ("a", ("Whole", "One")),
        ("b", ("Whole", "One", "Two", "Third")),
        ("Last", ("Whole",)),
    ]
    assert document.metadata == {"title": "Whole"}


def test_a_locked_or_older_document_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    with pytest.raises(InvalidInputFileError, match=r"locked with a password, or is in the older \.doc format"):
        parse_docx(path)


def test_entities_are_refused_and_size_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.docx"
    lol = '<!DOCTYPE a [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]>'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", f"{lol}<document><body><p><r><t>&b;</t></r></p></body></document>")
    with pytest.raises(InvalidInputFileError, match="entities"):
        parse_docx(path)
    monkeypatch.setattr(word_parser, "MAX_UNPACKED", 10_000)
    write_word(path, p("x" * 20_000))
    with pytest.raises(InvalidInputFileError, match="unpacks to more"):
        parse_docx(path)


def test_a_document_of_empty_paragraphs_is_quick(tmp_path: Path) -> None:
    assert texts(tmp_path, "<w:p/>" * 30_000 + p("The end.")) == ["The end."]


@pytest.mark.parametrize(
    ("body", "parts", "note"),
    [
        ('<w:altChunk r:id="r1" xmlns:r="urn:r"/>', {}, "1 embedded document was left out."),
        (
            "<w:sdt><w:sdtContent><w:altChunk/></w:sdtContent></w:sdt><w:altChunk/>",
            {},
            "2 embedded documents were left out.",
        ),
        (
            '<w:p><w:r><w:sym w:font="Webdings" w:char="F0B3"/></w:r></w:p>',
            {},
            "1 character of a symbol font was left out.",
        ),
        (
            "",
            {"footer": '<w:p><w:r><w:sym w:font="Wingdings" w:char="F04A"/></w:r></w:p>'},
            "1 character of a symbol font was left out.",
        ),
    ],
)
def test_what_is_not_read_is_named(tmp_path: Path, body: str, parts: dict[str, str], note: str) -> None:
    write_word(tmp_path / "a.docx", p("Seven days.") + body, **parts)
    document = parse_docx(tmp_path / "a.docx")
    assert document.notes == (note,)
    assert "Seven days." in next(iter(document.blocks)).text


def raised(text: str) -> str:
    return f'<w:r><w:rPr><w:vertAlign w:val="superscript"/></w:rPr><w:t>{text}</w:t></w:r>'


def m(name: str, content: str) -> str:
    return f"<m:{name}>{content}</m:{name}>"


def mt(text: str) -> str:
    return f"<m:r><m:t>{text}</m:t></m:r>"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (p("a load of 10", raised("6"), " newton"), "a load of 10^6 newton"),
        (p("10", raised("-6"), " m"), "10^-6 m"),
        (p("10", raised("−"), raised("6")), "10^−6"),
        (p("The warranty", raised("1"), " ends."), "The warranty^1 ends."),
        (p("on May 1", raised("st"), ", 5 m", raised("2")), "on May 1st, 5 m2"),
        (p("(a+b)", raised("2")), "(a+b)^2"),
        (p(raised("2"), "H"), "2H"),
        (table(cell(p("10", raised("3"))) + cell("b")), "10^3 | b"),
        (p("x = ", m("f", m("num", mt("1")) + m("den", mt("2")))), "x = 1/2"),
        (p(m("f", m("num", mt("a+b")) + m("den", mt("2a")))), "(a+b)/2a"),
        (p(m("sSup", m("e", mt("10")) + m("sup", mt("6")))), "10^6"),
        (p(m("sSubSup", m("e", mt("x")) + m("sub", mt("1")) + m("sup", mt("2")))), "x_1^2"),
        (p(m("rad", m("deg", mt("3")) + m("e", mt("8")))), "3√8"),
        (p(m("d", m("e", mt("a+b")))), "(a+b)"),
        (p(m("d", '<m:dPr><m:begChr m:val="["/><m:endChr m:val=""/></m:dPr>' + m("e", mt("a")) + m("e", mt("b")))),
         "[a|b"),
        (p(m("nary", '<m:naryPr><m:chr m:val="∑"/></m:naryPr>' + m("sub", mt("i=1")) + m("sup", mt("n"))
             + m("e", mt("i")))), "∑_(i=1)^n i"),
        (p(m("m", m("mr", m("e", mt("1")) + m("e", mt("2"))) + m("mr", m("e", mt("3")) + m("e", mt("4"))))),
         "1, 2; 3, 4"),
        ("<m:oMathPara>" + m("oMath", mt("E=mc")) + "</m:oMathPara>", "E=mc"),
        ("<w:ins>" + r("inserted run") + "</w:ins>", "inserted run"),
    ],
)  # fmt: skip
def test_superscripts_and_formulas_change_no_number(tmp_path: Path, body: str, expected: str) -> None:
    assert texts(tmp_path, body) == [expected]


def form(data: str) -> str:
    return f'<w:r><w:fldChar w:fldCharType="begin"><w:ffData>{data}</w:ffData></w:fldChar></w:r>'


def described(text: str) -> str:
    return f'<w:r><w:drawing><wp:docPr xmlns:wp="urn:wp" id="1" descr="{text}"/></w:drawing></w:r>'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (p("Colour: ", form('<w:ddList><w:result w:val="1"/><w:listEntry w:val="Red"/><w:listEntry w:val="Blue"/>'
                            "</w:ddList>")), "Colour: Blue"),
        (p(form('<w:ddList><w:listEntry w:val="Red"/></w:ddList>')), "Red"),
        (p(form("<w:checkBox><w:checked/></w:checkBox>"), " yes ", form('<w:checkBox><w:default w:val="0"/>'
                                                                        "</w:checkBox>"), " no"), "☒ yes ☐ no"),
        (p('<w:r><w:pict><v:shape><v:textpath string="CONFIDENTIAL"/></v:shape></w:pict></w:r>'), "CONFIDENTIAL"),
        (p("See ", described("Wiring of the pump")), "See [Wiring of the pump]"),
        (p("See", described("image1.PNG"), described("")), "See"),
        (p('<w:r><w:t>20 </w:t><w:sym w:font="Symbol" w:char="F0B0"/><w:t>C </w:t><w:sym w:font="Symbol"'
           ' w:char="F0A3"/><w:t> T </w:t><w:sym w:font="Wingdings" w:char="F0FC"/></w:r>'), "20 °C ≤ T ✓"),
        (p('<w:r><w:rPr><w:rFonts w:ascii="Symbol"/></w:rPr><w:t>\uf0b1\uf06d</w:t></w:r>', " \uf0fc"), "±μ \uf0fc"),
        (p('<w:r><w:sym w:font="Arial" w:char="00E9"/><w:sym w:char="zz"/></w:r>'), "é"),
    ],
)  # fmt: skip
def test_text_of_objects_is_read(tmp_path: Path, body: str, expected: str) -> None:
    assert texts(tmp_path, body) == [expected]


def test_charts_are_read(tmp_path: Path) -> None:
    def points(*values: str) -> str:
        return "".join(f"<c:pt><c:v>{value}</c:v></c:pt>" for value in values)

    chart = (
        '<c:chart xmlns:c="urn:c" xmlns:a="urn:a"><c:title><a:t>Sales</a:t></c:title><c:ser><c:tx>'
        f"{points('Pumps')}</c:tx><c:cat>{points('2024', '2025')}</c:cat><c:val>{points('4.2999999999999998', '7')}"
        "</c:val></c:ser><c:ser><c:val>" + points("1") + "</c:val></c:ser></c:chart>"
    )
    assert texts(tmp_path, p("Body."), chart=chart) == ["Body.", "Sales Pumps: 2024 4.3, 2025 7 1"]


def test_pictures_and_embedded_objects_are_counted(tmp_path: Path) -> None:
    picture = '<w:r><w:drawing><a:blip xmlns:a="urn:a"/></w:drawing></w:r>'
    old = "<mc:AlternateContent><mc:Choice>" + picture + "</mc:Choice><mc:Fallback><w:r><w:pict><v:imagedata/></w:pict>"
    inner = '<w:r><w:object><v:imagedata/><o:OLEObject xmlns:o="urn:o"/></w:object></w:r>'
    document = parsed(tmp_path, p("a", picture, old + "</w:r></mc:Fallback></mc:AlternateContent>", inner))
    assert document.notes == ("1 embedded object was left out.", "2 pictures were left out.")


def test_cells_stay_below_their_headers(tmp_path: Path) -> None:
    rows = (
        cell("Name") + cell("Price") + cell("Unit"),
        '<w:trPr><w:gridBefore w:val="1"/></w:trPr>' + cell("5") + cell("EUR"),
        cell("Lid") + cell("deleted", "<w:cellDel/>") + cell("7") + cell("EUR"),
        cell("both", '<w:gridSpan w:val="2"/>') + cell("EUR"),
    )
    [block] = parsed(tmp_path, table(*rows)).blocks
    assert block.text.split("\n") == ["Name | Price | Unit", " | 5 | EUR", "Lid | 7 | EUR", "both |  | EUR"]


@pytest.mark.parametrize(("header", "read"), [("机密", True), ("QM 12.4", True), ("1 / 7", False), ("- 3 -", False)])
def test_a_header_is_read_unless_it_is_the_number_of_the_page(tmp_path: Path, header: str, read: bool) -> None:
    assert texts(tmp_path, p("Text."), header=p(header)) == ["Text.", *[header] * read]
