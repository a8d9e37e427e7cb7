"""Instances that follow a registry: promotions by hand and by experiments, bad versions, MLflow going away."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from rerankd import Reranker
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.guardrails import ExperimentPlan
from rerankd.experiments.promotion_log import PromotionLog
from rerankd.experiments.store import ExperimentStore
from rerankd.registry.cache import Cache
from rerankd.registry.registry import Registry
from rerankd.registry.store import Store
from rerankd.traces.store import TraceStore
from tests import program
from tests.integration.mlflow_server import TrackingServer, tracking_server
from tests.integration.serving import Served, free_port, metric, serve, until
from tests.registered import gate_record, variant, with_parity

SECONDS = 2.0
PAUSE = 0.03  # of a client between requests; without it the commands would wait for the processor
LOOK = 0.2
DOCUMENTS = ["Paris is the capital of France.", "Berlin is the capital of Germany."]
BODY = {"query": "capital of France?", "documents": DOCUMENTS, "cache": False}


@dataclass(frozen=True)
class Answer:
    """Response to a client.

    Attributes:
        version: in the header.
        scores: of the documents, in their order.
        part: of an experiment; empty for none.
    """

    version: str
    scores: tuple[float, ...]
    part: str = ""


@pytest.fixture(scope="module")
def models(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [tiny, variant(tiny, tmp_path_factory.mktemp("variants") / "two", 3.0)]


@pytest.fixture(scope="module")
def known(models: list[Path]) -> list[tuple[float, ...]]:
    """Scores of each."""
    model_scores = [scores(model) for model in models]
    assert model_scores[0] != model_scores[1]
    return model_scores


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def uri(folder: Path, models: list[Path]) -> str:
    """Return a registry that is a file."""
    made = f"sqlite:///{folder}/registry/mlflow.sqlite"
    registered(made, models, folder)
    return made


@pytest.fixture(scope="module")
def traces_url(folder: Path) -> str:
    return f"sqlite:///{folder}/traces.sqlite"


@pytest.fixture(scope="module")
def pair(uri: str, traces_url: str, folder: Path) -> Iterator[list[Served]]:
    """Two instances that share a registry and experiments."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        caches = [folder / name for name in "ab"]
        yield list(pool.map(lambda cache: stack.enter_context(instance(uri, cache, traces_url)), caches))


@pytest.fixture
def urls(uri: str, pair: list[Served]) -> list[str]:
    """Both instances at version 1, whatever a test before left."""
    Store(uri).set_alias("med", "champion", 1)
    addresses = [one.url for one in pair]
    until(lambda: {version(url) for url in addresses} == {1})
    return addresses


@pytest.fixture
def tracking(tmp_path: Path) -> Iterator[TrackingServer]:
    folder = tmp_path / "mlflow"
    folder.mkdir()
    with tracking_server(folder) as server:
        yield server


