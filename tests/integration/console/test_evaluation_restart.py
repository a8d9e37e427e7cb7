"""Evaluations across a restart of the service."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.integration.serving import Served, serve, until
from tests.unit.evaluation.folders import write_folder


def test_results_outlive_a_restart_and_what_it_cut_off_says_so(tmp_path: Path) -> None:
    write_folder(tmp_path / "data" / "tiny")
    write_large(tmp_path / "data" / "large")
    env = {
        "RERANKD_EVALUATION_FOLDERS": str(tmp_path / "data"),
        "RERANKD_TRACES_URL": f"sqlite:///{tmp_path}/traces.sqlite",
    }
    with serve(env=env) as served, console_without_keys(served) as client:
        done = start(client, "folder:data/tiny")
        until(lambda: run_of(client, done)["state"] == "done", "done")
        cut_off, waiting = start(client, "folder:data/large"), start(client, "folder:data/tiny")
        until(lambda: run_of(client, cut_off)["total"], "running")
    with serve(env=env) as served, console_without_keys(served) as client:
        states = [run_of(client, number)["state"] for number in (done, cut_off, waiting)]
        assert states == ["done", "interrupted", "interrupted"]
        assert "The service was restarted" in client.get(f"/console/evaluation/{cut_off}").text
        assert "capital of France" in client.get(f"/console/evaluation/{done}").text


def write_large(folder: Path) -> None:
    """Write a folder that takes long to score: more pairs than a service ends while it shuts down."""
    folder.mkdir()
    texts = [f"document {number} " + "of many words " * 80 for number in range(150)]
    (folder / "corpus.jsonl").write_text(
        "\n".join(json.dumps({"_id": f"d{number}", "text": text}) for number, text in enumerate(texts))
    )
    (folder / "queries.jsonl").write_text(
        "\n".join(json.dumps({"_id": f"q{number}", "text": f"document {number}"}) for number in range(150))
    )
    (folder / "qrels.tsv").write_text("".join(f"q{number}\td{number}\t1\n" for number in range(150)))


@contextlib.contextmanager
def console_without_keys(served: Served) -> Iterator[httpx.Client]:
    """Open a client with a session, for a service that requires no key."""
    with httpx.Client(base_url=served.url, timeout=60, trust_env=False) as client:
        page = client.get("/console/evaluation").text
        client.headers["x-csrf-token"] = page.partition('"X-CSRF-Token": "')[2].partition('"')[0]
        yield client


def start(client: httpx.Client, source: str) -> int:
    """Start an evaluation; return its number."""
    response = client.post("/console/evaluation", data={"source": source, "model": "mini"})
    assert response.status_code == 303, response.text
    return int(response.headers["location"].rpartition("/")[2])


def run_of(client: httpx.Client, number: int) -> dict[str, Any]:
    """Return an evaluation's state and progress."""
    run: dict[str, Any] = client.get(f"/console/evaluation/{number}.json").json()["run"]
    return run
