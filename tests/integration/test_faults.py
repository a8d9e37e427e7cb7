"""Complete servers with injected faults: each gets its error response, none takes the server down."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults import token_id
from tests.integration.serving import Served, serve

ROOT = str(Path(__file__).parents[2])
SECONDS = 20.0


class Faulty:
    """A server and the file that says how it misbehaves."""

    def __init__(self, served: Served, control: Path) -> None:
        self.served, self.url, self._control = served, served.url, control

    def set(self, **faults: Any) -> None:
        """Misbehave so from the next batch on."""
        new = self._control.with_suffix(".new")
        new.write_text(json.dumps(faults))
        new.replace(self._control)

    def metric(self, name: str, **labels: str) -> float:
        """Return the value of a metric; 0 where it has not been counted."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        for line in httpx.get(f"{self.url}/metrics").text.splitlines():
            if line.startswith(name) and all(label in line for label in wanted):
                return float(line.rpartition(" ")[2])
        return 0.0

    def until_ready(self, wanted: bool, seconds: float) -> float:
        """Seconds until readiness is as wanted; fails when it takes longer."""
        started = time.monotonic()
        while (httpx.get(f"{self.url}/readyz").status_code == 200) is not wanted:
            assert time.monotonic() - started < seconds, f"readiness is not {wanted} after {seconds} s"
        return time.monotonic() - started


def faulty_server(tmp_path: Path, **env: str) -> Any:
    control = tmp_path / "control.json"
    control.write_text("{}")
    settings = {"PYTHONPATH": ROOT, "RERANKD_CACHE": "false", **env}
    return control, serve(env=settings, program=("-m", "tests.integration.faulty_server", str(control)))


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Faulty]:
    control, server = faulty_server(tmp_path)
    with server as served:
        yield Faulty(served, control)
        control.write_text("{}")


@asynccontextmanager
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=url, timeout=SECONDS, limits=limits, trust_env=False) as made:
        yield made


def body(query: str, *documents: str) -> dict[str, Any]:
    return {"query": query, "documents": list(documents)}


async def test_a_document_that_breaks_the_backend_fails_its_own_request_only(faulty: Faulty) -> None:
    faulty.set(poison=token_id("bamboo"), slow_ms=5)
    async with client(faulty.url) as http:
        good = [http.post("/rerank", json=body(f"q{n}", "one", "two", "three")) for n in range(20)]
        bad = http.post("/rerank", json=body("q", "fine", "bamboo"))
        *responses, broken = await asyncio.gather(*good, bad)
    assert {response.status_code for response in responses} == {200}
    assert broken.status_code == 500
    assert broken.json()["error"]["code"] == "scoring_failed"
    assert "secret" not in broken.text
    assert "/some/path" not in broken.text


def test_a_backend_that_always_fails_turns_readiness_red_and_back(faulty: Faulty) -> None:
    faulty.set(always=True)
    assert httpx.post(f"{faulty.url}/rerank", json=body("q", "d")).status_code == 500
    assert faulty.until_ready(False, 2.0) < 2.0
    assert httpx.get(f"{faulty.url}/livez").status_code == 200
    faulty.set()
    faulty.until_ready(True, 2.0)
    assert httpx.post(f"{faulty.url}/rerank", json=body("q", "d")).status_code == 200


def test_out_of_memory_is_survived_and_counted(faulty: Faulty) -> None:
    faulty.set(fits=60)
    documents = [f"document number {n}" for n in range(300)]
    response = httpx.post(f"{faulty.url}/rerank", json=body("q", *documents), timeout=SECONDS)
    assert response.status_code == 200
    assert len(response.json()["results"]) == 300
    assert faulty.metric("rerankd_engine_failures_total", kind="out_of_memory") > 0


async def test_a_dead_inference_thread_fails_all_at_once_and_comes_back(faulty: Faulty) -> None:
    faulty.set(hang=True)
    async with client(faulty.url) as http:
        waiting = [asyncio.create_task(http.post("/rerank", json=body(f"q{n}", "d"))) for n in range(10)]
        while faulty.metric("rerankd_queue_size") < 10:
            await asyncio.sleep(0)
        faulty.set(deadly=True)
        responses = await asyncio.gather(*waiting)
        # Whoever was in the first batch was answered before the file changed; all others fail together.
        assert {response.status_code for response in responses} <= {200, 503}
        await http.post("/rerank", json=body("the last straw", "d"))
        assert (await http.get("/readyz")).status_code == 503
    assert faulty.metric("rerankd_engine_failures_total", kind="loop") >= 1
    faulty.set()
    faulty.until_ready(True, 4.0)
    assert httpx.post(f"{faulty.url}/rerank", json=body("q", "d")).status_code == 200


def test_a_hanging_backend_turns_readiness_red_within_two_seconds_and_back(faulty: Faulty) -> None:
    assert httpx.post(f"{faulty.url}/rerank", json=body("measured", "d")).status_code == 200
    faulty.set(hang=True)
    took = faulty.until_ready(False, 2.5)
    assert took < 2.0
    faulty.set()
    faulty.until_ready(True, 2.0)


