"""Older packages of clients: each in a folder, before the newest, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.contract import DOCUMENTS, QUERY
from tests.integration.serving import API_KEY

OLDER_VOYAGE = "voyageai==0.3.7"  # before 0.5 an `error` that is an object is an AttributeError in its own code
VOYAGE = """
import json, sys
import voyageai
url, key, body = sys.argv[1:]
try:
    answer = voyageai.Client(key, base_url=url).rerank(**json.loads(body))
    rows = [[row.index, row.relevance_score, row.document] for row in answer.results]
    print(json.dumps({"rows": rows, "tokens": answer.total_tokens, "version": voyageai.__version__}))
except Exception as error:
    print(json.dumps({"error": type(error).__module__ + ":" + type(error).__name__, "text": str(error)}))
"""
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def voyage(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a function that calls the older package; what it needs is installed with the newest."""
    folder = tmp_path_factory.mktemp("voyage")
    flags = ["--quiet", "--disable-pip-version-check", "--no-deps", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *flags, OLDER_VOYAGE], check=True, timeout=120)

    def run(url: str, key: str = "any", **body: Any) -> dict[str, Any]:
        return run_script(folder, VOYAGE, url, key, json.dumps({"query": QUERY, "documents": DOCUMENTS} | body))

    return run


def run_script(folder: Path, script: str, *arguments: str) -> dict[str, Any]:
    """Run a script with the packages of a folder before all others; return the object that it prints."""
    proxies = ("http_proxy", "https_proxy", "all_proxy")
    env = {name: value for name, value in os.environ.items() if name.lower() not in proxies}
    command = [sys.executable, "-W", "ignore", "-c", script, *arguments]
    done = subprocess.run(
        command, env=env | {"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=True, timeout=120
    )
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def test_an_older_voyage_ranks(voyage: Run, server_url: str, scores: list[float]) -> None:
    answer = voyage(f"{server_url}/voyage/v1", model="mini", top_k=2)
    assert answer["version"] == OLDER_VOYAGE.partition("==")[2]
    assert answer["tokens"] > 0
    best = sorted(range(len(scores)), key=lambda index: -scores[index])[:2]
    assert [(index, text) for index, _, text in answer["rows"]] == [(index, DOCUMENTS[index]) for index in best]
    assert [score for _, score, _ in answer["rows"]] == pytest.approx([scores[index] for index in best], abs=1e-6)


def test_and_tells_what_went_wrong(voyage: Run, server_url: str, guarded_url: str) -> None:
    wrong = voyage(f"{guarded_url}/voyage/v1", "wrong", model="mini")
    assert wrong["error"] == "voyageai.error:AuthenticationError"
    assert "The API key is unknown." in wrong["text"]
    empty = voyage(f"{server_url}/voyage/v1", model="mini", documents=[])
    assert empty["error"] == "voyageai.error:InvalidRequestError"
    assert "documents is empty" in empty["text"]
    assert "error" not in voyage(f"{guarded_url}/voyage/v1", API_KEY, model="mini")
