"""Decoding of bytes in an unknown encoding: read right, or refused.

A byte order mark decides; then text that is valid UTF-8 is UTF-8, also with a few damaged bytes, each of which becomes
U+FFFD, so that they can be counted. Everything else is left to `encoding_detection`.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from pathlib import Path

from rerankd._common.optional import require
from rerankd.errors import InvalidInputFileError
from rerankd.retrieval.encoding_detection import detect_legacy

REPLACEMENT = "\ufffd"
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNMARKED = (
    ("UTF-32", "utf-32-le", 4),
    ("UTF-32", "utf-32-be", 4),
    ("UTF-16", "utf-16-le", 2),
    ("UTF-16", "utf-16-be", 2),
)
_SAMPLE = 65_536
_CHUNK = 1_000_000
_CONTROL = frozenset(range(1, 32)) - {7, 8, 9, 10, 11, 12, 13, 27, 28, 29, 30, 31}
_MAX_LOST = 0.02  # share of the characters outside ASCII that may be damaged
_GENUINE = REPLACEMENT.encode()
_DECLARED = re.compile(rb"""<meta[^>]+charset\s*=\s*["']?\s*([\w:.+-]+)|<\?xml[^>]+encoding=["']([\w:.-]+)""", re.I)


def decode(content: bytes) -> str:
    """Decode a text; damaged characters become U+FFFD.

    Raises:
        InvalidInputFileError: the content is binary, or in an encoding that is not certain.

    Example:
        >>> decode("保修期为一年的手机".encode("gb18030"))
        '保修期为一年的手机'
    """
    return _decode_as(content, detect(content)).removeprefix("\ufeff")


def decode_html(content: bytes) -> str:
    """Decode HTML: as UTF-8 if it is valid, else by the encoding that it declares, else by detection.

    A label means the encoding that the Encoding Standard gives to it: `iso-8859-1` is Windows-1252, `gb2312` is GBK.

    Raises:
        InvalidInputFileError: the content is binary, or in an encoding that is not certain.
    """
    declared = _DECLARED.search(content[:2048])
    if declared and not content.startswith(tuple(mark for mark, _ in _BYTE_ORDER_MARKS)) and not _is_utf8(content):
        labels = require("webencodings", "rag", "Reading HTML")
        encoding = labels.lookup((declared[1] or declared[2]).decode("ascii"))
        name = "" if encoding is None else encoding.codec_info.name
        if name and not name.startswith(("utf", "x-user")):
            text = content.decode("gb18030" if name == "gbk" else name, "replace")
            if text.count(REPLACEMENT) <= _MAX_LOST * sum(byte > 127 for byte in content):
                return text
    return decode(content)


def detect(content: bytes) -> str:
    """Return the name of the codec of a text, or of a part of it that ends with a character.

    Raises:
        InvalidInputFileError: the content is binary, or in an encoding that is not certain.
    """
    for mark, name in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return name
    _refuse_binary(content[:_SAMPLE])
    if _is_utf8(content):
        return detect_legacy(content) if re.search(rb"\x1b[$(]", content) else "utf-8"
    return "utf-8" if _is_damaged_utf8(content) else detect_legacy(_wide_lines(content))


def detect_file(path: Path) -> str:
    """Return the name of the codec of a file of any length, which is not held in memory.

    Raises:
        InvalidInputFileError: the file is binary, or in an encoding that is not certain.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    valid, head, wide = True, b"", b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if not head:
                head = chunk
                if any(head.startswith(mark) for mark, _ in _BYTE_ORDER_MARKS):
                    return detect(head)
                _refuse_binary(head[:_SAMPLE])
            chunk += file.readline(_CHUNK)
            if valid:
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError:
                    valid = False
            if len(wide) < _SAMPLE:
                wide += _wide_lines(chunk)
    valid = valid and not decoder.getstate()[0]  # bytes of a character that the end cuts off
    if not valid or b"\x1b" in head:
        return detect(wide if not valid else head[: head.rfind(b"\n") + 1] or head)
    detect(head[:_SAMPLE].decode("utf-8", "ignore").encode())  # refuses what is binary
    return "utf-8"


def _refuse_binary(sample: bytes) -> None:
    if sample.count(0) <= 0.002 * len(sample) and sum(byte in _CONTROL for byte in sample) <= 2 + 0.01 * len(sample):
        return
    if name := _unmarked(sample):
        raise InvalidInputFileError(
            "The file is not UTF-8.", hint=f"It looks like {name} without a byte order mark; save it as UTF-8."
        )
    raise InvalidInputFileError("The file is binary, not text.", hint="Convert it to a supported format.")


def _unmarked(sample: bytes) -> str:
    """Return the encoding that a sample seems to be in without saying so; empty for none."""
    if sum(32 <= byte < 127 for byte in sample) > 0.75 * len(sample):  # ASCII reads as Chinese, two letters at a time
        return ""
    readings = (name for name, codec, size in _UNMARKED if _reads_as(sample[: len(sample) // size * size], codec))
    return next(readings, "")


def _reads_as(sample: bytes, codec: str) -> bool:
    """Return True if a sample reads as text in a codec: common characters, most of them in one or two scripts."""
    try:
        text = sample.decode(codec)
    except UnicodeDecodeError as error:
        if error.start < len(sample) - 4:  # not just a character that the end of the sample cuts off
            return False
        text = sample[: error.start].decode(codec)
    blocks = Counter(ord(char) >> 8 for char in text if char.isalpha())
    common = sum(char.isprintable() or char.isspace() for char in text)
    most = sum(count for block, count in blocks.items() if block == 0 or 0x30 <= block < 0xD8)
    most = max(most, blocks[0] + max((count for block, count in blocks.items() if block), default=0))
    return common >= 0.98 * len(text) and most >= 0.9 * blocks.total() > 0


def _decode_as(content: bytes, encoding: str) -> str:
    text = content.decode(encoding, "replace")
    lost = text.count(REPLACEMENT) - content.count(_GENUINE)
    if lost > max(1, _MAX_LOST * sum(char > "\x7f" for char in text)) and encoding != "utf-8":
        raise InvalidInputFileError(
            f"The file seems to be {encoding}, but {lost} of its characters are not.", hint="Save it as UTF-8."
        )
    return text


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_damaged_utf8(content: bytes) -> bool:
    """Return True if nearly all bytes above 127 form UTF-8, or all but a character that was cut off at the end."""
    text = content.decode("utf-8", "replace")
    wide = sum(char > "\x7f" for char in text)
    lost = text.count(REPLACEMENT) - content.count(_GENUINE)
    cut_off = lost == 1 and text.endswith(REPLACEMENT) and wide > 4
    return cut_off or wide - lost >= 20 * lost


def _wide_lines(content: bytes) -> bytes:
    """Return lines with bytes above 127, and what surrounds them on these lines."""
    lines = (line for line in content.splitlines(keepends=True) if not line.isascii())
    sample = bytearray()
    for line in lines:
        sample += line
        if len(sample) >= _SAMPLE:
            break
    return bytes(sample)
