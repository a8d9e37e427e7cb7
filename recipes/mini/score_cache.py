"""Scores of pairs kept in a file by the hashes of their texts, so that a run goes on where it was interrupted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from .lines import append_lines, read_lines


class Cache:
    """Scores of pairs by the hash of what was scored, kept in a file of lines.

    A run that was interrupted goes on from what the file holds.

    Args:
        path: JSON Lines file; each line holds a key and a score.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._scores: dict[str, float] = dict(read_lines(path))

    @staticmethod
    def key(teacher: str, query: str, document: str) -> str:
        """Return the key of a pair scored by a teacher with a prompt, both named by `teacher`."""
        return hashlib.sha256("\0".join((teacher, query, document)).encode()).hexdigest()[:20]

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, teacher: str, query: str, document: str) -> float | None:
        """Return the score of a pair, or None."""
        return self._scores.get(self.key(teacher, query, document))

    def add(self, teacher: str, query: str, documents: Sequence[str], scores: Sequence[float]) -> None:
        """Add the scores of documents, and write them to the file."""
        rows = {self.key(teacher, query, d): round(float(s), 4) for d, s in zip(documents, scores, strict=True)}
        self._scores |= rows
        append_lines(self._path, rows.items())
