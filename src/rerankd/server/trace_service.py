"""The traces of one instance as its requests see them: feedback goes in, cases are worked on, activity is asked for."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rerankd.settings import Settings
from rerankd.wiring.traces import open_store

if TYPE_CHECKING:
    from rerankd.feedback.case_store import CaseFilter
    from rerankd.feedback.cases import BadCase, State
    from rerankd.feedback.events import FeedbackEvent
    from rerankd.feedback.monitoring import Activity, MonitorWindows
    from rerankd.traces.store import TraceStore


class TraceService:
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

    def add_feedback(self, items: Sequence[FeedbackEvent]) -> int:
        """Keep feedback; how many items are of rankings that are known already.

        Raises:
            InvalidRequestError: an item that cannot be.
            UnavailableError: the database cannot be reached.
        """
        from rerankd.feedback.store import add_feedback

        return add_feedback(self.store, items)

    def cases(self, wanted: CaseFilter, limit: int) -> list[BadCase]:
        """Cases, the worst first."""
        from rerankd.feedback.case_store import list_cases

        return list_cases(self.store, wanted, limit=limit)

    def case(self, number: int, tenant: str | None) -> BadCase:
        """One case."""
        from rerankd.feedback.case_store import get_case

        return get_case(self.store, number, tenant)

    def flag(self, request_id: str, tenant: str | None, index: int | None, note: str) -> bool:
        """Put a ranking into the queue; whether it is new there."""
        from rerankd.feedback.case_store import flag_request

        return bool(flag_request(self.store, request_id, tenant, index, note))

    def change_case(
        self, number: int, tenant: str | None, grades: Mapping[int, int], state: State | None, note: str
    ) -> BadCase:
        """Label a case, and say what became of it."""
        from rerankd.feedback.case_store import update_case

        return update_case(self.store, number, tenant, grades, state, note)

    def activity(self, tenant: str | None, windows: MonitorWindows) -> list[Activity]:
        """What reranking did lately."""
        from rerankd.feedback.monitoring import monitor
        from rerankd.traces.store import TraceFilter

        return monitor(self.store, windows, TraceFilter(tenant=tenant))

    def close(self) -> None:
        """Let go of the database."""
        with self._opening:
            if self._store is not None:
                self._store.close()
