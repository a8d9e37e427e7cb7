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
