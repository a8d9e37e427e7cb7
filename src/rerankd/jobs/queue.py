"""Handing jobs in, and opening what the settings say they are kept in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rerankd._common.logging import logger
from rerankd._common.paths import state_folder
from rerankd.errors import InvalidRequestError, PayloadTooLargeError, RerankdError
from rerankd.jobs.job import Job, NewJob, Priority, Work, new_id, split
from rerankd.jobs.redis_store import RedisStore
from rerankd.jobs.sqlite_store import SqliteStore
from rerankd.jobs.store import JobStore, StoreOptions
from rerankd.jobs.webhook import validate_url
from rerankd.settings import Settings

MAX_WAKE_UPS = 64
MAX_IDEMPOTENCY = 255

_log = logger(__name__)


class JobQueue:
    """Takes jobs in; reading what came of them is the store's.

    Args:
        store: where they are kept.
        wake: called with the number of parts after a job was kept; tells workers.
        secret: signs webhooks; without one none can be asked for.
        max_bytes: texts of one job at most.

    Example:
        >>> queue = JobQueue(store, wake=lambda parts: None)  # doctest: +SKIP
        >>> queue.submit([ScoreWork([("q", ["d"])])])  # doctest: +SKIP
        (Job(id='job_...', state='queued', ...), True)
    """

    def __init__(
        self, store: JobStore, wake: Callable[[int], None], secret: str | None = None, max_bytes: float = 2e9
    ) -> None:
        self.store, self._wake, self._secret, self._max_bytes = store, wake, secret, max_bytes

    def check(self, webhook: str | None, idempotency: str | None) -> None:
        """Check what can be checked before any work is done.

        Raises:
            InvalidRequestError: an address that is none, no secret to sign with, or an idempotency key too long.
        """
        if webhook:
            validate_url(webhook)
            if not self._secret:
                raise InvalidRequestError(
                    "Webhooks are off here: there is no webhook_secret to sign with.",
                    hint="Ask for the job's state instead, or set webhook_secret (`rerankd jobs secret` makes one).",
                )
        if idempotency is not None and not (0 < len(idempotency) <= MAX_IDEMPOTENCY and idempotency.isprintable()):
            raise InvalidRequestError(
                f"The idempotency key must have 1 to {MAX_IDEMPOTENCY} printable characters.", hint="Use a UUID."
            )

    def submit(
        self,
        work: Iterable[Work],
        *,
        owner: str = "",
        priority: Priority = "interactive",
        timeout: float | None = None,
        webhook: str | None = None,
        idempotency: str | None = None,
    ) -> tuple[Job, bool]:
        """Keep a job and tell workers; with an idempotency key that is known, the job of then and False.

        Raises:
            InvalidRequestError: nothing to do, or what `check` refuses.
            PayloadTooLargeError: more text than all unfinished jobs may hold.
            ConflictError: the idempotency key was used for other work.
            OverloadedError: too many unfinished jobs.
            UnavailableError: the store cannot be reached.
        """
        self.check(webhook, idempotency)
        parts = list(split(work))
        if not parts:
            raise InvalidRequestError("The job is empty.", hint="Send at least one request.")
        fingerprint = hashlib.sha256(b"\n".join(part.payload for part in parts)).hexdigest()
        job = NewJob(new_id(), parts, owner, priority, timeout, webhook, idempotency, fingerprint)
        if job.size > self._max_bytes:
            raise PayloadTooLargeError("The job is larger than max_jobs_mb.", hint="Send it in pieces.")
        kept, new = self.store.create(job)
        if new:
            self._tell(len(parts))
        return kept, new

    def retry(self, job: str) -> Job | None:
        """Queue a job's failed parts again and tell workers; None if there is no such job."""
        found = self.store.retry(job)
        if found and not found.final:
            self._tell(found.parts)
        return found

    def _tell(self, parts: int) -> None:
        try:
            self._wake(min(parts, MAX_WAKE_UPS))
        except RerankdError as error:  # the job is kept, and workers look by themselves
            _log.warning("workers could not be told: %s", error.message)


def open_store(settings: Settings) -> JobStore:
    """The store that the settings name: Redis, or a file of this machine.

    Raises:
        MissingDependencyError: the extra `queue` is not installed.
        InvalidRequestError: the file cannot be used, or the address is not one of Redis.
    """
    options = StoreOptions(
        settings.max_jobs,
        int(settings.max_jobs_mb * 1_000_000),
        settings.job_seconds,
        settings.job_attempts,
        settings.lease_seconds,
    )
    if settings.queue_url:
        return RedisStore(settings.queue_url, options)
    return SqliteStore(jobs_file(settings), options)


@contextmanager
def open_queue(settings: Settings) -> Iterator[JobQueue]:
    """The queue that the settings name, for programs that hand jobs in and do not work them.

    Raises:
        MissingDependencyError: the extra `queue` is not installed.
        InvalidRequestError: the file cannot be used.
    """
    store = open_store(settings)
    try:
        yield JobQueue(store, open_wake(settings), settings.webhook_secret)
    finally:
        store.close()


def open_wake(settings: Settings) -> Callable[[int], None]:
    """What tells workers of a queue; without one nobody need be told, a service looks at its file by itself."""
    if not settings.queue_url:
        return lambda parts: None
    from rerankd.jobs.wakeups import WorkerNotifier, make_celery

    return WorkerNotifier(make_celery(settings.queue_url)).notify_workers


def jobs_file(settings: Settings) -> Path:
    """Where jobs are kept that are worked in process.

    Raises:
        InvalidRequestError: no `jobs_path`, and the account has no home.
    """
    try:
        return Path(settings.jobs_path) if settings.jobs_path else state_folder() / "jobs.sqlite"
    except RuntimeError:
        raise InvalidRequestError("This account has no home folder to keep jobs in.", hint="Set jobs_path.") from None
