"""Job store in Redis, for any number of services and workers. Each step is a Lua script of `redis_scripts`."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import TypeAdapter

from rerankd._common.logging import logger
from rerankd._common.optional import require
from rerankd.errors import InvalidRequestError, UnavailableError
from rerankd.jobs.job import Claim, Job, NewJob, Priority, State, WebhookDelivery
from rerankd.jobs.options import StoreOptions
from rerankd.jobs.redis_scripts import ENDED_CHANNEL, PREFIX, SCRIPTS, load_script
from rerankd.jobs.store import (
    CANCELLED_ERROR,
    DELIVERY_LEASE_SECONDS,
    EXPIRED_ERROR,
    WORKER_LOST,
    JobStore,
    PartResult,
    QueueDepth,
    delivery_outcome,
    idempotency_conflict,
    overloaded,
)

CONNECT_SECONDS = 2.0
RESPONSE_SECONDS = 10.0
RECONNECT_SECONDS = 1.0
PAGE = 500
MAX_SCANNED = 100_000

_log = logger(__name__)
_JOB = TypeAdapter(Job)


class RedisStore(JobStore):
    """Job store in a Redis server. Jobs are as durable as its persistence makes them.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        options: limits.

    Raises:
        MissingDependencyError: the extra `queue` is not installed.
        InvalidRequestError: `url` is not a Redis URL.
    """

    def __init__(self, url: str, options: StoreOptions | None = None) -> None:
        self._redis = require("redis", "queue", "The job queue")
        self._options = options or StoreOptions()
        try:
            self._client = self._redis.Redis.from_url(
                url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=RESPONSE_SECONDS, health_check_interval=15
            )
        except ValueError:  # the message of this error may hold the password
            raise InvalidRequestError(
                "Setting queue_url is not a Redis URL.", hint="It looks like redis://host:6379/0."
            ) from None
        self._scripts = {name: self._client.register_script(load_script(name)) for name in SCRIPTS}
        self._listeners: list[tuple[threading.Event, threading.Thread]] = []

    @property
    def _retention(self) -> int:
        return max(1, int(self._options.retention_seconds))

    def create(self, job: NewJob) -> tuple[Job, bool]:
        """Store a job."""
        reply = self._run(
            "create",
            job.id,
            job.tenant,
            job.priority,
            job.timeout or 0,
            job.webhook or "",
            job.idempotency or "",
            job.fingerprint,
            self._options.max_jobs,
            self._options.max_bytes,
            job.size,
            job.requests,
            *self._options.tenant_limits(job.tenant),
            job.charged,
            *(value for part in job.parts for value in (part.payload, part.requests)),
        )
        if reply == b"conflict":
            raise idempotency_conflict()
        if reply == b"full":
            raise overloaded()
        if reply == b"tenant_full":
            raise overloaded(by_tenant=True)
        stored = _job(reply)
        return stored, stored.id == job.id

    def get(self, job_id: str) -> Job | None:
        """Return a job."""
        with self._translated():
            fields = self._client.hgetall(_key("job", job_id))
        return _job_or_none(fields)

    def jobs(self, *, tenant: str | None = None, states: Collection[State] = (), limit: int = 100) -> list[Job]:
        """Return jobs, newest first."""

        def matches(job: Job) -> bool:
            return (tenant is None or job.tenant == tenant) and (not states or job.state in states)

        return self._indexed("created", matches, limit)

    def results(self, job_id: str) -> list[PartResult]:
        """Return the results of the parts."""
        with self._translated():
            parts = list(range(int(self._client.hget(_key("job", job_id), "parts") or 0)))
            if not parts:
                return []
            requests, contents = (self._client.hmget(_key(kind, job_id), parts) for kind in ("req", "out"))
        return [PartResult(int(number), content) for number, content in zip(requests, contents, strict=True) if number]

    def claim(self, *, bulk: bool = True) -> Claim | None:
        """Lease the next part."""
        token = secrets.token_hex(8)
        reply = self._run("claim", token, self._options.lease_seconds, int(bulk), self._retention)
        if reply is None:
            return None
        job_id, part, payload, attempt, tenant, priority_name, seconds_left, requests = reply
        priority: Priority = "bulk" if priority_name == b"bulk" else "interactive"
        return Claim(
            job=job_id.decode(),
            part=int(part),
            token=token,
            payload=payload,
            attempt=int(attempt),
            requests=int(requests),
            tenant=tenant.decode(),
            priority=priority,
            deadline=time.time() + float(seconds_left) if seconds_left else 0.0,
        )

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """Renew leases."""
        if not claims:
            return []
        flat = [value for claim in claims for value in (claim.job, claim.part, claim.token)]
        return [bool(is_held) for is_held in self._run("renew", self._options.lease_seconds, *flat)]

    def finish(
        self,
        claim: Claim,
        result: bytes,
        done: int,
        failed: int,
        error: str = "",
        *,
        reason: str = "",
        computed: int = 0,
    ) -> Job | None:
        """Store the result of a part."""
        values = (result, done, failed, self._retention, error, computed, reason)
        reply = self._run("finish", claim.job, claim.part, claim.token, *values)
        return _job_or_none(reply)

    def requeue(self, claim: Claim, delay: float, *, count_attempt: bool) -> bool:
        """Release a part."""
        return bool(self._run("requeue", claim.job, claim.part, claim.token, delay, int(count_attempt)))

    def cancel(self, job_id: str) -> Job | None:
        """Cancel a job."""
        return _job_or_none(self._run("end", job_id, "cancelled", CANCELLED_ERROR, self._retention))

    def expire(self, job_id: str) -> Job | None:
        """Expire a job."""
        return _job_or_none(self._run("end", job_id, "expired", EXPIRED_ERROR, self._retention))

    def retry(self, job_id: str) -> Job | None:
        """Queue the failed parts of a job again."""
        return _job_or_none(self._run("retry", job_id))

    def interrupted_requests(self, job_id: str) -> int:
        """Return the requests of parts that were begun and have no result."""
        return int(self._run("interrupted_requests", job_id))

    def delete(self, job_id: str) -> bool:
        """Delete a job that has ended."""
        return bool(self._run("delete", job_id))

    def dead_letters(self, limit: int = 100) -> list[Job]:
        """Return the jobs with a part in the dead-letter queue."""
        return self._indexed("dead", lambda job: True, limit)

    def reap_expired_leases(self) -> int:
        """Take parts back from silent workers and expire late jobs; Redis drops jobs past their retention."""
        return int(self._run("reap_expired_leases", self._options.max_lost_leases, self._retention, WORKER_LOST))

    def totals(self) -> dict[str, int]:
        """Return the counts since the store was made."""
        with self._translated():
            counts = self._client.hgetall(f"{PREFIX}totals")
        return {name.decode(): int(value) for name, value in counts.items()}

    def queue_depth(self) -> QueueDepth:
        """Return the number of parts that can be claimed now."""
        with self._translated():
            interactive, bulk = self._client.hmget(f"{PREFIX}waiting", ["interactive", "bulk"])
            seconds, microseconds = self._client.time()
            due = self._client.zcount(f"{PREFIX}delayed", "-inf", seconds + microseconds / 1e6)
        return QueueDepth(int(interactive or 0) + due, int(bulk or 0))

    def due_deliveries(self, limit: int = 10) -> list[WebhookDelivery]:
        """Return webhooks to deliver now."""
        due = self._run("due_deliveries", limit, DELIVERY_LEASE_SECONDS)
        return [WebhookDelivery(_job(fields), attempts) for fields, attempts in due]

    def record_delivery(self, job_id: str, *, delivered: bool, retry_after: float | None, error: str = "") -> None:
        """Record the outcome of a delivery."""
        outcome = delivery_outcome(delivered=delivered, retry_after=retry_after)
        state = "delivered" if delivered else "failed" if retry_after is None else "pending"
        self._run(
            "record_delivery", job_id, state, "" if delivered or retry_after is None else retry_after, error, outcome
        )

    def subscribe(self, on_end: Callable[[str], None]) -> Callable[[], None]:
        """Call `on_end` with every job that ends anywhere; `renew` notices those that end while Redis is down."""
        stopped = threading.Event()
        thread = threading.Thread(target=self._listen, args=(on_end, stopped), name="ended jobs", daemon=True)
        thread.start()
        self._listeners.append((stopped, thread))
        return stopped.set

    def _listen(self, on_end: Callable[[str], None], stopped: threading.Event) -> None:
        while not stopped.is_set():
            try:
                with self._client.pubsub(ignore_subscribe_messages=True) as channel:
                    channel.subscribe(ENDED_CHANNEL)
                    while not stopped.is_set():
                        message = channel.get_message(timeout=0.5)
                        if message and not stopped.is_set():
                            on_end(message["data"].decode())
            except self._redis.RedisError as error:
                _log.debug("subscription to ended jobs lost (%s)", type(error).__name__)
                stopped.wait(RECONNECT_SECONDS)

    def close(self) -> None:
        """Close connections."""
        for stopped, _ in self._listeners:
            stopped.set()
        for _, thread in self._listeners:
            thread.join(RESPONSE_SECONDS)
        self._client.close()

    def _indexed(self, index: str, matches: Callable[[Job], bool], limit: int) -> list[Job]:
        """Return jobs from an index, newest first."""
        jobs: list[Job] = []
        with self._translated():
            for start in range(0, MAX_SCANNED, PAGE):
                ids = self._client.zrevrange(f"{PREFIX}{index}", start, start + PAGE - 1)
                pipeline = self._client.pipeline(transaction=False)
                for job_id in ids:
                    pipeline.hgetall(_key("job", job_id.decode()))
                jobs += [job for fields in pipeline.execute() if fields and matches(job := _job(fields))]
                if len(jobs) >= limit or len(ids) < PAGE:
                    break
        return jobs[:limit]

    def _run(self, script: str, *args: Any) -> Any:
        with self._translated():
            return self._scripts[script](args=args)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._redis.RedisError as error:
            raise UnavailableError(
                f"The job queue cannot be reached or used ({type(error).__name__}).",
                hint="Synchronous ranking still works; submit the job again later.",
                retry_after=5,
            ) from error


def _key(kind: str, job_id: str) -> str:
    return f"{PREFIX}{kind}:{job_id}"


def _job_or_none(reply: Any) -> Job | None:
    return _job(reply) if reply else None


def _job(reply: Any) -> Job:
    """Read a job from its hash: a mapping from the client, a flat list from Lua."""
    items = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    fields = {name.decode(): value.decode() for name, value in items}
    return _JOB.validate_python(fields | {"tenant": fields.pop("owner")})
