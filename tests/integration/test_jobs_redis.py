"""Jobs through a real Redis to real workers, and what happens when one of them ends."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from standardwebhooks import Webhook

from rerankd.jobs.wakeups import MAX_PENDING, WorkerNotifier, make_celery
from rerankd.jobs.webhook import new_secret
from tests.integration.queueing import Broker, broker, worker
from tests.integration.serving import Served, free_port, serve, until
from tests.unit.jobs.test_webhook import receiving

SECRET = new_secret()
HOSTS = {"RERANKD_WEBHOOK_HOSTS": "127.0.0.1"}
LEASE = ("--lease-seconds", "1")
BODY = {"query": "What do pandas eat?", "documents": ["Pandas eat bamboo.", "Shanghai lies in the east."]}


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with broker(tmp_path_factory.mktemp("redis")) as made:
        yield made


@pytest.fixture(scope="module")
def served(queue: Broker) -> Iterator[Served]:
    env = {"RERANKD_QUEUE_URL": queue.url, "RERANKD_LEASE_SECONDS": "1", "RERANKD_WEBHOOK_SECRET": SECRET} | HOSTS
    with serve(env=env) as made:
        yield made


@pytest.fixture
def client(served: Served, queue: Broker) -> Iterator[httpx.Client]:
    with redis.Redis.from_url(queue.url) as clean:
        clean.flushall()
    with httpx.Client(base_url=served.url, timeout=30, trust_env=False) as made:
        yield made


def submitted(client: httpx.Client, body: dict[str, Any]) -> str:
    response = client.post("/v1/jobs", json=body)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def card(client: httpx.Client, job: str, *, results: bool = False) -> dict[str, Any]:
    job_card: dict[str, Any] = client.get(f"/v1/jobs/{job}", params={"results": str(results).lower()}).json()
    return job_card


def ended(client: httpx.Client, job: str, seconds: float = 60) -> dict[str, Any]:
    until(lambda: card(client, job)["finished"], "ended", seconds)
    return card(client, job, results=True)


def many(requests: int, documents: int = 100) -> dict[str, Any]:
    return {
        "requests": [
            {"query": f"number {n}", "documents": [f"text {n} {m}" for m in range(documents)]} for n in range(requests)
        ]
    }


def computed(port: int) -> int:
    """Pairs that a worker has computed."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    return int(sum(float(value) for value in re.findall(r"rerankd_computed_pairs_total\{.*\} (\S+)", text)))


def test_a_job_answers_as_the_same_request_does(client: httpx.Client, queue: Broker) -> None:
    with worker(queue.url):
        row = ended(client, submitted(client, BODY))["results"][0]
        now = client.post("/v1/rerank", json=BODY).json()
    scores = [one["relevance_score"] for one in row["results"]]
    assert scores == pytest.approx([one["relevance_score"] for one in now["results"]], abs=1e-6)


def test_a_killed_workers_parts_are_done_by_another_and_count_once(client: httpx.Client, queue: Broker) -> None:
    with worker(queue.url, *LEASE) as first, worker(queue.url, *LEASE):
        job = submitted(client, many(40, 20))
        until(lambda: card(client, job)["done"] > 2, "begun")
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        assert not card(client, job)["finished"]
        finished = ended(client, job)
    assert (finished["state"], finished["done"], finished["failed"]) == ("succeeded", 40, 0)
    assert [len(row["results"]) for row in finished["results"]] == [20] * 40


def test_a_worker_that_is_told_to_end_hands_its_parts_back(client: httpx.Client, queue: Broker) -> None:
    with worker(queue.url, "--shutdown-seconds", "1") as first:
        job = submitted(client, {"requests": many(1, 8000)["requests"], "priority": "interactive"})
        until(lambda: card(client, job)["state"] == "running", "begun")
        assert first.end() == 0
        assert card(client, job)["done"] == 0
    with redis.Redis.from_url(queue.url) as look:
        assert look.zcard("{rerankd}:leases") == 0  # nobody has to wait for a lease to run out
    client.delete(f"/v1/jobs/{job}")


def test_redis_ends_and_comes_back(client: httpx.Client, queue: Broker) -> None:
    with worker(queue.url, *LEASE):
        kept = submitted(client, BODY)
        ended(client, kept)
        job = submitted(client, many(30, 30))
        until(lambda: card(client, job)["done"], "begun")
        queue.stop(signal.SIGKILL)
        refused = client.post("/v1/jobs", json=BODY)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert "job queue" in refused.json()["message"]
        assert client.get(f"/v1/jobs/{job}").status_code == 503
        assert client.post("/v1/rerank", json=BODY).status_code == 200
        assert client.get("/readyz").status_code == 200
        queue.start()
        finished = ended(client, job)
        assert (finished["state"], finished["done"]) == ("succeeded", 30)
        assert [len(row["results"]) for row in finished["results"]] == [30] * 30
        assert card(client, kept)["state"] == "succeeded"
        assert ended(client, submitted(client, BODY))["state"] == "succeeded"


