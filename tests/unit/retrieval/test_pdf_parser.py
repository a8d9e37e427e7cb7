from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.errors import InvalidInputFileError
from rerankd.retrieval.parsed_document import ParsedDocument
from rerankd.retrieval.pdf_parser import parse_pdf
from tests.unit.retrieval.files import column, draw_pdf

LEFT = [
    "The warranty of the ket-", "tle lasts three years and", "covers the heating ele-", "ment. It ends early when",
    "the seal is broken by you.",
]  # fmt: skip
RIGHT = [
    "Returns are accepted until", "fourteen days after pur-", "chase. Please keep the re-", "ceipt. Shipping is free",
    "of charge within Europe.",
]  # fmt: skip
LEFT_TEXT = "The warranty of the kettle lasts three years and covers the heating element. It ends early when the seal"
RIGHT_TEXT = "Returns are accepted until fourteen days after purchase. Please keep the receipt. Shipping is free of"


def blocks(path: Path) -> list[tuple[int, str]]:
    return [(block.page, block.text) for block in parse_pdf(path).blocks]


def drawn(tmp_path: Path, *pages: list[tuple[float, float, str]], **password: str) -> Path:
    draw_pdf(tmp_path / "a.pdf", pages, **password)
    return tmp_path / "a.pdf"


def test_words_are_whole_and_pages_are_right(tmp_path: Path) -> None:
    path = drawn(tmp_path, column(72, LEFT), column(72, ["It was a re-"]), column(72, ["turn of goods.", "Thank you."]))
    assert blocks(path) == [
        (1, f"{LEFT_TEXT} is broken by you."),
        (2, "It was a return"),
        (3, "of goods. Thank you."),
    ]


@pytest.mark.parametrize("by_line", [True, False])
def test_two_columns_are_read_one_after_the_other(tmp_path: Path, by_line: bool) -> None:
    left, right = column(72, LEFT, 740), column(320, RIGHT, 740)
    body = [text for pair in zip(left, right, strict=True) for text in pair] if by_line else left + right
    title = [(72.0, 780.0, "A title that goes over both columns of the page, from left to right.")]
    assert blocks(drawn(tmp_path, title + body)) == [
        (1, "A title that goes over both columns of the page, from left to right."),
        (1, f"{LEFT_TEXT} is broken by you."),
        (1, f"{RIGHT_TEXT} charge within Europe."),
    ]


def test_a_table_is_read_row_by_row(tmp_path: Path) -> None:
    rows = [("Mon", "9-17"), ("Tue", "10-18"), ("Wed", "closed"), ("Thu", "9-17"), ("Fri", "9-12")]
    texts = [text for number, (day, time) in enumerate(rows) for text in ((72.0, 700.0 - 14 * number, day),
             (200.0, 700.0 - 14 * number, time))]  # fmt: skip
    assert blocks(drawn(tmp_path, texts)) == [(1, "Mon 9-17 Tue 10-18 Wed closed Thu 9-17 Fri 9-12")]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["It is a well-known fact and a well-", "known one."], "It is a well-known fact and a well-known one."),
        (["The state-of-the-", "art method."], "The state-of-the-art method."),
        (["Both input-", "and output."], "Both input- and output."),
        (["Between Basel-", "Stadt and Bern."], "Between Basel-Stadt and Bern."),
        (["Pages 10-", "12 are blank."], "Pages 10- 12 are blank."),
    ],
)
def test_a_hyphen_that_belongs_to_the_word_stays(tmp_path: Path, lines: list[str], expected: str) -> None:
    assert blocks(drawn(tmp_path, column(72, lines))) == [(1, expected)]


def test_paragraphs_and_list_items(tmp_path: Path) -> None:
    lines = column(72, ["One paragraph goes on", "over two lines."]) + column(72, ["Another one."], 720)
    lines += column(72, ["- first item", "- second item"], 706)
    assert [text for _, text in blocks(drawn(tmp_path, lines))] == [
        "One paragraph goes on over two lines.", "Another one.", "- first item", "- second item",
    ]  # fmt: skip


