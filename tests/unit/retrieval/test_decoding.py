from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import InvalidInputFileError
from rerankd.retrieval.decoding import decode

CHINESE = "本产品的保修期为一年，自购买之日起计算。请保留发票。"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030", "gbk", "gb2312"])
def test_chinese_is_read(encoding: str) -> None:
    assert decode(CHINESE.encode(encoding)).removeprefix("\ufeff") == CHINESE


def test_a_mixed_file_in_gb18030_is_read() -> None:
    text = "def f():\n    return 1  # 返回一个数，这是注释\n" * 20
    assert decode(text.encode("gb18030")) == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("保修期", "gbk"),
        ("保修期为一年的手机", "gb18030"),
        (CHINESE * 20, "gb18030"),
        (CHINESE * 20, "gb2312"),
        ("x = 1\n" * 50 + "# 注释\n", "gb18030"),
        ("id,标题,正文\n1,手机,很好\n", "gb18030"),
        ("张伟，李娜，王芳", "gb18030"),
        ("本產品的保固期為一年，自購買之日起計算。請保留發票。", "gb18030"),
        ("好的😀谢谢", "gb18030"),
        ("保修", "utf-8"),
        (CHINESE * 20, "utf-8"),
        (CHINESE, "utf-16"),
        (CHINESE, "utf-32"),
        ("café", "cp1252"),
        ("Größe und Maß für die Straße in München. " * 3, "cp1252"),
        ("The café in Zürich costs 5 €. " * 100, "cp1252"),
        ("“Quoted” – he said…", "cp1252"),
    ],
)
def test_short_and_long_texts_are_read(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)).removeprefix("\ufeff") == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (CHINESE, "utf-16-le"),
        (CHINESE, "utf-16-be"),
        ("A warranty of one year. ", "utf-16-le"),
        ("本產品的保固期為一年，自購買之日起計算。請保留發票。", "big5"),
        ("本產品的保固期為一年，自購買之日起計算。請保留發票。" * 20, "big5"),
        ("日本語のテキストです。これは保証書です。製品の保証期間は一年です。", "shift_jis"),
        ("日本語のテキストです。これは保証書です。製品の保証期間は一年です。" * 20, "shift_jis"),
        ("Гарантия действует один год со дня покупки. " * 5, "cp1251"),
    ],
)
def test_other_encodings_are_refused_rather_than_guessed(text: str, encoding: str) -> None:
    with pytest.raises(InvalidInputFileError):
        decode(text.encode(encoding))


def test_western_letters_are_read() -> None:
    text = "The café in Zürich costs 5 €, naïve and déjà vu. " * 3
    assert decode(text.encode("cp1252")) == text


@pytest.mark.parametrize(
    "content", [bytes(range(256)) * 8, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 9, "日本語のテキストです".encode("shift_jis")]
)
def test_what_is_no_text_is_said(content: bytes) -> None:
    with pytest.raises(InvalidInputFileError):
        decode(content)


@given(st.text(max_size=200))
def test_utf_8_comes_back(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass") if text.isprintable() else text.encode("utf-8", "replace")
    try:
        assert decode(data) == data.decode("utf-8").removeprefix("\ufeff")
    except InvalidInputFileError:
        assert any(byte < 32 for byte in data)


@given(st.binary(max_size=300))
def test_any_bytes_are_text_or_refused(content: bytes) -> None:
    with contextlib.suppress(InvalidInputFileError):
        assert isinstance(decode(content), str)
