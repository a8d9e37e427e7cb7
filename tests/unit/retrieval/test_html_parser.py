from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.errors import InvalidInputFileError
from rerankd.retrieval.html_parser import parse_html
from rerankd.retrieval.parsed_document import ParsedDocument

BANNER = '<div id="cookie-banner" role="region">We use cookies. <button>Accept</button></div>'
NEWS = '<section class="newsletter-signup"><h3>Newsletter</h3><p>Subscribe to our newsletter.</p></section>'
MENU = "<nav><ul><li>Home</li><li>Shop</li></ul></nav>"


def parsed(tmp_path: Path, content: str | bytes) -> ParsedDocument:
    path = tmp_path / "a.html"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return parse_html(path)


def blocks(tmp_path: Path, content: str | bytes) -> list[tuple[str, tuple[str, ...]]]:
    return [(block.text, block.headings) for block in parsed(tmp_path, content).blocks]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<pre><code>def f():\n    return 1\n</code></pre>", "def f():\n    return 1"),
        ("<pre>a\n  <b>b</b>\n\n  c</pre>", "a\n  b\n\n  c"),
        ('<pre><span class="line">a</span>\n<span class="line">  b</span></pre>', "a\n  b"),
        ("<pre><div>a</div><div>  b</div></pre>", "a\n  b"),
        ("<pre>a<br>  b</pre>", "a\n  b"),
        ("<div class=code><pre><span></span><code><span>x</span> <span>=</span> 1\ny</code></pre></div>", "x = 1\ny"),
        ("<xmp>a\n  b</xmp>", "a\n  b"),
    ],
)  # fmt: skip
def test_lines_of_code_stay_lines(tmp_path: Path, html: str, text: str) -> None:
    assert blocks(tmp_path, f"<h1>Code</h1>{html}") == [(text, ("Code",))]


@pytest.mark.parametrize(
    "around",
    [
        BANNER, NEWS, MENU, "<aside>Related</aside>", "<footer>Imprint</footer>", "<header>Logo</header>",
        '<div role="complementary">Ads</div>', '<div class="sidebar">Tags</div>', "<form><label>Mail</label></form>",
        '<div class="cc-window">Consent</div>', "<dialog open>Accept?</dialog>",
    ],
)  # fmt: skip
def test_what_stands_beside_main_is_left_out(tmp_path: Path, around: str) -> None:
    for main in ("<main><h1>Kettle</h1><p>Three years.</p></main>", "<div role=main><h1>Kettle</h1>Three years.</div>"):
        assert blocks(tmp_path, f"<body>{around}{main}{around}</body>") == [("Three years.", ("Kettle",))]


@pytest.mark.parametrize(
    "around",
    [
        BANNER, NEWS, MENU, "<aside>Related</aside>", "<footer>Imprint</footer>",
        '<div class="cookie-consent">Cookies!</div>', '<div id="onetrust-banner-sdk">Cookies!</div>',
        '<div class="c-newsletter">Mail?</div>', '<ol class="breadcrumb"><li>Home</li></ol>',
        '<div role="search">Search</div>', '<div role="alertdialog">Cookies!</div>',
    ],
)  # fmt: skip
def test_a_page_without_main_is_read_without_what_surrounds_it(tmp_path: Path, around: str) -> None:
    for page in ("<h1>Kettle</h1><p>Three years.</p>", "<article><h1>Kettle</h1>Three years.</article>"):
        assert blocks(tmp_path, f"<body>{around}{page}{around}</body>") == [("Three years.", ("Kettle",))]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<main><h1>K</h1><aside>Tip: vinegar.</aside></main>", "Tip: vinegar."),
        ("<article><h1>K</h1><section id=newsletter>Our newsletter appears monthly.</section></article>",
         "Our newsletter appears monthly."),
        ("<body class='has-cookie-banner'><h1>K</h1><p>Text.</p></body>", "Text."),
        (f"<h1>K</h1><div class=cookie-notice>{'The recipe of the cookies. ' * 70}</div>",
         ("The recipe of the cookies. " * 70).strip()),
        ("<h1>K</h1><p>Ket&shy;tle, <b>K</b>7 and<wbr>more.</p>", "Kettle, K7 andmore."),
        ("<h1>K</h1><details><summary>Hidden at first</summary></details>", "Hidden at first"),
        ("<h1>K</h1><blockquote>Quote.</blockquote>", "Quote."),
        ("<main></main><h1>K</h1><p>The main part is empty.</p>", "The main part is empty."),
    ],
)  # fmt: skip
def test_content_is_kept(tmp_path: Path, html: str, text: str) -> None:
    assert blocks(tmp_path, html) == [(text, ("K",))]


