"""Rules of a running service: in answers, jobs and traces, read again while requests are answered."""

from __future__ import annotations

import concurrent.futures
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rerankd import Client, Reranker
from tests.integration.serving import serve, until
from tests.program import rerankd

DOCUMENTS = [
    {"text": "Paris is the capital of France.", "id": "paris", "metadata": {"status": "final"}},
    {"text": "Berlin is the capital of Germany.", "id": "berlin", "metadata": {"status": "draft"}},
    {"text": "退货须在七天之内提出。", "id": "returns", "metadata": {"status": "final"}},
    {"text": "Internal: the capital is moved.", "id": "internal", "metadata": {"visibility": "internal"}},
]
RULES = """
rules:
  - name: returns first
    when: {terms: [France]}
    documents: {terms: [退货]}
    pin: 1
  - name: drafts
    documents: {metadata: {status: draft}}
    bury: 1.5
  - name: internal
    documents: {metadata: {visibility: internal}}
    filter: true
"""
BODY = {"query": "What is the capital of France?", "documents": DOCUMENTS, "explain": True, "cache": False}


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


@pytest.fixture
def url(rules: Path, tmp_path: Path) -> Iterator[str]:
    env = {"RERANKD_RULES": str(rules), "RERANKD_TRACES_URL": f"sqlite:///{tmp_path}/traces.sqlite"}
    with serve(env=env) as served:
        yield served.url


def rank(url: str, **changes: Any) -> dict[str, Any]:
    response = httpx.post(f"{url}/v1/rerank", json=BODY | changes, timeout=60)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def replaced(path: Path, content: str) -> None:
    other = path.with_suffix(".new")
    other.write_text(content)
    other.replace(path)


def test_rules_are_in_answers_jobs_and_traces(url: str, tmp_path: Path) -> None:
    ranking = rank(url)
    names = [DOCUMENTS[one["index"]]["id"] for one in ranking["results"]]
    assert names == ["returns", "paris", "berlin"]
    assert ranking["results"][0]["rules"] == [{"rule": "returns first", "action": "pin", "weight": 1.0}]
    assert ranking["results"][1]["rules"] == []
    assert ranking["results"][2]["rules"] == [{"rule": "drafts", "action": "bury", "weight": -1.5}]
    assert len(ranking["rules"]) == 12
    plain = httpx.post(f"{url}/v1/rerank", json={**BODY, "explain": False}, timeout=60).json()
    assert "rules" not in plain
    assert all("rules" not in one for one in plain["results"])
    with Client(url) as client:
        job = client.submit([{"query": BODY["query"], "documents": DOCUMENTS, "send_metadata": True}])
        completed = client.wait(job.id)
        assert completed.results is not None
        assert [one["index"] for one in completed.results[0]["results"]] == [2, 0, 1]
        assert completed.results[0]["results"][0]["rules"][0]["rule"] == "returns first"
        ranked = client.rank(str(BODY["query"]), DOCUMENTS, None, send_metadata=True)
        assert [one.document.id for one in ranked] == names
        assert ranked.rules == ranking["rules"]
        assert [one.rule for one in ranked[2].rules] == ["drafts"]
        logits = client.rank(str(BODY["query"]), DOCUMENTS, None, activation="none", send_metadata=True)
        assert logits[2].relevance_score == pytest.approx(logits[2].raw_score - 1.5)
        assert len(client.rank(str(BODY["query"]), DOCUMENTS, None, threshold=0.999)) == 1
    deadline = time.monotonic() + 20
    while True:
        shown = command(
            "traces", "show", ranking["id"], "--json", "--traces-url", f"sqlite:///{tmp_path}/traces.sqlite"
        )
        if shown.returncode == 0:
            break
        assert time.monotonic() < deadline, shown.stderr
        time.sleep(0.1)
    trace = json.loads(shown.stdout)
    assert trace["parameters"]["rules"] == ranking["rules"]
    by_id = {one["id"]: one for one in trace["candidates"]}
    assert by_id["returns"]["rules"] == ["returns first: pin +1"]
    assert by_id["internal"]["rules"] == ["internal: filter"]
    assert by_id["internal"]["rank_after"] == 4
    assert by_id["berlin"]["metadata"] == {"status": "draft"}
    assert trace["kept"] == 3
    metrics = httpx.get(f"{url}/metrics").text
    assert f'rerankd_rules_info{{version="{ranking["rules"]}"}} 3.0' in metrics


def test_a_preview_on_traces_says_what_would_move(url: str, tmp_path: Path) -> None:
    rank(url)
    other = tmp_path / "other.yaml"
    other.write_text(
        "rules:\n  - {name: paris, documents: {terms: [Paris]}, pin: 1}\n"
        "  - {name: drafts, documents: {metadata: {status: draft}}, filter: true}\n"
    )
    flags = ("--traces-url", f"sqlite:///{tmp_path}/traces.sqlite", "--json")
    deadline = time.monotonic() + 20
    while (completed := command("rules", "preview", str(other), *flags)).returncode:
        assert time.monotonic() < deadline, completed.stderr
        time.sleep(0.1)
    [row] = [json.loads(line) for line in completed.stdout.splitlines()]
    assert row["top_changed"] is True
    moves = {move["id"]: (move["then"], move["now"]) for move in row["moves"]}
    assert moves["paris"] == (2, 1)
    assert moves["berlin"][1] == 4
    assert "1 of 1 ranking would change" in completed.stderr
    same = tmp_path / "same.yaml"
    same.write_text(RULES)
    assert "0 of 1 ranking would change" in command("rules", "preview", str(same), *flags).stderr


