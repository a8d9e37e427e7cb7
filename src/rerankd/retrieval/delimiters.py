"""The dialect of a file of delimited values: named by the user, by the file itself, or certain from its first rows."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from rerankd.errors import InvalidInputFileError
from rerankd.retrieval.row_text import ANSWER_FIELDS, TEXT_FIELDS

DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
_NAMES = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How values are separated.

    Attributes:
        delimiter: the character between two values.
        quoted: True if a value may stand in quotes; in some tab-separated files a quote is an ordinary character.
        has_separator_line: True if the first line is `sep=;`, as Excel writes and reads it.
    """

    delimiter: str
    quoted: bool = True
    has_separator_line: bool = False


def parse_delimiter(name: str) -> str:
    """Return the character for a delimiter that a user named, such as `;`, `tab` or `\\\\t`.

    Raises:
        InvalidInputFileError: it is not one character.
    """
    delimiter = _NAMES.get(name.lower(), name)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise InvalidInputFileError(
            f"{name!r} cannot separate columns.", hint="Name one character, such as ';', or 'tab'."
        )
    return delimiter


def detect_dialect(sample: str, default: str, named: str | None = None) -> Dialect:
    """Detect the dialect of a file from its beginning.

    Args:
        sample: the first lines, each of them whole.
        default: delimiter that the file's extension stands for.
        named: delimiter that the user named, if any.

    Raises:
        InvalidInputFileError: the header seems to be separated by another character, and the rows do not agree.

    Example:
        >>> detect_dialect("id;text\\n1;Refunds take five days, mostly.\\n", ",").delimiter
        ';'
    """
    first = sample.partition("\n")[0]
    if first.lower().startswith("sep=") and len(first.rstrip("\r")) == 5:
        return Dialect(named or first[4], has_separator_line=True)
    if named:
        return Dialect(named, quoted=_widths(sample, named) is not None or named != "\t")
    default_widths = _widths(sample, default)
    if default == "\t" and default_widths is None:
        return Dialect(default, quoted=False)
    others = [delimiter for delimiter in DELIMITERS if delimiter != default and delimiter in first]
    regular = [delimiter for delimiter in others if _is_regular(_widths(sample, delimiter))]
    if _is_regular(default_widths):
        naming = [delimiter for delimiter in (default, *regular) if _names_text(first, delimiter)]
        return Dialect(naming[0] if len(naming) == 1 else default)
    if len(regular) == 1:
        return Dialect(regular[0])
    if others and default not in first:
        names = " or ".join(DELIMITERS[delimiter] for delimiter in others)
        raise InvalidInputFileError(
            f"The columns seem to be separated by {names}, not by {DELIMITERS.get(default, default)}.",
            hint=f"Name the separator: --delimiter {others[0]!r}.",
        )
    return Dialect(default)


def _is_regular(widths: list[int] | None) -> bool:
    return widths is not None and widths[0] > 1 and len(set(widths)) == 1


def _names_text(header: str, delimiter: str) -> bool:
    """Return True if a column has a usual name for text, which a header with a comma in a name has only one way."""
    names = {name.strip(' "\r').lower() for name in header.split(delimiter)}
    return not names.isdisjoint((*TEXT_FIELDS, *ANSWER_FIELDS))


def _widths(sample: str, delimiter: str) -> list[int] | None:
    """Return the number of values of each row; None if its quotes do not close."""
    try:
        rows = list(csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return [len(row) for row in rows if row] or None
