"""Trace store of one instance, for requests: feedback, bad cases and activity."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rerankd.server.store_calls import StoreCaller
from rerankd.settings import Settings
from rerankd.wiring.traces import open_trace_store

if TYPE_CHECKING:
    from rerankd.feedback.case_store import CaseFilter
    from rerankd.feedback.cases import BadCase, State
    from rerankd.feedback.events import FeedbackEvent
    from rerankd.feedback.monitoring import Activity, MonitorWindows
    from rerankd.traces.store import TraceStore


class TraceService:
    """Trace store, opened for the first request that needs it; its methods block, and `call` runs them in threads.

    Args:
        settings: settings of the service.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opening = threading.Lock()
        self._store: TraceStore | None = None
        self.call = StoreCaller("trace database").call

    @property
    def store(self) -> TraceStore:
        """Database of traces.

        Raises:
            UnavailableError: the database cannot be reached.
        """
        with self._opening:
            if self._store is None:
                self._store = open_trace_store(self._settings)
            return self._store

    def add_feedback(self, events: Sequence[FeedbackEvent]) -> int:
        """Store feedback; return the number of events whose ranking is stored already.

        Raises:
            InvalidRequestError: an event cannot be stored.
            UnavailableError: the database cannot be reached.
        """
        from rerankd.feedback.store import add_feedback

        return add_feedback(self.store, events)

    def cases(self, case_filter: CaseFilter, limit: int) -> list[BadCase]:
        """List cases, the worst first."""
        from rerankd.feedback.case_store import list_cases

        return list_cases(self.store, case_filter, limit=limit)

    def case(self, number: int, tenant: str | None) -> BadCase:
        """Return one case."""
        from rerankd.feedback.case_store import get_case

        return get_case(self.store, number, tenant)

    def flag(self, request_id: str, tenant: str | None, index: int | None, note: str) -> bool:
        """Flag a ranking; return True if it was not flagged before."""
        from rerankd.feedback.case_store import flag_request

        return bool(flag_request(self.store, request_id, tenant, index, note))

    def update_case(
        self,
        number: int,
        tenant: str | None,
        grades: Mapping[int, int],
        state: State | None,
        note: str,
        labeller: str,
    ) -> BadCase:
        """Label a case, or change its state."""
        from rerankd.feedback.case_update import update_case

        return update_case(self.store, number, tenant, grades, state, note, labeller)

    def activity(self, tenant: str | None, windows: MonitorWindows) -> list[Activity]:
        """Return recent reranking activity."""
        from rerankd.feedback.monitoring import monitor
        from rerankd.traces.store import TraceFilter

        return monitor(self.store, windows, TraceFilter(tenant=tenant))

    def close(self) -> None:
        """Close the database."""
        with self._opening:
            if self._store is not None:
                self._store.close()
