"""HTTP responses of the service, in every dialect and on every path, and the traces that they leave."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from tests.integration.serving import serve
from tests.recorded.inputs import DOCUMENTS, LONG, NAMED, PAIRS, PASSAGES, QUERIES, QUESTIONS, RULES, TINY
from tests.recorded.program import Program, environment
from tests.recorded.rules import HEADERS, SECURITY

TEAM, OTHER, ADMIN, SLOW = "rr-team-key-for-tests", "rr-other-key-for-tests", "rr-admin-key-for-tests", "rr-slow-key"
"""Keys in clear text; `fixtures/keys.json` holds their hashes."""
ENGLISH, CHINESE, TRADITIONAL, EMOJI = QUERIES
UNION = ["/rerank", "/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking"]
OTHERS = ["/infinity/rerank", "/infinity/v1/rerank", "/voyage/rerank", "/voyage/v1/rerank"]
TEI = ["/", "/invocations", "/rerank"]
USERS = ["ada", "bob", "chen", "dora", "eve", "ford"]
GONE = "0" * 32


class Caller:
    """Sends requests under numbers and keeps the answers."""

    def __init__(self, client: httpx.Client) -> None:
        self.answers: dict[str, Any] = {}
        self._client = client

    def __call__(self, name: str, method: str, path: str, *, key: str | None = TEAM, **kwargs: Any) -> httpx.Response:
        """Send a request; its id is its name."""
        headers = {"x-request-id": re.sub(r"\W+", ".", name), **kwargs.pop("headers", {})}
        if key:
            headers["authorization"] = f"Bearer {key}"
        response = self._client.request(method, path, headers=headers, **kwargs)
        named = {header: response.headers[header] for header in HEADERS if header in response.headers}
        kind = response.headers.get("content-type", "").partition(";")[0]
        body: Any = response.text
        if kind == "application/json" and response.content:
            body = response.json()
        elif kind == "application/x-ndjson":
            body = [json.loads(line) for line in response.text.splitlines()]
        elif kind == "text/event-stream":
            body = [
                line if line.startswith("event") else json.loads(line[6:]) for line in response.text.split("\n") if line
            ]
        assert name not in self.answers, name
        self.answers[name] = {
            "request": f"{method} {path}",
            "status": response.status_code,
            "headers": named,
            "other_headers": " ".join(
                sorted(set(response.headers) - set(HEADERS) - {"date", "server", "transfer-encoding"})
            ),
            "body": body,
        }
        return response

    def metric(self, name: str) -> float:
        """Sum of a metric of the service."""
        text = self._client.get("/metrics", headers={"authorization": f"Bearer {ADMIN}"}).text
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name
        )

    def wait_for_traces(self) -> None:
        """Return when everything that was ranked is in the database."""
        deadline = time.monotonic() + 20
        while self.metric("rerankd_traces_queue_size"):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def wait_for_job(self, job: str) -> None:
        """Return when a job has ended."""
        deadline = time.monotonic() + 20
        while True:
            response = self._client.get(f"/v1/jobs/{job}", headers={"authorization": f"Bearer {ADMIN}"})
            if response.json()["state"] not in ("queued", "running"):
                return
            assert time.monotonic() < deadline
            time.sleep(0.05)


def record(folder: Path) -> dict[str, Any]:
    """Return all answers, the metrics' names, and the rows of the database afterwards."""
    for name, text in PASSAGES.items():
        path = folder / "passages" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
    url = f"sqlite:///{folder}/traces.sqlite"
    settings = {
        "RERANKD_API_KEYS_FILE": str(TINY.parent / "keys.json"),
        "RERANKD_MODELS": json.dumps({"tiny": str(TINY)}),
        "RERANKD_TRACES_URL": url,
        "RERANKD_TRACES_SECONDS": "0.1",
        "RERANKD_TRACES_REDACT": '["email"]',
        "RERANKD_CASES": "false",
        "RERANKD_ROLLOUT_SECONDS": "0.5",
        "RERANKD_JOBS_PATH": str(folder / "jobs.sqlite"),
        "RERANKD_INDEX": str(folder / "index"),
        "RERANKD_MAX_BODY_MB": "0.2",
        "RERANKD_MAX_DOCUMENTS": "20",
    }
    with Program(folder) as program:
        program.run("index", "passages", "--index", "index")
        start = ("rollout", "start", "tiny-canary", "--challenger", "mini", "--model", "tiny", "--kind", "canary")
        program.run(
            *start,
            "--no-auto-promote",
            "--steps",
            "100",
            "--seed",
            "fixed",
            "--min-seconds",
            "1000",
            "--traces-url",
            url,
        )
        with (
            serve("--rules", str(folder / "rules.yaml"), env=environment(folder) | settings) as served,
            httpx.Client(base_url=served.url, trust_env=False, timeout=60) as client,
        ):
            call = Caller(client)
            rank(call)
            score(call)
            refuse(call)
            run_jobs(call)
            ask(call)
            tell(call)
            follow_experiment(call)
            manage(call)
            call.wait_for_traces()
            response = call("metrics", "GET", "/metrics")
            call.answers["metrics"]["security"] = {name: response.headers[name] for name in SECURITY}
            call.answers["metrics"]["body"] = sorted(
                line for line in response.text.splitlines() if re.match(r"# TYPE rerankd\w+(?<!_created) ", line)
            )
            answers = call.answers
        return {
            "answers": answers,
            "exported": program.run("traces", "export", "--traces-url", url)["out"],
            "shown": program.run("traces", "show", "rank.rich", "--traces-url", url)["out"],
            "listed": program.run("traces", "list", "--order", "margin", "--limit", "3", "--json", "--traces-url", url)[
                "out"
            ],
            "monitor": program.run("monitor", "--json", "--traces-url", url)["out"],
            "tables": {name: rows(folder / f"{name}.sqlite") for name in ("traces", "jobs")},
        }


