from __future__ import annotations

import codecs
import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankd.errors import InvalidInputFileError
from rerankd.retrieval.decoding import decode, detect, detect_file

CHINESE = "本产品的保修期为一年，自购买之日起计算。请保留发票。"


ENGLISH = "The quick brown fox jumps over the lazy dog. This is a text about kettles and pumps. " * 3


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


TEXTS = {
    "ko": "제품 보증 기간은 구입일로부터 일 년입니다. 배터리는 소모품이므로 보증 대상에서 제외됩니다.",
    "ja": "日本語のテキストです。これは保証書です。製品の保証期間は一年です。",
    "zh": "本產品的保固期為一年，自購買之日起計算。請保留發票。",
    "ru": "Гарантия действует один год со дня покупки. Сохраните чек и упаковку.",
    "uk": "Гарантія діє один рік від дня купівлі. Збережіть чек і пакування, будь ласка.",
    "el": "Η εγγύηση ισχύει για ένα έτος από την ημέρα της αγοράς. Κρατήστε την απόδειξη.",
    "pl": "Gwarancja na czajnik obowiązuje trzy lata. Część druga dotyczy zwrotów, żądań i wyłączeń.",
    "cs": "Záruka na konvici platí tři roky. Účtenku si prosím uschovejte, žádáme zákazníky.",
    "hu": "A vízforralóra három év jótállás érvényes. Kérjük, őrizze meg a számlát és a csomagolást.",
    "tr": "Su ısıtıcısı için üç yıl garanti geçerlidir. Lütfen fişi ve ambalajı saklayınız.",
    "he": "האחריות על הקומקום היא לשלוש שנים מיום הקנייה. נא לשמור את הקבלה.",
    "ar": "يسري الضمان لمدة ثلاث سنوات من تاريخ الشراء. يرجى الاحتفاظ بالفاتورة.",
    "lt": "Virduliui suteikiama trejų metų garantija. Išsaugokite čekį ir pakuotę, žiūrėkite sąlygas.",
    "th": "การรับประกันมีอายุหนึ่งปีนับจากวันที่ซื้อ โปรดเก็บใบเสร็จไว้",
    "de": "Für den Wasserkocher gilt die Gewährleistung drei Jahre. Öffnen Sie das Gehäuse nicht.",
    "fr": "La garantie de la bouilloire est valable trois années. Le reçu doit être gardé à côté.",
}
ENCODED = [
    ("ko", "euc-kr"), ("ko", "cp949"), ("ja", "shift_jis"), ("ja", "cp932"), ("ja", "euc-jp"), ("ja", "iso2022_jp"),
    ("zh", "big5"), ("zh", "gb18030"), ("ru", "koi8-r"), ("ru", "cp1251"), ("ru", "iso8859-5"), ("uk", "koi8-u"),
    ("uk", "cp1251"), ("el", "iso8859-7"), ("el", "cp1253"), ("pl", "cp1250"), ("pl", "iso8859-2"), ("cs", "cp1250"),
    ("hu", "cp1250"), ("tr", "cp1254"), ("tr", "iso8859-9"), ("he", "cp1255"), ("ar", "cp1256"), ("lt", "cp1257"),
    ("th", "cp874"), ("de", "cp1252"), ("fr", "cp1252"), ("fr", "latin-1"),
]  # fmt: skip


@pytest.mark.parametrize(("language", "encoding"), ENCODED)
def test_the_encodings_of_many_languages_are_read(language: str, encoding: str) -> None:
    text = f"{TEXTS[language]} 1234.\n" * 3
    assert decode(text.encode(encoding)) == text


RARE = [("de", "cp850"), ("fr", "mac-roman"), ("pl", "cp852"), ("ru", "cp866"), ("ru", "mac-cyrillic"), ("ko", "johab")]


@pytest.mark.parametrize("length", [4, 12, 30, 80])
@pytest.mark.parametrize(("language", "encoding"), [*ENCODED, *RARE, ("zh", "utf-16-le"), ("zh", "utf-16-be")])
def test_a_short_text_is_read_or_refused_but_never_changed(language: str, encoding: str, length: int) -> None:
    text = TEXTS[language][:length]
    with contextlib.suppress(InvalidInputFileError):
        assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize("text", [CHINESE, "A warranty of one year. "])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_utf_16_without_a_byte_order_mark_is_refused(text: str, encoding: str) -> None:
    with pytest.raises(InvalidInputFileError):
        decode(text.encode(encoding))


