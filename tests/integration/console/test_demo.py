"""`rerankd console`: the pages alone, over a store of others and over the demo's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rerankd.demo.shop import load_questions
from rerankd.evaluation.dataset import open_dataset
from rerankd.experiments.store import ExperimentStore
from rerankd.feedback.case_store import count_cases, list_cases
from rerankd.feedback.store import read_feedback
from rerankd.traces.store import TraceStore
from tests.integration.serving import Served, metric, serve
from tests.program import rerankd

CONSOLE = ("-m", "rerankd", "console")


@pytest.fixture(scope="module")
def demo() -> Iterator[tuple[Served, TraceStore]]:
    with serve("--demo", program=CONSOLE) as served:
        line = next(line for line in served.log.splitlines() if line.startswith("traces"))
        store = TraceStore(line.removeprefix("traces").strip())
        yield served, store
        store.close()
    folder = Path(line.rpartition("sqlite:///")[2]).parent
    assert not folder.exists()


def test_the_pages_are_served_and_the_api_is_not(demo: tuple[Served, TraceStore]) -> None:
    served, _ = demo
    assert f"console  {served.url}/console" in served.log
    with httpx.Client(base_url=served.url, trust_env=False, follow_redirects=True) as client:
        assert client.get("/console").status_code == 200
        assert client.get("/").url.path.startswith("/console/")
        assert client.get("/livez").status_code == 200
        for path in ("/v1/rerank", "/v1/search", "/v1/jobs", "/docs", "/v1/models"):
            refused = client.post(path, json={})
            assert refused.status_code == 404
            assert "this server has no API" in refused.text
    assert metric(served.url, "rerankd_model_loaded") == 0  # until a page needs one


def test_the_store_has_something_for_every_page(demo: tuple[Served, TraceStore]) -> None:
    _, store = demo
    traces = store.list_traces(limit=5000)
    assert 500 < len(traces) < 1000
    assert len({trace.version for trace in traces}) == 3
    assert {trace.tenant for trace in traces} == {"shop", "support", "web"}
    assert traces[0].time - traces[-1].time > 13 * 86_400
    assert sum(trace.truncated > 0 for trace in traces) > 50
    texts = store.read_queries(traces)
    assert {question.query for question in load_questions()} <= set(texts.values())
    newest = store.load(traces[:200])
    assert any(full.candidates.rules for full in newest)
    kinds = Counter(traced.feedback.kind for traced in read_feedback(store, limit=5000))
    assert kinds.keys() == {"click", "citation", "thumb", "grade"}


def test_models_can_be_evaluated_on_the_questions(demo: tuple[Served, TraceStore]) -> None:
    served, _ = demo
    line = next(line for line in served.log.splitlines() if line.startswith("traces"))
    dataset = open_dataset(Path(line.rpartition("sqlite:///")[2]).parent / "datasets" / "handbook")
    assert len(dataset.queries) == len(load_questions())
    assert dataset.candidate_recall > 0.9


def test_an_evaluation_is_finished_and_leads_to_its_worst_query(demo: tuple[Served, TraceStore]) -> None:
    served, _ = demo
    with httpx.Client(base_url=f"{served.url}/console", trust_env=False) as client:
        [run] = client.get("/evaluation.json").json()["runs"]
        assert (run["state"], run["plan"]["models"], run["done"]) == ("done", ["mini-64", "mini"], run["total"])
        shown = client.get(f"/evaluation/{run['id']}.json").json()
        assert shown["result"]["system"] in ("mini", "mini-64")
        worst = shown["result"]["queries"][0]
        assert worst["delta"] <= 0
        assert client.get(worst["address"].removeprefix("/console")).status_code == 200


def test_cases_are_found_by_the_detectors(demo: tuple[Served, TraceStore]) -> None:
    _, store = demo
    states = count_cases(store)
    assert min(states[state] for state in ("open", "labelled", "wont_fix")) > 0
    found = Counter(reason.detector for case in list_cases(store, limit=500) for reason in case.reasons)
    assert {"chosen_low", "top_rejected", "demoted", "low_margin", "disagreement", "manual"} <= found.keys()


def test_one_experiment_was_promoted_and_one_is_running(demo: tuple[Served, TraceStore]) -> None:
    _, store = demo
    experiments = ExperimentStore(store)
    assert [(each.name, each.state) for each in experiments.recent()] == [
        ("read-128", "running"),
        ("read-256", "promoted"),
    ]
    assert [each.name for each in experiments.active()] == ["read-128"]
    actions = [event.action for event in reversed(experiments.events("read-256"))]
    assert actions == ["start", "objective", "advance", "advance", "promote", "end"]


def test_the_console_alone_reads_a_store_and_prunes_nothing(tmp_path: Path) -> None:
    store = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    store.close()
    with serve("--url", f"sqlite:///{tmp_path}/traces.sqlite", program=CONSOLE) as served:
        body = httpx.get(f"{served.url}/console/traces.json", trust_env=False).json()
        assert body["traces"] == []


def test_the_root_of_the_console_alone_leads_to_signing_in(tmp_path: Path) -> None:
    keys, address = tmp_path / "keys.json", f"sqlite:///{tmp_path}/traces.sqlite"
    assert rerankd("keys", "add", "ops", "--admin", "--file", str(keys)).returncode == 0
    TraceStore(address).close()
    with (
        serve("--url", address, "--api-keys-file", str(keys), program=CONSOLE) as served,
        httpx.Client(base_url=served.url, trust_env=False, follow_redirects=True) as client,
    ):
        start = client.get("/")
        assert (start.status_code, start.url.path) == (200, "/console/sign-in")
        assert client.get("/console/traces.json").status_code == 401
        assert client.get("/metrics").status_code == 401


def test_contradicting_addresses_are_refused(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/a.sqlite"
    refused = rerankd("console", "--demo", "--url", address)
    assert refused.returncode == 2
    assert "--demo makes a store of its own" in refused.stderr
    assert rerankd("console", "--url", address, "--traces-url", f"{address}2").returncode == 2
