"""Submission of jobs: validation, storage, and the wake-up of workers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence

from rerankd._common.logging import logger
from rerankd.errors import InvalidRequestError, PayloadTooLargeError, RerankdError
from rerankd.jobs.job import Job, NewJob, Part, Priority, new_id
from rerankd.jobs.store import JobStore
from rerankd.jobs.webhook import check_receiver, validate_url
from rerankd.jobs.work import Work, split_work

MAX_WAKE_UPS = 64
MAX_IDEMPOTENCY = 255

_log = logger(__name__)


class JobQueue:
    """Queue that jobs are submitted to. Progress and results are read from its `store`.

    Args:
        store: store of the jobs.
        notify_workers: called with the number of new parts after a job was stored.
        webhook_secret: key that signs webhooks; without one, jobs with a webhook are rejected.
        max_bytes: largest job in bytes of text.
        webhook_hosts: hosts that webhooks may be sent to; empty for any public address.

    Example:
        >>> queue = JobQueue(store, notify_workers=lambda parts: None)  # doctest: +SKIP
        >>> queue.submit([ScoreWork([("q", ["d"])])])  # doctest: +SKIP
        (Job(id='job_...', state='queued', ...), True)
    """

    def __init__(
        self,
        store: JobStore,
        notify_workers: Callable[[int], None],
        webhook_secret: str | None = None,
        max_bytes: float = 2e9,
        webhook_hosts: Collection[str] = (),
    ) -> None:
        self.store, self._notify_workers = store, notify_workers
        self._webhook_secret, self._max_bytes, self._webhook_hosts = webhook_secret, max_bytes, webhook_hosts

    def check(self, webhook: str | None, idempotency: str | None) -> None:
        """Validate the options that do not depend on the submitted work. The host of a webhook is resolved.

        Raises:
            InvalidRequestError: the webhook is not a URL, cannot be signed, or may not be sent to its host; or the
                idempotency key is malformed.
        """
        if webhook:
            validate_url(webhook)
            if not self._webhook_secret:
                raise InvalidRequestError(
                    "Webhooks are disabled: no webhook_secret is set to sign them.",
                    hint="Poll the job instead, or set webhook_secret (`rerankd jobs secret` makes one).",
                )
            check_receiver(webhook, self._webhook_hosts)
        if idempotency is not None and not (0 < len(idempotency) <= MAX_IDEMPOTENCY and idempotency.isprintable()):
            raise InvalidRequestError(
                f"The idempotency key must have 1 to {MAX_IDEMPOTENCY} printable characters.", hint="Use a UUID."
            )

    def submit(
        self,
        work: Iterable[Work],
        *,
        tenant: str = "",
        priority: Priority = "interactive",
        timeout: float | None = None,
        webhook: str | None = None,
        idempotency: str | None = None,
    ) -> tuple[Job, bool]:
        """Check a submission, store it as a job and notify workers.

        Args:
            work: requests of the job.
            tenant: id of the API key that submits it; empty without keys.
            priority: `interactive` jobs are served before `bulk` ones.
            timeout: seconds until the job expires; None for no limit.
            webhook: URL that is called when the job ends.
            idempotency: idempotency key; a second submission with it returns the first one's job.

        Returns:
            The job, and False if the idempotency key named a job that exists already.

        Raises:
            InvalidRequestError: there is no work, or `check` rejects an option.
            PayloadTooLargeError: the job is larger than `max_bytes`.
            ConflictError: the idempotency key was used for other work.
            OverloadedError: too many unfinished jobs.
            UnavailableError: the store cannot be reached.
        """
        self.check(webhook, idempotency)
        return self.enqueue(
            work, tenant=tenant, priority=priority, timeout=timeout, webhook=webhook, idempotency=idempotency
        )

    def enqueue(
        self,
        work: Iterable[Work],
        *,
        tenant: str = "",
        priority: Priority = "interactive",
        timeout: float | None = None,
        webhook: str | None = None,
        idempotency: str | None = None,
        charged: int = 0,
    ) -> tuple[Job, bool]:
        """Submit like `submit`, with options that `check` has already accepted.

        The service checks them before it counts a request against a quota, with the tokens `charged`.
        """
        return self.enqueue_parts(
            list(split_work(work)),
            tenant=tenant,
            priority=priority,
            timeout=timeout,
            webhook=webhook,
            idempotency=idempotency,
            charged=charged,
        )

    def enqueue_parts(
        self,
        parts: Sequence[Part],
        *,
        tenant: str = "",
        priority: Priority = "interactive",
        timeout: float | None = None,
        webhook: str | None = None,
        idempotency: str | None = None,
        charged: int = 0,
    ) -> tuple[Job, bool]:
        """Submit like `enqueue`, with work that `split_work` has already cut into parts."""
        if not parts:
            raise InvalidRequestError("The job is empty.", hint="Send at least one request.")
        job = NewJob(
            id=new_id(),
            parts=parts,
            tenant=tenant,
            priority=priority,
            timeout=timeout,
            webhook=webhook,
            idempotency=idempotency,
            fingerprint=_fingerprint(parts),
            charged=charged,
        )
        if job.size > self._max_bytes:
            raise PayloadTooLargeError("The job is larger than max_jobs_mb.", hint="Split it into several jobs.")
        stored, is_new = self.store.create(job)
        if is_new:
            self._notify(len(parts))
        return stored, is_new

    def retry(self, job_id: str) -> Job | None:
        """Queue the failed parts of a job again and notify workers; None if there is no such job."""
        job = self.store.retry(job_id)
        if job and not job.final:
            self._notify(job.parts)
        return job

    def _notify(self, parts: int) -> None:
        try:
            self._notify_workers(min(parts, MAX_WAKE_UPS))
        except RerankdError as error:  # the job is stored, and workers poll the store too
            _log.warning("workers could not be notified: %s", error.message)


def _fingerprint(parts: Sequence[Part]) -> str:
    """Return the hash of the payloads, one on each line, without a copy of them all."""
    digest = hashlib.sha256()
    for number, part in enumerate(parts):
        digest.update(b"\n" + part.payload if number else part.payload)
    return digest.hexdigest()
