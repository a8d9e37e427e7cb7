"""From settings to a store and a writer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rerankd._common.optional import require
from rerankd._common.paths import state_folder
from rerankd.errors import InvalidRequestError
from rerankd.settings import Settings
from rerankd.traces.redaction import redactor
from rerankd.traces.writer import TraceWriter, WriterOptions

if TYPE_CHECKING:
    from rerankd.feedback.detection import CaseDetector
    from rerankd.feedback.monitoring import Activity
    from rerankd.feedback.retention import Retention
    from rerankd.traces.store import TraceStore

MEGABYTE = 1_000_000
DAY, HOUR = 86_400.0, 3600.0


def traces_url(settings: Settings) -> str:
    """The address of the database: the setting, or a file in the user's state folder."""
    return settings.traces_url or f"sqlite:///{(state_folder() / 'traces.sqlite').resolve()}"


def open_store(settings: Settings) -> TraceStore:
    """The store that the settings name.

    Raises:
        InvalidRequestError: an address that is none.
        MissingDependencyError: PostgreSQL without the extra `postgres`.
        UnavailableError: the database cannot be reached.
    """
    from rerankd.traces.store import TraceStore

    return TraceStore(traces_url(settings))


def open_existing_store(settings: Settings) -> TraceStore | None:
    """Return the store that the settings name, or None if it is a file that does not exist yet.

    Raises:
        As `open_store`.
    """
    url = traces_url(settings)
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return None
    return open_store(settings)


def open_writer(settings: Settings, activity: Callable[[list[Activity]], None] | None = None) -> TraceWriter | None:
    """The writer that the settings describe, None where traces are off; nothing is opened before the first ranking.

    Args:
        settings: of the program.
        activity: given what reranking did lately, about every minute, in the writer's thread; None for nobody, and then
            it is not found out.

    Raises:
        InvalidRequestError: settings that cannot be used.
        MissingDependencyError: PostgreSQL without the extra `postgres`.
    """
    if not settings.traces:
        return None
    if traces_url(settings).startswith("postgres"):
        require("psycopg", "postgres", "Keeping traces in PostgreSQL")
    for tenant, share in settings.traces_sample.items():
        if not 0 <= share <= 1:
            raise InvalidRequestError(
                f"traces_sample of {tenant} is {share:g}.", hint="A share is a number from 0 to 1."
            )
    options = WriterOptions(
        settings.traces_seconds,
        settings.traces_queue,
        int(settings.traces_queue_mb * MEGABYTE),
        settings.traces_sample,
    )
    redact = redactor(settings.traces_redact, settings.traces_redactor)

    return TraceWriter(lambda: open_store(settings), options, redact, _upkeep(settings, activity))


def _upkeep(settings: Settings, activity: Callable[[list[Activity]], None] | None) -> Callable[[TraceStore], object]:
    """What is done about every minute: forget what is old, look for bad cases, see what reranking did."""
    detector: CaseDetector | None = None

    def upkeep(store: TraceStore) -> bool:
        from rerankd.feedback.detection import CaseDetector
        from rerankd.feedback.monitoring import MonitorWindows, monitor
        from rerankd.feedback.retention import prune

        nonlocal detector
        if prune(store, retention(settings))[1]:
            return True  # the rest waits until nothing is too old
        if settings.cases:
            detector = detector or CaseDetector()
            detector(store)
        if activity is not None:
            activity(monitor(store, MonitorWindows(settings.monitor_window, settings.monitor_reference)))
        return False

    return upkeep


def retention(settings: Settings) -> Retention:
    """What the settings keep."""
    from rerankd.feedback.retention import Retention

    return Retention(settings.traces_days * DAY, int(settings.traces_mb * MEGABYTE), settings.feedback_hours * HOUR)
