"""Hashes of texts: a text is stored under the SHA-256 of its UTF-8 bytes."""

from __future__ import annotations

import hashlib


def encode_text(text: str) -> bytes:
    """Return a text as it is hashed and stored: UTF-8, in which lone surrogates are allowed.

    Example:
        >>> encode_text("é").hex()
        'c3a9'
    """
    return text.encode("utf-8", "surrogatepass")


def text_hash(text: str) -> str:
    """Return the SHA-256 under which a text is stored, in hexadecimal.

    Example:
        >>> text_hash("panda")[:8]
        'a7cdf5d0'
    """
    return hashlib.sha256(encode_text(text)).hexdigest()