def test_tables_headings_and_titles(tmp_path: Path) -> None:
    page = (
        "<title>The page</title><meta property='article:published_time' content='2026-03-01'><main><h2>Prices"
        "<a class=headerlink>¶</a></h2><table><caption>In euros</caption><thead><tr><th>article<th>price</thead>"
        "<tr><td>K<b>7</b><td>20<br>or 25</table></main>"
    )
    document = parsed(tmp_path, page)
    caption, table = document.blocks
    assert (caption.text, caption.headings) == ("In euros", ("Prices",))
    assert (table.text, table.header_lines) == ("article | price\nK7 | 20 or 25", 1)
    assert document.metadata == {"title": "The page", "date": "2026-03-01"}
    assert blocks(tmp_path, "<title>Only a title</title><p>Text.</p>") == [("Text.", ("Only a title",))]
    header = "<header><h1>Above <i>main</i></h1></header><main><p>Text.</p></main>"
    assert blocks(tmp_path, header) == [("Text.", ("Above main",))]


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ('<meta charset="undefined">', "utf-8"),
        ('<meta charset="rot13">', "utf-8"),
        ('<meta charset="unicode_escape">', "utf-8"),
        ('<meta charset="base64">', "utf-8"),
        ('<meta charset="idna">', "utf-8"),
        ('<meta charset="no-such-encoding">', "gb18030"),
        ('<meta charset="iso-8859-1">', "utf-8"),
        ('<meta charset="gb2312">', "gb18030"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=big5">', "big5"),
        ('<?xml version="1.0" encoding="gbk"?>', "gb18030"),
        ('<meta charset="x-sjis">', "cp932"),
    ],
)
def test_a_declared_encoding_is_used_if_it_is_one(tmp_path: Path, declared: str, encoding: str) -> None:
    text = "本日" if encoding == "cp932" else "水壶的保修期是三年" if encoding != "big5" else "保固期為一年"
    assert [text for text, _ in blocks(tmp_path, f"{declared}<p>{text}</p>".encode(encoding))] == [text]


def test_iso_8859_1_means_windows_1252(tmp_path: Path) -> None:
    assert blocks(tmp_path, '<meta charset="iso-8859-1"><p>5 € – “café”</p>'.encode("cp1252")) == [("5 € – “café”", ())]
    assert blocks(tmp_path, '<meta charset="koi8-r"><p>Гарантия</p>'.encode("koi8-r")) == [("Гарантия", ())]


@pytest.mark.parametrize("tag", ["div", "blockquote", "b", "ul><li", "table><tr><td"])
def test_deep_nesting_is_read(tmp_path: Path, tag: str) -> None:
    assert [text for text, _ in blocks(tmp_path, f"<{tag}>" * 3000 + "deep")] == ["deep"]


@pytest.mark.parametrize("tag", ["div", "blockquote", "b", "table><tr><td", "DIV class=x"])
def test_nesting_without_end_is_refused(tmp_path: Path, tag: str) -> None:
    with pytest.raises(InvalidInputFileError, match="nested more than 10,000 deep"):
        blocks(tmp_path, f"<{tag}>" * 200_000 + "deep")