def test_a_bad_file_never_replaces_a_good_one(url: str, rules: Path) -> None:
    before = rank(url)["rules"]
    replaced(rules, "rules: [{name: broken")
    until(lambda: "rerankd_rules_stale 1.0" in httpx.get(f"{url}/metrics").text)
    assert rank(url)["rules"] == before
    replaced(rules, RULES + "# again good\n")
    until(lambda: "rerankd_rules_stale 0.0" in httpx.get(f"{url}/metrics").text)
    assert rank(url)["rules"] != before
    text = httpx.get(f"{url}/metrics").text
    assert 'rerankd_rules_reloads_total{result="bad"} 1.0' in text
    assert 'rerankd_rules_reloads_total{result="good"} 1.0' in text


def test_a_service_does_not_start_on_a_bad_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("rules:\n  - name: x\n    bost: 1\n")
    completed = command("serve", "--port", "0", "--rules", str(path))
    assert completed.returncode == 2
    assert "line 3" in completed.stderr


@pytest.mark.soak
def test_reloads_under_load_drop_no_request(tmp_path: Path, repetitions: int) -> None:
    """Every look finds another file; every answer was made by exactly one of them."""
    path = tmp_path / "rules.yaml"

    def content(number: int) -> str:
        first = ("Paris", "Berlin")[number % 2]
        return f"# {number}\nrules:\n  - {{name: r{number}, documents: {{terms: [{first}]}}, pin: 1}}\n"

    path.write_text(content(0))
    program = ("-c", RELOADING)
    with serve(env={"RERANKD_RULES": str(path)}, program=program) as served, httpx.Client(timeout=60) as client:
        stop = threading.Event()

        changes = {"documents": DOCUMENTS[:2], "cache": True}

        def asking() -> list[tuple[int, int, str]]:
            responses = []
            with httpx.Client(timeout=60) as http:
                while not stop.wait(0.01):
                    response = http.post(f"{served.url}/v1/rerank", json=BODY | changes)
                    first = response.json()["results"][0] if response.status_code == 200 else {}
                    rule = first["rules"][0]["rule"] if first else ""
                    responses.append((response.status_code, first.get("index", -1), rule))
            return responses

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(asking) for _ in range(4)]
            number = 0
            while reloads(client, served.url) < repetitions:
                number += 1
                replaced(path, content(number))
                assert number < 100_000
            stop.set()
            answers = [one for responses in futures for one in responses.result()]
    assert len(answers) > 100
    assert {status for status, _, _ in answers} == {200}
    assert all(index == int(rule.removeprefix("r")) % 2 for _, index, rule in answers)
    assert len({rule for _, _, rule in answers}) > 20


# The service as it is, looking at its rules a thousand times a second instead of once.
RELOADING = """
import rerankd.rules.watcher as watcher, sys
original = watcher.RulesWatcher.__init__
def init(self, path, interval=0.001, on_reload=lambda success: None):
    original(self, path, 0.001, on_reload)
watcher.RulesWatcher.__init__ = init
from rerankd.cli.main import main
sys.argv[1:1] = ["serve"]
main()
"""


def reloads(client: httpx.Client, url: str) -> float:
    for line in client.get(f"{url}/metrics").text.splitlines():
        if line.startswith('rerankd_rules_reloads_total{result="good"}'):
            return float(line.split()[-1])
    return 0.0


def test_the_same_rules_in_process(rules: Path, url: str) -> None:
    ranking = Reranker(rules=rules).rank(str(BODY["query"]), DOCUMENTS, None)
    theirs = rank(url)
    assert [one.index for one in ranking] == [one["index"] for one in theirs["results"]]
    assert ranking.rules == theirs["rules"]
    for mine, other in zip(ranking, theirs["results"], strict=True):
        assert mine.relevance_score == pytest.approx(other["relevance_score"], abs=1e-6)


def test_fusion_is_asked_for_by_a_request(url: str) -> None:
    scored = [{**one, "score": value} for one, value in zip(DOCUMENTS[:3], (0.0, 9.0, 1.0), strict=True)]
    query = {"query": "capital of France", "documents": scored[:2]}
    first = rank(url, **query)["results"][0]["index"]
    assert first == 0
    assert rank(url, **query, fusion="weighted", fusion_weight=50)["results"][0]["index"] == 1
    assert httpx.post(f"{url}/v1/rerank", json=BODY | {"fusion": "best"}).status_code == 400


def test_the_commands_check_and_try(rules: Path, tmp_path: Path) -> None:
    completed = command("rules", "check", str(rules))
    assert "3 rules (1 bury, 1 filter, 1 pin)" in completed.stderr
    bad = tmp_path / "bad.yaml"
    bad.write_text(RULES.replace("bury: 1.5", "bury: much"))
    completed = command("rules", "check", str(bad))
    assert completed.returncode == 2
    assert "line 9" in completed.stderr
    listed = tmp_path / "documents.jsonl"
    listed.write_text("\n".join(json.dumps(one) for one in DOCUMENTS))
    completed = command("rules", "test", str(rules), str(BODY["query"]), str(listed), "--json")
    rows = [json.loads(line) for line in completed.stdout.splitlines()]
    assert [row["id"] for row in rows] == ["returns", "paris", "berlin", "internal"]
    assert rows[3]["rank"] is None
    assert rows[2]["shift"] == -1.5
    completed = command("rank", str(BODY["query"]), str(listed), "--rules", str(rules), "--all", "--json")
    assert [json.loads(line)["id"] for line in completed.stdout.splitlines()] == ["returns", "paris", "berlin"]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return rerankd(*arguments)
