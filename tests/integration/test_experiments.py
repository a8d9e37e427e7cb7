"""Experiments on two servers behind one database: under load, and while the database is away."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from rerankd.client import Client
from rerankd.errors import InvalidRequestError
from rerankd.traces.store import TraceFilter
from tests.integration.experiments import (
    TEXTS,
    ask,
    begun,
    command,
    env,
    experiments,
    in_force,
    model_version_header,
    part_of,
)
from tests.integration.load import Load
from tests.integration.postgres import Postgres
from tests.integration.serving import Served, metric, serve, until


@pytest.fixture(scope="module")
def postgres_url(postgres: Postgres) -> str:
    return postgres.fresh("rollout")


@pytest.fixture(scope="module")
def pair(postgres_url: str) -> Iterator[list[Served]]:
    """Two servers of one database."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        yield list(pool.map(lambda _: stack.enter_context(serve(env=env(postgres_url))), range(2)))


def answers_of(url: str, version: str) -> float:
    """Answers of an exact version, as the metrics count them."""
    lines = [line for line in httpx.get(f"{url}/metrics").text.splitlines() if line.startswith("rerankd_answers_total")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if f'version="{version}"' in line)


@dataclass(frozen=True)
class Answer:
    """Response to a request of the load.

    Attributes:
        name: request id.
        status: status of HTTP.
        version: exact version of the model.
        part: experiment and variant; empty for none.
    """

    name: str
    status: int
    version: str
    part: str


def send(http: httpx.Client, url: str, client: int, number: int) -> Answer:
    name = f"load-{client}-{number}"
    headers = {"x-rerankd-user": f"user-{number % 40}", "x-request-id": name}
    body = {"query": f"what eats {number}?", "documents": TEXTS[:2]}
    response = http.post(f"{url}/v1/rerank", json=body, headers=headers)
    version = response.headers.get("x-rerankd-model-version", "")
    return Answer(name, response.status_code, version, part_of(response))


def versions(urls: list[str], users: int = 20) -> list[list[str]]:
    return [[model_version_header(ask(url, f"user-{number}")) for number in range(users)] for url in urls]


def test_a_canary_goes_up_takes_over_and_goes_back_on_two_instances(
    postgres_url: str, pair: list[Served], tiny: Path
) -> None:
    one, two = pair
    urls = [one.url, two.url]
    with experiments(postgres_url) as store:
        champion = model_version_header(ask(one.url, "user-1"))
        with Load(urls, send) as load:
            flags = ("--challenger", str(tiny), "--model", "mini", "--steps", "10,60", "--seed", "seed")
            completed = command(postgres_url, "start", "canary", *flags, "--min-seconds", "3600")
            assert completed.returncode == 0, completed.stderr
            again = command(postgres_url, "start", "second", *flags)
            assert (again.returncode, "rollout stop" in again.stderr) == (2, True), again.stderr
            for served in (one, two):
                in_force(served.url, "canary")
            first = versions(urls)
            assert first[0] == first[1]
            few = {position for position, version in enumerate(first[0]) if version != champion}
            assert 0 < len(few) < 8
            assert command(postgres_url, "advance", "canary").returncode == 0
            until(lambda: all(metric(url, "rerankd_experiment_coverage") == 0.6 for url in urls), "60 %", 20)
            second = versions(urls)
            assert second[0] == second[1]
            assert few < {position for position, version in enumerate(second[0]) if version != champion}
            assert model_version_header(ask(one.url)) == champion  # nobody in particular
            command(postgres_url, "advance", "canary")
            for served in (one, two):
                in_force(served.url, "canary", "promoted")
            [challenger] = {version for listed in versions(urls, 5) for version in listed}
            assert challenger == model_version_header(ask(one.url)) != champion
            assert command(postgres_url, "stop", "--all").returncode == 0
            until(lambda: all(metric(url, "rerankd_experiment_coverage") == 0 for url in urls), "back", 20)
            assert {version for listed in versions(urls, 5) for version in listed} == {champion}
        answers = load.answers
        assert {answer.status for answer in answers} == {200}
        shown: dict[str, set[str]] = {}
        for answer in answers:
            shown.setdefault(answer.part, set()).add(answer.version)
        assert shown["canary/challenger"] == {challenger}
        assert shown["canary/champion"] == shown[""] == {champion}
        until(lambda: sum(metric(url, "rerankd_traces_queue_size") for url in urls) == 0, "traces written")
        traces = {trace.request_id: trace for trace in store.traces.list_traces(limit=100_000)}
        for answer in answers:
            trace = traces[answer.name]
            assert (trace.version, f"{trace.experiment}/{trace.variant}".strip("/")) == (
                answer.version,
                answer.part,
            )
        actions = [event.action for event in store.events("canary") if event.action != "objective"]
        assert actions == ["roll_back", "promote", "advance", "start"]
        for version, count in Counter(answer.version for answer in answers).items():
            assert sum(answers_of(url, version) for url in urls) >= count
        counted = Counter(answer.part for answer in answers)
        assert (
            len(store.traces.list_traces(TraceFilter(experiment="canary", variant="challenger"), limit=10**6))
            >= counted["canary/challenger"]
        )


def test_without_its_database_what_was_known_stays_in_force(
    postgres: Postgres, postgres_url: str, pair: list[Served], tiny: Path
) -> None:
    served = pair[0]
    with experiments(postgres_url) as store:
        begun(store, "canary", tiny, steps=(0.5,), min_seconds=1e6)
    in_force(served.url, "canary")
    before = versions([served.url], 10)
    with Client(served.url) as client:
        named = [client.rank("what eats bamboo?", TEXTS, user=f"user-{number}") for number in range(10)]
        assert [variant.version for variant in named] == before[0]
        assert {variant.experiment for variant in named} == {"canary/champion", "canary/challenger"}
        with pytest.raises(InvalidRequestError, match="ASCII"):
            client.rank("q", TEXTS, session="会话")
    assert len(set(before[0])) == 2
    postgres.stop()
    try:
        until(lambda: metric(served.url, "rerankd_experiments_stale") == 1, "stale", 20)
        ready = httpx.get(f"{served.url}/readyz")
        assert ready.status_code == 200
        assert "was not reached for" in ready.json()["details"]
        assert versions([served.url], 10) == before
    finally:
        postgres.start()
    until(lambda: metric(served.url, "rerankd_experiments_stale") == 0, "read again", 40)
    assert "details" not in httpx.get(f"{served.url}/readyz").json()
    with experiments(postgres_url) as store:
        one = store.get("canary")
        until(lambda: sum(sums.count for key, sums in store.sums(one).items() if key[2] == "errors") >= 20, "sums")
        assert sum(store.units(one).values()) == 10
        assert command(postgres_url, "stop", "canary").returncode == 0
    shown = json.loads(command(postgres_url, "status", "canary", "--json").stdout)
    assert (shown["state"], shown["bounds"]["latency"]["low"]) == ("stopped", None)