def rank(call: Caller) -> None:
    """Rank in every dialect, on every path, with every field."""
    body: dict[str, Any] = {"query": CHINESE, "documents": DOCUMENTS[:5]}
    for path in UNION + OTHERS:
        call(f"rank {path}", "POST", path, json=body)
        call(f"rank texts {path}", "POST", path, json=body | {"return_documents": True, "top_n": 2, "model": "mini"})
    for path in TEI:
        call(f"tei {path}", "POST", path, json={"query": CHINESE, "texts": DOCUMENTS[:5]})
        call(
            f"tei texts {path}",
            "POST",
            path,
            json={"query": CHINESE, "texts": DOCUMENTS[:3], "return_text": True, "top_n": 2},
        )
    call("tei raw", "POST", "/", json={"query": ENGLISH, "texts": DOCUMENTS, "raw_scores": True, "truncate": True})
    call(
        "tei left",
        "POST",
        "/",
        json={"query": EMOJI, "texts": [LONG], "truncation_direction": "left", "max_length": 64},
    )
    call("tei refuses to cut", "POST", "/", json={"query": EMOJI, "texts": [LONG * 3], "truncate": False})
    call("tei documents", "POST", "/", json=body)
    variants: dict[str, dict[str, Any]] = {
        "rules": {"documents": NAMED, "query": EMOJI, "explain": True},
        "rich": {"documents": NAMED, "return_documents": True, "explain": True, "query": ENGLISH},
        "all": {"documents": DOCUMENTS, "query": TRADITIONAL},
        "raw": {"raw_scores": True},
        "no activation": {"use_activation": False},
        "top_k": {"top_k": 1},
        "top_n of 0": {"top_n": 0},
        "threshold": {"documents": DOCUMENTS, "threshold": 0.5},
        "weighted": {"documents": NAMED, "fusion": "weighted", "explain": True},
        "rrf": {"documents": DOCUMENTS, "fusion": "rrf", "fusion_weight": 3, "explain": True},
        "chunks": {
            "documents": [LONG],
            "max_length": 64,
            "long_documents": "chunk",
            "overlap_tokens": 8,
            "explain": True,
        },
        "max chunks": {"documents": [LONG], "max_chunks_per_doc": 3, "explain": True},
        "document tokens": {"documents": [LONG], "max_tokens_per_doc": 20, "max_tokens_per_query": 5, "explain": True},
        "prompt tokens": {"truncate_prompt_tokens": 2},
        "left": {"documents": [LONG], "truncation_side": "left", "max_length": 32, "explain": True},
        "longest first": {"query": CHINESE * 20, "truncation": "longest_first", "max_length": 32, "explain": True},
        "refuses to cut": {"documents": [LONG * 3], "truncation": False},
        "long max_length": {"max_length": 100_000},
        "unknown model": {"model": "rerank-multilingual-v3.0"},
        "tiny": {"model": "tiny", "explain": True},
        "uncached": {"cache": False, "explain": True},
        "cached": {"explain": True},
        "fields": {"documents": [{"title": "Panda", "body": "bamboo"}], "rank_fields": ["title", "body"]},
        "cohere content": {
            "documents": [{"content": [{"type": "text", "text": "bamboo"}]}],
            "query": {"text": "panda?"},
        },
        "unknown fields": {"documents": ["bamboo"], "wish": 1, "user": "x"},
    }
    for name, fields in variants.items():
        call(f"rank {name}", "POST", "/v1/rerank", json=body | fields)


