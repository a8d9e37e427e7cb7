"""Reader of JSON lines, plain or gzipped, from any offset."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

import orjson

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.jobs.bulk.reader import Offset, RawRow
from rerankd.jobs.bulk.rows import RowKind

MAX_LINE = 32 * 1024 * 1024
_BLOCK = 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class JsonlReader:
    """Reads a file of JSON lines; empty lines are skipped.

    Args:
        path: path of the file; it is decompressed if it begins with the gzip signature.

    Raises:
        InvalidInputFileError: the file cannot be read.
    """

    unit = "line"

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._readable():
            self._raw = path.open("rb")
            self._size = path.stat().st_size
            self._packed = self._raw.read(2) == b"\x1f\x8b"
            self._raw.seek(0)
        file = gzip.GzipFile(fileobj=self._raw) if self._packed else self._raw
        self._file = cast("IO[bytes]", file)

    def rows(self, start: Offset) -> Iterator[RawRow]:
        """Yield the rows from an offset on."""
        with self._readable():
            self._file.seek(start.offset)
        offset, number, rows = start.offset, start.line, start.rows
        digest = bytes.fromhex(start.digest)
        while True:
            with self._readable():
                line, length, digest = self._line(digest)
            if not length:
                return
            offset, number = offset + length, number + 1
            if number == 1 and line is not None:
                line = line.removeprefix(_BOM)
            if line is not None and not line.strip():
                continue
            rows += 1
            content, fault = _parsed(line)
            yield RawRow(content, fault, Offset(offset, number, rows, digest.hex()))

    def share(self, position: Offset) -> float | None:
        """Return the share of the file before an offset; of a gzipped file, the share that was read."""
        if not self._size:
            return None
        return min(1.0, (self._raw.tell() if self._packed else position.offset) / self._size)

    def matches_prefix(self, position: Offset) -> bool:
        """Return True if the file before an offset is unchanged."""
        with self._readable():
            self._file.seek(0)
            offset, digest = 0, b""
            while offset < position.offset:
                _, length, digest = self._line(digest)
                if not length:
                    return False
                offset += length
        return offset == position.offset and digest.hex() == position.digest

    def kind(self) -> RowKind | None:
        """Return None: the kind is unknown until rows are read."""
        return None

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _line(self, digest: bytes) -> tuple[bytes | None, int, bytes]:
        """Return the next line (None if it is too long), its length, and the digest behind it."""
        line: bytes | None = self._file.readline(MAX_LINE + 1)
        if line is None or len(line) <= MAX_LINE:
            return line, len(line or b""), blake2b(digest + (line or b""), digest_size=16).digest()
        length, part = len(line), line
        digest = blake2b(digest + part, digest_size=16).digest()
        while part and not part.endswith(b"\n"):
            part = self._file.readline(_BLOCK)
            length += len(part)
            digest = blake2b(digest + part, digest_size=16).digest()
        return None, length, digest

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InvalidInputFileError(
                f"{self._path} cannot be read ({reason}).", hint="Check the path, and that the file is whole."
            ) from error


def _parsed(line: bytes | None) -> tuple[object, InvalidRequestError | None]:
    if line is None:
        fault = InvalidRequestError(f"Longer than {MAX_LINE >> 20} MB.", hint="Split the row.")
        return None, fault
    try:
        return orjson.loads(line), None
    except ValueError as error:
        return None, InvalidRequestError(f"Not JSON ({error}).", hint="Write one JSON object per line, in UTF-8.")
