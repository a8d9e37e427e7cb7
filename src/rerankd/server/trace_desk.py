"""The traces of one instance as its requests see them: feedback goes in."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rerankd.settings import Settings
from rerankd.traces.opening import open_store

if TYPE_CHECKING:
    from rerankd.traces.feedback import Feedback
    from rerankd.traces.store import TraceStore


class TraceDesk:
    """Opens the database when it is first needed, again after it could not. Its methods block.

    Args:
        settings: of the program.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opening = threading.Lock()
        self._store: TraceStore | None = None

    @property
    def store(self) -> TraceStore:
        """The database.

        Raises:
            UnavailableError: it cannot be reached.
        """
        with self._opening:
            if self._store is None:
                self._store = open_store(self._settings)
            return self._store

    def add_feedback(self, items: Sequence[Feedback]) -> int:
        """Keep feedback; how many items are of rankings that are known already.

        Raises:
            InvalidRequestError: an item that cannot be.
            UnavailableError: the database cannot be reached.
        """
        from rerankd.traces.feedback import add_feedback

        return add_feedback(self.store, items)

    def close(self) -> None:
        """Let go of the database."""
        with self._opening:
            if self._store is not None:
                self._store.close()
