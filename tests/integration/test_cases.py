"""Bad cases and activity of real servers, on SQLite and a real PostgreSQL: by HTTP, command line, and by themselves."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from rerankd.client import Client
from rerankd.feedback.case_store import CaseFilter, list_cases
from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import new_key
from rerankd.traces import writer
from rerankd.traces.store import TraceStore
from tests.integration.serving import serve, until
from tests.program import rerankd

TEXTS = ["Pandas eat bamboo.", "A car has four wheels.", "Bears eat fish.", "Trains run on rails."]


def command(url: str, *words: str) -> list[dict[str, Any]]:
    """Run a command over traces and return its JSON output."""
    completed = rerankd(*words, "--traces-url", url)
    assert completed.returncode == 0, completed.stderr
    return [json.loads(line) for line in completed.stdout.splitlines()]


def test_from_a_bad_ranking_to_data(url: str, tmp_path: Path) -> None:
    made = {name: new_key(name) for name in ("ours", "theirs")}
    write_keys(tmp_path / "keys.json", [key for _, key in made.values()])
    env = {"RERANKD_TRACES_URL": url, "RERANKD_TRACES_SECONDS": "0.1"}
    with serve(env=env | {"RERANKD_API_KEYS_FILE": str(tmp_path / "keys.json")}) as served, ExitStack() as stack:
        ours, theirs = (
            stack.enter_context(
                httpx.Client(base_url=served.url, headers={"authorization": f"Bearer {made[name][0]}"}, timeout=30)
            )
            for name in ("ours", "theirs")
        )
        with Client(served.url, api_key=made["ours"][0]) as client:
            result = client.rank("what eats bamboo?", TEXTS, top_n=None)
            last = result[-1].index
            store = TraceStore(url)
            until(lambda: store.list_traces(), "the trace written", 20)
            client.feedback(result.request_id, "click", index=last)
        flag = {"request_id": result.request_id, "index": last, "note": "looked for this"}
        assert ours.post("/v1/cases", json=flag).json() == {"object": "case", "new": True}
        assert ours.post("/v1/cases", json=flag).json()["new"] is False
        assert theirs.post("/v1/cases", json=flag).status_code == 404  # another key's request is no request
        assert ours.post("/v1/cases", json={"request_id": "x" * 600}).status_code == 400
        (listed,) = ours.get("/v1/cases", params={"state": "open"}).json()["data"]
        assert (listed["detector"], listed["position"]) == ("manual", last)
        assert theirs.get("/v1/cases").json()["data"] == []
        path = f"/v1/cases/{listed['id']}"
        assert [one["text"] for one in ours.get(path).json()["candidates"]] == TEXTS
        assert theirs.get(path).status_code == 404
        assert ours.post(path, json={"labels": [{"index": 99, "grade": 1}]}).status_code == 400
        assert theirs.post(path, json={"state": "fixed"}).status_code == 404
        labelled = ours.post(path, json={"labels": [{"index": last, "grade": 1}, {"index": 1, "grade": 0}]}).json()
        assert labelled["state"] == "labelled"
        (everyone, of_key) = ours.get("/v1/activity").json()["data"]
        assert (everyone["tenant"], of_key["requests"], of_key["feedback"]["requests"]) == ("*", 1, 1)
        assert theirs.get("/v1/activity").json()["data"] == []
    (detected,) = command(url, "cases", "detect", "--since", "1h")
    assert detected["chosen_low"] == 1
    (row,) = command(url, "cases", "list", "--state", "labelled")
    assert row["request_id"] == result.request_id
    command(url, "cases", "export", "--beir", str(tmp_path / "beir"), "--training", str(tmp_path / "t.jsonl"), "--mark")
    line = json.loads((tmp_path / "t.jsonl").read_text())
    assert (line["query"], line["pos"]) == ("what eats bamboo?", [TEXTS[last]])
    assert len(line["neg"]) == 3
    assert len(list_cases(store, CaseFilter(state="in_training"))) == 1
    (everyone, _) = command(url, "monitor", "--window", "1h")
    assert (everyone["model"], everyone["requests"]) == ("mini", 1)
    options = ["--data", str(tmp_path / "beir"), "--candidates", str(tmp_path / "beir" / "candidates.trec")]
    completed = rerankd("eval", *options, "--models", "mini", "--json")
    assert completed.returncode == 0, completed.stderr
    store.close()


def test_servers_find_cases_and_show_activity_by_themselves(url: str) -> None:
    """Upkeep is every minute; here it is sooner."""
    code = (
        "import rerankd.traces.writer as w; w.MAINTENANCE_SECONDS = 0.2; "
        "import sys; sys.argv[0] = 'rerankd'; from rerankd.cli.main import main; main()"
    )
    assert writer.MAINTENANCE_SECONDS == 60
    env = {"RERANKD_TRACES_URL": url, "RERANKD_TRACES_SECONDS": "0.1"}
    with serve(env=env, program=("-c", code, "serve")) as served:
        with Client(served.url) as client:
            result = client.rank("what eats bamboo?", TEXTS, top_n=None)
            store = TraceStore(url)
            until(lambda: store.list_traces(), "the trace written", 20)
            client.feedback(result.request_id, "citation", index=result[-1].index)
        until(lambda: list_cases(store, CaseFilter(detector="chosen_low")), "the case found", 20)

        def shown() -> bool:
            return 'rerankd_activity_requests{model="mini",tenant="*"} 1.0' in httpx.get(f"{served.url}/metrics").text

        until(shown, "the gauges shown", 20)
    store.close()
