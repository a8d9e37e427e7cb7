from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rerankd.errors import InvalidInputFileError
from rerankd.retrieval.parsed_document import ParsedDocument
from rerankd.retrieval.parsing import parse
from tests.unit.retrieval.files import write_docx, write_pdf


def blocks(path: Path, **options: Any) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (" ".join(b.text.split()), b.headings) for unit in parse(path, **options) for b in unit.blocks if b.text.strip()
    ]


def units(path: Path, **options: Any) -> list[ParsedDocument]:
    return list(parse(path, **options))


def test_markdown(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(
        "---\ntitle: x\n---\n# 手册\n\n开头。\n\n## Install\n\n- one\n- two\n\n"
        "```sh\npip install x\n# no heading\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n# Other\n\nend"
    )
    assert blocks(path) == [
        ("开头。", ("手册",)),
        ("- one - two", ("手册", "Install")),
        ("```sh pip install x # no heading ```", ("手册", "Install")),
        ("| a | b | |---|---| | 1 | 2 |", ("手册", "Install")),
        ("end", ("Other",)),
    ]
    assert units(path)[0].metadata == {"title": "x"}


def test_html(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(
        "<html><head><title>The  page</title><style>p{}</style></head><body><nav>menu</nav><h1>Top <b>one</b></h1>"
        "<p>Hello <a href=x>wide</a> world.</p><script>evil()</script><h2>Sub</h2><ul><li>a</li><li>b</li></ul>"
        "<table><tr><td>1</td><td>2</td></tr></table><pre>x\n  y</pre></body></html>"
    )
    assert blocks(path) == [
        ("Hello wide world.", ("Top one",)),
        ("a", ("Top one", "Sub")),
        ("b", ("Top one", "Sub")),
        ("1 | 2", ("Top one", "Sub")),
        ("x y", ("Top one", "Sub")),
    ]
    assert units(path)[0].metadata == {"title": "The page"}


def test_html_in_its_own_encoding_and_deep(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_bytes('<meta charset="gb2312"><p>保修期为一年</p>'.encode("gb18030"))
    assert blocks(path) == [("保修期为一年", ())]
    path.write_text("<div>" * 5000 + "deep" + "</div>" * 5000)
    assert [text for text, _ in blocks(path)] == ["deep"]


def test_pdf(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    write_pdf(path, ["The warranty lasts one year.", "Second page."])
    [unit] = units(path)
    assert [(b.text.strip(), b.page) for b in unit.blocks] == [("The warranty lasts one year.", 1), ("Second page.", 2)]


def test_docx(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    write_docx(path)
    assert blocks(path) == [
        ("开头的一段。", ("保修手册",)),
        ("一年。", ("保修手册", "期限")),
        ("项目 | 时间 手机 | 一年", ("保修手册", "期限")),
    ]


def test_tables(tmp_path: Path) -> None:
    rows = [
        {"id": "7", "title": "标题", "text": "正文", "year": 2020},
        {"id": "8", "title": "", "text": "b", "year": 1},
    ]
    lines, table = tmp_path / "a.jsonl", tmp_path / "a.csv"
    lines.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    table.write_bytes("id,title,text,year\n7,标题,正文,2020\n8,,b,1\n".encode("gb18030"))
    first, second = units(lines)
    assert (first.id, first.metadata) == ("7", {"title": "标题", "year": 2020})
    assert [(b.text, b.headings) for b in first.blocks] == [("正文", ("标题",))]
    assert second.id == "8"
    assert [unit.metadata["year"] for unit in units(table)] == ["2020", "1"]
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"body": ["x", "y"], "n": [1, 2]}), tmp_path / "a.parquet")
    assert [unit.metadata for unit in units(tmp_path / "a.parquet")] == [{"n": 1}, {"n": 2}]
    other = tmp_path / "b.jsonl"
    other.write_text('{"words": "x"}')
    assert len(units(other, text_field="words")) == 1
    with pytest.raises(InvalidInputFileError, match=r"Row 1 has no text.*words"):
        units(other)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.pdf", b"%PDF-1.4 broken", "PDF cannot be read"),
        ("a.pdf", b"\0\1\2" * 100, "PDF cannot be read"),
        ("a.docx", b"PK\3\4 broken", "Word document cannot be read"),
        ("a.docx", b"plain text", "Word document cannot be read"),
        ("a.txt", bytes(range(256)) * 20, "binary"),
        ("a.md", b"\x80\x81\xfe\xff" * 50, "encoding"),
        ("a.html", b"\0" * 100, "binary"),
        ("a.jsonl", b"{broken", "Line 1 is not valid JSON"),
        ("a.jsonl", b"[1]", "not a JSON object"),
        ("a.csv", b"text\n\0\0\0" * 3, "binary"),
        ("a.parquet", b"PAR1 broken", "Parquet file cannot be read"),
        ("a.exe", b"MZ", "is not supported"),
        ("noending", b"x", "without an extension"),
    ],
)
def test_a_broken_file_is_a_sentence(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidInputFileError, match=says) as error:
        units(path)
    assert "Traceback" not in str(error.value)
    assert len(str(error.value)) < 400


def test_an_empty_file_has_nothing(tmp_path: Path) -> None:
    for name in ("a.txt", "a.pdf", "a.csv", "a.jsonl"):
        (tmp_path / name).touch()
        assert units(tmp_path / name) == []


def test_a_document_may_be_too_large(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    with pytest.raises(InvalidInputFileError, match="200 MB; the limit is 100"):
        units(path)


@pytest.mark.slow
def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("word/document.xml", "w", force_zip64=True) as out,
    ):
        for _ in range(250):
            out.write(b" " * 1_000_000)
    with pytest.raises(InvalidInputFileError, match="unpacks to more"):
        units(path)
