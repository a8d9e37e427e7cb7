"""Jobs on a real server that has no queue: worked in its own process, kept in a file."""

from __future__ import annotations

import gzip
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from rerankd import Client
from rerankd.errors import NotFoundError
from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import new_key
from tests.integration.serving import Served, serve, until

TEXTS = ["Pandas eat bamboo.", "Shanghai lies in the east.", "熊猫吃竹子。"]
BODY = {"query": "What do pandas eat?", "documents": TEXTS}


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as made:
        yield made


def submitted(client: httpx.Client, **arguments: Any) -> dict[str, Any]:
    response = client.post("/v1/jobs", **arguments)
    assert response.status_code == 202, response.text
    card: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/v1/jobs/{card['id']}"
    return card


def ended(client: httpx.Client, job: str) -> dict[str, Any]:
    until(lambda: client.get(f"/v1/jobs/{job}?results=false").json()["finished"], "ended")
    card: dict[str, Any] = client.get(f"/v1/jobs/{job}").json()
    return card


def test_a_job_answers_as_the_same_request_does(client: httpx.Client) -> None:
    card = submitted(client, json=BODY)
    assert (card["state"], card["priority"], card["total"]) == ("queued", "interactive", 1)
    job = ended(client, card["id"])
    assert (job["state"], job["progress"], job["done"]) == ("succeeded", 1.0, 1)
    now = client.post("/v1/rerank", json=BODY).json()
    (row,) = job["results"]
    assert [one["index"] for one in row["results"]] == [one["index"] for one in now["results"]]
    scores = [one["relevance_score"] for one in row["results"]]
    assert scores == pytest.approx([one["relevance_score"] for one in now["results"]], abs=1e-6)
    assert row["model"] == now["model"]


def test_many_requests_in_every_form_give_the_same(client: httpx.Client) -> None:
    bodies = [{**BODY, "top_n": n, "return_documents": True} for n in (1, 2, 3)]
    lines = "\n".join(json.dumps(body) for body in bodies) + "\n\n"
    forms: list[dict[str, Any]] = [
        {"json": {"requests": bodies, "priority": "interactive"}},
        {"content": lines, "headers": {"content-type": "application/x-ndjson"}, "params": {"priority": "interactive"}},
        {"files": {"file": ("requests.jsonl", lines)}, "data": {"priority": "interactive"}},
    ]
    results = []
    for form in forms:
        card = submitted(client, **form)
        assert (card["priority"], card["total"]) == ("interactive", 3)
        results.append(ended(client, card["id"])["results"])
        request_ids = [row.pop("request_id") for row in results[-1]]
        assert request_ids == [f"{card['id']}.0.{position}" for position in range(3)]
    assert results[0] == results[1] == results[2]
    assert [len(row["results"]) for row in results[0]] == [1, 2, 3]
    assert results[0][0]["results"][0]["document"]["text"] in TEXTS
    written = client.get(f"/v1/jobs/{card['id']}/results")
    assert written.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line) | {"request_id": ""} for line in written.text.splitlines()] == [
        row | {"request_id": ""} for row in results[0]
    ]
    assert submitted(client, json={"requests": bodies})["priority"] == "bulk"


def test_an_idempotency_key_makes_one_job(client: httpx.Client) -> None:
    first = submitted(client, json=BODY, headers={"idempotency-key": "once"})
    assert submitted(client, json=BODY, headers={"idempotency-key": "once"})["id"] == first["id"]
    assert submitted(client, json=BODY | {"idempotency_key": "once"})["id"] == first["id"]
    other = client.post("/v1/jobs", json=BODY | {"top_n": 1}, headers={"idempotency-key": "once"})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")