def score(call: Caller) -> None:
    """Score pairs in the ways of vLLM and TEI."""
    queries, documents = map(list, zip(*PAIRS, strict=True))
    for path in ("/score", "/v1/score"):
        call(f"score {path}", "POST", path, json={"text_1": CHINESE, "text_2": DOCUMENTS[:4]})
    call("score pairs", "POST", "/score", json={"text_1": queries, "text_2": documents, "use_activation": False})
    call("score names", "POST", "/score", json={"queries": [CHINESE], "documents": DOCUMENTS[:2], "model": "tiny"})
    call("score data", "POST", "/score", json={"data_1": CHINESE, "data_2": "竹子", "truncate_prompt_tokens": 16})
    call("score items", "POST", "/score", json={"queries": CHINESE, "items": ["竹子", "汽车"]})
    call("predict", "POST", "/predict", json={"inputs": PAIRS})
    call("predict raw", "POST", "/predict", json={"inputs": PAIRS[:2], "raw_scores": True})


def refuse(call: Caller) -> None:
    """Send what cannot be answered: each kind of refusal, on a path of each dialect."""
    good: dict[str, Any] = {"query": CHINESE, "documents": ["竹子"]}
    wrong: dict[str, dict[str, Any]] = {
        "nothing": {},
        "no documents": {"query": CHINESE},
        "empty documents": {"query": CHINESE, "documents": []},
        "empty query": {"query": "", "documents": ["a"]},
        "number": {"query": CHINESE, "documents": [1]},
        "top_n": good | {"top_n": "many"},
        "threshold": good | {"threshold": 2},
        "too many": {"query": CHINESE, "documents": ["a"] * 21},
        "deep": good | {"x": json.loads("[" * 40 + "]" * 40)},
        "late": good | {"timeout": 1e-9, "cache": False},
    }
    for name, body in wrong.items():
        for path in ("/v1/rerank", "/infinity/rerank", "/voyage/rerank"):
            call(f"refused {name} {path}", "POST", path, json=body)
    others: dict[str, tuple[str, dict[str, Any]]] = {
        "tei empty texts": ("/rerank", {"query": CHINESE, "texts": []}),
        "tei texts of numbers": ("/rerank", {"query": CHINESE, "texts": [1]}),
        "tei too many texts": ("/rerank", {"query": CHINESE, "texts": ["a"] * 21}),
        "tei late": ("/rerank", {"query": CHINESE, "texts": ["竹子"], "timeout": 1e-9, "cache": False}),
        "score one side": ("/score", {"text_1": "a"}),
        "score unmatched": ("/score", {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}),
        "predict triple": ("/predict", {"inputs": [["a", "b", "c"]]}),
        "predict empty": ("/predict", {"inputs": []}),
    }
    for name, (path, body) in others.items():
        call(f"refused {name}", "POST", path, json=body)
    contents = {
        "nothing": b"",
        "half": b'{"query": "a"',
        "list": b"[]",
        "not UTF-8": b'{"query": "\xff", "documents": ["b"]}',
    }
    for path in ("/v1/rerank", "/", "/score", "/predict", "/v1/jobs", "/v1/feedback", "/v1/search"):
        for name, content in contents.items():
            headers = {"content-type": "application/json"}
            call(f"refused body {name} {path}", "POST", path, content=content, headers=headers)
    call("refused large", "POST", "/v1/rerank", json={"query": "a", "documents": ["x" * 300_000]})
    call("refused large tei", "POST", "/", json={"query": "a", "texts": ["x" * 300_000]})
    call("refused path", "GET", "/v1/nope")
    call("refused method", "GET", "/v1/rerank")
    call("refused tei method", "DELETE", "/predict")
    call("refused timeout header", "POST", "/v1/rerank", json=good, headers={"x-request-timeout": "soon"})
    call("refused no key", "POST", "/v1/rerank", key=None, json=good)
    call("refused wrong key", "POST", "/v1/rerank", key="rr-wrong", json=good)
    call("refused wrong key tei", "POST", "/", key="rr-wrong", json={"query": "a", "texts": ["b"]})
    call("key in header", "POST", "/v1/rerank", key=None, json=good, headers={"api-key": TEAM})
    call("slow first", "POST", "/v1/rerank", key=SLOW, json=good)
    call("slow second", "POST", "/v1/rerank", key=SLOW, json=good)
    call("slow second tei", "POST", "/", key=SLOW, json={"query": "a", "texts": ["b"]})


