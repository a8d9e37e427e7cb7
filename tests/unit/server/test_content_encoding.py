from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import InvalidRequestError, UnsupportedMediaTypeError
from rerankd.server.content_encoding import STEP_BYTES, body_decoder

BODY = '{"query": "熊猫"}'.encode()


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


def decoded(encoding: str, data: bytes, size: int = 1 << 16) -> bytes:
    decoder = body_decoder(encoding)
    assert decoder is not None
    plain = [step for start in range(0, len(data), size) for step in decoder.decode(data[start : start + size])]
    decoder.check_complete()
    return b"".join(plain)


@pytest.mark.parametrize("size", [1, 3, 1 << 16])
@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("GZIP", gzip.compress(BODY, mtime=0)),
        ("x-gzip", gzip.compress(BODY, mtime=0)),
        ("gzip", gzip.compress(BODY[:5], mtime=0) + gzip.compress(BODY[5:], mtime=0)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", raw_deflate(BODY)),
    ],
)
def test_bodies_are_decompressed_however_they_arrive(encoding: str, data: bytes, size: int) -> None:
    assert decoded(encoding, data, size) == BODY


@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_come_back(data: bytes, size: int) -> None:
    assert decoded("gzip", gzip.compress(data, mtime=0), size) == data
    assert decoded("deflate", zlib.compress(data), size) == data


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("gzip", BODY),
        ("gzip", zlib.compress(BODY)),
        ("gzip", gzip.compress(BODY, mtime=0) + b"more"),
        ("gzip", gzip.compress(BODY, mtime=0)[:-3]),
        ("gzip", gzip.compress(BODY, mtime=0)[:-8] + b"\0" * 8),
        ("deflate", zlib.compress(BODY)[:-1]),
        ("deflate", zlib.compress(BODY) + b"more"),
        ("deflate", b"\xff\xff\xff"),
    ],
)
def test_other_bytes_are_refused_with_a_sentence(encoding: str, data: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="cut off|as its Content-Encoding says"):
        decoded(encoding, data)


def test_no_step_is_large_whatever_the_ratio() -> None:
    decoder = body_decoder("gzip")
    assert decoder is not None
    sizes = [len(step) for step in decoder.decode(gzip.compress(b"\0" * 3 * STEP_BYTES, mtime=0))]
    assert max(sizes) <= STEP_BYTES
    assert sum(sizes) == 3 * STEP_BYTES


@pytest.mark.parametrize("encoding", ["", " ", "identity", "Identity"])
def test_plain_bodies_need_no_decoder(encoding: str) -> None:
    assert body_decoder(encoding) is None


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress", "aws-chunked", "\xff"])
def test_other_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(UnsupportedMediaTypeError, match="Use one of gzip, deflate"):
        body_decoder(encoding)
