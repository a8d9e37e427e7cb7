"""Instances that follow a registry: promotions by hand and by experiments, and bad versions."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from rerankd.experiments.experiment import Experiment
from rerankd.experiments.guardrails import ExperimentPlan
from rerankd.experiments.promotion_log import PromotionLog
from rerankd.experiments.store import ExperimentStore
from rerankd.registry.cache import Cache
from rerankd.registry.registry import Registry
from rerankd.registry.store import Store
from rerankd.traces.store import TraceStore
from tests import program
from tests.integration.registry.following import (
    SECONDS,
    exact,
    instance,
    registered,
    rerank,
    rerankd,
    state,
    under_load,
    version,
)
from tests.integration.serving import Served, metric, until
from tests.registered import with_parity


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def uri(folder: Path, two_models: list[Path]) -> str:
    """Return a registry that is a file."""
    made = f"sqlite:///{folder}/registry/mlflow.sqlite"
    registered(made, two_models, folder)
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


def test_promotion_and_rollback_under_load_fail_no_request(
    uri: str, urls: list[str], known: list[tuple[float, ...]]
) -> None:
    swaps = metric(urls[0], "rerankd_registry_swaps_total")
    took = []
    with under_load(urls) as load:
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

    with under_load(urls) as load, httpx.Client(timeout=30) as client:
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
    with contextlib.closing(ExperimentStore(TraceStore(traces_url))) as store, under_load(urls) as load:
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
    uri: str, urls: list[str], two_models: list[Path], pair: list[Served], tmp_path: Path
) -> None:
    waived = with_parity(shutil.copytree(two_models[0], tmp_path / "waived"), passed=False, waived=True)
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
