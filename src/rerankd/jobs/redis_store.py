"""Jobs in Redis: for any number of instances and workers. The steps are in `redis_scripts`."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rerankd._common.logging import logger
from rerankd._common.optional import require
from rerankd.errors import InvalidRequestError, UnavailableError
from rerankd.jobs import redis_scripts as scripts
from rerankd.jobs.job import Claim, Job, NewJob, Priority, State, WebhookDelivery
from rerankd.jobs.options import StoreOptions
from rerankd.jobs.store import (
    DELIVERY_LEASE_SECONDS,
    LOST,
    JobStore,
    PartResult,
    QueueDepth,
    conflict,
    full,
)

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 10.0
RECONNECT_SECONDS = 1.0

_log = logger(__name__)
_NUMBERS = ("created", "started", "finished", "deadline")
_STEPS = ("CREATE", "CLAIM", "RENEW", "FINISH", "GIVE_BACK", "END", "RETRY", "DELETE", "TIDY", "HOOKS", "HOOKED")
_COUNTS = ("total", "done", "failed", "parts")


class RedisStore(JobStore):
    """Jobs in a Redis server. Without persistence there, they end with it.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        options: limits.

    Raises:
        MissingDependencyError: the extra `queue` is not installed.
        InvalidRequestError: not a Redis URL.
    """

    def __init__(self, url: str, options: StoreOptions | None = None) -> None:
        self._redis = require("redis", "queue", "The job queue")
        self._options = options or StoreOptions()
        try:
            self._client = self._redis.Redis.from_url(
                url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=ANSWER_SECONDS, health_check_interval=15
            )
        except ValueError:  # its text may hold the password
            raise InvalidRequestError(
                "Setting queue_url is not a Redis URL.", hint="It looks like redis://host:6379/0."
            ) from None
        self._scripts = {name: self._client.register_script(getattr(scripts, name)) for name in _STEPS}
        self._listening: list[tuple[threading.Event, threading.Thread]] = []

    @property
    def _keep(self) -> int:
        return max(1, int(self._options.retention_seconds))

    def create(self, job: NewJob) -> tuple[Job, bool]:
        """Keep a job."""
        limits = (self._options.max_jobs, self._options.max_bytes)
        about = (job.id, job.owner, job.priority, job.timeout or 0, job.webhook or "", job.idempotency or "")
        parts = [value for part in job.parts for value in (part.payload, part.requests)]
        answer = self._run("CREATE", *about, job.fingerprint, *limits, job.size, job.requests, *parts)
        if answer == b"conflict":
            raise conflict()
        if answer == b"full":
            raise full()
        kept = _job(answer)
        return kept, kept.id == job.id

    def get(self, job: str) -> Job | None:
        """A job as it stands."""
        with self._reached():
            found = self._client.hgetall(_key("job", job))
        return _job(found) if found else None

    def jobs(self, *, owner: str | None = None, states: Collection[State] = (), limit: int = 100) -> list[Job]:
        """Jobs, the newest first."""

        def wanted(job: Job) -> bool:
            return (owner is None or job.owner == owner) and (not states or job.state in states)

        return self._listed("created", wanted, limit)

    def results(self, job: str) -> list[PartResult]:
        """What came of each part."""
        with self._reached():
            parts = list(range(int(self._client.hget(_key("job", job), "parts") or 0)))
            if not parts:
                return []
            requests, contents = (self._client.hmget(_key(kind, job), parts) for kind in ("req", "out"))
        return [PartResult(int(number), content) for number, content in zip(requests, contents, strict=True) if number]

    def claim(self, *, bulk: bool = True) -> Claim | None:
        """Take the part whose turn it is."""
        token = secrets.token_hex(8)
        answer = self._run("CLAIM", token, self._options.lease_seconds, int(bulk), self._keep)
        if answer is None:
            return None
        job, part, payload, attempt, owner, priority, left, requests = answer
        turn: Priority = "bulk" if priority == b"bulk" else "interactive"
        numbers = int(attempt), int(requests)
        until = time.time() + float(left) if left else 0.0
        return Claim(job.decode(), int(part), token, payload, *numbers, owner.decode(), turn, until)

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """Say that parts are being worked on."""
        if not claims:
            return []
        flat = [value for claim in claims for value in _hand(claim)]
        return [bool(valid) for valid in self._run("RENEW", self._options.lease_seconds, *flat)]

    def finish(self, claim: Claim, result: bytes, done: int, failed: int, error: str = "") -> Job | None:
        """Hand a part's result in."""
        return _maybe(self._run("FINISH", *_hand(claim), result, done, failed, self._keep, error))

    def requeue(self, claim: Claim, seconds: float, *, count_attempt: bool) -> bool:
        """Let a part wait and be tried again."""
        return bool(self._run("GIVE_BACK", *_hand(claim), seconds, int(count_attempt)))

    def cancel(self, job: str) -> Job | None:
        """End a job."""
        return _maybe(self._run("END", job, "cancelled", "It was cancelled.", self._keep))

    def expire(self, job: str) -> Job | None:
        """End a job whose deadline has passed."""
        return _maybe(self._run("END", job, "expired", "Its time was up.", self._keep))

    def retry(self, job: str) -> Job | None:
        """Queue failed parts again."""
        return _maybe(self._run("RETRY", job))

    def delete(self, job: str) -> bool:
        """Forget a final job."""
        return bool(self._run("DELETE", job))

    def dead_letters(self, limit: int = 100) -> list[Job]:
        """Jobs of which a part was set aside."""
        return self._listed("dead", lambda job: True, limit)

    def reap_expired_leases(self) -> int:
        """Take parts from silent workers, end what is too late, forget what has expired."""
        return int(self._run("TIDY", self._options.max_lost_leases, self._keep, LOST))

    def queue_depth(self) -> QueueDepth:
        """Parts that could be claimed now."""
        with self._reached():
            found = self._client.hmget(f"{scripts.PREFIX}waiting", ["interactive", "bulk"])
            seconds, microseconds = self._client.time()
            due = self._client.zcount(f"{scripts.PREFIX}delayed", "-inf", seconds + microseconds / 1e6)
        return QueueDepth(int(found[0] or 0) + due, int(found[1] or 0))

    def due_deliveries(self, limit: int = 10) -> list[WebhookDelivery]:
        """Announcements to make now."""
        return [
            WebhookDelivery(_job(fields), attempts)
            for fields, attempts in self._run("HOOKS", limit, DELIVERY_LEASE_SECONDS)
        ]

    def record_delivery(self, job: str, *, delivered: bool, again: float | None) -> None:
        """Note how an announcement went."""
        state = "delivered" if delivered else "failed" if again is None else "pending"
        self._run("HOOKED", job, state, "" if delivered or again is None else again)

    def subscribe(self, ended: Callable[[str], None]) -> Callable[[], None]:
        """Call `ended` with every job that ends anywhere; what ends while Redis is away is noticed by `renew`."""
        stopped = threading.Event()
        thread = threading.Thread(target=self._listen, args=(ended, stopped), name="jobs that end", daemon=True)
        thread.start()

        self._listening.append((stopped, thread))
        return stopped.set

    def _listen(self, ended: Callable[[str], None], stopped: threading.Event) -> None:
        while not stopped.is_set():
            try:
                with self._client.pubsub(ignore_subscribe_messages=True) as channel:
                    channel.subscribe(scripts.ENDED)
                    while not stopped.is_set():
                        message = channel.get_message(timeout=0.5)
                        if message and not stopped.is_set():
                            ended(message["data"].decode())
            except self._redis.RedisError as error:
                _log.debug("the job queue cannot be heard (%s)", type(error).__name__)
                stopped.wait(RECONNECT_SECONDS)

    def close(self) -> None:
        """Let connections go."""
        for stopped, _ in self._listening:
            stopped.set()
        for _, thread in self._listening:
            thread.join(ANSWER_SECONDS)
        self._client.close()

    def _listed(self, index: str, wanted: Callable[[Job], bool], limit: int) -> list[Job]:
        found: list[Job] = []
        with self._reached():
            for start in range(0, 100_000, 500):
                ids = self._client.zrevrange(f"{scripts.PREFIX}{index}", start, start + 499)
                pipeline = self._client.pipeline(transaction=False)
                for name in ids:
                    pipeline.hgetall(_key("job", name.decode()))
                found += [job for fields in pipeline.execute() if fields and wanted(job := _job(fields))]
                if len(found) >= limit or len(ids) < 500:
                    break
        return found[:limit]

    def _run(self, script: str, *arguments: Any) -> Any:
        with self._reached():
            return self._scripts[script](args=arguments)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except self._redis.RedisError as error:
            raise UnavailableError(
                f"The job queue cannot be reached or used ({type(error).__name__}).",
                hint="Ranking without jobs goes on; send the job again.",
                retry_after=5,
            ) from error


def _key(kind: str, job: str) -> str:
    return f"{scripts.PREFIX}{kind}:{job}"


def _hand(claim: Claim) -> tuple[str, int, str]:
    return claim.job, claim.part, claim.token


def _maybe(answer: Any) -> Job | None:
    return _job(answer) if answer else None


def _job(answer: Any) -> Job:
    """A job from a hash, as Lua or the client gives it."""
    items = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
    fields = {name.decode(): value.decode() for name, value in items}
    numbers: dict[str, Any] = {name: float(fields[name]) for name in _NUMBERS}
    counts: dict[str, Any] = {name: int(fields[name]) for name in _COUNTS}
    texts: dict[str, Any] = {
        name: fields[name] for name in ("id", "state", "owner", "priority", "error", "webhook", "webhook_state")
    }
    return Job(**texts, **numbers, **counts)