def test_ligatures_become_letters(tmp_path: Path) -> None:
    import reportlab
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.pdfgen import canvas

    pdfmetrics.registerFont(TTFont("Vera", str(Path(reportlab.__file__).parent / "fonts" / "Vera.ttf")))
    drawing = canvas.Canvas(str(tmp_path / "a.pdf"))
    drawing.setFont("Vera", 12)
    drawing.drawString(72, 700, "The \ufb01rst re\ufb02ection")
    drawing.save()
    assert blocks(tmp_path / "a.pdf") == [(1, "The first reflection")]


def test_the_values_of_a_form_are_text(tmp_path: Path) -> None:
    from reportlab.pdfgen import canvas

    drawing = canvas.Canvas(str(tmp_path / "a.pdf"))
    drawing.drawString(72, 700, "Customer:")
    drawing.linkURL("https://example.org", (72, 700, 200, 712))
    drawing.acroForm.textfield(name="customer", value="Helvetia Ltd", x=150, y=690, width=200, height=20)
    drawing.save()
    assert " ".join(text for _, text in blocks(tmp_path / "a.pdf")) == "Customer: Helvetia Ltd"


def test_an_encrypted_file_opens_if_it_needs_no_password(tmp_path: Path) -> None:
    path = drawn(tmp_path, column(72, ["Drain the boiler."]), user_password="", owner_password="owner")
    assert blocks(path) == [(1, "Drain the boiler.")]
    path = drawn(tmp_path, column(72, ["Drain the boiler."]), user_password="secret", owner_password="owner")
    with pytest.raises(InvalidInputFileError, match="locked with a password"):
        parse_pdf(path)


def test_pages_without_text_are_said(tmp_path: Path) -> None:
    document: ParsedDocument = parse_pdf(drawn(tmp_path, column(72, ["One."]), [], column(72, ["Three."]), []))
    assert [block.page for block in document.blocks] == [1, 3]
    assert document.notes == ("No text on page 2, 4; scanned pages need OCR.",)
    assert document.metadata == {"title": "Manual"}
    with pytest.raises(InvalidInputFileError, match="OCR"):
        parse_pdf(drawn(tmp_path, [], []))


LEFT_LINES = ("The pump is guaranteed for two", "years from the date of sale if it", "has been installed by a trained",
              "person. Keep the invoice and the", "serial number of the housing.")  # fmt: skip
RIGHT_LINES = ("Cleaning has to be done once a", "month with vinegar. Never use", "a metal brush, because it would",
               "scratch the inner surface. Dry", "the housing before you close it.")  # fmt: skip


@pytest.mark.parametrize(
    ("turned", "matrix"),
    [
        (0, (1, 0, 0, 1, 0, 0)),
        (90, (0, 1, -1, 0, 595, 0)),
        (180, (-1, 0, 0, -1, 595, 842)),
        (270, (0, -1, 1, 0, 0, 842)),
        (0, (0, 1, -1, 0, 595, 0)),
    ],
)
def test_pages_are_read_whichever_way_they_are_turned(tmp_path: Path, turned: int, matrix: tuple[int, ...]) -> None:
    from reportlab.pdfgen import canvas

    drawing = canvas.Canvas(str(tmp_path / "a.pdf"), pagesize=(595, 842))
    drawing.setPageRotation(turned)
    drawing.transform(*matrix)
    for x, lines in ((40, LEFT_LINES), (300, RIGHT_LINES)):
        for number, line in enumerate(lines):
            drawing.drawString(x, 500 - 14 * number, line)
    drawing.save()
    texts = [block.text for block in parse_pdf(tmp_path / "a.pdf").blocks]
    assert texts == [" ".join(LEFT_LINES), " ".join(RIGHT_LINES)]


