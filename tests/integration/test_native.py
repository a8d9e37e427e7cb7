"""A service on the native kernels: the bundled model, and a checkpoint that is compiled at its first use."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from rerankd import Reranker
from rerankd.demo import load_traps
from tests.integration.serving import serve

pytestmark = pytest.mark.usefixtures("native")
ON = {"RERANKD_NATIVE": "on", "RERANKD_CACHE": "false"}


def test_concurrent_requests_get_the_scores_of_the_library() -> None:
    traps, reranker = load_traps(), Reranker()
    assert reranker.backend == "native cpu int8"
    texts = [document for trap in traps for document in trap.documents]
    expected = [reranker.score([(trap.query, text) for text in texts]).tolist() for trap in traps]
    with serve(env=ON) as served, httpx.Client(base_url=served.url, trust_env=False, timeout=60) as client:
        assert "native on cpu in int8" in served.log

        def scores(query: str) -> list[float]:
            body = {"query": query, "documents": texts, "top_n": len(texts)}
            results = client.post("/v1/rerank", json=body).raise_for_status().json()["results"]
            return [result["relevance_score"] for result in sorted(results, key=lambda result: result["index"])]

        with ThreadPoolExecutor(8) as threads:
            answered = list(threads.map(scores, [trap.query for trap in traps]))
    for ours, theirs in zip(answered, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)


def test_a_second_start_compiles_nothing(native_checkpoint: Path, tmp_path: Path) -> None:
    env = {**ON, "RERANKD_MODEL": str(native_checkpoint), "RERANKD_CACHE_DIR": str(tmp_path / "cache")}
    logs, scores = [], []
    for _ in range(2):
        with serve(env=env) as served:
            body = {"query": "what do pandas eat?", "documents": ["bamboo", "deer", "熊猫吃竹子"], "top_n": 3}
            answer = httpx.post(f"{served.url}/v1/rerank", json=body, trust_env=False, timeout=60).raise_for_status()
            scores.append([result["relevance_score"] for result in answer.json()["results"]])
            logs.append(served.log)
    assert "Compiled" in logs[0]
    assert "Compil" not in logs[1]
    assert scores[0] == scores[1]
