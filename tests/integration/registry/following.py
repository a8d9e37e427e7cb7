"""Instances that follow a registry: starting them, their state, and rankings of known models."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from rerankd import Reranker
from rerankd.registry.cache import Cache
from rerankd.registry.registry import Registry
from rerankd.registry.store import Store
from tests import program
from tests.integration.load import Load
from tests.integration.serving import Served, serve
from tests.registered import gate_record

SECONDS = 4.0  # from the command to the last instance; a second on a machine that does nothing else

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


def under_load(urls: Sequence[str]) -> Load[Answer]:
    """Return two clients for each server; their users come again and again."""
    return Load(
        urls,
        lambda client, url, _, number: rerank(client, url, f"user-{number % 40}"),
        clients=2 * len(urls),
        pause=PAUSE,
    )


def exact(responses: list[Answer], known: list[tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
    """Scores by version: each answer is of one known model, and names it."""
    by_version = {response.version: response.scores for response in responses}
    assert all(by_version[response.version] == response.scores for response in responses)
    assert sorted(by_version.values()) == sorted(known)
    return by_version
