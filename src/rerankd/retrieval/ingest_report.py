"""What an ingestion run did, file by file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePath


@dataclass(slots=True)
class IngestReport:
    """Summary of an ingestion run.

    Attributes:
        added: number of files that are new to the index.
        changed: number of files whose content or split options changed.
        unchanged: number of files that were indexed already.
        removed: number of files that were removed from the index.
        passages: number of passages added.
        errors: each skipped file with the reason; nothing of it was added.
        partly_read: each table that could not be read to its end, with the reason; its first rows are in the index.
        kinds: number of indexed files by suffix, without the dot.
        empty_files: files without text.
        unsupported: files of types that are not supported.
        hidden: number of hidden files and folders, which are left out.
        links: symbolic links out of a folder that were followed, each with its target.
        lost_characters: number of characters that could not be decoded, by file.
        notes: what was left out of a file or assumed about it.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    passages: int = 0
    errors: list[tuple[str, str]] = field(default_factory=list)
    partly_read: list[tuple[str, str]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    empty_files: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    hidden: int = 0
    links: list[tuple[str, str]] = field(default_factory=list)
    lost_characters: dict[str, int] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)

    @property
    def empty(self) -> int:
        """Number of files without text."""
        return len(self.empty_files)

    @property
    def unsupported_kinds(self) -> Counter[str]:
        """Number of files of types that are not supported, by suffix."""
        return Counter(map(kind_of, self.unsupported))


def kind_of(path: str) -> str:
    """Return the kind of a file: its suffix in lower case, without the dot.

    Example:
        >>> kind_of("docs/Manual.PDF"), kind_of("LICENSE")
        ('pdf', 'no suffix')
    """
    return PurePath(path).suffix[1:].lower() or "no suffix"
