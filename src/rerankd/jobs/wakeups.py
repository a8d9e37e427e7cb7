"""Celery wake-ups: messages through Redis, each of which wakes one worker to claim parts from the store.

A wake-up says only "there is work". The next part is chosen when it is claimed, so priorities and fairness hold in
whatever order wake-ups arrive. One that is lost or delivered twice does no harm: workers poll the store every second,
and leases make the work of a killed worker at-least-once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rerankd._common.optional import require
from rerankd.errors import UnavailableError

TASK = "rerankd.work"
QUEUE = "rerankd"
WAKE_UP_SECONDS = 3600
MAX_PENDING = 1000
VISIBILITY_SECONDS = 60


def make_celery(url: str) -> Any:
    """Return a Celery application that uses Redis as its broker and has no result backend.

    Args:
        url: URL of the Redis server.

    Raises:
        MissingDependencyError: the extra `queue` is not installed.
    """
    celery = require("celery", "queue", "The job queue")
    app = celery.Celery("rerankd", broker=url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,  # results are in the job store
        # A part is acknowledged late, by its result in the store. A wake-up is acknowledged when it arrives:
        # doing so after its connection was lost brings Celery's consumer down.
        task_acks_late=False,
        task_default_queue=QUEUE,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # otherwise the prefetch count stays at 0 after a lost connection
        worker_enable_prefetch_count_reduction=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=2.0,
        broker_transport_options={
            "global_keyprefix": "{rerankd}:celery:",
            "visibility_timeout": VISIBILITY_SECONDS,
            "socket_connect_timeout": 2.0,
            "socket_timeout": 10.0,
            "socket_keepalive": True,
            "health_check_interval": 15,
        },
        task_publish_retry=False,
    )
    return app


class WorkerNotifier:
    """Sends wake-ups to workers.

    Args:
        app: of `make_celery`.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._errors: tuple[type[Exception], ...] = (
            require("kombu", "queue", "The job queue").exceptions.OperationalError,
            require("redis", "queue", "The job queue").RedisError,
        )

    def notify_workers(self, number: int) -> None:
        """Send that many wake-ups, unless enough are waiting already, as while no worker runs.

        Raises:
            UnavailableError: Redis cannot be reached.
        """
        try:
            with self._app.producer_or_acquire() as producer:
                waiting = producer.channel.queue_declare(QUEUE).message_count
                for _ in range(min(number, MAX_PENDING - waiting)):
                    self._app.send_task(TASK, producer=producer, expires=WAKE_UP_SECONDS)
        except self._errors as error:
            raise UnavailableError(
                f"The job queue cannot be reached ({type(error).__name__}).", retry_after=5
            ) from error

    def on_wake_up(self, work: Callable[[], bool]) -> None:
        """Register the function that a wake-up runs in this process; if it returns True, another wake-up is sent."""

        def handle() -> None:
            if work():
                self.notify_workers(1)

        self._app.task(handle, name=TASK)