def test_a_wrong_request_among_good_ones(client: httpx.Client) -> None:
    card = submitted(client, json={"requests": [BODY, BODY | {"max_length": 100_000}]})
    job = ended(client, card["id"])
    assert (job["state"], job["done"], job["failed"], job["progress"]) == ("failed", 1, 1, 1.0)
    good, bad = job["results"]
    assert good["results"]
    assert bad["error"]["code"] == "invalid_request"
    assert "max_length" in bad["error"]["message"]
    again = client.post(f"/v1/jobs/{card['id']}/retry")
    assert (again.status_code, again.json()["state"]) == (202, "queued")
    assert ended(client, card["id"])["failed"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"content": b""}, "empty"),
        ({"json": {}}, "request or requests"),
        ({"json": {"requests": []}}, "job is empty"),
        ({"json": {"request": BODY, "requests": [BODY]}}, "request or requests"),
        ({"json": {"requests": [BODY, {"query": "q", "documents": []}]}}, "requests.1: documents is empty"),
        ({"json": {"requests": [BODY, {"query": "", "documents": ["d"]}]}}, "requests.1: The query is empty"),
        ({"json": BODY | {"priority": "urgent"}}, "priority"),
        ({"json": {"request": BODY, "timeout": -1}}, "timeout"),
        ({"json": {"request": BODY, "webhook": "https://example.com/x"}}, "webhook_secret"),
        ({"json": {"request": BODY, "webhook": "file:///etc/passwd"}}, "not an http"),
        ({"json": BODY, "headers": {"idempotency-key": "x" * 300}}, "idempotency"),
        ({"content": b'{"query"\n', "headers": {"content-type": "application/x-ndjson"}}, "Line 1 is not valid JSON"),
        ({"content": b"{}\n", "headers": {"content-type": "application/x-ndjson"}}, "Line 1: query"),
        ({"files": {"other": b"x"}}, "no file"),
        ({"content": b"--x", "headers": {"content-type": "multipart/form-data"}}, "form cannot be read"),
    ],
)
def test_what_cannot_be_a_job_is_said(client: httpx.Client, arguments: dict[str, Any], message: str) -> None:
    response = client.post("/v1/jobs", **arguments)
    assert (response.status_code, message in response.json()["message"]) == (400, True), response.text


def test_paths_that_lead_nowhere(client: httpx.Client) -> None:
    for method, path in (("GET", "/v1/jobs/none"), ("DELETE", "/v1/jobs/none"), ("POST", "/v1/jobs/none/retry")):
        assert client.request(method, path).status_code == 404
    assert client.get("/v1/jobs?state=odd").status_code == 400
    assert client.get("/v1/jobs?limit=0").status_code == 400
    assert client.get("/v1/jobs?state=succeeded&limit=1").json()["data"][0]["state"] == "succeeded"


def test_the_own_client(server: Served) -> None:
    with Client(server.url) as jobs_client:
        status = jobs_client.wait(jobs_client.submit([BODY, BODY | {"top_n": 1}]).id, 30)
        assert (status.state, status.done) == ("succeeded", 2)
        assert status.results
        assert [len(row["results"]) for row in status.results] == [3, 1]
        assert jobs_client.cancel(status.id).state == "succeeded"
        with pytest.raises(NotFoundError):
            jobs_client.job("job_unknown")


def test_cancelling(client: httpx.Client) -> None:
    long = {
        "requests": [{"query": f"q {n}", "documents": [f"text {n} {m} " * 40 for m in range(200)]} for n in range(20)]
    }
    card = submitted(client, json=long)
    assert client.delete(f"/v1/jobs/{card['id']}").json()["state"] == "cancelled"
    job = client.get(f"/v1/jobs/{card['id']}").json()
    assert (job["state"], job["error"], len(job["results"])) == ("cancelled", "The job was cancelled.", 20)
    now = client.post("/v1/rerank", json=BODY)
    assert now.status_code == 200


def test_keys_see_their_own_jobs(tmp_path: Path) -> None:
    keys = {name: new_key(name, admin=name == "boss", tokens_per_minute=2000) for name in ("one", "two", "boss")}
    write_keys(tmp_path / "keys.json", [key for _, key in keys.values()])
    with (
        serve(env={"RERANKD_API_KEYS_FILE": str(tmp_path / "keys.json")}) as served,
        httpx.Client(base_url=served.url, timeout=30, trust_env=False) as client,
    ):
        bearer = {name: {"authorization": f"Bearer {clear}"} for name, (clear, _) in keys.items()}
        assert client.post("/v1/jobs", json=BODY).status_code == 401
        job = client.post("/v1/jobs", json=BODY, headers=bearer["one"]).json()["id"]
        statuses = {
            name: client.get(f"/v1/jobs/{job}", headers=headers).status_code for name, headers in bearer.items()
        }
        assert statuses == {"one": 200, "two": 404, "boss": 200}
        assert client.delete(f"/v1/jobs/{job}", headers=bearer["two"]).status_code == 404
        listed = {name: len(client.get("/v1/jobs", headers=headers).json()["data"]) for name, headers in bearer.items()}
        assert listed == {"one": 1, "two": 0, "boss": 1}
        large = {"query": "q", "documents": ["word " * 200] * 30}
        refused = [client.post("/v1/jobs", json=large, headers=bearer["two"]).status_code for _ in range(3)]
        assert refused[-1] == 429  # jobs are no way around a quota