def rerankd(uri: str, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    """Run a command that writes JSON lines."""
    completed = program.rerankd("models", *arguments, "--registry", uri, "--json")
    assert completed.returncode == code, completed.stderr
    return [json.loads(line) for line in completed.stdout.splitlines()]


def registered(uri: str, models: list[Path], folder: Path) -> None:
    """Two versions of `med`; the first is champion, the second challenger."""
    registry = Registry(Store(uri), Cache(folder / "cache"))
    for model in models:
        registry.register(model, "med", gate=gate_record(model, folder / f"{model.name}.json"), alias="challenger")
    registry.promote("med", 1, "the first")


def instance(uri: str, cache: Path, traces_url: str = "") -> contextlib.AbstractContextManager[Served]:
    env = {
        "RERANKD_REGISTRY": uri,
        "RERANKD_REGISTRY_SECONDS": str(SECONDS),
        "RERANKD_CACHE_DIR": str(cache),
        "RERANKD_MODEL": "registry:med",
        "RERANKD_THREADS": "1",
        "RERANKD_ROLLOUT_SECONDS": str(LOOK),
    }
    return serve(env=env | ({"RERANKD_TRACES_URL": traces_url} if traces_url else {}))


def version(url: str) -> int:
    [card] = httpx.get(f"{url}/v1/models", timeout=10).json()["data"]
    assert card["id"] == "med"
    assert card["registry"]["name"] == "med"
    return int(card["registry"]["version"])


def state(url: str) -> dict[str, Any]:
    """Return the readiness entry of the only model, which has to be ready."""
    response = httpx.get(f"{url}/readyz", timeout=10)
    assert response.status_code == 200
    [entry] = response.json()["registry"]
    return dict(entry)


def scores(model: Path) -> tuple[float, ...]:
    values = Reranker(str(model)).score([(str(BODY["query"]), text) for text in DOCUMENTS])
    return tuple(round(float(score), 3) for score in values)


def rerank(client: httpx.Client, url: str, user: str = "") -> Answer:
    headers = {"x-rerankd-user": user} if user else {}
    response = client.post(f"{url}/v1/rerank", json=BODY, headers=headers)
    assert response.status_code == 200, response.text
    results = sorted(response.json()["results"], key=lambda one: one["index"])
    values = tuple(round(one["relevance_score"], 3) for one in results)
    return Answer(response.headers["x-rerankd-model-version"], values, response.headers.get("x-rerankd-experiment", ""))


class Load:
    """Clients that ask again and again, and what each was told."""

    def __init__(self, urls: list[str]) -> None:
        self._stop, self.answered = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(2 * len(urls))
        self._asking = [self._pool.submit(self._ask, url) for url in urls * 2]

    def _ask(self, url: str) -> list[Answer]:
        responses: list[Answer] = []
        with httpx.Client(timeout=30) as client:
            while not self._stop.wait(PAUSE):
                responses.append(rerank(client, url, f"user-{len(responses) % 40}"))
                self.answered.set()
        return responses

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()

    @property
    def answers(self) -> list[Answer]:
        """Responses to all clients, at the end; raises the error of a client."""
        return [one for asking in self._asking for one in asking.result(60)]


def exact(responses: list[Answer], known: list[tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
    """Scores by version: each answer is of one known model, and names it."""
    by_version = {response.version: response.scores for response in responses}
    assert all(by_version[response.version] == response.scores for response in responses)
    assert sorted(by_version.values()) == sorted(known)
    return by_version


def test_promotion_and_rollback_under_load_fail_no_request(
    uri: str, urls: list[str], known: list[tuple[float, ...]]
) -> None:
    swaps = metric(urls[0], "rerankd_registry_swaps_total")
    took = []
    with Load(urls) as load:
        for command, wanted in (("promote", 2), ("rollback", 1)):
            [move] = rerankd(uri, command, "med", "--reason", "a test")
            began = time.monotonic()
            assert (move["after"], move["changed"]) == (wanted, True)
            until(lambda wanted=wanted: {version(url) for url in urls} == {wanted})  # type: ignore[misc]
            took.append(time.monotonic() - began)
            with httpx.Client(timeout=30) as client:
                assert {rerank(client, url).scores for url in urls} == {known[wanted - 1]}
        [again] = rerankd(uri, "rollback", "med")
        assert not again["changed"]
    responses = load.answers
    text = httpx.get(f"{urls[0]}/metrics").text
    assert 'rerankd_registry_version{model="med",version="1"} 1.0' in text
    assert f'rerankd_registry_swaps_total{{model="med"}} {swaps + 2}' in text
    assert 'rerankd_registry_stale{model="med"} 0.0' in text
    assert len(responses) > 100
    exact(responses, known)
    assert max(took) < SECONDS, took
    rows = [row for row in rerankd(uri, "history", "med") if row["kind"] == "decision"]
    assert [row["action"] for row in rows[:2]] == ["rollback", "promote"]


def rollout(uri: str, traces_url: str, *arguments: str) -> str:
    env = {"RERANKD_REGISTRY": uri}
    completed = program.rerankd("rollout", *arguments, "--traces-url", traces_url, env=env)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def test_an_experiments_promotion_moves_the_alias_and_its_end_moves_it_back(
    uri: str, traces_url: str, urls: list[str], known: list[tuple[float, ...]]
) -> None:
    registry = Registry(Store(uri), Cache(Path(uri)))
    flags = ("--model", "med", "--steps", "50", "--min-seconds", "0", "--proven-from", "200", "--alpha", "0.000001")
    rails = ("--min-requests", "20", "--margin", "latency=100", "--margin", "slow=100")

    def shown() -> dict[str, Any]:
        return dict(json.loads(rollout(uri, traces_url, "status", "two", "--json")))

    with Load(urls) as load, httpx.Client(timeout=30) as client:
        rollout(uri, traces_url, "start", "two", "--challenger", "registry:med@challenger", *flags, *rails)
        assert shown()["challenger"] == "registry:med@2"  # whatever becomes of the alias
        until(lambda: shown().get("registry", {}).get("phase") == "moved")
        assert (shown()["state"], shown()["reason"]) == ("promoted", "med 2 is the registry's champion, after 1")
        assert [registry.resolve("med", alias).version for alias in ("champion", "previous")] == [2, 1]
        until(lambda: {version(url) for url in urls} == {2})
        versions = {rerank(client, url) for url in urls}
        assert {(one.part, one.scores) for one in versions} == {("two/challenger", known[1])}
        [challenger] = {one.version for one in versions}
        rollout(uri, traces_url, "stop", "two")
        until(lambda: shown()["registry"]["phase"] == "moved_back")
        until(lambda: {version(url) for url in urls} == {1})
        assert {rerank(client, url).scores for url in urls} == {known[0]}
    assert registry.resolve("med").version == 1
    responses = load.answers
    by_version = exact(responses, known)
    assert by_version[challenger] == known[1]
    assert {one.version for one in responses if one.part == "two/challenger"} == {challenger}
    assert challenger not in {one.version for one in responses if one.part == "two/champion"}
    back, forth = registry.history("med").moves[:2]
    assert [move.action for move in (forth, back)] == ["promote", "rollback"]
    assert forth.reason.startswith("experiment two #")
    assert "All guardrails hold." in forth.reason
    assert "by hand" in back.reason


def test_an_experiment_that_ends_after_the_swap_drops_nothing(
    uri: str, traces_url: str, urls: list[str], known: list[tuple[float, ...]]
) -> None:
    with contextlib.closing(ExperimentStore(TraceStore(traces_url))) as store, Load(urls) as load:
        assert load.answered.wait(60)  # by the champion
        one = store.start(
            Experiment("kept", "canary", "med", "registry:med@2", plan=ExperimentPlan(steps=(1.0,))), "test"
        )
        until(lambda: all(metric(url, "rerankd_experiment_coverage") == 1 for url in urls))
        early = program.rerankd("rollout", "stop", "kept", "--keep", "--traces-url", traces_url)
        assert (early.returncode, "is not the challenger of kept" in early.stderr) == (2, True)
        rollout(uri, traces_url, "advance", "kept")
        until(lambda: {version(url) for url in urls} == {2})
        rollout(uri, traces_url, "stop", "kept", "--keep")
        until(lambda: all(metric(url, "rerankd_experiment_coverage") == 0 for url in urls))
        with httpx.Client(timeout=30) as client:
            assert {(serving.part, serving.scores) for url in urls for serving in (rerank(client, url),)} == {
                ("", known[1])
            }
        last = PromotionLog(store).last(one)
    assert last is not None
    assert last.phase == "moved"
    exact(load.answers, known)
    assert [version(url) for url in urls] == [2, 2]


def test_a_bad_champion_is_refused_and_said(
    uri: str, urls: list[str], models: list[Path], pair: list[Served], tmp_path: Path
) -> None:
    waived = with_parity(shutil.copytree(models[0], tmp_path / "waived"), passed=False, waived=True)
    rerankd(uri, "register", str(waived), "--name", "med", code=5)
    Registry(Store(uri), Cache(tmp_path / "cache")).register(waived, "med", allow_unverified=True)
    rerankd(uri, "promote", "med", "3", code=9)
    store, one = Store(uri), pair[0]
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
    tracking: TrackingServer, models: list[Path], known: list[tuple[float, ...]], tmp_path: Path
) -> None:
    uri = tracking.url
    registered(uri, models, tmp_path)
    cache = tmp_path / "a"
    with instance(uri, cache) as one, Load([one.url]) as load:
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
    exact(load.answers, known)
    rows = rerankd(uri, "history", "med")
    assert [row["reason"] for row in rows if row["kind"] == "decision"] == ["back", "the first"]
    assert {row["field"] for row in rerankd(uri, "diff", "med", "previous", "champion")} >= {"version"}
    runs = list(tracking.folder.glob("artifacts/*/*/artifacts/model/model.onnx"))
    assert len(runs) == 2


def test_an_instance_with_nothing_to_serve_says_so(tmp_path: Path) -> None:
    uri = f"http://me:hunter2@127.0.0.1:{free_port()}"
    completed = subprocess.run(
        [sys.executable, "-m", "rerankd", "serve", "--port", "0", "--model", "registry:med", "--registry", uri],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert completed.returncode == 8, completed.stderr
    assert "No version of registry:med@champion is known on this machine" in completed.stderr
    assert "hunter2" not in completed.stderr + completed.stdout
    shown = program.rerankd("config", "show", "--json", env={"RERANKD_REGISTRY": uri})
    assert "(hidden)" in shown.stdout
    assert "hunter2" not in shown.stdout