def run_jobs(call: Caller) -> None:
    """Hand in jobs in every form, fetch them, and touch those of others."""
    one: dict[str, Any] = {"query": CHINESE, "documents": NAMED[:4], "return_documents": True, "top_n": 2}
    many = [one, {"query": ENGLISH, "documents": DOCUMENTS[:3]}]
    lines = "\n".join(json.dumps(body) for body in many).encode()
    kinds: dict[str, dict[str, Any]] = {
        "plain": {"json": one},
        "request": {"json": {"request": one, "priority": "bulk", "idempotency_key": "once"}},
        "requests": {"json": {"requests": many, "timeout": 600}},
        "lines": {"content": lines, "headers": {"content-type": "application/x-ndjson", "idempotency-key": "lines"}},
        "file": {"files": {"file": ("requests.jsonl", lines)}, "data": {"priority": "interactive"}},
    }
    jobs = {}
    for name, sent in kinds.items():
        jobs[name] = call(f"job {name}", "POST", "/v1/jobs", **sent).json()["id"]
        call.wait_for_job(jobs[name])
        call(f"job {name} one", "GET", f"/v1/jobs/{jobs[name]}")
        call(f"job {name} results", "GET", f"/v1/jobs/{jobs[name]}/results")
    job = jobs["requests"]
    call("job again", "POST", "/v1/jobs", json={"request": one, "priority": "bulk", "idempotency_key": "once"})
    call("job conflict", "POST", "/v1/jobs", json={"request": many[1], "idempotency_key": "once"})
    call("job without results", "GET", f"/v1/jobs/{job}?results=false")
    call("jobs", "GET", "/v1/jobs")
    call("jobs some", "GET", "/v1/jobs?state=succeeded&limit=2")
    call("jobs none", "GET", "/v1/jobs?state=failed")
    call("jobs of another", "GET", "/v1/jobs", key=OTHER)
    call("job of another", "GET", f"/v1/jobs/{job}", key=OTHER)
    call("job cancel", "DELETE", f"/v1/jobs/{job}")
    call("job retry", "POST", f"/v1/jobs/{job}/retry")
    call("job gone", "GET", f"/v1/jobs/{GONE}")
    call("jobs wrong state", "GET", "/v1/jobs?state=odd")
    call("jobs wrong limit", "GET", "/v1/jobs?limit=0")
    call("job both", "POST", "/v1/jobs", json={"request": one, "requests": many})
    call("job empty", "POST", "/v1/jobs", json={"requests": [{"query": CHINESE, "documents": []}]})
    call("job wrong webhook", "POST", "/v1/jobs", json={"request": one, "webhook": "ftp://x"})
    call("job wrong lines", "POST", "/v1/jobs", content=b"{}\n7\n", headers={"content-type": "application/jsonl"})


