"""Instances that follow a registry: promotion and rollback under load, bad versions, and MLflow going away."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from rerankd import Reranker
from rerankd.registry.cache import Cache
from rerankd.registry.registry import Registry
from rerankd.registry.store import Store
from tests.integration.mlflow_server import TrackingServer, tracking_server
from tests.integration.serving import Served, free_port, serve
from tests.registered import gate_record, variant, with_parity

SECONDS = 2.0
PAUSE = 0.01  # of a client between requests; without it the commands would wait for the processor
DOCUMENTS = ["Paris is the capital of France.", "Berlin is the capital of Germany."]
BODY = {"query": "capital of France?", "documents": DOCUMENTS, "cache": False}


@pytest.fixture(scope="module")
def models(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [tiny, variant(tiny, tmp_path_factory.mktemp("variants") / "two", 3.0)]


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """A registry that is a file."""
    return f"sqlite:///{tmp_path}/registry/mlflow.sqlite"


@pytest.fixture
def tracking(tmp_path: Path) -> Iterator[TrackingServer]:
    folder = tmp_path / "mlflow"
    folder.mkdir()
    with tracking_server(folder) as server:
        yield server


def rerankd(uri: str, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    """Run a command that writes JSON lines."""
    command = [sys.executable, "-m", "rerankd", "models", *arguments, "--registry", uri, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def registered(uri: str, models: list[Path], tmp_path: Path) -> None:
    """Two versions of `med`; the first is champion, the second challenger."""
    registry = Registry(Store(uri), Cache(tmp_path / "cache"))
    for model in models:
        registry.register(model, "med", gate=gate_record(model, tmp_path / f"{model.name}.json"), alias="challenger")
    registry.promote("med", 1, "the first")


def instance(uri: str, cache: Path) -> contextlib.AbstractContextManager[Served]:
    env = {
        "RERANKD_REGISTRY": uri,
        "RERANKD_REGISTRY_SECONDS": str(SECONDS),
        "RERANKD_CACHE_DIR": str(cache),
        "RERANKD_MODEL": "registry:med",
        "RERANKD_THREADS": "1",
    }
    return serve(env=env)


def version(url: str) -> int:
    [card] = httpx.get(f"{url}/v1/models", timeout=10).json()["data"]
    assert card["id"] == "med"
    assert card["registry"]["name"] == "med"
    return int(card["registry"]["version"])


def state(url: str) -> dict[str, Any]:
    """What readiness says of the one model; it has to be ready."""
    answer = httpx.get(f"{url}/readyz", timeout=10)
    assert answer.status_code == 200
    [found] = answer.json()["registry"]
    return dict(found)


def until(good: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def scores(model: Path) -> list[float]:
    found = Reranker(str(model)).score([(str(BODY["query"]), text) for text in DOCUMENTS])
    return [round(float(score), 3) for score in found]


def asked(client: httpx.Client, url: str) -> list[float]:
    answer = client.post(f"{url}/v1/rerank", json=BODY)
    assert answer.status_code == 200, answer.text
    results = sorted(answer.json()["results"], key=lambda one: one["index"])
    return [round(one["relevance_score"], 3) for one in results]


class Load:
    """Clients that ask again and again, and what each was told."""

    def __init__(self, urls: list[str]) -> None:
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(2 * len(urls))
        self._asking = [self._pool.submit(self._ask, url) for url in urls * 2]

    def _ask(self, url: str) -> list[tuple[float, list[float]]]:
        answers = []
        with httpx.Client(timeout=30) as client:
            while not self._stop.wait(PAUSE):
                answers.append((time.monotonic(), asked(client, url)))
        return answers

    def end(self) -> list[tuple[float, list[float]]]:
        """All answers; raises what a client met."""
        self._stop.set()
        found = [one for asking in self._asking for one in asking.result(60)]
        self._pool.shutdown()
        return sorted(found)


def test_promotion_and_rollback_under_load_fail_no_request(uri: str, models: list[Path], tmp_path: Path) -> None:
    registered(uri, models, tmp_path)
    known = [scores(model) for model in models]
    assert known[0] != known[1]
    with instance(uri, tmp_path / "a") as one, instance(uri, tmp_path / "b") as other:
        urls = [one.url, other.url]
        assert [version(url) for url in urls] == [1, 1]
        load = Load(urls)
        took = []
        for command, wanted in (("promote", 2), ("rollback", 1)):
            [move] = rerankd(uri, command, "med", "--reason", "a test")
            began = time.monotonic()
            assert (move["after"], move["changed"]) == (wanted, True)
            until(lambda wanted=wanted: {version(url) for url in urls} == {wanted})  # type: ignore[misc]
            took.append(time.monotonic() - began)
            with httpx.Client(timeout=30) as client:
                assert {tuple(asked(client, url)) for url in urls} == {tuple(known[wanted - 1])}
        [again] = rerankd(uri, "rollback", "med")
        assert not again["changed"]
        answers = load.end()
        text = httpx.get(f"{one.url}/metrics").text
        assert 'rerankd_registry_version{model="med",version="1"} 1.0' in text
        assert 'rerankd_registry_swaps_total{model="med"} 2.0' in text
        assert 'rerankd_registry_stale{model="med"} 0.0' in text
    assert len(answers) > 100
    assert all(answer in known for _, answer in answers)
    assert max(took) < SECONDS, took
    rows = rerankd(uri, "history", "med")
    assert [row["action"] for row in rows if row["kind"] == "decision"] == ["rollback", "promote", "promote"]


def test_a_bad_champion_is_refused_and_said(uri: str, models: list[Path], tmp_path: Path) -> None:
    registered(uri, models, tmp_path)
    waived = with_parity(shutil.copytree(models[0], tmp_path / "waived"), passed=False, waived=True)
    rerankd(uri, "register", str(waived), "--name", "med", code=5)
    Registry(Store(uri), Cache(tmp_path / "cache")).register(waived, "med", allow_unverified=True)
    rerankd(uri, "promote", "med", "3", code=9)
    store = Store(uri)
    with instance(uri, tmp_path / "a") as one:
        store.set_alias("med", "champion", 3)  # past the command, as MLflow's own pages can
        until(lambda: state(one.url)["stale"])
        assert "not verified" in state(one.url)["reason"]
        assert version(one.url) == 1
        text = httpx.get(f"{one.url}/metrics").text
        assert 'rerankd_registry_stale{model="med"} 1.0' in text
        assert 'rerankd_registry_refused_total{model="med"} 1.0' in text
        store.set_alias("med", "champion", 2)
        until(lambda: version(one.url) == 2)
        assert not state(one.url)["stale"]
        assert one.log.count("is refused") == 1


def test_serving_goes_on_without_the_tracking_server(
    tracking: TrackingServer, models: list[Path], tmp_path: Path
) -> None:
    uri = tracking.url
    registered(uri, models, tmp_path)
    known = [scores(model) for model in models]
    cache = tmp_path / "a"
    with instance(uri, cache) as one:
        load = Load([one.url])
        tracking.stop()
        until(lambda: state(one.url)["stale"])
        assert "cannot be reached" in state(one.url)["reason"]
        text = httpx.get(f"{one.url}/metrics").text
        assert "rerankd_registry_up 0.0" in text
        assert 'rerankd_registry_stale{model="med"} 1.0' in text
        with instance(uri, cache) as restarted:
            assert state(restarted.url)["stale"]
            assert version(restarted.url) == 1
            tracking.start()
            rerankd(uri, "promote", "med", "--reason", "back")
            until(lambda: {version(url) for url in (one.url, restarted.url)} == {2})
            assert not state(restarted.url)["stale"]
        until(lambda: not state(one.url)["stale"])
        assert all(answer in known for _, answer in load.end())
    rows = rerankd(uri, "history", "med")
    assert [row["reason"] for row in rows if row["kind"] == "decision"] == ["back", "the first"]
    assert {row["field"] for row in rerankd(uri, "diff", "med", "previous", "champion")} >= {"version"}
    runs = list(tracking.folder.glob("artifacts/*/*/artifacts/model/model.onnx"))
    assert len(runs) == 2


def test_an_instance_with_nothing_to_serve_says_so(tmp_path: Path) -> None:
    uri = f"http://me:hunter2@127.0.0.1:{free_port()}"
    done = subprocess.run(
        [sys.executable, "-m", "rerankd", "serve", "--port", "0", "--model", "registry:med", "--registry", uri],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 8, done.stderr
    assert "No version of registry:med@champion is known on this machine" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout
    shown = subprocess.run(
        [sys.executable, "-m", "rerankd", "config", "show", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={"RERANKD_REGISTRY": uri, "PYTHONPATH": ":".join(sys.path)},
    )
    assert "(hidden)" in shown.stdout
    assert "hunter2" not in shown.stdout
