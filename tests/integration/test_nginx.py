"""nginx with the configuration that we write, in front of real instances."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from benchmarks.failover import measure
from tests.integration.nginx import Instance, Proxy, certificate, instances, proxy

BODY = {"query": "what does a panda eat?", "documents": ["bamboo", "a car"]}

pytestmark = pytest.mark.usefixtures("nginx")


@pytest.fixture(scope="module")
def fleet(nginx: str) -> Iterator[list[Instance]]:
    with instances(2, RERANKD_DRAIN_SECONDS="1", RERANKD_LOG_FORMAT="json") as made:
        yield made


@pytest.fixture(scope="module")
def front(fleet: list[Instance]) -> Iterator[Proxy]:
    with proxy(addresses(fleet), max_body_mb=0.1) as running:
        yield running


def addresses(fleet: list[Instance]) -> list[str]:
    return [one.address for one in fleet]


@contextmanager
def client(front: Proxy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=front.url, trust_env=False, timeout=30) as http:
        yield http


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


class Scripted:
    """An instance that answers as told, or breaks off, and counts: a real one cannot be made to fail on purpose.

    Args:
        status: of its answers; may be changed; 0 breaks the connection off once a request is there.
    """

    def __init__(self, status: int) -> None:
        self.status = status
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self.requests: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def leave(self) -> None:
        with suppress(OSError):  # it has left already
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while first := lines.readline().decode():
                head = [line.decode().lower() for line in iter(lines.readline, b"\r\n")]
                length = next((int(line.partition(":")[2]) for line in head if line.startswith("content-length")), 0)
                lines.read(length)
                self.requests.append(" ".join(first.split()[:2]))
                if not self.status:
                    return
                response = f"HTTP/1.1 {self.status} X\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\n{{}}"
                connection.sendall(response.encode())


@contextmanager
def scripted(*statuses: int) -> Iterator[tuple[list[Scripted], httpx.Client]]:
    made = [Scripted(status) for status in statuses]
    try:
        with proxy([one.address for one in made]) as running, client(running) as http:
            yield made, http
    finally:
        for one in made:
            one.leave()


def test_no_request_fails_while_instances_are_killed_and_restarted(record_property: Callable[..., None]) -> None:
    measurement = measure(seconds=0)
    record_property("failover_ms", measurement["failover_ms"])
    assert measurement["statuses"] == {"200": measurement["requests"]}
    assert measurement["events"] == {"kill -9": 1, "SIGTERM": 2}
    assert measurement["failover_ms"]["requests"] > 0
    assert measurement["sent_to_a_second_instance"] > 0


def test_an_instance_that_drains_leaves_without_a_failure(fleet: list[Instance], front: Proxy) -> None:
    leaving = threading.Thread(target=fleet[0].terminate)
    with client(front) as http:
        leaving.start()
        responses = []
        while leaving.is_alive():
            responses.append(http.post("/v1/rerank", json=BODY).status_code)
        responses.append(http.post("/v1/rerank", json=BODY).status_code)
    fleet[0].start()
    assert set(responses) == {200}
    assert "draining" in fleet[0].log


def test_a_request_keeps_its_id_from_caller_to_instance_and_logs(fleet: list[Instance], front: Proxy) -> None:
    with client(front) as http:
        response = http.post(
            "/v1/rerank?token=in-the-url", json=BODY, headers=bearer("a-key") | {"x-request-id": "mine-7"}
        )
        other = http.post("/v1/rerank", json=BODY, headers={"x-request-id": 'bad "id"'})
    assert (response.headers["x-request-id"], response.json()["id"]) == ("mine-7", "mine-7")
    assert len(other.headers["x-request-id"]) == 32
    rows = [json.loads(line) for line in front.access_log.splitlines()]
    (row,) = [row for row in rows if row["request_id"] == "mine-7"]
    assert (row["path"], row["status"]) == ("/v1/rerank", "200")
    assert row["instance"] in addresses(fleet)
    assert "mine-7" in "".join(one.log for one in fleet)
    assert not any(word in front.access_log for word in ("a-key", "in-the-url", "panda"))


def test_what_is_for_operators_is_not_passed_on(front: Proxy) -> None:
    with client(front) as http:
        hidden, changed = http.get("/metrics"), http.put("/v1/models/mini", json={"source": "mini"})
        shown = [http.get(path).status_code for path in ("/readyz", "/livez", "/health", "/v1/models", "/docs")]
    assert (hidden.status_code, hidden.json()["error"]["code"]) == (404, "not_found")
    assert (changed.status_code, changed.json()["error"]["code"]) == (403, "permission_denied")
    assert shown == [200] * 5


def test_a_body_over_the_limit_is_refused_as_the_service_does(front: Proxy) -> None:
    with client(front) as http:
        response = http.post("/v1/rerank", content=b"x" * 100_001)
        fits = http.post("/v1/rerank", content=b"x" * 100_000)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "payload_too_large")
    assert response.headers["x-request-id"] == response.json()["id"]
    assert fits.status_code == 400
    with client(front) as http:
        for_voyage = http.post("/voyage/v1/rerank", content=b"x" * 100_001)
    assert (for_voyage.status_code, list(for_voyage.json())) == (413, ["detail"])


def test_requests_are_limited_by_key_and_by_address(fleet: list[Instance]) -> None:
    with proxy(addresses(fleet), rate="6/m", burst=1, address_rate="600/m") as running, client(running) as http:

        def post(headers: dict[str, str]) -> httpx.Response:
            return http.post("/v1/rerank", json=BODY, headers=headers)

        assert [post(bearer("one")).status_code for _ in range(2)] == [200, 200]
        refused = post(bearer("one"))
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "10"
        error = refused.json()
        assert error["error"] == {
            "message": error["message"], "type": "rate_limited", "param": None, "code": "rate_limited",
        }  # fmt: skip
        assert error["id"] == refused.headers["x-request-id"]
        assert [post({name: "one"}).status_code for name in ("authorization", "x-api-key", "api-key")] == [429] * 3
        assert post(bearer("two")).status_code == 200
        assert [post({}).status_code for _ in range(3)] == [200, 200, 429]
        assert http.get("/readyz").status_code == 200
        made_up = [post(bearer(f"made-up-{n}")).status_code for n in range(150)]
        assert made_up.count(429) > 10


def test_with_tls_there_is_http2_and_nothing_in_clear(fleet: list[Instance], tmp_path: Path) -> None:
    tls = certificate(tmp_path)
    context = ssl.create_default_context(cafile=str(tls[0]))
    with proxy(addresses(fleet), tls=tls) as running:
        response = httpx.post(f"{running.url}/v1/rerank", json=BODY, verify=context, trust_env=False)
        context.set_alpn_protocols(["h2"])
        host, _, port = running.url.removeprefix("https://").partition(":")
        with (
            socket.create_connection((host, int(port)), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=host) as wrapped,
        ):
            assert wrapped.selected_alpn_protocol() == "h2"
        clear = httpx.post(running.url.replace("https", "http") + "/v1/rerank", json=BODY, trust_env=False)
    assert response.status_code == 200
    assert response.headers["strict-transport-security"]
    assert clear.status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "times"),
    [
        ("POST", "/v1/rerank", 2),
        ("POST", "/", 2),
        ("GET", "/info", 2),
        ("POST", "/v1/jobs", 1),
        ("DELETE", "/v1/jobs/1", 2),
    ],
)
def test_only_what_changes_nothing_is_sent_twice(method: str, path: str, times: int) -> None:
    with scripted(0, 0) as (made, http):
        response = http.request(method, path, json=BODY)
    assert (response.status_code, response.headers["retry-after"]) == (502, "1")
    assert response.json()["error"]["code"] == "unavailable"
    assert sum(len(one.requests) for one in made) == times


def test_an_instance_that_is_gone_costs_a_job_nothing() -> None:
    with scripted(0, 200) as (made, http):
        made[0].leave()
        responses = [http.post("/v1/jobs", json=BODY).status_code for _ in range(6)]
    assert responses == [200] * 6
    assert len(made[1].requests) == 6


@pytest.mark.parametrize(("status", "times"), [(503, 2), (429, 1), (500, 1), (504, 1)])
def test_only_503_goes_to_another_instance_and_answers_are_passed_on(status: int, times: int) -> None:
    with scripted(status, status) as (made, http):
        response = http.post("/v1/rerank", json=BODY)
    assert (response.status_code, response.headers["retry-after"]) == (status, "7")
    assert sum(len(one.requests) for one in made) == times


def test_connections_to_instances_are_used_again_for_scoring_and_not_for_jobs() -> None:
    with scripted(200) as ((one,), http):
        for _ in range(20):
            assert http.post("/v1/rerank", json=BODY).status_code == 200
        assert one.connections <= 2, "one for each worker of nginx that was asked"
        before = one.connections
        for _ in range(5):
            assert http.post("/v1/jobs", json=BODY).status_code == 200
        assert one.connections == before + 5


def test_instances_that_nginx_holds_for_down_are_asked_when_there_is_no_other() -> None:
    with scripted(0, 0) as (made, http):
        for _ in range(5):
            assert http.post("/v1/rerank", json=BODY).status_code == 502
        for one in made:
            one.status = 200
        for path in ("/v1/rerank", "/v1/jobs"):
            assert http.post(path, json=BODY).status_code == 200
