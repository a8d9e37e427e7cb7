"""The trace store and the trace writer, built from settings."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rerankd._common.optional import require
from rerankd._common.paths import state_folder
from rerankd.errors import InvalidRequestError
from rerankd.settings import Settings
from rerankd.traces.redaction import build_redactor
from rerankd.traces.writer import TraceWriter, WriterOptions

if TYPE_CHECKING:
    from rerankd.feedback.detection import CaseDetector
    from rerankd.feedback.monitoring import Activity
    from rerankd.feedback.retention import RetentionPolicy
    from rerankd.traces.store import TraceStore

MEGABYTE = 1_000_000
DAY, HOUR = 86_400.0, 3600.0
REFRESH_SECONDS = 1.0  # for which rankings wait to be written while old ones are summarized
LATE_SECONDS = 600.0  # by which a trace may be written after the feedback on it was looked at


def traces_url(settings: Settings) -> str:
    """Return the URL of the trace database: the setting, or a file in the user's state folder."""
    return settings.traces_url or f"sqlite:///{(state_folder() / 'traces.sqlite').resolve()}"


def open_trace_store(settings: Settings) -> TraceStore:
    """Open the trace store of the settings.

    Raises:
        InvalidRequestError: the URL is not valid.
        MissingDependencyError: the database is PostgreSQL and the extra `postgres` is not installed.
        UnavailableError: the database cannot be reached.
    """
    from rerankd.traces.store import TraceStore

    return TraceStore(traces_url(settings))


def open_existing_trace_store(settings: Settings) -> TraceStore | None:
    """Open the trace store of the settings; None if it is a file that does not exist yet.

    Raises:
        InvalidRequestError: the URL is not valid.
        MissingDependencyError: the database is PostgreSQL and the extra `postgres` is not installed.
        UnavailableError: the database cannot be reached.
    """
    url = traces_url(settings)
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return None
    return open_trace_store(settings)


def open_trace_writer(
    settings: Settings, on_activity: Callable[[list[Activity]], None] | None = None, *, maintain: bool = True
) -> TraceWriter | None:
    """Return the trace writer of the settings; None if tracing is off. It opens the store with the first ranking.

    Args:
        settings: settings of the program.
        on_activity: called about every minute, in the writer's thread, with statistics of recent rankings; None to
            compute none.
        maintain: False to leave retention and the detection of bad cases to other processes.

    Raises:
        InvalidRequestError: a setting is not valid.
        MissingDependencyError: the database is PostgreSQL and the extra `postgres` is not installed.
    """
    if not settings.traces:
        return None
    if traces_url(settings).startswith("postgres"):
        require("psycopg", "postgres", "Keeping traces in PostgreSQL")
    for tenant, rate in settings.traces_sample.items():
        if not 0 <= rate <= 1:
            raise InvalidRequestError(
                f"traces_sample of {tenant} is {rate:g}.", hint="A sampling rate is a number from 0 to 1."
            )
    options = WriterOptions(
        max_delay=settings.traces_seconds,
        max_queued=settings.traces_queue,
        max_queued_bytes=int(settings.traces_queue_mb * MEGABYTE),
        sampling_rates=settings.traces_sample,
    )
    return TraceWriter(
        open_store=lambda: open_trace_store(settings),
        options=options,
        redact=build_redactor(settings.traces_redact, settings.traces_redactor),
        maintain=_maintenance(settings, on_activity) if maintain else None,
    )


def retention_policy(settings: Settings) -> RetentionPolicy:
    """Return the retention policy of the settings."""
    from rerankd.feedback.retention import RetentionPolicy

    return RetentionPolicy(
        seconds=settings.traces_days * DAY,
        size=int(settings.traces_mb * MEGABYTE),
        pending_seconds=settings.feedback_hours * HOUR,
    )


def _maintenance(
    settings: Settings, on_activity: Callable[[list[Activity]], None] | None
) -> Callable[[TraceStore], bool]:
    """Return the function that runs about every minute: retention, detection of bad cases, and monitoring."""
    detector: CaseDetector | None = None
    checked_until = time.time() - settings.feedback_hours * HOUR  # time of the feedback whose index was checked

    def maintain(store: TraceStore) -> bool:
        from rerankd.feedback.activity_series import refresh_activity
        from rerankd.feedback.activity_summaries import delete_old_summaries
        from rerankd.feedback.detection import CaseDetector
        from rerankd.feedback.monitoring import MonitorWindows, monitor
        from rerankd.feedback.retention import prune
        from rerankd.feedback.store import drop_impossible_feedback, mark_feedback

        nonlocal detector, checked_until
        _, has_more = prune(store, retention_policy(settings))
        if has_more:
            return True  # retention goes first until it has caught up
        now = time.time()
        drop_impossible_feedback(store, checked_until)
        mark_feedback(store, checked_until)
        checked_until = now - LATE_SECONDS
        if settings.cases:
            detector = detector or CaseDetector()
            detector(store)
        if has_more := refresh_activity(store, REFRESH_SECONDS):
            return has_more
        delete_old_summaries(store, now=now)
        if on_activity is not None:
            on_activity(monitor(store, MonitorWindows(settings.monitor_window, settings.monitor_reference)))
        return False

    return maintain
