"""Lines of text files, gzipped or not, with the place they stand at."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rerankd.errors import InvalidInputFileError

_GZIP = b"\x1f\x8b"


def text_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Lines that hold something, each with its place for messages; gzip is told by the first bytes.

    Raises:
        InvalidInputFileError: not there, not whole, or not UTF-8.
    """
    number = 0
    try:
        with path.open("rb") as opened:
            packed = opened.read(2) == _GZIP
        with gzip.open(path) if packed else path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if line.strip():
                    yield f"{path}, line {number}", line
    except UnicodeDecodeError as error:
        raise InvalidInputFileError(
            f"{path}, line {number}: not UTF-8.", hint="Convert it: iconv -f GB18030 -t UTF-8."
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputFileError(
            f"{path} cannot be read ({reason}).", hint="Check the path and the file."
        ) from error


def json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects of a JSON lines file, each with its place.

    Raises:
        InvalidInputFileError: as `text_lines`, or a line that is no JSON object.
    """
    for place, line in text_lines(path):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InvalidInputFileError(
                f"{place}: not JSON ({error}).", hint="Write one JSON object per line."
            ) from error
        if not isinstance(row, dict):
            raise InvalidInputFileError(f"{place}: a {type(row).__name__}.", hint="Write one JSON object per line.")
        yield place, row


def field(row: dict[str, Any], names: tuple[str, ...], place: str) -> str:
    """The first of `names` that the row has, as text.

    Raises:
        InvalidInputFileError: it has none of them.
    """
    for name in names:
        if row.get(name) is not None:
            return str(row[name])
    raise InvalidInputFileError(f"{place}: no {names[0]!r}.", hint=f"Each line has {' or '.join(names)}.")
