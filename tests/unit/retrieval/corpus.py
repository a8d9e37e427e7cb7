"""Forty files as other programs write them, each with the text that a reader finds in it.

A text is `headings > text`, or `p. 2 > text` on the second page of a PDF; a line break within it is `/`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.unit.retrieval.files import column, draw_pdf, p, r, write_word


@dataclass(frozen=True)
class CorpusFile:
    """A file, how it is written and what is read from it; or the sentence with which it is refused."""

    name: str
    write: Callable[[Path], None]
    texts: tuple[str, ...] = ()
    refused: str = ""
    notes: tuple[str, ...] = ()


def word(body: str, **parts: str) -> Callable[[Path], None]:
    return lambda path: write_word(path, body, **parts)


def pdf(*pages: list[tuple[float, float, str]], **password: str) -> Callable[[Path], None]:
    return lambda path: draw_pdf(path, pages, **password)


def text(content: str, encoding: str = "utf-8") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content.encode(encoding))

    return write


def tag(name: str, content: str, properties: str = "") -> str:
    return f"<w:{name}>{properties}{content}</w:{name}>"


def control(content: str) -> str:
    return tag("sdt", f"<w:sdtPr/><w:sdtContent>{content}</w:sdtContent>")


def table(*rows: list[str]) -> str:
    cells = ["".join(tag("tc", c if c.startswith("<") else p(c)) for c in row) for row in rows]
    return tag("tbl", "".join(tag("tr", row) for row in cells))


STYLES = "".join(
    f'<w:style w:type="paragraph" w:styleId="{key}"><w:name w:val="{name}"/></w:style>'
    for key, name in (("T", "Title"), ("H1", "heading 1"), ("H2", "heading 2"), ("B1", "标题 1"))
)
BOX = "<w:r><w:pict><w:txbxContent>{}</w:txbxContent></w:pict></w:r>"

WORD = [
    CorpusFile(
        "contract.docx",
        word(
            p("Purchase contract", style="T")
            + control(p("Parties", style="H1") + p("Buyer: ", control(r("Helvetia Ltd"))))
            + p("Term", style="H1") + p("It ends on ", control(r("31 March 2027")), "."), styles=STYLES,
        ),
        ("Purchase contract > Parties > Buyer: Helvetia Ltd", "Purchase contract > Term > It ends on 31 March 2027."),
    ),
    CorpusFile(
        "tracked.docx",
        word(
            p("The price is ", "<w:del><w:r><w:delText>20</w:delText></w:r></w:del>", "<w:ins>" + r("25") + "</w:ins>",
              " euros.") + "<w:del>" + p("") + "</w:del><w:ins>" + p("A new clause.") + "</w:ins>",
        ),
        ("The price is 25 euros.", "A new clause."),
    ),
    CorpusFile(
        "tables.docx",
        word(
            table(["branch", "hours"], ["Basel", table(["Mon", "9-17"], ["Sun", "closed"]) + p("")])
            + table(["<w:tcPr><w:gridSpan w:val='2'/></w:tcPr>" + p("Both columns"), "third"], ["a", "b", "c"]),
        ),
        ("branch | hours/Basel | Mon, 9-17; Sun, closed", "Both columns |  | third/a | b | c"),
    ),
    CorpusFile(
        "notes.docx",
        word(
            p("A claim.", '<w:r><w:footnoteReference w:id="1"/></w:r>') + p("The end."),
            footnotes=f'<w:footnote w:id="1">{p("Its source.")}</w:footnote>',
        ),
        ("A claim.", "Its source.", "The end."),
    ),
    CorpusFile(
        "boxes.docx",
        word(p("Beside the picture.", BOX.format(p("A remark in a box."))) + p("Below.")),
        ("Beside the picture.", "A remark in a box.", "Below."),
    ),
    CorpusFile(
        "margins.docx",
        word(p("The letter."), header=p("Helvetia Kettles Ltd"), footer=p("1 / 2")),
        ("The letter.", "Helvetia Kettles Ltd"),
    ),
    CorpusFile(
        "chinese.docx",
        word(p("保修手册", style="T") + p("期限", style="B1") + p("保修期为三年。"), styles=STYLES),
        ("保修手册 > 期限 > 保修期为三年。",),
    ),
    CorpusFile(
        "review.docx",
        word(p("Only the text."), comments=f'<w:comment w:id="0">{p("Really?")}</w:comment>'),
        ("Only the text.",),
        notes=("1 comment in the margin was left out.",),
    ),
]  # fmt: skip

LEFT = ["The warranty of the ket-", "tle lasts three years and", "covers its heating ele-", "ment and the thermostat."]
RIGHT = [
    "Returns are accepted for",
    "fourteen days after pur-",
    "chase, with the receipt in",
    "the original packaging.",
]
PDF = [
    CorpusFile(
        "columns.pdf",
        pdf([pair for pairs in zip(column(72, LEFT), column(330, RIGHT), strict=True) for pair in pairs]),
        (
            "p. 1 > The warranty of the kettle lasts three years and covers its heating element and the thermostat.",
            "p. 1 > Returns are accepted for fourteen days after purchase, with the receipt in the original packaging.",
        ),
    ),
    CorpusFile(
        "pages.pdf",
        pdf(column(72, ["The first page is about main-"]), column(72, ["tenance of the boiler."])),
        ("p. 1 > The first page is about maintenance", "p. 2 > of the boiler."),
    ),
    CorpusFile(
        "compounds.pdf",
        pdf(column(72, ["A well-known fact is a well-", "known fact, for input-", "and output alike."])),
        ("p. 1 > A well-known fact is a well-known fact, for input- and output alike.",),
    ),
    CorpusFile(
        "encrypted.pdf",
        pdf(column(72, ["Drain the boiler."]), user_password="", owner_password="owner"),
        ("p. 1 > Drain the boiler.",),
    ),
    CorpusFile(
        "locked.pdf",
        pdf(column(72, ["Secret."]), user_password="x", owner_password="y"),
        refused="locked with a password",
    ),
    CorpusFile(
        "scanned.pdf",
        pdf(column(72, ["Chapter one."]), [], column(72, ["Chapter three."])),
        ("p. 1 > Chapter one.", "p. 3 > Chapter three."),
        notes=("No text on page 2; scanned pages need OCR.",),
    ),
    CorpusFile("all-scanned.pdf", pdf([], []), refused="Run OCR first"),
]  # fmt: skip

AROUND = (
    '<div class="cookie-banner">We use cookies</div><nav><a>Home</a></nav>{}<aside>Related</aside>'
    '<div class="newsletter">Subscribe</div><footer>Imprint</footer>'
)
HTML = [
    CorpusFile(
        "docs.html",
        text(AROUND.format(
            "<main><h1>Retry<a class=headerlink>¶</a></h1><p>Call <code>retry</code>.</p><pre><code>for i in x:\n"
            "    go(i)\n</code></pre><aside class=note>Since 2.0.</aside></main>"
        )),
        ("Retry > Call retry.", "Retry > for i in x:/    go(i)", "Retry > Since 2.0."),
    ),
    CorpusFile(
        "news.html",
        text(AROUND.format(
            "<title>City News</title><article><header><h1>Bridge closed</h1><p>By A. Meier</p></header>"
            "<p>The bridge is closed.</p><figure><img><figcaption>The bridge.</figcaption></figure></article>"
        )),
        ("Bridge closed > By A. Meier", "Bridge closed > The bridge is closed.", "Bridge closed > The bridge."),
        notes=("Left out: asides, boxes beside the content, footers, navigation.",),
    ),
    CorpusFile(
        "shop.html",
        text(AROUND.format(
            "<main><h1>K7</h1><table><tr><th>colour<th>price</tr><tr><td>red<td>20 €</tr></table>"
            "<dl><dt>Volume<dd>2 l</dl></main>"
        )),
        ("K7 > colour | price/red | 20 €", "K7 > Volume", "K7 > 2 l"),
    ),
    CorpusFile(
        "faq.html",
        text(AROUND.format(
            "<h1>FAQ</h1><details><summary>How long?</summary><p>Three years.</p></details>"
            "<h2>Re&shy;turns?</h2><p>Yes.</p>"
        )),
        ("FAQ > How long?", "FAQ > Three years.", "FAQ > Returns? > Yes."),
        notes=("Left out: asides, boxes beside the content, footers, navigation.",),
    ),
    CorpusFile(
        "forum.html",
        text(AROUND.format(
            "<div role=main><h1>It leaks</h1><div class=post>Mine leaks.<br>Since May.</div>"
            "<div class=post><blockquote>Mine leaks.</blockquote>Descale it.</div></div>"
        )),
        ("It leaks > Mine leaks.", "It leaks > Since May.", "It leaks > Mine leaks.", "It leaks > Descale it."),
    ),
    CorpusFile(
        "old.html",
        text(
            "<html><head><meta http-equiv=Content-Type content='text/html; charset=gb2312'><title>水壶</title></head>"
            "<body><table><tr><td><table><tr><td>首页</table><td><h3>保修</h3><font>保修期为三年。</font>"
            "</table>", "gb18030",
        ),
        ("首页", "保修 > 保修期为三年。"),
    ),
]  # fmt: skip

MARKDOWN = [
    CorpusFile(
        "setext.md", text("Title\n=====\n\nText.\n\nPart\n----\n\n    code\n\n* * *\n\nEnd.\n"),
        ("Title > Text.", "Title > Part > code", "Title > Part > End."),
    ),
    CorpusFile(
        "github.md",
        text("# Tasks\n\n- [x] done\n- [ ] open\n\n```sh\n# not a heading\n```\n\n| a | b |\n|:--|--:|\n| 1 | 2 |\n"),
        ("Tasks > - [x] done/- [ ] open", "Tasks > ```sh/# not a heading/```", "Tasks > | a | b |/|:--|--:|/| 1 | 2 |"),
    ),
    CorpusFile("jekyll.md", text("---\ntitle: Prices\ndate: 2026-03-01\n---\nText.\n"), ("Prices > Text.",)),
    CorpusFile(
        "pandoc.md",
        text("---\nauthor: A\n...\n\n# One {#one}\n\nA note.[^1]\n\n[^1]: The note.\n\nTerm\n:   Its meaning.\n"),
        ("One {#one} > A note.[^1]", "One {#one} > [^1]: The note.", "One {#one} > Term/:   Its meaning."),
    ),
    CorpusFile(
        "myst.md", text("# A\n\n:::{note}\nA remark.\n:::\n\nSee [[Other page|there]].\n\n---\n\n## Empty\n"),
        ("A > :::{note}/A remark./:::", "A > See [[Other page|there]].", "A > Empty"),
    ),
    CorpusFile(
        "separators.md", text("# A\n\none\u2028two\x0c\n\n# B\n\nthree\n"), ("A > one\u2028two", "B > three")
    ),
]  # fmt: skip

CSV = [
    CorpusFile("rfc4180.csv", text('id,text\r\n1,"a, ""b""\r\nc"\r\n2,d\r\n'), ('a, "b"/c', "d")),
    CorpusFile(
        "excel.csv", text("\ufeffid;text\r\n1;Größe, Maß\r\n"), ("Größe, Maß",),
        notes=("Its columns are separated by a semicolon.",),
    ),
    CorpusFile("unicode-text.tsv", text("\ufeffid\ttext\r\n1\t保修期为三年。\r\n", "utf-16-le"), ("保修期为三年。",)),
    CorpusFile(
        "database.csv", text("id|text|year\n1|a, b; c|2026\n"), ("a, b; c",),
        notes=("Its columns are separated by a vertical bar.",),
    ),
    CorpusFile("sep.csv", text("sep=;\nquestion;answer\nHow long?;Three years.\n"), ("How long? > Three years.",),
               notes=("Its columns are separated by a semicolon.",)),
    CorpusFile("unquoted.csv", text("id,text\n1,five days, mostly\n"), refused=r"Row 1 \(line 2\) has 3 values"),
]  # fmt: skip

SENTENCES = {
    "euc-kr": "제품 보증 기간은 구입일로부터 일 년입니다. 배터리는 소모품이므로 보증 대상에서 제외됩니다.",
    "shift_jis": "製品の保証期間は一年です。電池は消耗品のため保証の対象外です。",
    "euc-jp": "製品の保証期間は一年です。電池は消耗品のため保証の対象外です。",
    "big5": "本產品的保固期為一年，自購買之日起計算。請保留發票。",
    "gb18030": "本产品的保修期为一年，自购买之日起计算。请保留发票。",
    "koi8-r": "Гарантия действует один год со дня покупки. Сохраните чек и упаковку.",
    "cp1250": "Gwarancja na czajnik obowiązuje trzy lata. Część druga dotyczy zwrotów, żądań i wyłączeń.",
    "cp1252": "Für den Wasserkocher gilt die Gewährleistung drei Jahre. Öffnen Sie das Gehäuse nicht.",
    "utf-16": "保修期为三年。The warranty lasts three years.",
}
ENCODINGS = [
    CorpusFile(f"{encoding}.txt", text(f"{sentence}\n", encoding), (sentence,))
    for encoding, sentence in SENTENCES.items()
]
OTHER = [
    CorpusFile(
        "faq.jsonl", text(json.dumps({"question": "How long?", "answer": "Three\u2028years."}, ensure_ascii=False)),
        ("How long? > Three\u2028years.",),
    ),
    CorpusFile("paragraphs.txt", text("One.\r\n\r\nTwo\rthree.\n \nFour."), ("One.", "Two/three.", "Four.")),
]  # fmt: skip

FILES = [*WORD, *PDF, *HTML, *MARKDOWN, *CSV, *ENCODINGS, *OTHER]
