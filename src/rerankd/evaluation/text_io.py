"""Reading of text files line by line, gzipped or not, each line with its location for error messages."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rerankd._common.json_parsing import parse_json
from rerankd.errors import InvalidInputFileError

_GZIP = b"\x1f\x8b"


def text_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines that are not blank, each with its location; gzip is recognised by the first bytes.

    Raises:
        InvalidInputFileError: the file is missing, truncated, or not UTF-8.
    """
    number = 0
    try:
        with path.open("rb") as file:
            gzipped = file.read(2) == _GZIP
        with gzip.open(path) if gzipped else path.open("rb") as file:
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
    """Yield the objects of a JSON lines file, each with its location.

    Raises:
        InvalidInputFileError: the file cannot be read, or a line is not a JSON object.
    """
    for location, line in text_lines(path):
        try:
            row = parse_json(line)
        except ValueError as error:
            raise InvalidInputFileError(
                f"{location}: not JSON ({error}).", hint="Write one JSON object per line."
            ) from error
        if not isinstance(row, dict):
            raise InvalidInputFileError(f"{location}: a {type(row).__name__}.", hint="Write one JSON object per line.")
        yield location, row


def required_field(row: dict[str, Any], names: tuple[str, ...], location: str) -> str:
    """Return the first of several fields that a row has, as text.

    Args:
        row: a JSON object.
        names: accepted names of the field.
        location: location of the row, for the error message.

    Raises:
        InvalidInputFileError: the row has none of them.
    """
    for name in names:
        if row.get(name) is not None:
            return str(row[name])
    raise InvalidInputFileError(f"{location}: no {names[0]!r}.", hint=f"Each line has {' or '.join(names)}.")
