"""A whole server apart from the dialects: models, keys, limits, headers, sharing."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rerankd import Client, InvalidRequestError, Reranker
from rerankd.models.reference import bundled_folder
from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import new_key
from tests.integration.serving import Served, metric, serve, until

BODY = {"query": "what does a panda eat?", "documents": ["bamboo", "a car"]}

MINI = str(bundled_folder("mini"))


def rerank(url: str, **fields: object) -> httpx.Response:
    return httpx.post(f"{url}/v1/rerank", json=BODY | fields, timeout=30)


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Return a file of keys: an admin's, and one with limits."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    made = {
        "admin": new_key("admin", admin=True),
        "plain": new_key("plain"),
        "few": new_key("few", requests_per_minute=2),
        "small": new_key("small", tokens_per_minute=40),
        "hasty": new_key("hasty", tokens_per_minute=400),
    }
    write_keys(path, [key for _, key in made.values()])
    return path, {name: clear for name, (clear, _) in made.items()}


@pytest.fixture(scope="module")
def keyed(admin: tuple[Path, dict[str, str]]) -> Iterator[Served]:
    env = {
        "RERANKD_API_KEYS_FILE": str(admin[0]),
        "RERANKD_MODELS": f"other={MINI}",
        "RERANKD_LOG_FORMAT": "json",
        "RERANKD_MAX_BODY_MB": "1",
    }
    with serve(env=env) as served:
        yield served


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_models_are_loaded_on_demand_and_unloaded_for_room() -> None:
    size = sum(path.stat().st_size for path in Path(MINI).glob("model.onnx*")) / 1e6
    env = {
        "RERANKD_MODELS": json.dumps({"second": MINI, "third": MINI}),
        "RERANKD_MAX_LOADED_MB": str(int(size * 2.5)),
    }
    with serve(env=env) as served:

        def loaded() -> set[str]:
            rows = httpx.get(f"{served.url}/v1/models").json()["data"]
            return {row["id"] for row in rows if row["loaded"]}

        assert loaded() == {"mini"}
        scores = [rerank(served.url, model=name).json() for name in ("second", "mini", "third")]
        assert [response["model"] for response in scores] == ["second", "mini", "third"]
        assert loaded() == {"mini", "third"}
        assert len({response["results"][0]["relevance_score"] for response in scores}) == 1


def test_unknown_names_get_the_default_model_and_a_warning_unless_strict() -> None:
    with serve() as served:
        response = rerank(served.url, model="rerank-v3.5").json()
        assert response["model"] == "mini"
        assert "rerank-v3.5" in response["meta"]["warnings"][0]
        assert "warnings" not in rerank(served.url, model="mini").json()["meta"]
    with serve("--strict-models") as served:
        response = rerank(served.url, model="rerank-v3.5")
        assert response.status_code == 404
        assert "Use one of: mini" in response.json()["detail"]
        assert httpx.get(f"{served.url}/v1/models/rerank-v3.5").status_code == 404


async def test_a_model_is_exchanged_without_a_dropped_request(
    keyed: Served, admin: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    _, keys = admin
    statuses: list[int] = []
    stop = asyncio.Event()

    async def load(number: int, http: httpx.AsyncClient) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            body = {"query": f"q {number} {turn}", "documents": ["a", "b", "c"], "model": "other"}
            statuses.append((await http.post("/v1/rerank", json=body, headers=bearer(keys["plain"]))).status_code)

    async with httpx.AsyncClient(base_url=keyed.url, timeout=60, trust_env=False) as http:
        first = (await http.get("/v1/models/other", headers=bearer(keys["plain"]))).json()
        assert first["loaded"] is False
        clients = [asyncio.create_task(load(number, http)) for number in range(8)]
        for _ in range(3):
            response = await http.put("/v1/models/other", json={"source": MINI}, headers=bearer(keys["admin"]))
            assert response.status_code == 200, response.text
            assert response.json()["loaded"] is True
            assert response.json()["persistent"] is False
            assert "until it restarts" in response.json()["warnings"][0]
        stop.set()
        await asyncio.gather(*clients)
        refused = await http.put("/v1/models/other", json={"source": "/nowhere"}, headers=bearer(keys["admin"]))
        assert refused.status_code == 404
        still = await http.post("/v1/rerank", json=BODY | {"model": "other"}, headers=bearer(keys["plain"]))
        assert still.status_code == 200
        unloaded = await http.delete("/v1/models/other", headers=bearer(keys["admin"]))
        assert unloaded.json() == {"id": "other", "unloaded": True}
    assert set(statuses) == {200}
    assert len(statuses) > 20


def test_only_admins_change_models(keyed: Served, admin: tuple[Path, dict[str, str]], server_url: str) -> None:
    body = {"source": MINI}
    response = httpx.put(f"{keyed.url}/v1/models/other", json=body, headers=bearer(admin[1]["plain"]))
    assert (response.status_code, response.json()["error"]["code"]) == (403, "permission_denied")
    assert httpx.put(f"{server_url}/v1/models/mini", json=body).status_code == 403
    unknown = httpx.put(f"{keyed.url}/v1/models/new", json=body, headers=bearer(admin[1]["admin"]))
    assert unknown.status_code == 404


def test_rates_are_limited_by_key(keyed: Served, admin: tuple[Path, dict[str, str]]) -> None:
    def ask(name: str, **fields: object) -> httpx.Response:
        return httpx.post(f"{keyed.url}/v1/rerank", json=BODY | fields, headers=bearer(admin[1][name]))

    responses = [ask("few") for _ in range(3)]
    assert [response.status_code for response in responses] == [200, 200, 429]
    assert responses[2].json()["error"]["code"] == "rate_limited"
    assert 1 <= int(responses[2].headers["retry-after"]) <= 60
    small = [ask("small", documents=["panda " * 20, "bamboo " * 20]) for _ in range(2)]
    assert [response.status_code for response in small] == [200, 429]
    assert ask("plain").status_code == 200


def test_a_deadline_is_no_way_around_a_quota(keyed: Served, admin: tuple[Path, dict[str, str]]) -> None:
    body = {"query": "q", "documents": [f"{n} " + "panda bamboo " * 50 for n in range(20)], "timeout": 0.001}
    responses = [
        httpx.post(f"{keyed.url}/v1/rerank", json=body, headers=bearer(admin[1]["hasty"])).status_code for _ in range(2)
    ]
    assert responses == [504, 429]


def test_keys_are_nowhere_in_the_log_and_lines_are_json(keyed: Served, admin: tuple[Path, dict[str, str]]) -> None:
    httpx.post(f"{keyed.url}/rerank", json=BODY, headers=bearer(admin[1]["plain"]) | {"x-request-id": "find-me"})
    httpx.post(f"{keyed.url}/rerank", json=BODY, headers=bearer("wrong-secret-key"))
    rows = [json.loads(line) for line in keyed.log.splitlines() if line.startswith("{")]
    record = next(row for row in rows if row.get("request_id") == "find-me")
    assert (record["status"], record["documents"], record["model"]) == (200, 2, "mini")
    assert record["key"]
    for clear in (*admin[1].values(), "wrong-secret-key", "panda"):
        assert clear not in keyed.log


def test_revoked_keys_stop_working_without_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    clear, key = new_key("one")
    other_clear, other = new_key("two")
    write_keys(path, [key, other])
    with serve(env={"RERANKD_API_KEYS_FILE": str(path)}) as served:
        assert httpx.get(f"{served.url}/v1/models", headers=bearer(clear)).status_code == 200
        write_keys(path, [other])
        statuses = [httpx.get(f"{served.url}/v1/models", headers=bearer(clear)).status_code for _ in range(1)]
        while statuses[-1] == 200 and len(statuses) < 20_000:
            statuses.append(httpx.get(f"{served.url}/v1/models", headers=bearer(clear)).status_code)
        assert statuses[-1] == 401
        assert httpx.get(f"{served.url}/v1/models", headers=bearer(other_clear)).status_code == 200


def test_a_hangup_is_said_and_survived(keyed: Served) -> None:
    keyed.process.send_signal(signal.SIGHUP)
    until(lambda: "SIGHUP is ignored" in keyed.log, "said")
    assert httpx.get(f"{keyed.url}/readyz").status_code == 200


def test_a_large_body_is_refused_before_it_is_read(keyed: Served, admin: tuple[Path, dict[str, str]]) -> None:
    response = httpx.post(f"{keyed.url}/rerank", content=b"x" * 100_000_000, headers=bearer(admin[1]["plain"]))
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "payload_too_large"


def test_ten_thousand_documents_are_one_request(server_url: str) -> None:
    documents = [f"document {n % 400}" for n in range(10_000)]  # equal ones are computed once
    response = httpx.post(f"{server_url}/rerank", json={"query": "q", "documents": documents, "top_n": 3}, timeout=120)
    assert response.status_code == 200
    assert len(response.json()["results"]) == 3
    more = httpx.post(f"{server_url}/rerank", json={"query": "q", "documents": [*documents, "one more"]})
    assert more.status_code == 413


def test_headers_of_security_and_of_time(server_url: str) -> None:
    headers = rerank(server_url).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "server" not in headers
    assert re.fullmatch(r"[0-9a-f]{32}", headers["x-request-id"])
    for name in ("x-queue-time", "x-inference-time", "x-tokenization-time", "x-total-time"):
        assert float(headers[name]) >= 0
    assert int(headers["x-compute-tokens"]) > 0


def test_origins_are_off_by_default_and_can_be_named(server_url: str) -> None:
    preflight = {"origin": "https://a.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in httpx.options(f"{server_url}/rerank", headers=preflight).headers
    with serve(env={"RERANKD_CORS_ORIGINS": "https://a.example"}) as served:
        allowed = httpx.options(f"{served.url}/rerank", headers=preflight)
        assert allowed.headers["access-control-allow-origin"] == "https://a.example"
        foreign = httpx.options(f"{served.url}/rerank", headers=preflight | {"origin": "https://b.example"})
        assert "access-control-allow-origin" not in foreign.headers


def test_docs_need_nothing_from_elsewhere(server_url: str) -> None:
    page = httpx.get(f"{server_url}/docs").text
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(links) == 3
    for link in links:
        response = httpx.get(f"{server_url}/{link}")
        assert response.status_code == 200
        assert "//" not in link
    assert httpx.get(f"{server_url}/docs/..%2fapp.py").status_code == 404
    assert "/v1/rerank" in httpx.get(f"{server_url}/openapi.json").json()["paths"]


def test_metrics_count_what_happened(server_url: str) -> None:
    before = metric(server_url, "rerankd_computed_pairs_total")
    rerank(server_url, query="a query nobody sent before", cache=False)
    assert metric(server_url, "rerankd_computed_pairs_total") == before + 2
    text = httpx.get(f"{server_url}/metrics").text
    for name in (
        "rerankd_request_count_total",
        "rerankd_request_duration_seconds",
        "rerankd_request_tokenization_duration_seconds",
        "rerankd_request_queue_duration_seconds",
        "rerankd_request_inference_duration_seconds",
        "rerankd_queue_size",
        "rerankd_batch_next_size",
        "rerankd_batch_next_tokens",
        "rerankd_batch_padding_ratio",
        "rerankd_cache_hits_total",
        "rerankd_ready",
    ):
        assert f"\n{name}" in text


def test_a_key_alone_does_not_let_strangers_make_up_labels(server_url: str) -> None:
    httpx.get(f"{server_url}/made/up/path")
    assert "made/up" not in httpx.get(f"{server_url}/metrics").text


def test_loopback_is_quiet_and_an_open_port_warns_loudly(server_url: str) -> None:
    with serve("--host", "0.0.0.0") as served:  # noqa: S104  that is the point
        assert "WARNING" in served.log
        assert "rerankd keys add" in served.log
        assert "/v1/rerank" in served.log
    with serve() as served:
        assert "WARNING" not in served.log


def test_a_threshold_is_the_same_in_process_by_client_and_in_jobs(server_url: str, texts: list[str]) -> None:
    some, query = texts[16:40], "What is Apple's newest phone?"
    library = Reranker()
    every = library.rank(query, some, None)
    middle = round(every[len(some) // 2].relevance_score, 6) - 1e-6
    with Client(server_url) as client:
        for activation in ("sigmoid", "none", "softmax"):
            wanted = library.rank(query, some, None, activation=activation, threshold=middle)
            ranking = client.rank(query, some, None, activation=activation, threshold=middle)
            assert 0 < len(wanted) < len(some)
            assert [one.index for one in ranking] == [one.index for one in wanted]
            assert [one.relevance_score for one in ranking] == pytest.approx([one.relevance_score for one in wanted])
        assert len(client.rank(query, some, threshold=1.0)) == 0
        with pytest.raises(InvalidRequestError):
            client.rank(query, some, threshold=2.0)
        job = client.wait(client.submit([{"query": query, "documents": some, "threshold": middle}]).id, 60)
    body = httpx.get(f"{server_url}/v1/jobs/{job.id}").json()
    rows = next(one["results"] for one in body["results"])
    assert [row["index"] for row in rows] == [one.index for one in library.rank(query, some, None, threshold=middle)]
    wrong = {"query": "q", "documents": ["a"], "threshold": 7}
    assert httpx.post(f"{server_url}/v1/rerank", json=wrong).status_code == 400
