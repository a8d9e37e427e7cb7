"""Compressed request bodies, decompressed while they arrive, within the limits of plain ones."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from rerankd.errors import InvalidRequestError, UnsupportedMediaTypeError

STEP_BYTES = 1_048_576
ACCEPTED = "gzip, deflate"
GZIP_MAGIC = b"\x1f\x8b"
_GZIP, _ZLIB, _RAW = 31, 15, -15  # the `wbits` of zlib


class BodyDecoder:
    """Decompressor of one body, in steps of bounded size.

    Args:
        encoding: `gzip` or `deflate`.

    Example:
        >>> import gzip
        >>> decoder = BodyDecoder("gzip")
        >>> b"".join(decoder.decode(gzip.compress(b"{}")))
        b'{}'
        >>> decoder.check_complete()
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._stream = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
        self._head = b""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield the plain bytes of the next compressed bytes, at most `STEP_BYTES` at a time.

        Raises:
            InvalidRequestError: the bytes are not in the encoding.
        """
        if self._stream is None:  # deflate: its header, which many clients leave out, tells itself in two bytes
            data = self._head = self._head + data
            if len(data) < 2:
                return
            has_header = data[0] & 15 == 8 and int.from_bytes(data[:2]) % 31 == 0
            self._stream = zlib.decompressobj(_ZLIB if has_header else _RAW)
        while data:
            if self._stream.eof:
                if self._encoding != "gzip" or not data.startswith(GZIP_MAGIC[: len(data)]):
                    raise self._invalid()
                self._stream = zlib.decompressobj(_GZIP)  # a gzip file may hold several members
            try:
                plain = self._stream.decompress(data, STEP_BYTES)
            except zlib.error:
                raise self._invalid() from None
            if plain:
                yield plain
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail

    def check_complete(self) -> None:
        """Check, at the end of the body, that nothing is missing.

        Raises:
            InvalidRequestError: the compressed body is cut off.
        """
        if self._stream is not None and not self._stream.eof:
            raise InvalidRequestError(f"The {self._encoding} body is cut off.", hint="Send the whole body.")

    def _invalid(self) -> InvalidRequestError:
        return InvalidRequestError(
            f"The body is not {self._encoding}, as its Content-Encoding says.",
            hint="Compress it, or leave the header out.",
        )


def body_decoder(content_encoding: str) -> BodyDecoder | None:
    """Return the decompressor for a `Content-Encoding`; None for a plain body.

    Raises:
        UnsupportedMediaTypeError: an encoding that is not read, or several.
    """
    encoding = content_encoding.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip", "deflate"):
        return BodyDecoder(encoding.removeprefix("x-"))
    raise UnsupportedMediaTypeError(
        f"The Content-Encoding {content_encoding[:100]!r} is not supported.",
        hint=f"Use one of {ACCEPTED}, or send the body uncompressed.",
    )
