"""The metadata of a passage: where it stands, and what its file says about it under names of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from rerankd.ranking.order import SCORE
from rerankd.retrieval.splitting import TextChunk

OWN_SUFFIX = "_in_file"
# Names that a search gives to a passage, whatever its file is; `id` is the id of a row.
_OF_SEARCH = frozenset(["id", "source", SCORE])
_OF_PLACE = frozenset(["heading", "page", "line"])


def reserved_names(*, is_table: bool) -> frozenset[str]:
    """Return the names that the metadata of a file cannot have; a column of a table may be called as a place is."""
    return _OF_SEARCH if is_table else _OF_SEARCH | _OF_PLACE


def renamed(metadata: Mapping[str, Any], reserved: Collection[str]) -> dict[str, Any]:
    """Return metadata whose reserved names have a suffix, so that no value is replaced.

    Example:
        >>> renamed({"source": "web", "year": 2026}, ["source"])
        {'source_in_file': 'web', 'year': 2026}
    """
    result: dict[str, Any] = {}
    for name, value in metadata.items():
        kept = f"{name}{OWN_SUFFIX}" if name in reserved else name
        while kept != name and (kept in metadata or kept in result):
            kept += OWN_SUFFIX
        result[kept] = value
    return result


def renaming_note(names: Collection[str], reserved: Collection[str]) -> str:
    """Return the sentence that says which names of a file have a suffix; empty if none has."""
    taken = sorted(name for name in names if name in reserved)
    if not taken:
        return ""
    shown = ", ".join(f"{name} as {name}{OWN_SUFFIX}" for name in taken)
    return f"Its metadata keep {shown}, because passages have these names of their own."


def place_of(passage: TextChunk, row_line: int) -> dict[str, Any]:
    """Return where a passage stands.

    Args:
        passage: the passage.
        row_line: line of the file on which its row begins; 0 for none.
    """
    place = {"heading": " > ".join(passage.headings), "page": passage.page, "line": passage.line or row_line}
    return {name: value for name, value in place.items() if value}


def well_formed(value: Any) -> Any:
    r"""Return a value whose texts can be stored: lone surrogates, which some PDF files have, become U+FFFD.

    Example:
        >>> well_formed({"title": "a\ud800"})
        {'title': 'a�'}
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return value
    if isinstance(value, dict):
        return {well_formed(name): well_formed(item) for name, item in value.items()}
    return [well_formed(item) for item in value] if isinstance(value, list | tuple) else value