def test_a_cancelled_job_costs_no_more(client: httpx.Client, queue: Broker) -> None:
    port = free_port()
    with worker(queue.url, "--metrics-port", str(port)) as alone:
        alone.process.send_signal(signal.SIGHUP)
        until(lambda: "SIGHUP is ignored" in alone.log, "said")
        job = submitted(client, many(200))
        until(lambda: computed(port), "begun")
        assert client.delete(f"/v1/jobs/{job}").json()["state"] == "cancelled"
        marker = submitted(client, BODY)  # goes through the same queue and engine
        ended(client, marker)
        after = computed(port)
        marker = submitted(client, {**BODY, "query": "Another question?"})
        ended(client, marker)
        assert computed(port) - after == 2  # the marker's own
        assert after < 10_000
        assert "Traceback" not in alone.log


def test_interactive_jobs_go_before_bulk_ones(client: httpx.Client, queue: Broker) -> None:
    with worker(queue.url, "--worker-threads", "2"):
        bulk = submitted(client, many(100))
        until(lambda: card(client, bulk)["state"] == "running", "begun")
        urgent = ended(client, submitted(client, BODY))
        assert urgent["state"] == "succeeded"
        assert card(client, bulk)["progress"] < 0.5
        client.delete(f"/v1/jobs/{bulk}")


def test_the_end_is_announced(client: httpx.Client, queue: Broker) -> None:
    forbidden = client.post("/v1/jobs", json=BODY | {"webhook": "http://127.0.0.2/"})
    assert (forbidden.status_code, "webhook_hosts" in forbidden.text) == (400, True)
    flags = ("--webhook-secret", SECRET, "--webhook-hosts", "127.0.0.1")
    with worker(queue.url, *flags) as alone, receiving(500) as receiver:
        job = submitted(client, BODY | {"webhook": receiver.url})
        until(lambda: card(client, job).get("webhook") == "delivered", "told")
        log = alone.log
    assert len(receiver.got) == 2  # the first was not taken
    headers, body = receiver.got[-1]
    assert Webhook(SECRET).verify(body, dict(headers))["data"]["id"] == job
    assert "failed (the receiver answered 500)" in log
    assert SECRET not in log


def test_what_is_too_late_is_never_run(client: httpx.Client, queue: Broker) -> None:
    port = free_port()
    job = submitted(client, BODY | {"timeout": 0.001})
    with worker(queue.url, "--metrics-port", str(port)):
        finished = ended(client, job)
        before = computed(port)
        ended(client, submitted(client, BODY))
        assert computed(port) - before == 2
    assert (finished["state"], finished["error"]) == ("expired", "The job's deadline has passed.")


def test_tickets_do_not_pile_up_while_no_worker_runs(client: httpx.Client, queue: Broker) -> None:
    notifier = WorkerNotifier(make_celery(queue.url))
    for _ in range(20):
        notifier.notify_workers(64)
    with redis.Redis.from_url(queue.url) as look:
        assert look.llen("{rerankd}:celery:rerankd") == MAX_PENDING
        look.flushall()


def test_many_small_jobs_at_once(client: httpx.Client, queue: Broker) -> None:
    """From many threads, so that tickets, claims and ends cross each other."""
    job: list[dict[str, Any]] = []

    def one(number: int) -> None:
        body = {"query": f"question {number}", "documents": [f"text {number} {m}" for m in range(5)]}
        job.append(ended(client, submitted(client, body)))

    with worker(queue.url), worker(queue.url):
        threads = [threading.Thread(target=one, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [one["state"] for one in job] == ["succeeded"] * 16


def test_without_redis_a_worker_says_so_and_goes_on_trying(tmp_path: Path) -> None:
    with broker(tmp_path) as redis_server, worker(redis_server.url) as alone:
        redis_server.stop()
        until(lambda: "cannot be reached" in alone.log, "said")
        redis_server.start()
        with serve(env={"RERANKD_QUEUE_URL": redis_server.url}) as served, httpx.Client(base_url=served.url) as client:
            assert ended(client, submitted(client, BODY))["state"] == "succeeded"