def test_every_request_of_a_job_counts_as_it_is_read(tmp_path: Path) -> None:
    clear, key = new_key("one", tokens_per_minute=2000, requests_per_minute=40)
    write_keys(tmp_path / "keys.json", [key])
    large = {"query": "q", "documents": ["word " * 200] * 30}
    with (
        serve(env={"RERANKD_API_KEYS_FILE": str(tmp_path / "keys.json")}) as served,
        httpx.Client(base_url=served.url, timeout=30, trust_env=False) as client,
    ):
        client.headers["authorization"] = f"Bearer {clear}"
        first = submitted(client, json={"requests": [BODY | {"max_length": 1_000_000}, BODY | {"max_length": 8}]})
        assert ended(client, first["id"])["failed"] == 1  # the wrong one alone
        short_first = {"requests": [BODY | {"max_length": 8}, large]}
        assert [client.post("/v1/jobs", json=short_first).status_code for _ in range(3)][-1] == 429
        again = [client.post(f"/v1/jobs/{first['id']}/retry").status_code for _ in range(41)]
        assert again[-1] == 429


def test_a_killed_server_goes_on_with_its_jobs(tmp_path: Path) -> None:
    env = {"RERANKD_JOBS_PATH": str(tmp_path / "jobs.sqlite"), "RERANKD_LEASE_SECONDS": "1"}
    many = {"requests": [{"query": f"q {n}", "documents": [f"text {n} {m}" for m in range(25)]} for n in range(40)]}
    with serve(env=env) as served, httpx.Client(base_url=served.url, timeout=30, trust_env=False) as client:
        job = submitted(client, json=many)["id"]
        until(lambda: client.get(f"/v1/jobs/{job}?results=false").json()["done"], "some done")
        before = client.get(f"/v1/jobs/{job}?results=true").json()
        served.process.send_signal(signal.SIGKILL)
        served.process.wait()
    assert not before["finished"]
    with serve(env=env) as served, httpx.Client(base_url=served.url, timeout=30, trust_env=False) as client:
        finished = ended(client, job)
    assert (finished["state"], finished["done"], len(finished["results"])) == ("succeeded", 40, 40)
    assert finished["results"][0] == before["results"][0]
    assert all(len(row["results"]) == 25 for row in finished["results"])


def test_objects_come_back_as_they_were_sent(client: httpx.Client) -> None:
    sent = [{"text": "Bamboo.", "title": "Pandas", "year": 1999}, {"title": "Cars"}]
    body = {"query": "panda", "documents": sent, "rank_fields": ["title"], "return_documents": True}
    [row] = ended(client, submitted(client, json=body)["id"])["results"]
    assert all(result["document"] == sent[result["index"]] for result in row["results"])


def test_compressed_lines_and_files_with_a_byte_order_mark(client: httpx.Client) -> None:
    lines = "\n".join([orjson.dumps(BODY).decode()] * 2).encode("utf-8-sig")
    kind = {"content-type": "application/x-ndjson"}
    card = submitted(client, content=gzip.compress(lines), headers=kind | {"content-encoding": "gzip"})
    assert ended(client, card["id"])["done"] == 2
    assert ended(client, submitted(client, files={"file": lines})["id"])["done"] == 2


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "text/csv"])
def test_other_types_are_refused(kind: str, client: httpx.Client) -> None:
    response = client.post("/v1/jobs", content=orjson.dumps(BODY), headers={"content-type": kind})
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")