@pytest.mark.parametrize(
    ("content", "lost"),
    [
        ((CHINESE * 10).encode() + b"\xff" + CHINESE.encode(), 1),
        (("Größe und Maß für Köln. " * 20).encode() + b"caf\xe9, caf\xe9", 2),
        ((TEXTS["ru"] * 2).encode()[:-1] + b"\xd0", 1),  # cut off within a character
        (codecs.BOM_UTF16_LE + (CHINESE * 4).encode("utf-16-le") + b"\x00\xd8", 1),
    ],
)
def test_damaged_characters_are_counted(content: bytes, lost: int) -> None:
    assert decode(content).count("\ufffd") == lost


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "gb18030", "euc-kr", "cp1251"])
def test_a_file_of_any_length_is_detected(tmp_path: Path, encoding: str) -> None:
    text = {"euc-kr": TEXTS["ko"], "gb18030": CHINESE}.get(encoding, TEXTS["ru"]) + "\n"
    path = tmp_path / "a.csv"
    path.write_bytes(("a,b\n" * 300_000 + text * 9).encode(encoding))  # the letters come after the first megabyte
    assert path.read_bytes().decode(detect_file(path)).endswith(text)


def test_western_letters_are_read() -> None:
    text = "The café in Zürich costs 5 €, naïve and déjà vu. " * 3
    assert decode(text.encode("cp1252")) == text


@pytest.mark.parametrize(
    "content", [bytes(range(256)) * 8, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 9, bytes(range(128, 256)) * 3]
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


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_text_or_refused(content: bytes) -> None:
    with contextlib.suppress(InvalidInputFileError):
        assert isinstance(decode(content), str)


@pytest.mark.parametrize(
    "sentence",
    ["It’s open.", "Mon – Fri", "1990–1995", "add ½ cup", "Kettle™ and Pump® work.", "30 °C ± 2", "5 µm", "costs £5",
     "costs 5 €", "§ 12 applies", "She said “stop”.", "wait…", "© Acme", "• item", "10\xa0kg", "2 × 3 m", "A·B",
     "The café is open.", "Contact: Jürgen Müller, São Paulo", "SITUAÇÃO", "ÅÄÖ"],
)  # fmt: skip
def test_english_with_a_few_signs_or_accents_is_windows_1252(sentence: str) -> None:
    text = f"{ENGLISH}{sentence}\n{ENGLISH}"
    assert decode(text.encode("cp1252")) == text


@pytest.mark.parametrize(
    ("word", "encoding"),
    [("保修", "gb18030"), ("电话", "gb18030"), ("中文", "gb18030"), ("保証", "cp932"), ("さくら", "cp932"),
     ("電話", "euc_jp"), ("서울", "cp949"), ("보증", "cp949"), ("中文", "big5"), ("Привет", "cp1251"), ("да", "cp1251"),
     ("Erdoğan", "cp1254"), ("schön", "cp850"), ("30 °C", "cp850")],
)  # fmt: skip
def test_one_word_of_another_script_in_english_is_read_right_or_refused(word: str, encoding: str) -> None:
    text = f"{ENGLISH} The term {word} means this. {ENGLISH}"
    with contextlib.suppress(InvalidInputFileError):
        assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize("text", ["text\ncafé", "a,text\n1,Straße\n2,São", "text\nMüller für é"])
def test_a_file_that_ends_with_an_accent_is_no_damaged_utf_8(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode("cp1252"))
    name = detect_file(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text(encoding=name) == text


def test_a_character_that_the_end_cuts_off_is_damaged_utf_8(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text\nStraße für Müller über Möbel\nö".encode()[:-1])
    assert detect_file(tmp_path / "a.csv") == "utf-8"


@pytest.mark.parametrize("text", ["It\u2019s café time", "El niño come pan", "Smörgåsbord today", "Le café est fermé"])
def test_an_accent_or_two_are_windows_before_an_old_machine(text: str) -> None:
    content = text.encode("cp1252")
    assert content.decode(detect(content)) == text


UNMARKED = [
    "The warranty lasts three years.\nDescale it monthly.\n",
    "保修期为三年。\r\n每月除垢一次。\r\n",
    "Гарантия три года.\nЧистить ежемесячно.\n",
    "id,text\r\n1,Größe und Maß\r\n",
]


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", UNMARKED)
@pytest.mark.parametrize("times", [1, 3000])
def test_unicode_without_a_byte_order_mark_is_named(tmp_path: Path, text: str, codec: str, times: int) -> None:
    content = (text * times).encode(codec)
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    says = f"It looks like {codec[:6].upper()} without a byte order mark; save it as UTF-8"
    with pytest.raises(InvalidInputFileError, match=says):
        decode(content)
    with pytest.raises(InvalidInputFileError, match=says):
        detect_file(path)


@pytest.mark.parametrize(
    "content",
    [
        bytes(range(256)) * 4,
        b"\x00" * 1000,
        b"%PDF-1.4\x00\x01\x02" * 100,
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x01\x00\x00\x00\x01\x00\x08\x06\x00\x00\x00" * 9,
        b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00" * 20,
        b"text with\x00zeros\x00in it " * 50,
        b"text with\x00zeros\x00in it" * 50,
    ],
)
def test_what_is_binary_is_called_so(content: bytes) -> None:
    with pytest.raises(InvalidInputFileError, match="The file is binary, not text"):
        decode(content)