def test_lines_go_down_a_page_that_is_shown_turned(tmp_path: Path) -> None:
    from reportlab.pdfgen import canvas

    drawing = canvas.Canvas(str(tmp_path / "a.pdf"))
    drawing.setPageRotation(90)
    for number, line in enumerate(LEFT_LINES):
        drawing.drawString(40, 500 - 14 * number, line)
    drawing.save()
    assert [block.text for block in parse_pdf(tmp_path / "a.pdf").blocks] == [" ".join(LEFT_LINES)]


@pytest.mark.parametrize(
    ("before", "raised", "after", "text"),
    [
        ("a load of 10", "6", " newton", "a load of 10^6 newton"),
        ("10", "-6", " m", "10^-6 m"),
        ("The warranty", "1", " ends.", "The warranty^1 ends."),
        ("on May 1", "st", ", late", "on May 1st, late"),
        ("an area of 5 m", "2", " wide", "an area of 5 m2 wide"),
    ],
)
def test_superscripts_change_no_number(tmp_path: Path, before: str, raised: str, after: str, text: str) -> None:
    from reportlab.pdfgen import canvas

    drawing = canvas.Canvas(str(tmp_path / "a.pdf"))
    line = drawing.beginText(72, 700)
    for part, size, rise in ((before, 12, 0), (raised, 7, 5), (after, 12, 0)):
        line.setFont("Helvetica", size)
        line.setRise(rise)
        line.textOut(part)
    drawing.drawText(line)
    drawing.save()
    assert [block.text for block in parse_pdf(tmp_path / "a.pdf").blocks] == [text]


def test_remarks_in_annotations_are_counted(tmp_path: Path) -> None:
    from reportlab.pdfgen import canvas

    drawing = canvas.Canvas(str(tmp_path / "a.pdf"))
    for remarks in (["Ask the dealer", "Which one?"], ["Body text"], [" "]):
        drawing.drawString(72, 700, "Body  text.")
        for remark in remarks:
            drawing.textAnnotation(remark, Rect=[100, 600, 150, 650])
        drawing.showPage()
    drawing.save()
    document = parse_pdf(tmp_path / "a.pdf")
    assert [block.text for block in document.blocks] == ["Body text."] * 3
    assert document.notes == ("2 remarks in annotations were left out.",)


@pytest.mark.parametrize(
    ("names", "values"),
    [
        (["Descale the kettle", "Replace the filter", "Check the seals of it", "Oil the bearings", "Return the unit"],
         ["every single month", "every six months", "once in every year", "every two years", "when out of order"]),
        (["2023 first quarter", "2023 second half", "2024 first quarter", "2024 second half"],
         ["sold 4,000 kettles", "sold 5,000 kettles", "sold 6,000 kettles", "sold 7,000 kettles"]),
    ],
)  # fmt: skip
def test_rows_of_a_table_stay_together(tmp_path: Path, names: list[str], values: list[str]) -> None:
    rows = zip(column(72, names), column(330, values), strict=True)
    path = drawn(tmp_path, [piece for row in rows for piece in row])
    text = " ".join(block.text for block in parse_pdf(path).blocks)
    assert text == " ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))


@pytest.mark.parametrize(
    ("title", "kept"),
    [
        ("(anonymous)", ""), ("untitled", ""), ("Untitled Document", ""), ("Untitled-1", ""), ("Unbenannt", ""),
        ("无标题", ""), ("PowerPoint Presentation", ""), ("Document1", ""), ("  ", ""),
        ("Anonymous functions", "Anonymous functions"), ("The untitled book", "The untitled book"),
        ("Document retention", "Document retention"), ("保修手册", "保修手册"),
    ],
)  # fmt: skip
def test_what_a_program_writes_where_there_is_no_title_is_none(tmp_path: Path, title: str, kept: str) -> None:
    draw_pdf(tmp_path / "a.pdf", [[(72.0, 700.0, "Text.")]], title=title)
    assert parse_pdf(tmp_path / "a.pdf").metadata == ({"title": kept} if kept else {})