def ask(call: Caller) -> None:
    """Search the index and ask it."""
    for number, question in enumerate(QUESTIONS):
        call(f"search {number}", "POST", "/v1/search", json={"query": question})
        call(f"ask {number}", "POST", "/v1/ask", json={"query": question, "explain": number == 0})
    call(
        "search explain",
        "POST",
        "/v1/search",
        json={"query": QUESTIONS[0], "explain": True, "k": 3, "threshold": 0, "top_n": 1},
    )
    call("search fused", "POST", "/v1/search", json={"query": QUESTIONS[1], "fusion": "rrf", "max_tokens": 16})
    call("ask stream", "POST", "/v1/ask", json={"query": QUESTIONS[0], "stream": True})
    call("search nothing", "POST", "/v1/search", json={"query": ""})
    call("search field", "POST", "/v1/search", json={"query": "a", "wish": 1})


def tell(call: Caller) -> None:
    """Give feedback, flag and label cases, look at the activity."""
    call.wait_for_traces()
    ranked = "rank.rich"
    call("feedback click", "POST", "/v1/feedback", json={"request_id": ranked, "kind": "click", "index": 4})
    items = [
        {"kind": "citation", "document_id": "doc-1"},
        {"kind": "thumb", "index": 0, "value": -1},
        {"kind": "grade", "index": 1, "value": 3},
        {"kind": "thumb", "value": 1, "request_id": "rank.rrf"},
    ]
    call("feedback many", "POST", "/v1/feedback", json={"request_id": ranked, "items": items})
    call("feedback pending", "POST", "/v1/feedback", json={"request_id": "later", "kind": "click", "index": 0})
    call("feedback no request", "POST", "/v1/feedback", json={"kind": "click", "index": 0})
    call("feedback no document", "POST", "/v1/feedback", json={"request_id": ranked, "kind": "click"})
    call("feedback thumb", "POST", "/v1/feedback", json={"request_id": ranked, "kind": "thumb", "value": 7})
    call("feedback kind", "POST", "/v1/feedback", json={"request_id": ranked, "kind": "wink"})
    call("case flag", "POST", "/v1/cases", json={"request_id": ranked, "index": 0, "note": "a draft"})
    call("case flag again", "POST", "/v1/cases", json={"request_id": ranked, "index": 0})
    call("case flag whole", "POST", "/v1/cases", json={"request_id": "rank.rrf"})
    call("case flag unknown", "POST", "/v1/cases", json={"request_id": "never"})
    call("case flag of another", "POST", "/v1/cases", json={"request_id": ranked}, key=OTHER)
    cases = call("cases", "GET", "/v1/cases").json()["data"]
    first = cases[0]["id"]
    call("cases of another", "GET", "/v1/cases", key=OTHER)
    call("cases wrong state", "GET", "/v1/cases?state=odd")
    call("case", "GET", f"/v1/cases/{first}")
    call("case of another", "GET", f"/v1/cases/{first}", key=OTHER)
    call("case gone", "GET", "/v1/cases/999")
    call("case no number", "GET", "/v1/cases/one")
    labels = [{"index": 1, "grade": 2}, {"index": 0, "grade": 0}]
    call("case label", "POST", f"/v1/cases/{first}", json={"labels": labels, "note": "done"})
    call("case state", "POST", f"/v1/cases/{cases[1]['id']}", json={"state": "wont_fix"})
    call("case wrong", "POST", f"/v1/cases/{first}", json={"labels": [{"index": 99, "grade": 1}]})
    call("cases labelled", "GET", "/v1/cases?state=labelled&detector=manual&limit=1")
    call("activity", "GET", "/v1/activity")