def test_many_elements_beside_each_other_are_no_nesting(tmp_path: Path) -> None:
    script = "<script>for(i=0;i<n;i++)if(i<b)i<div</script><!-- <div> -->"
    row = f"<div><img src=x>a</div><p>b<br/><svg><path d=x /></svg><p>c{script}"
    assert len(blocks(tmp_path, f"{row * 10}{script * 11_000}")) == 30
    assert blocks(tmp_path, "<p>a<script>" * 11_000) == [("a", ())]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<ol><li>Drain it.</li><li><p>Fill it.</p></li></ol>", ["1. Drain it.", "2. Fill it."]),
        ("<ol start=3><li>a<li value=7>b<li>c</ol>", ["3. a", "7. b", "8. c"]),
        ("<ol reversed><li>a<li>b</ol>", ["2. a", "1. b"]),
        ("<ol type=A><li>a<ol type=i><li>b</ol><li>c</ol>", ["A. a", "i. b", "B. c"]),
        ("<ol><li>a<ul><li>b</ul><li>c</ol>", ["1. a", "b", "2. c"]),
        ("<ul><li>a</ul>", ["a"]),
        ("<ol style='list-style: none'><li>a</ol>", ["a"]),
        ("<ol start=x><li value=''>a</ol>", ["1. a"]),
        ("<ol><li>a<nav><ol><li>menu</ol></nav><li>b</ol><p>c", ["1. a", "2. b", "c"]),
        ("<li>a", ["a"]),
        ("<ol><li><ol type=a><li>a<li>b</ol><li><li>c</ol>", ["1. a. a", "b. b", "3. c"]),
        ("<ol><li><pre>code</pre>text</ol><p>after", ["code", "1. text", "after"]),
    ],
)
def test_items_of_lists_have_their_numbers(tmp_path: Path, html: str, expected: list[str]) -> None:
    assert [block.text for block in parsed(tmp_path, html).blocks] == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>10<sup>6</sup> and 10<sup>&minus;6</sup>", "10^6 and 10^−6"),
        ("<p>The warranty<sup><a href=#f1>1</a></sup> ends.", "The warranty^1 ends."),
        ("<p>The warranty<sup>[1]</sup> ends.", "The warranty[1] ends."),
        ("<p>May 1<sup>st</sup>, 5 m<sup>2</sup>, H<sub>2</sub>O, x<sup>n</sup>", "May 1st, 5 m2, H2O, xn"),
        ("<p><b>2</b><sup>n</sup> times", "2^n times"),
        ("<table><tr><th>a<tr><td>10<sup>3</sup></table>", "a\n10^3"),
        ("<p>x=<math><mfrac><mn>1</mn><mn>2</mn></mfrac></math>", "x=1/2"),
        ("<math><mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mn>2</mn></mfrac></math>", "(a+b)/2"),
        ("<math><msup><mn>10</mn><mn>6</mn></msup></math>", "10^6"),
        ("<math><msubsup><mi>x</mi><mn>1</mn><mn>2</mn></msubsup></math>", "x_1^2"),
        ("<math><msqrt><mn>2</mn></msqrt><mroot><mn>8</mn><mn>3</mn></mroot></math>", "√23√8"),
        ("<table><tr><th>a<tr><td><math><msub><mi>x</mi> <mn>1</mn></msub></math></table>", "a\nx_1"),
        ("<p>" + "<mfrac>" * 400 + "1", "1/"),
    ],
)
def test_superscripts_and_formulas_change_no_number(tmp_path: Path, html: str, expected: str) -> None:
    text = "\n".join(block.text for block in parsed(tmp_path, html).blocks)
    assert text == expected or (html.count("<mfrac>") > 100 and "1" in text)


