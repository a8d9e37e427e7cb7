from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from rerankd.errors import InvalidRequestError
from rerankd.jobs.job import NewJob, Part, new_id
from rerankd.jobs.queue import JobQueue
from rerankd.jobs.sqlite_store import SqliteStore
from rerankd.jobs.webhook import WebhookSender, check_receiver, new_secret, sign, validate_url
from rerankd.jobs.work import ScoreWork


class Receiver(http.server.ThreadingHTTPServer):
    """Records deliveries, and answers with the given statuses, then with 200."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses = list(statuses)
        self.got: list[tuple[Mapping[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook?token=hidden"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        self.send_response(status)
        self.send_header("location", "http://127.0.0.1:9/")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiving(*statuses: int) -> Iterator[Receiver]:
    with Receiver(*statuses) as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()


def ended(store: SqliteStore, url: str) -> str:
    """Return a job that has ended and is to be announced."""
    job, _ = store.create(NewJob(new_id(), [Part(b"[]", 1)], webhook=url))
    claim = store.claim()
    assert claim
    store.finish(claim, b"[{}]", 1, 0)
    return job.id


async def deliver(store: SqliteStore, secret: str | None, hosts: list[str]) -> None:
    """Make the announcements that are due."""
    webhooks = WebhookSender(store, secret, hosts)
    for delivery in await asyncio.to_thread(store.due_deliveries):
        await webhooks.deliver(delivery)
    await webhooks.close()


def state(store: SqliteStore, job: str) -> str:
    job_state = store.get(job)
    assert job_state
    return job_state.webhook_state


async def test_an_announcement_is_verified_by_the_standard_library(tmp_path: Path) -> None:
    store, secret = SqliteStore(tmp_path / "jobs"), new_secret()
    with receiving() as receiver:
        job = ended(store, receiver.url)
        await deliver(store, secret, ["127.0.0.1"])
    ((headers, body),) = receiver.got
    event = Webhook(secret).verify(body, dict(headers))
    assert event["type"] == "job.succeeded"
    assert event["data"] == {"id": job, "state": "succeeded", "total": 1, "done": 1, "failed": 0, "error": None}
    assert headers["host"] == receiver.url.split("/")[2]
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(body, dict(headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body.replace(b"succeeded", b"failed"), dict(headers))
    assert state(store, job) == "delivered"
    store.close()


async def test_what_is_not_taken_is_tried_again_and_logged_without_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1_000_000.0
    store = SqliteStore(tmp_path / "jobs", clock=lambda: now)
    with receiving(500, 302) as receiver:
        job = ended(store, receiver.url)
        for pause in (1, 5, 0):
            await deliver(store, new_secret(), ["127.0.0.1"])
            now += pause - 0.5 if pause else 0
            assert store.due_deliveries() == []
            now += 0.5
        assert [json.loads(body)["data"]["id"] for _, body in receiver.got] == [job] * 3
    assert state(store, job) == "delivered"
    messages = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(messages) == 2
    assert "answered 500" in messages[0]
    assert [line.rpartition(", ")[2] for line in messages] == ["next attempt in 1 s", "next attempt in 5 s"]
    assert "hidden" not in caplog.text
    store.close()


async def test_an_answer_that_trickles_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rerankd.jobs.webhook.TOTAL_SECONDS", 0.2)
    store, gone = SqliteStore(tmp_path / "jobs"), asyncio.Event()

    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"x-more: 1\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
        gone.set()

    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as server, asyncio.timeout(10):
        job = ended(store, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        await deliver(store, new_secret(), ["127.0.0.1"])
        await gone.wait()
    assert state(store, job) == "pending"
    assert store.due_deliveries() == []
    store.close()


async def test_an_address_that_was_kept_and_is_none_is_given_up(tmp_path: Path) -> None:
    now = 1_000_000.0
    store = SqliteStore(tmp_path / "jobs", clock=lambda: now)
    job = ended(store, "http://a..b/")
    for _ in range(8):
        await deliver(store, new_secret(), [])
        now += 10_000
    assert state(store, job) == "failed"
    store.close()


async def test_it_is_given_up_at_last(tmp_path: Path) -> None:
    now = 1_000_000.0
    store = SqliteStore(tmp_path / "jobs", clock=lambda: now)
    job = ended(store, "http://127.0.0.1:9/")
    tries = 0
    while state(store, job) == "pending":
        await deliver(store, new_secret(), ["127.0.0.1"])
        tries, now = tries + 1, now + 10_000
        assert tries < 20
    assert (tries, state(store, job), store.due_deliveries()) == (8, "failed", [])
    store.close()


FORBIDDEN = pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("http://127.0.0.1:9/", []),
        ("http://localhost:9/", []),
        ("http://[::1]:9/", []),
        ("http://169.254.169.254/latest", []),
        ("http://10.1.2.3/", []),
        ("http://[::ffff:127.0.0.1]/", []),
        ("http://[64:ff9b::10.0.0.1]/", []),
        ("http://[64:ff9b:1::10.0.0.1]/", []),
        ("http://[2002:7f00:1::]/", []),
        ("http://[::127.0.0.1]/", []),
        ("http://[fec0::1]/", []),
        ("http://2130706433/", []),
        ("http://127.0.0.1:9/", ["example.com"]),
        ("http://sub.example.com/", ["example.com"]),
    ],
)


@FORBIDDEN
def test_a_job_with_a_webhook_to_a_private_place_or_an_unnamed_host_is_refused(
    tmp_path: Path, url: str, hosts: list[str]
) -> None:
    store = SqliteStore(tmp_path / "jobs")
    queue = JobQueue(store, lambda _: None, new_secret(), webhook_hosts=hosts)
    with pytest.raises(InvalidRequestError, match="webhook_hosts"):
        queue.check(url, None)
    with pytest.raises(InvalidRequestError, match="webhook_hosts"):
        queue.submit([ScoreWork([("q", ["d"])])], webhook=url)
    assert store.jobs() == []
    store.close()


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("http://127.0.0.1:9/", ["127.0.0.1"]),
        ("https://Hooks.example.com/x", ["hooks.EXAMPLE.com"]),
        ("http://93.184.216.34/", []),
        ("http://[2606:4700::1]/", []),
        ("http://no-such-host.invalid/", []),  # it may exist by the time the job ends
    ],
)
def test_others_are_not(url: str, hosts: list[str]) -> None:
    check_receiver(url, hosts)


@FORBIDDEN
async def test_private_places_and_unnamed_hosts_are_never_called(
    tmp_path: Path, url: str, hosts: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    store = SqliteStore(tmp_path / "jobs")
    ended(store, url)
    await deliver(store, new_secret(), hosts)
    assert "webhook_hosts" in caplog.text
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://x/", "http://", "//x", "http://a@b/", "http://x:port/", "http://x/ y", "http://x/" + "a" * 3000),
        *("http://a..b/", "http://☃☃.example/", f"http://{'a' * 64}.example/", "http://xn--/"),
    ],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="webhook"):
        validate_url(url)
    assert validate_url("https://example.com:8443/hook?x=1")


@pytest.mark.parametrize("secret", ["", "whsec_", "not base64!", "whsec_c2hvcnQ="])
def test_weak_secrets(secret: str) -> None:
    with pytest.raises(InvalidRequestError, match="rerankd jobs secret"):
        sign(secret, "", 0, b"")


@pytest.mark.parametrize(
    "host",
    [
        "[64:ff9b:1:7f00:0:100:808:808]",  # a local gateway to IPv4, which reads other bits than the last 32
        "[::5efe:127.0.0.1]",
        "[2606:4700::5efe:7f00:1]",
        "[2606:4700::200:5efe:a00:1]",
        "[1::1]",
        "192.0.0.192",
        "168.63.129.16",
        "192.88.99.1",
        "[::ffff:192.0.0.192]",
        "[64:ff9b::168.63.129.16]",
        "[fec0::1]",
    ],
)
def test_addresses_that_clouds_and_tunnels_keep_for_themselves_are_not_public(host: str) -> None:
    with pytest.raises(InvalidRequestError, match="private address"):
        check_receiver(f"http://{host}/", [])


@pytest.mark.parametrize("url", ["http://1.1.1.1:0/", "https://example.com:0/"])
def test_a_port_that_nobody_listens_on_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="not an http or https URL"):
        validate_url(url)