async def test_a_client_that_goes_away_leaves_no_work_behind(faulty: Faulty) -> None:
    faulty.set(slow_ms=20)
    async with client(faulty.url) as http:
        documents = [f"document {n}" for n in range(2000)]
        leaving = asyncio.create_task(http.post("/rerank", json=body("q", *documents)))
        while faulty.metric("rerankd_queue_size") < 1:
            await asyncio.sleep(0)
        leaving.cancel()
        deadline = time.monotonic() + 5
        while faulty.metric("rerankd_queue_size") > 0:
            assert time.monotonic() < deadline
            await asyncio.sleep(0)
    assert faulty.metric("rerankd_dropped_pairs_total", reason="cancelled") > 1000
    assert faulty.metric("rerankd_request_count_total", status="499") == 1


def test_a_deadline_in_header_or_body_is_kept(faulty: Faulty) -> None:
    faulty.set(slow_ms=50)
    for headers, extra in (({"X-Request-Timeout": "0.3"}, {}), ({}, {"timeout": 0.3})):
        started = time.monotonic()
        request = body("q", *(f"document {n}" for n in range(200))) | extra
        response = httpx.post(f"{faulty.url}/rerank", json=request, headers=headers)
        assert response.status_code == 504
        assert response.json()["error"]["code"] == "deadline_exceeded"
        assert time.monotonic() - started < 2
    bad = httpx.post(f"{faulty.url}/rerank", json=body("q", "d"), headers={"X-Request-Timeout": "soon"})
    assert bad.status_code == 400


async def test_no_accepted_request_is_lost_at_sigterm(faulty: Faulty) -> None:
    """Clients in a closed loop while the server ends: what was sent on an open connection is answered."""
    faulty.set(slow_ms=3)
    lost: list[str] = []
    answered = 0

    async def loop(number: int, http: httpx.AsyncClient) -> None:
        nonlocal answered
        for turn in range(100_000):
            try:
                response = await http.post("/rerank", json=body(f"q{number}", f"a{turn}", f"b{turn}", f"c{turn}"))
            except httpx.ConnectError:
                return  # the port is closed: nothing was sent
            except httpx.TransportError as error:
                lost.append(f"{number}/{turn}: {error!r}")
                return
            if response.status_code != 200:
                lost.append(f"{number}/{turn}: {response.status_code} {response.text}")
                return
            answered += 1
            if answered == 200:
                os.kill(faulty.served.process.pid, signal.SIGTERM)

    async with client(faulty.url) as http:
        await asyncio.gather(*(loop(number, http) for number in range(16)))
    assert lost == []
    assert answered >= 200
    assert faulty.served.process.wait(SECONDS) == 0


async def test_draining_turns_readiness_red_while_requests_are_still_served(tmp_path: Path) -> None:
    control, server = faulty_server(tmp_path, RERANKD_DRAIN_SECONDS="2")
    with server as served:
        os.kill(served.process.pid, signal.SIGTERM)
        faulty = Faulty(served, control)
        faulty.until_ready(False, 1.0)
        response = httpx.post(f"{served.url}/rerank", json=body("q", "d"))
        assert response.status_code == 200
        assert response.headers["connection"] == "close"
        assert served.process.wait(SECONDS) == 0


async def test_a_full_queue_refuses_whole_requests_with_a_time(tmp_path: Path) -> None:
    control, server = faulty_server(tmp_path, RERANKD_MAX_QUEUE_SECONDS="1")
    with server as served:
        faulty = Faulty(served, control)
        faulty.set(slow_ms=10)
        documents = [f"document number {n} with some more words in it" for n in range(50)]
        async with client(served.url) as http:
            await http.post("/rerank", json=body("measure the speed", *documents))
            requests = (http.post("/rerank", json=body(f"q{n}", *documents)) for n in range(40))
            responses = await asyncio.gather(*requests)
            tei = [http.post("/rerank", json={"query": f"t{n}", "texts": documents}) for n in range(40)]
            tei_answers = await asyncio.gather(*tei)
        refused = [response for response in responses if response.status_code != 200]
        assert {response.status_code for response in refused} == {429}
        for response in refused:
            assert int(response.headers["retry-after"]) >= 1
            assert 0 < int(response.headers["retry-after-ms"]) <= int(response.headers["retry-after"]) * 1000
            assert response.json()["error"]["code"] == "overloaded"
        tei_refused = [response.json() for response in tei_answers if response.status_code == 429]
        assert tei_refused
        assert {row["error_type"] for row in tei_refused} == {"Overloaded"}
        assert faulty.metric("rerankd_request_refused_total", reason="overloaded") > 0


def test_unexpected_errors_show_a_request_id_and_no_internals(faulty: Faulty) -> None:
    faulty.set(always=True)
    response = httpx.post(f"{faulty.url}/rerank", json=body("q", "d"), headers={"X-Request-ID": "mine-1"})
    assert response.headers["x-request-id"] == "mine-1"
    assert response.json()["id"] == "mine-1"
    assert "Traceback" not in response.text
    assert "secret internals" in faulty.served.log