@pytest.mark.parametrize(
    ("rows", "expected", "header_lines"),
    [
        ("<tr><th colspan=2>Price<th>Unit<tr><td>1<td>2<td>kg", "Price |  | Unit\n1 | 2 | kg", 1),
        ("<tr><th>A<th>B<tr><td rowspan=2>r<td>x<tr><td>y<tr><td>s<td>z", "A | B\nr | x\n | y\ns | z", 1),
        ("<tr><th rowspan=2>A<th colspan=2>B<tr><th>c<th>d<tr><td>1<td>2<td>3", "A | B\n | c | d\n1 | 2 | 3", 2),
        ("<tr><td>a<td rowspan=2 colspan=2>b<td>c<tr><td>d<td>e", "a | b |  | c\nd |  |  | e", 0),
        ("<tr><td colspan=0>a<td rowspan=x>b<td colspan=9999999>c", "a | b | c", 0),
        ("<tr><th>Model<th>Features<tr><td>X1<td><ul><li>fast<li>small</ul>", "Model | Features\nX1 | fast small", 1),
        ("<tr><th>n<th>code<tr><td class=linenos>1<td>x=1", "n | code\nx=1", 1),
        ("<tr><td>a<td><tr><td><td>b", "a\n | b", 0),
    ],
)
def test_cells_stay_below_their_headers(tmp_path: Path, rows: str, expected: str, header_lines: int) -> None:
    [block] = parsed(tmp_path, f"<table>{rows}</table>").blocks
    assert (block.text, block.header_lines) == (expected, header_lines)


@pytest.mark.parametrize(
    ("body", "note"),
    [
        ("<p>a</p><aside>Hot.</aside><footer>Imprint</footer>", "Left out: asides, footers."),
        ("<p>a</p><nav>Menu</nav><nav>Menu</nav>", "Left out: navigation."),
        ("<p>a</p><noscript><p>Full text</p></noscript><template><p>x</p></template>",
         "Left out: noscript, templates."),
        ("<p>a</p><svg><text>Label</text></svg><button>Go</button><select><option>B</select>",
         "Left out: form controls, labels of graphics."),
        ("<p>a</p><div class=newsletter>Issue 14</div><div role=search>find</div>",
         "Left out: boxes beside the content, form controls."),
        ("<main><p>The text of the page.</p></main><div>more</div>", "Left out: text outside of main."),
        ("<main><p>The text of the page.</p></main><nav>Menu</nav>", ""),
        ("<p>a</p><nav> </nav><script>x=1</script><style>p{}</style><svg><path/></svg>", ""),
    ],
)  # fmt: skip
def test_what_is_left_out_is_named(tmp_path: Path, body: str, note: str) -> None:
    assert parsed(tmp_path, body).notes == ((note,) if note else ())


def test_main_that_is_no_more_than_a_frame_is_not_the_content(tmp_path: Path) -> None:
    page = parsed(tmp_path, f"<main><h1>Boiler</h1></main><div>{'The real text stands outside. ' * 9}</div>")
    assert next(iter(page.blocks)).headings == ("Boiler",)
    assert page.notes == ()


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>See <img src=x alt='the  wiring'>.", "See [the wiring]."),
        ("<p>See<img alt='a.PNG'><img alt><img aria-hidden=true alt=x>", "See"),
        ("<table><tr><th>OK<tr><td><img alt=yes></table>", "OK\n[yes]"),
    ],
)
def test_descriptions_of_images_are_text(tmp_path: Path, html: str, expected: str) -> None:
    assert [block.text for block in parsed(tmp_path, html).blocks] == [expected]


@pytest.mark.parametrize("empty", ["<title/>", '<script src="a.js" />', "<style/>", "<iframe src='x'/>"])
@pytest.mark.parametrize(
    "beginning",
    ["<?xml version='1.0'?><html>", "<html xmlns='http://www.w3.org/1999/xhtml'>",
     '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "x"><html>'],
)  # fmt: skip
def test_empty_elements_of_xhtml_take_in_no_text(tmp_path: Path, beginning: str, empty: str) -> None:
    page = f"{beginning}<head>{empty}</head><body>{empty}<p>Text.</p></body></html>"
    assert [block.text for block in parsed(tmp_path, page).blocks] == ["Text."]


@pytest.mark.parametrize("title", ["Untitled Document", "untitled", "Document", "New Page 1"])
def test_a_page_without_a_title_of_its_own_has_none(tmp_path: Path, title: str) -> None:
    page = parsed(tmp_path, f"<title>{title}</title><p>Text.</p>")
    assert page.metadata == {}
    assert [block.headings for block in page.blocks] == [()]
