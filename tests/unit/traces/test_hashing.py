from __future__ import annotations

import hashlib

from rerankd.traces.hashing import encode_text, text_hash


def test_the_hash_is_that_of_the_utf_8_bytes() -> None:
    assert text_hash("熊猫") == hashlib.sha256("熊猫".encode()).hexdigest()
    assert text_hash("é") != text_hash("e\u0301")  # no normalization


def test_a_lone_surrogate_has_a_hash() -> None:
    assert encode_text("a\ud800") == b"a\xed\xa0\x80"
    assert text_hash("a\ud800") != text_hash("a?")
