"""Experiments on real servers: starting them, asking for rankings, waiting for them to be in force."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from subprocess import CompletedProcess
from typing import Any

import httpx

from rerankd.experiments.experiment import Experiment, ExperimentKind
from rerankd.experiments.guardrails import ExperimentPlan
from rerankd.experiments.store import ExperimentStore
from rerankd.traces.store import TraceStore
from tests.integration.serving import until
from tests.program import rerankd

LOOK = 0.2

TEXTS = ["Pandas eat bamboo.", "A car has four wheels.", "Bears eat fish.", "Bamboo grows fast.", "Fish swim."]


def env(url: str, **more: object) -> dict[str, str]:
    settings = {"traces_url": url, "traces_seconds": 0.1, "rollout_seconds": LOOK, "threads": 1} | more
    return {f"RERANKD_{name.upper()}": str(value) for name, value in settings.items()}


def ask(url: str, user: str = "", name: str = "", query: str = "what eats bamboo?") -> httpx.Response:
    headers = {"x-rerankd-user": user} if user else {}
    headers |= {"x-request-id": name} if name else {}
    return httpx.post(f"{url}/v1/rerank", json={"query": query, "documents": TEXTS}, headers=headers, timeout=60)


def model_version_header(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return response.headers["x-rerankd-model-version"]


def part_of(response: httpx.Response) -> str:
    return str(response.headers.get("x-rerankd-experiment", ""))


def command(url: str, *arguments: str) -> CompletedProcess[str]:
    return rerankd("rollout", *arguments, "--traces-url", url)


def in_force(url: str, name: str, state: str = "running") -> None:
    shown = f'rerankd_experiment_coverage{{experiment="{name}"'
    until(
        lambda: any(
            line.startswith(shown) and f'state="{state}"' in line
            for line in httpx.get(f"{url}/metrics").text.splitlines()
        ),
        f"{name} {state}",
        20,
    )


@contextlib.contextmanager
def experiments(url: str) -> Iterator[ExperimentStore]:
    store = ExperimentStore(TraceStore(url))
    try:
        yield store
    finally:
        store.close()


def begun(store: ExperimentStore, kind: ExperimentKind, challenger: object, **plan: Any) -> Experiment:
    usual: dict[str, Any] = {"steps": (1.0,), "min_requests": 20, "min_seconds": 0.0}
    return store.start(Experiment(kind, kind, "mini", str(challenger), plan=ExperimentPlan(**usual | plan)), "test")
