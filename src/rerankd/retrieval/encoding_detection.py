"""Detection of the encodings that came before Unicode: a guess of chardet, accepted only if nothing contradicts it.

chardet ranks the encodings by how common their letters' neighbours are in each language. On translations into 27
languages it names the right one nearly always from 250 characters on; charset-normalizer is wrong for a quarter. A
wrong guess ends up in the index, a refused file is reported to the user; therefore a text must also look like text
(letters of a word in one script, no signs and no capitals within words), and the next guess must be clearly behind.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata

from rerankd._common.optional import require
from rerankd.errors import InvalidInputFileError

# Encodings of other times and machines are accepted only for texts that are long enough to be certain.
_RARE = re.compile(r"cp(?!932|949|874)\d+|mac|johab|koi8-t|kz|ptcp|hp|iso8859-(?:4|10|13|14|16)$|hz|euc_jis", re.I)
_UNUSED = re.compile(r"utf|cp037|cp1006|cp1026|cp1140|cp273|cp424|cp500|cp875")  # UTF has byte order marks; EBCDIC
_WESTERN = re.compile(r"windows-125[02]|iso-?8859-(?:1|2|15)|macroman", re.I)
_RARE_BYTES = 100
_RARE_CONFIDENCE = 0.05
_FEW_BYTES = 8
_RIVAL = 0.85  # another reading with this share of the best one's confidence makes the guess uncertain
_WESTERN_RIVAL = 0.95  # for Windows-1252, by far the most common of them
_RARE_RIVAL = 0.8
_WORD = re.compile(r"[^\W\d_]+")
_FRAME = re.compile(r"[^\W\d_][\u2500-\u259f\u25a0]|[\u2500-\u259f\u25a0][^\W\d_]")
_BETWEEN_LETTERS = re.compile(r"(?<=[^\W\d_])[^\w\s\x00-\x7f](?=[^\W\d_])")
_SIGNS = frozenset(["So", "Sm", "Sc", "Sk", "No"])
_EAST_ASIAN = frozenset(
    ["CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "KATAKANA-HIRAGANA", "IDEOGRAPHIC", "HALFWIDTH", "FULLWIDTH"]
)
# Signs of Windows-1252 where they stand in a text without accents; chardet knows letters only. Bytes of other encodings
# that are letters there are not at such places: o-umlaut of DOS is a closing quote, but has letters on both sides.
_WESTERN_SIGN = re.compile(
    rb"""(?<![\x80-\xff]) (?:
        (?<![A-Za-z]) [\x80\x84\x91\x93\x95\xa3\xa7\xa9\xb0\xb1\xb5\xbc-\xbe]
        | [\x80\x85\x92\x94\x99\xa3\xae\xb0\xbc-\xbe] (?![A-Za-z])
        | (?<=\s) [\x96\x97] (?=\s) | (?<=[A-Za-z\d]) [\x92\x96\x97\xb7\xd7] (?=[A-Za-z\d]) | (?<=\d\ ) \xd7 | \xa0
        | \x85[\x92\x94]
    ) (?![\x80-\xff@\[\\\]^`{|}~])""",
    re.VERBOSE,
)
_LEAST_LETTERS = 5
_BEGINNING = 1000
# Words without any letter of ASCII, as those of other scripts among English; those of Western languages have some.
_FOREIGN_WORD = re.compile(rb"(?<![A-Za-z\x80-\xff])[\x80-\xff]{2,}(?![A-Za-z\x80-\xff])")
_ALPHABETS = frozenset(["åäö", "äöü", "äöüß", "æøå", "áéíóú", "àèìòù", "âêîôû"])
_ICELANDIC = re.compile("[ðþÐÞ]")  # or Turkish, in a few words
_ANY_SCRIPT = "µºª"
_NEVER_IN_WORDS = "¡¿¶§†‡‰„“”‚‹›•¤"


def detect_legacy(content: bytes) -> str:
    """Return the name of the codec of a text that is not in UTF-8.

    Raises:
        InvalidInputFileError: no encoding is certain.
        MissingDependencyError: the extra `rag` is not installed.
    """
    if _has_western_signs_alone(content):
        return "cp1252"
    detector = require("chardet", "rag", "Reading a text that is not in UTF-8")
    best = 0.0
    readings: dict[str, list[tuple[float, str]]] = {}  # text: confidence and name of each encoding that gives it
    for guess in detector.detect_all(content, ignore_threshold=True):
        name, confidence = guess["encoding"], guess["confidence"]
        try:
            text = content.decode(name) if name and confidence > 0 else ""
        except (LookupError, UnicodeError):
            continue
        best = max(best, confidence)
        if text and not _UNUSED.match(name) and is_plausible(text):
            readings.setdefault(text, []).append((confidence, name))
    name = _certain(list(readings.values()), best, sum(byte > 127 for byte in content)) if readings else ""
    if name and not (_WESTERN.fullmatch(name) and _is_foreign(content)):
        return _superset(name.lower())
    guesses = " or ".join(guesses[0][1] for guesses in list(readings.values())[:2])
    raise InvalidInputFileError(
        f"The encoding cannot be detected{f'; it may be {guesses}' if guesses else ''}.", hint="Save it as UTF-8."
    )


def _has_western_signs_alone(content: bytes) -> bool:
    """Return True for letters of ASCII with signs of Windows-1252, such as quotes, which chardet cannot weigh.

    Example:
        >>> _has_western_signs_alone("It\u2019s a Kettle\u2122 \u2013 add \u00bd cup".encode("cp1252"))
        True
    """
    letters = re.findall(rb"[A-Za-z]", content[:_BEGINNING])
    return not content.isascii() and len(letters) >= _LEAST_LETTERS and _WESTERN_SIGN.sub(b"", content).isascii()


def _is_foreign(content: bytes) -> bool:
    """Return True if Windows-1252 reads no word of a Western language in what is not ASCII."""
    words = [word.decode("cp1252", "replace") for word in _FOREIGN_WORD.findall(content)]
    if any(_is_foreign_word(word) for word in words) and _FOREIGN_WORD.sub(b"", content).isascii():
        return True
    text = content.decode("cp1252", "replace")
    return sum(byte > 127 for byte in content) < _FEW_BYTES and _ICELANDIC.search(text) is not None


def _is_foreign_word(word: str) -> bool:
    letters = sum(map(str.isalpha, word))
    signs = sum(unicodedata.category(char) in _SIGNS for char in word)
    return letters + signs >= 2 and letters > 0 and word.lower() not in _ALPHABETS


def _certain(readings: list[list[tuple[float, str]]], best: float, evidence: int) -> str:
    """Return the encoding of the first reading; empty if another reading may be right.

    Args:
        readings: confidence and name of the encodings that give the same text, for each text, the best one first.
        best: highest confidence of any encoding, also of one whose text is implausible.
        evidence: number of bytes above 127.
    """
    if evidence < _FEW_BYTES:  # an accent or two are Windows-1252's before they are those of an old machine
        frequent = [reading for reading in readings if not all(_RARE.match(name) for _, name in reading)]
        readings = frequent if frequent and _WESTERN.fullmatch(frequent[0][0][1]) else readings
    common = [guess for guess in readings[0] if not _RARE.match(guess[1])]
    confidence, name = (common or readings[0])[0]
    if not common and (evidence < _RARE_BYTES or confidence < _RARE_CONFIDENCE):
        return ""
    allowed = _RARE_RIVAL if not common else _WESTERN_RIVAL if name == "Windows-1252" else _RIVAL
    if evidence < _FEW_BYTES and name != "Windows-1252":
        allowed *= 0.5
    others = (guess for reading in readings[1:] for guess in reading)
    rival = max((score for score, other in others if not common or not _RARE.match(other)), default=0.0)
    return name if rival < confidence * allowed and confidence >= 0.5 * best else ""


def is_plausible(text: str) -> bool:
    """Return True if a decoded text looks like text: letters of a word in one script, no signs or capitals in words.

    Example:
        >>> is_plausible("zażółć gęślą jaźń"), is_plausible("za¿ó³æ gêœl¹ jaŸñ")
        (True, False)
    """
    for char in set(text):
        category = unicodedata.category(char)
        if category in ("Cn", "Co", "Cs") or (category == "Cc" and not char.isascii()):
            return False
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    odd = sum(map(_is_odd, words))
    signs = (char for char in _BETWEEN_LETTERS.findall(text) if char < "\u3000")
    odd += sum(unicodedata.category(char) in _SIGNS or char in _NEVER_IN_WORDS for char in signs)
    odd += len(_FRAME.findall(text))
    return odd <= 0.02 * len(words)


def _is_odd(word: str) -> bool:
    scripts = {_script(char) for char in word if char not in _ANY_SCRIPT}
    if len(scripts) > 1:
        return scripts != {"CJK", "LATIN"}
    has_case = scripts <= {"LATIN", "CYRILLIC", "GREEK"}
    return has_case and any(a.islower() and b.isupper() and not (a + b).isascii() for a, b in itertools.pairwise(word))


@functools.cache
def _script(char: str) -> str:
    name = unicodedata.name(char, "").split(" ", 1)[0]
    return "CJK" if name in _EAST_ASIAN else name


def _superset(name: str) -> str:
    """Return the encoding that programs write when they say `name`."""
    return {
        "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc-kr": "cp949", "iso-8859-1": "cp1252",
        "tis-620": "cp874", "big5": "big5hkscs",
    }.get(name, name)  # fmt: skip