def follow_experiment(call: Caller) -> None:
    """Rank as several users on the model that an experiment splits."""
    for user in USERS:
        body = {"query": CHINESE, "documents": DOCUMENTS[:4], "model": "tiny", "explain": True}
        call(f"experiment {user}", "POST", "/v1/rerank", json=body, headers={"x-rerankd-user": user})
    call("experiment session", "POST", "/v1/rerank", json=body, headers={"x-rerankd-session": "s1"})
    call("experiment long user", "POST", "/v1/rerank", json=body, headers={"x-rerankd-user": "u" * 300})


def manage(call: Caller) -> None:
    """Ask about models, health and the service itself; swap and unload."""
    for path in ("/livez", "/readyz", "/health", "/ping", "/v1/cluster/auth"):
        call(f"open {path}", "GET", path, key=None)
    for path in ("/info", "/v1/models", "/v1/models/mini", "/v1/models/tiny", "/v1/models/unknown"):
        call(f"models {path}", "GET", path)
    call("head", "HEAD", "/livez")
    call("swap without admin", "PUT", "/v1/models/tiny", json={"source": "mini"})
    call("swap unknown", "PUT", "/v1/models/nobody", json={"source": "mini"}, key=ADMIN)
    call("swap to nothing", "PUT", "/v1/models/tiny", json={"source": "./nowhere"}, key=ADMIN)
    call("swap wrong", "PUT", "/v1/models/tiny", json={"from": "mini"}, key=ADMIN)
    call("swap", "PUT", "/v1/models/tiny", json={"source": str(TINY)}, key=ADMIN)
    call("unload", "DELETE", "/v1/models/tiny", key=ADMIN)
    call("unload again", "DELETE", "/v1/models/tiny", key=ADMIN)


def rows(path: Path) -> dict[str, Any]:
    """Return the tables of a SQLite file: columns, rows, indexes; packed bytes are shown by `traces export`.

    Texts are numbered in no particular order, so that they are sorted by their hashes, and named by them elsewhere. Of
    traces, a few rows show what the columns hold; `traces export` has all of them.
    """
    found: dict[str, Any] = {}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        names = db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        )
        for (name,) in names.fetchall():
            columns = [
                f"{one['name']} {one['type']}{' NOT NULL' * one['notnull']}"
                for one in db.execute(f"PRAGMA table_info({name})")
            ]
            select = f"SELECT * FROM {name} ORDER BY rowid"  # noqa: S608  a name that the file itself gives
            found[name] = {"columns": columns, "rows": [dict(row) for row in db.execute(select)]}
        indexes = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
        found["(indexes)"] = [text for (text,) in db.execute(indexes)]
    if "passage" in found:
        hashes = {row["id"]: row["hash"].hex()[:16] for row in found["passage"]["rows"]}
        texts = [
            {"hash": hashes[row["id"]], "size": row["size"], "deflated": row["deflated"]}
            for row in found["passage"]["rows"]
        ]
        found["passage"]["rows"] = sorted(texts, key=lambda row: str(row["hash"]))
        for row in found["trace"]["rows"]:
            row |= {name: hashes[row[name]] for name in ("query", "parameters")}
    if "experiment_unit" in found:  # written from a set
        found["experiment_unit"]["rows"].sort(key=lambda row: str(row["unit"]))
    for name, table in found.items():
        if isinstance(table, dict):
            table["count"] = len(table["rows"])
            shown = table["rows"][:3] if name in ("trace", "candidates") else table["rows"]
            table["rows"] = [
                {key: "<bytes>" if isinstance(cell, bytes) else cell for key, cell in row.items()} for row in shown
            ]
    return found
