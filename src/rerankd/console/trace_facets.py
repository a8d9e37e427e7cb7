"""Choices of the filters of traces, kept for a moment: each visit of the list would read thousands of rows for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rerankd.traces.facets import TraceFacets, read_facets
from rerankd.traces.store import TraceStore

SECONDS = 30.0
MAX_ENTRIES = 500


class FacetCache:
    """Values that traces can be filtered by, for each tenant; thread-safe.

    Args:
        clock: monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[str | None, tuple[float, TraceFacets]] = {}
        self._lock = threading.Lock()

    def read(self, store: TraceStore, tenant: str | None) -> TraceFacets:
        """Return the values in the traces of a tenant; None for those of all tenants."""
        with self._lock:
            read_at, facets = self._entries.get(tenant, (-SECONDS, None))
            if facets is not None and self._clock() - read_at < SECONDS:
                return facets
        facets = read_facets(store, tenant)
        with self._lock:
            if len(self._entries) >= MAX_ENTRIES:
                self._entries.clear()
            self._entries[tenant] = (self._clock(), facets)
        return facets
